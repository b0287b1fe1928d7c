"""Pictures from the loop to the pages: a sink that keeps the newest one, and JPEG made of it when a page wants one.

The loop only copies, and only while a page waits. It never waits for a page: a browser that has stalled asks for nothing.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Final, NamedTuple

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import SIZE
from icface.errors import DeviceError
from realtime.control import Observed
from realtime.sinks import TICK_S, Sink, SinkSettings

LARGEST_PX: Final = 1280
"""A larger picture is shown with every second, third … pixel. The panel is for watching, not for keeping."""
_QUALITY: Final = 88


class PanelSink(Sink):
    """Keeps the newest frame for the pages.

    Args:
        notify: called after a new frame; must not wait.
    """

    name = "panel"

    def __init__(self, notify: Callable[[], None]) -> None:
        super().__init__(SinkSettings())
        self._notify = notify
        self._swapping = threading.Lock()
        # The loop writes one, the panel's thread reads the other.
        self._newest, self._read = np.empty((0, 0, 3), np.uint8), np.empty((0, 0, 3), np.uint8)
        self._time_s = self._last_s = 0.0
        self.waiting = 0
        """How many pages wait for a picture. The panel's thread counts."""
        self.serial = -1
        """Of the newest frame. Frames that nobody waited for are not counted."""
        self.interval_ms = 0.0
        """Between the last two frames that the loop sent."""

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        self._step = max(1, -(-max(width_px, height_px) // LARGEST_PX))

    def send(self, frame: Frame, time_s: float) -> None:
        self.interval_ms, self._last_s = 1e3 * (time_s - self._last_s), time_s
        if not self.waiting:
            return
        seen = frame[:: self._step, :: self._step]
        with self._swapping:
            if self._newest.shape != seen.shape:
                self._newest = np.empty_like(seen, order="C")
            np.copyto(self._newest, seen)
            self._time_s = time_s
            self.serial += 1
        self._notify()

    def take(self) -> tuple[int, Frame, float]:
        """Serial, picture and time of the newest; the picture is valid until the next `take`. One thread calls it."""
        with self._swapping:
            self._newest, self._read = self._read, self._newest
            return self.serial, self._read, self._time_s

    def close(self) -> None:
        """Nothing to release."""


class Taken(NamedTuple):
    """A picture for the pages."""

    serial: int
    frame: Frame
    time_s: float


class Pictures:
    """Messages for the pages: the newest picture with the numbers that made it. Lives on the panel's event loop."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._fresh = asyncio.Event()
        self._taken = Taken(-1, np.empty((0, 0, 3), np.uint8), 0.0)
        self._numbers: tuple[int, bytes] = (-1, b"")
        self._jpeg: tuple[int, bytes] = (-1, b"")
        self.sink: PanelSink | None = None

    @property
    def serial(self) -> int:
        """Of the newest picture."""
        return self.sink.serial if self.sink is not None else -1

    def notify(self) -> None:
        """A new frame is there."""
        fresh, self._fresh = self._fresh, asyncio.Event()
        fresh.set()

    async def newest(self, serial: int) -> Taken:
        """The newest picture, as soon as there is one newer than `serial`. Read it before anything is awaited."""
        sink = self.sink
        assert sink is not None
        while sink.serial <= serial:
            sink.waiting += 1
            try:
                await self._fresh.wait()
            finally:
                sink.waiting -= 1
        if sink.serial > self._taken.serial:
            self._taken = Taken(*sink.take())
        return self._taken

    async def after(self, serial: int, *, picture: bool = True) -> tuple[int, bytes]:
        """The newest picture's serial and message, as soon as there is one newer than `serial`.

        A message has a length, a JSON head of that length, then: output, drivers (float32), landmarks (uint16), and JPEG
        where a `picture` is wanted.
        """
        taken = await self.newest(serial)
        if self._numbers[0] != taken.serial:
            assert self.sink is not None
            self._numbers = taken.serial, self._message(taken.serial, taken.time_s, self.sink.interval_ms)
        if not picture:
            return self._numbers
        if self._jpeg[0] != taken.serial:
            self._jpeg = taken.serial, jpeg(taken.frame)
        return taken.serial, self._numbers[1] + self._jpeg[1]

    def _message(self, serial: int, time_s: float, interval_ms: float) -> bytes:
        """Everything but the picture."""
        seen = self._observed.newest
        head = {
            "serial": serial,
            "time_s": round(time_s, 4),
            "interval_ms": round(interval_ms, 2),
            "size": SIZE,
            "observed": seen is not None,
            "drivers": [values is not None for values in seen.drivers] if seen else [],
            "landmarks": [len(points) if points is not None else 0 for points in seen.landmarks]
            if seen
            else [],
        }
        parts = [b"", json.dumps(head, separators=(",", ":")).encode()]
        parts[0] = struct.pack("<I", len(parts[1]))
        if seen is not None:
            numbers = (seen.output, *(values for values in seen.drivers if values is not None))
            parts += [np.asarray(values, dtype="<f4").tobytes() for values in numbers]
            shares = (points for points in seen.landmarks if points is not None)
            parts += [np.clip(points[:, :2] * 65535, 0, 65535).astype("<u2").tobytes() for points in shares]
        return b"".join(parts)


def jpeg(frame: Frame, quality: int = _QUALITY) -> bytes:
    """A picture (H, W, 3) RGB as JPEG."""
    made, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not made:
        raise DeviceError(f"a picture of {frame.shape[1]}x{frame.shape[0]} could not become JPEG")
    return encoded.tobytes()
