"""WebRTC calls of pages: the browser's camera comes in as a driver, the output goes back as a video track.

Both ways only the newest frame counts. The camera's frames go to the tracker and nowhere else. No STUN or TURN server is
asked, so nothing is sent to anybody but the page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, Final

import av
import msgspec
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from icface.errors import ConfigError, ICFaceError
from realtime.drivers.browser import BrowserDriver
from realtime.given import BROWSER
from realtime.panel.desk import ControlDesk
from realtime.panel.pictures import Pictures
from realtime.slot import Closed

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S: Final = 2.0
_LARGEST_OFFER_BYTES: Final = 100_000
_LARGEST_FRAME_PX: Final = 1280
"""Longer side of a camera's frame as it goes to the tracker, which gains nothing from more."""
_CLOCK: Final = Fraction(1, 90_000)


class Offer(msgspec.Struct):
    """A page's session description (SDP), which has its camera's track."""

    sdp: str


class OutputTrack(MediaStreamTrack):
    """The pictures as they leave, each the newest when the one before was encoded."""

    kind = "video"

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self._pictures = pictures
        self._serial = pictures.serial
        self._start_s = time.monotonic()

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        taken = await self._pictures.newest(self._serial)
        self._serial = taken.serial
        height, width = taken.frame.shape[:2]
        # The encoder's colours are halved in both directions.
        even = np.ascontiguousarray(taken.frame[: height // 2 * 2, : width // 2 * 2])
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts = round((time.monotonic() - self._start_s) / _CLOCK)
        frame.time_base = _CLOCK
        return frame


class Calls:
    """Answers the offers of pages. One call at a time: a new one ends the one before. Lives on the panel's event loop.

    Args:
        desk: knows the drivers, and tells the pages which calls have ended.
        pictures: the output.
        on_desk: runs a function on the desk's thread.
    """

    def __init__(self, desk: ControlDesk, pictures: Pictures, on_desk: Callable[..., Awaitable[Any]]) -> None:
        self._desk = desk
        self._pictures = pictures
        self._on_desk = on_desk
        self._answering = asyncio.Lock()
        self._number = 0
        self._open: RTCPeerConnection | None = None
        self._watching: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return [Route("/api/call", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """Answer a page's offer with {sdp, number of the call}."""
        try:
            offer = await _read(request)
            async with self._answering:
                sdp = await self._answer(offer)
                return JSONResponse({"sdp": sdp, "number": self._number})
        except ICFaceError as error:
            return PlainTextResponse(str(error), 422)

    async def _answer(self, offer: Offer) -> str:
        driver: BrowserDriver = await self._on_desk(self._driver)
        await self.close()
        call = self._open = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._number += 1

        @call.on("track")
        def begin(track: MediaStreamTrack) -> None:
            if track.kind == "video":
                task = asyncio.ensure_future(self._watch(call, track, driver))
                self._watching.add(task)
                task.add_done_callback(self._watching.discard)

        @call.on("connectionstatechange")
        async def follow() -> None:
            logger.debug("call: %s", call.connectionState)
            if call.connectionState == "failed":
                await self._end(call)

        try:
            await call.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            if not any(each.kind == "video" for each in call.getTransceivers()):
                raise ConfigError("it has no camera")
            call.addTrack(OutputTrack(self._pictures))
            await call.setLocalDescription(await call.createAnswer())
        except Exception as error:  # whatever a description holds that is none
            await self._end(call)
            raise ConfigError(f"the browser's offer cannot be answered: {error}") from error
        return str(call.localDescription.sdp)

    def _driver(self) -> BrowserDriver | None:
        """The driver that takes the browser's camera; it joins where it is not there yet."""
        if self._desk.crew.browser() is None:
            self._desk.crew.join(BROWSER)
        return self._desk.crew.browser()

    async def _watch(self, call: RTCPeerConnection, track: MediaStreamTrack, driver: BrowserDriver) -> None:
        """Give a camera's frames to the driver until either ends, and the call with them."""
        try:
            while True:
                frame = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    driver.show(_fitted(frame))
        except (MediaStreamError, Closed):
            pass
        except Exception as error:  # a task's top: a frame that cannot be read ends the call, not the run
            logger.warning("the browser's camera is lost: %s", error)
        await self._end(call)

    async def _end(self, call: RTCPeerConnection) -> None:
        """End a call, where it is not over yet. The pages are told."""
        if call is not self._open:
            return
        self._open, self._desk.ended_call = None, self._number
        try:
            await asyncio.wait_for(call.close(), _CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.debug("call: it did not close in time")
        # The camera of a call that never came about does not end by itself.
        for task in self._watching - {asyncio.current_task()}:
            task.cancel()

    async def close(self) -> None:
        """End the call that is open."""
        if self._open is not None:
            await self._end(self._open)
        if self._watching:
            await asyncio.wait(self._watching, timeout=_CLOSE_TIMEOUT_S)


def _fitted(frame: av.VideoFrame) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A camera's frame as (H, W, 3) RGB, no larger than the tracker can use."""
    scale = min(1.0, _LARGEST_FRAME_PX / max(frame.width, frame.height))
    width, height = round(frame.width * scale), round(frame.height * scale)
    return np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), dtype=np.uint8)


async def _read(request: Request) -> Offer:
    """The offer in a request; raises ConfigError where it is none."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_OFFER_BYTES:
            raise ConfigError("the browser's offer is too large")
    try:
        return msgspec.json.decode(body, type=Offer)
    except msgspec.DecodeError as error:
        raise ConfigError(f"the browser's offer is not understood: {error}") from error
