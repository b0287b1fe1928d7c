"""All sinks of a run as one. Each gets every frame. One that fails is dropped while others are left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction

from icface.arrays import Frame
from icface.errors import ICFaceError
from realtime.metrics import Metrics
from realtime.sinks import TICK_S, Sink
from realtime.transparency import Key

logger = logging.getLogger(__name__)


class Outputs:
    """The sinks of a run. One thread calls all methods."""

    def __init__(self, sinks: Sequence[Sink], metrics: Metrics) -> None:
        self._sinks = list(sinks)
        self._metrics = metrics
        self._closing = ExitStack()
        self._key: Key | None = None
        self._sending: Sink | None = None
        self._start_s: float | None = None
        self._usual_s = 0.0
        self.lost: list[str] = []
        """What became of each sink that failed."""

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        """Open all sinks. If one fails, its error is raised and those that are open are closed."""
        self._usual_s = float(1 / fps)
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)
                sink.open(width_px, height_px, fps, time_base)
                logger.info("output: %s", sink.describe())
            self._closing = stack.pop_all()

    def add(self, sink: Sink) -> None:
        """Send to this one as well, from the next frame on. It is open; `close` closes it if nobody did before."""
        self._closing.callback(sink.close)
        self._sinks.append(sink)

    def remove(self, sink: Sink) -> None:
        """Send nothing more to it. The caller closes it. One that was lost is not there any more, which is no error."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def send(self, frame: Frame, time_s: float) -> None:
        """Give every sink the frame; raises DeviceError when the last sink is lost.

        A transparent frame is (H, W, 4), colours multiplied by alpha. Other sinks get it over a key colour.
        """
        self._start_s = time_s if self._start_s is None else self._start_s
        self._metrics.made_s = time_s - self._start_s + self._usual_s
        opaque = frame
        if frame.shape[2] == 4 and not all(sink.takes_alpha for sink in self._sinks):
            self._key = self._key or Key(frame.shape[1], frame.shape[0])
            opaque = self._key.lay(frame)
        for sink in tuple(self._sinks):
            self._sending = sink
            try:
                sink.send(frame if sink.takes_alpha else opaque, time_s)
            except ICFaceError as error:
                self._lose(sink, error)
                if not self._sinks:
                    raise
        self._sending = None

    def _lose(self, sink: Sink, error: ICFaceError) -> None:
        self._sinks.remove(sink)
        self.lost.append(str(error))
        self._metrics.count("sinks_lost")
        self._metrics.event(f"sink lost: {error}")
        if self._sinks:
            logger.warning("%s; going on with: %s", error, self._names())
        try:
            sink.close()
        except ICFaceError as again:
            logger.debug("closing the lost sink: %s", again)

    def finish(self, end_s: float | None) -> None:
        """Tell all sinks that the driver has come to its own end, at `end_s`."""
        for sink in self._sinks:
            sink.finish(end_s)
        if end_s is not None and self._start_s is not None:
            self._metrics.made_s = end_s - self._start_s

    def poll_key(self) -> str | None:
        """A key pressed in a window, or None. A closed window is dropped; if it was the last sink, the key is `q`."""
        for sink in tuple(self._sinks):
            key = sink.poll_key()
            if key == "closed":
                self._sinks.remove(sink)
                sink.close()
                if not self._sinks:
                    return "q"
                logger.info("the window was closed; going on with: %s", self._names())
            elif key is not None:
                return key
        return None

    def show_help(self, lines: Sequence[str]) -> bool:
        """Draw these lines over the picture in the windows, or take them away; False: there is no window."""
        return any([sink.show_help(lines) for sink in self._sinks])

    def finish_files(self, timeout_s: float) -> None:
        """Close the files from another thread, because the one that sends is stuck; returns within the time.

        The sink that it is stuck in is left, and so are windows and devices, which end with the process.
        """
        files = [sink for sink in tuple(self._sinks) if sink.is_file and sink is not self._sending]
        threads = [threading.Thread(target=sink.close, daemon=True) for sink in files]
        for thread in threads:
            thread.start()
        ends_s = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, ends_s - time.monotonic()))

    def _names(self) -> str:
        return ", ".join(sink.name for sink in self._sinks)

    def close(self) -> None:
        """Close all sinks. If one fails to close, its error is raised when all are closed."""
        self._closing.close()
