"""The panel's web server: in a thread with an event loop of its own, and on loopback alone unless TLS is there."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from icface.errors import DeviceError
from realtime.address import Address
from realtime.panel.guard import Guard

logger = logging.getLogger(__name__)

PAGE: Final = Path(__file__).parent / "page"
_START_TIMEOUT_S: Final = 10.0
_LARGEST_MESSAGE_BYTES: Final = 1_000_000
"""From the page: a command is small, a stretch of a curve a little larger."""


class PageFiles(StaticFiles):
    """The page's files, with their kinds said here. Some systems have other opinions about .js."""

    _KINDS: Final = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
    }

    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        response = super().file_response(*args, **kwargs)
        kind = self._KINDS.get(Path(args[0]).suffix)
        if kind is not None:
            response.headers["content-type"] = f"{kind}; charset=utf-8"
        return response


class PanelServer:
    """Serves routes and the page.

    Args:
        routes: of commands, stream and uploads. They run on this server's event loop.
        address: where it listens.
        camera: whether the page may ask for the browser's camera.
        at_end: runs on the event loop before it ends.

    Raises:
        DeviceError: no port can be had, or the server does not start.
    """

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        address: Address | None = None,
        *,
        camera: bool = False,
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self._address = address or Address()
        self._at_end = at_end
        host = "127.0.0.1" if self._address.is_loopback else ""
        both = not host and socket.has_dualstack_ipv6()
        try:
            self._socket = socket.create_server(
                (host, self._address.port),
                family=socket.AF_INET6 if both else socket.AF_INET,
                dualstack_ipv6=both,
            )
        except OSError as error:
            where = f"port {self._address.port}" if self._address.port else "a port"
            raise DeviceError(
                f"the panel cannot have {where} on {host or 'this machine'}: {error.strerror or error}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        app = Starlette(routes=[*routes, Mount("/", PageFiles(directory=PAGE, html=True))])
        config = uvicorn.Config(
            Guard(app, self._address, self.port, self.token, camera=camera),
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=_LARGEST_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # JPEG does not shrink
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=64,
            ssl_certfile=self._address.cert,
            ssl_keyfile=str(self._address.key) if self._address.key else None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="panel", daemon=True)

    @property
    def url(self) -> str:
        """The page's address with the token. What follows `#` stays in the browser: no request and no log holds it."""
        return f"{self._address.scheme}://{self._address.host}:{self.port}/#token={self.token}"

    def start(self) -> None:
        """Start serving; returns when the event loop runs."""
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S) or self._failure is not None:
            raise DeviceError(f"the panel did not start: {self._failure or 'no answer'}")

    def call(self, function: Callable[[], object]) -> None:
        """Run a function on the server's event loop soon, from any thread. Never waits; after the end nothing happens."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Stop, and wait for the thread. May be called twice, and without `start`."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # a thread's top: kept, and raised by `start`
            self._failure = error
            logger.warning("the panel has stopped: %s", error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._ready.set)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            if self._at_end is not None:
                await self._at_end()
