"""One page's WebSocket: pictures and news go out, commands come in and are answered.

A page gets the next picture when it has drawn the one before. So a page that is slow, hidden or stalled gets fewer, and
nothing queues up for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from icface.errors import ICFaceError
from realtime.panel.guard import SUBPROTOCOL
from realtime.panel.pictures import Pictures

logger = logging.getLogger(__name__)

NEWS_EVERY_S: Final = 0.2
IN_FLIGHT: Final = 2
"""Pictures on their way to a page. One is drawn while the next travels."""


class Desk(Protocol):
    """What a page can ask and is told; see `realtime.panel.desk`."""

    def hello(self) -> dict[str, Any]:
        """Everything that never changes."""

    def news(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """Messages about what is other than `told` says; `told` is brought up to date."""

    def perform(self, command: Any) -> Any:
        """Do a command as it came in JSON; gives an answer for JSON. Raises ICFaceError."""


class Message(msgspec.Struct):
    """What a page says: `seen`, whether it wants `pictures` here, or a command with its number."""

    seen: int | None = None
    pictures: bool | None = None
    """False: they come by WebRTC, and numbers alone are wanted."""
    id: int = 0
    command: Any = None


class _Page:
    """What is known of one page."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.may_send = asyncio.BoundedSemaphore(IN_FLIGHT)
        self.pictures = True


class Stream:
    """The WebSocket endpoint of all pages.

    Args:
        pictures: what is shown.
        desk: answers the pages.
        on_desk: runs a function on the desk's thread and gives its result, so that a long command delays no picture.
        listening: gives a context; while it lasts, the loop notes what drives and what is shown.
    """

    def __init__(
        self,
        pictures: Pictures,
        desk: Desk,
        on_desk: Callable[..., Awaitable[Any]],
        listening: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._pictures = pictures
        self._desk = desk
        self._on_desk = on_desk
        self._listening = listening

    async def serve(self, socket: WebSocket) -> None:
        """Serve a page until it goes."""
        await socket.accept(SUBPROTOCOL)
        page = _Page(socket)
        with self._listening():
            tasks = [
                asyncio.ensure_future(work)
                for work in (
                    self._send_pictures(page),
                    self._send_news(socket),
                    self._hear(page),
                )
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                        await task

    async def _send_pictures(self, page: _Page) -> None:
        serial = self._pictures.serial
        while True:
            await page.may_send.acquire()
            serial, message = await self._pictures.after(serial, picture=page.pictures)
            await page.socket.send_bytes(message)

    async def _send_news(self, socket: WebSocket) -> None:
        told: dict[str, Any] = {}
        await socket.send_json(self._desk.hello())
        while True:
            for message in await self._on_desk(self._desk.news, told):
                await socket.send_json(message)
            await asyncio.sleep(NEWS_EVERY_S)

    async def _hear(self, page: _Page) -> None:
        while True:
            text = await page.socket.receive_text()
            try:
                message = msgspec.json.decode(text, type=Message)
            except msgspec.DecodeError as error:
                # Not our page, which knows no NaN and no number beyond all bounds. A reason has at most 123 bytes.
                await page.socket.close(1003, f"not understood: {error}"[:120])
                return
            if message.seen is not None:
                with contextlib.suppress(ValueError):  # it says so of more pictures than it got
                    page.may_send.release()
                continue
            if message.pictures is not None:
                page.pictures = message.pictures
                continue
            answer: dict[str, Any] = {"is": "answer", "id": message.id}
            try:
                answer["result"] = await self._on_desk(self._desk.perform, message.command)
            except ICFaceError as error:
                answer["error"] = str(error)
            except Exception as error:  # a defect in one command is one line on the page, and the run goes on
                logger.debug("command %s", json.dumps(message.command), exc_info=True)
                answer["error"] = f"unexpected {type(error).__name__}: {error}"
            await page.socket.send_json(answer)
