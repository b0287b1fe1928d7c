"""Files over HTTP: photos and drivers come in, within limits; pictures of photos, tracks and videos go out."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from icface.errors import ICFaceError
from icface.images import load_photo
from realtime.choices import DRIVER_SUFFIXES
from realtime.consent import check_consent
from realtime.given import PHOTOS
from realtime.panel.desk import ControlDesk
from realtime.panel.pictures import jpeg
from realtime.panel.tracks import packed

logger = logging.getLogger(__name__)

MAX_PHOTO_BYTES: Final = 40_000_000
MAX_PHOTO_PIXELS: Final = 60_000_000
MAX_DRIVER_BYTES: Final = 500_000_000
MAX_PHOTOS: Final = 48
PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".jp2")
_THUMBNAIL_PX: Final = 192


class TooLarge(ICFaceError):
    """A file is larger than the panel takes."""


class ConsentNeeded(ICFaceError):
    """The user is to be asked whether the person in a photo agreed; the message is the question."""


class Files:
    """The HTTP endpoints.

    Args:
        desk: knows photos and tracks.
        on_desk: runs a function on the desk's thread.
        folder: empty; takes what is uploaded, and is removed with the run.
    """

    def __init__(self, desk: ControlDesk, on_desk: Callable[..., Awaitable[Any]], folder: Path) -> None:
        self._desk = desk
        self._on_desk = on_desk
        self._folder = folder

    def routes(self) -> list[Route]:
        return [
            Route("/api/photos", self._answering(self.take_photo), methods=["POST"]),
            Route("/api/photos/{number:int}", self._answering(self.thumbnail)),
            Route("/api/drivers", self._answering(self.take_driver), methods=["POST"]),
            Route("/api/tracks", self._answering(self.take_track), methods=["POST"]),
            Route("/api/tracks/{name}", self._answering(self.track)),
            Route("/api/videos/{name}", self._answering(self.video)),
        ]

    def _answering(
        self, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await work(request)
            except TooLarge as error:
                return PlainTextResponse(str(error), 413)
            except ConsentNeeded as error:
                return PlainTextResponse(str(error), 202)
            except ICFaceError as error:
                return PlainTextResponse(str(error), 422)

        return answer

    async def take_photo(self, request: Request) -> Response:
        """Keep a photo and prepare it; it is shown when the user chooses it.

        At its first use it needs `consent=yes`.
        """
        if len(self._desk.photos.paths) >= MAX_PHOTOS:
            raise ICFaceError(f"there are {MAX_PHOTOS} photos already; start again to show others")
        path = await self._receive(request, PHOTO_SUFFIXES, MAX_PHOTO_BYTES)
        try:
            await self._on_desk(load_photo, path, MAX_PHOTO_PIXELS)
            agreed = request.query_params.get("consent") == "yes"
            await self._on_desk(check_consent, [path], self._desk.config.consent, _said(agreed))
        except ICFaceError as error:
            path.unlink(missing_ok=True)
            raise type(error)(str(error).replace(str(path), path.name)) from error
        number = await self._on_desk(self._desk.photos.add, path)
        return PlainTextResponse(f"{path.name} is photo {number + 1}; it is being prepared")

    async def take_driver(self, request: Request) -> Response:
        """Let a file drive, beside those who drive already."""
        return await self._take(request, self._desk.take_driver, (*DRIVER_SUFFIXES, *PHOTOS))

    async def take_track(self, request: Request) -> Response:
        """Keep a driver as a track: a table as it is, a video once its face was tracked."""
        return await self._take(request, self._desk.take_track, DRIVER_SUFFIXES)

    async def _take(
        self, request: Request, take: Callable[[Path], str], suffixes: tuple[str, ...]
    ) -> Response:
        path = await self._receive(request, suffixes, MAX_DRIVER_BYTES)
        try:
            if path.suffix in PHOTOS:
                await self._on_desk(load_photo, path, MAX_PHOTO_PIXELS)
            return PlainTextResponse(await self._on_desk(take, path))
        except ICFaceError as error:
            path.unlink(missing_ok=True)
            raise type(error)(str(error).replace(str(path), path.name)) from error

    async def thumbnail(self, request: Request) -> Response:
        """A photo as the run sees it: upright, cut to the face."""
        scene = self._desk.photos.ready(request.path_params["number"])
        if scene is None:
            return PlainTextResponse("this photo is not prepared yet", 404)
        size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
        small = cv2.resize(scene.source.neutral, size, interpolation=cv2.INTER_AREA)
        return Response(jpeg(np.asarray(small, dtype=np.uint8)), media_type="image/jpeg")

    async def track(self, request: Request) -> Response:
        """A track's numbers, packed."""
        track = await self._on_desk(self._desk.tracks.get, request.path_params["name"])
        return Response(packed(track), media_type="application/octet-stream")

    async def video(self, request: Request) -> Response:
        """A video that was rendered in this run."""
        job = self._desk.jobs.all.get(request.path_params["name"])
        if job is None or job.state != "done":
            return PlainTextResponse("there is no such video", 404)
        return FileResponse(job.path)

    async def _receive(self, request: Request, suffixes: tuple[str, ...], most_bytes: int) -> Path:
        """Write a request's body into the folder, under a name that can do no harm; raises ICFaceError."""
        given = Path(request.query_params.get("name", "").replace("\\", "/")).name
        given = "".join(letter if letter.isprintable() else "_" for letter in given)
        suffix = Path(given).suffix.lower()
        if suffix not in suffixes:
            raise ICFaceError(f"{given[:60] or 'a file without a name'} is none of {', '.join(suffixes)}")
        too_large = TooLarge(f"{given[:60]} is larger than {most_bytes / 1e6:.0f} MB")
        if int(request.headers.get("content-length") or 0) > most_bytes:
            raise too_large
        stem = re.sub(r"[^\w ()+-]+", "_", Path(given).stem).strip(" _")[:60] or "file"
        path, number = self._folder / f"{stem}{suffix}", 1
        while path.exists():
            number += 1
            path = self._folder / f"{stem} ({number}){suffix}"
        if shutil.disk_usage(self._folder).free < 2 * most_bytes:
            raise ICFaceError(f"there is too little room in {self._folder} to take a file")
        received = 0
        try:
            with path.open("xb") as file:
                async for piece in request.stream():
                    received += len(piece)
                    if received > most_bytes:
                        raise too_large
                    file.write(piece)
            if received == 0:
                raise ICFaceError(f"{given[:60]} is empty")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def _said(agreed: bool) -> Callable[[str], bool]:
    """What a page has answered to `check_consent`'s question; raises ConsentNeeded where it has not."""

    def answer(question: str) -> bool:
        if not agreed:
            raise ConsentNeeded(question)
        return True

    return answer
