"""The panel: a page in the browser of this machine that shows and controls a run. See docs/panel.md.

    loop ──sink──► newest picture ──JPEG──► page
    page ──command──► desk ──change, ask──► control ──► loop

The loop copies a picture while a page waits for one, and does nothing else for the panel.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from starlette.routing import WebSocketRoute

from realtime.config import LiveConfig
from realtime.control import Control
from realtime.drivers.crew import Crew
from realtime.panel.desk import ControlDesk
from realtime.panel.files import Files
from realtime.panel.pictures import PanelSink, Pictures
from realtime.panel.server import PanelServer
from realtime.panel.stream import Stream
from realtime.photos import Photos
from realtime.recording import Recordings
from realtime.renderer import Scene
from realtime.step import Reenactment

T = TypeVar("T")


class Panel:
    """The panel of a run. Its sink takes pictures at once; `serve` opens it to pages.

    Args:
        control: of the run.
    """

    def __init__(self, control: Control) -> None:
        self._pictures = Pictures(control.observed)
        self._control = control
        self._server: PanelServer | None = None
        self._closing = ExitStack()
        self.sink = PanelSink(self._notify)
        self._pictures.sink = self.sink

    def serve(
        self,
        config: LiveConfig,
        reenactment: Reenactment,
        photos: Photos[Scene],
        recordings: Recordings,
        crew: Crew,
        fps: Fraction,
        face: int | None = None,
    ) -> str:
        """Start serving pages; gives the address to open.

        Args:
            config: of the run.
            reenactment: is read here, and changed by its control alone.
            photos: can be added to.
            recordings: can be begun and ended.
            crew: the drivers; some may join and leave.
            fps: that the pictures are meant to have.
            face: which of a photo's faces is shown; None: the largest.

        Raises:
            DeviceError: there is no port, or the server does not start.
        """
        desk = ControlDesk(config, reenactment, photos, recordings, crew, fps, face)
        self.desk = desk
        with ExitStack() as stack:
            stack.callback(desk.close)
            one_by_one = ThreadPoolExecutor(1, thread_name_prefix="panel desk")
            stack.callback(one_by_one.shutdown)

            async def on_desk(function: Callable[..., T], *arguments: Any) -> T:
                work = functools.partial(function, *arguments)
                return await asyncio.get_running_loop().run_in_executor(one_by_one, work)

            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="icface-panel-", ignore_cleanup_errors=True)
            )
            stream = Stream(self._pictures, desk, on_desk, lambda: self._control.observed)
            files = Files(desk, on_desk, Path(folder))
            routes = [*files.routes(), WebSocketRoute("/stream", stream.serve)]
            at_end = None
            if config.panel_webrtc is not None:
                from realtime.panel.calls import Calls  # aiortc comes with it, which is optional

                calls = Calls(desk, self._pictures, on_desk)
                routes, at_end = [*routes, *calls.routes()], calls.close
            camera = config.panel_webrtc is not None
            self._server = PanelServer(routes, config.panel_address, camera=camera, at_end=at_end)
            stack.callback(self._server.close)
            self._server.start()
            self._closing = stack.pop_all()
        return self._server.url

    def close(self) -> None:
        """Let go of the pages, the port and what was uploaded. May be called twice, and without `serve`."""
        self._closing.close()

    def _notify(self) -> None:
        if self._server is not None:
            self._server.call(self._pictures.notify)
