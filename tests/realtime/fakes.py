"""Clocks that are moved by hand, cameras that follow a script, and stand-ins for what is slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray, neutral
from icface.errors import DeviceError
from realtime.camera import Camera, CameraInfo, CapturedFrame
from realtime.sinks import Sink


class Clock:
    """Time that moves only when told to, or when somebody waits on `Stop`."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Stop:
    """A `threading.Event` on a clock of our own: waiting takes no time and moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set = False
        self.waits_s: list[float] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float) -> bool:
        self.waits_s.append(timeout)
        self._clock.now_s += timeout
        return self._set


def frame(value: int = 0) -> Frame:
    """(4, 6, 3), all of one value."""
    return np.full((4, 6, 3), value, dtype=np.uint8)


def info(*, is_file: bool = False, frame_count: int | None = None) -> CameraInfo:
    return CameraInfo(
        name="scripted",
        width_px=6,
        height_px=4,
        fps=Fraction(10),
        fourcc="MJPG",
        is_file=is_file,
        frame_count=frame_count,
    )


class ScriptedCamera(Camera):
    """Plays a script: an int is a frame with that index, an exception is raised, then the end (None)."""

    def __init__(
        self, script: Iterable[int | Exception], clock: Clock | None = None, *, is_file: bool = False
    ) -> None:
        self._script = list(script)
        self._clock = clock
        self.info = info(is_file=is_file, frame_count=len(self._script) if is_file else None)
        self.closed = False

    def read(self) -> CapturedFrame | None:
        if not self._script:
            return None
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        time_s = step / 10 if self.info.is_file or self._clock is None else self._clock()
        return CapturedFrame(frame(step % 256), step, time_s)

    def close(self) -> None:
        self.closed = True


@dataclass
class Source:
    """A prepared source: a photo of one colour, its crop a square in the middle."""

    photo_frame: Frame = field(default_factory=lambda: np.full((40, 60, 3), 90, dtype=np.uint8))
    crop_to_photo: NDArray[np.float64] = field(
        default_factory=lambda: np.array([[1.0, 0, 20], [0, 1.0, 10]], dtype=np.float64)
    )
    neutral: Frame = field(default_factory=lambda: np.zeros((16, 16, 3), dtype=np.uint8))
    rim: float = 1 / 24
    notes: list[str] = field(default_factory=list)


class Animator:
    """Paints AU12 as brightness, so that a frame tells what animated it; keeps what it was asked."""

    def __init__(self, side: int = 16) -> None:
        self._frame = np.zeros((side, side, 3), dtype=np.uint8)
        self.sources: list[object] = []
        self.asked: list[FloatArray] = []
        self.closed = False

    def set_source(self, source: object) -> None:
        self.sources.append(source)

    def animate(self, attributes: FloatArray) -> Frame:
        self.asked.append(attributes.copy())
        self._frame[:] = round(200 * float(attributes[11]))
        return self._frame

    def adopt(self, engine: object, /) -> None:
        raise AssertionError("no engine was on its way")

    def describe(self) -> str:
        return "engine: a fake"

    def close(self) -> None:
        self.closed = True


class KeepingSink(Sink):
    """Keeps every frame's brightness in the middle; fails at `fail_at`."""

    def __init__(self, name: str = "keeping", fail_at: int | None = None, keys: Sequence[str] = ()) -> None:
        self.name = name
        self.sent: list[tuple[int, int, float]] = []
        self.opened: tuple[int, int, Fraction] | None = None
        self.closed = False
        self._fail_at = fail_at
        self._keys = list(keys)

    def open(self, width_px: int, height_px: int, fps: Fraction) -> None:
        self.opened = (width_px, height_px, fps)

    def send(self, frame: Frame, index: int, time_s: float) -> None:
        if self._fail_at is not None and len(self.sent) >= self._fail_at:
            raise DeviceError(f"{self.name} is gone")
        height, width = frame.shape[:2]
        self.sent.append((int(frame[height // 2, width // 2, 0]), index, time_s))

    def poll_key(self) -> str | None:
        return self._keys.pop(0) if self._keys else None

    def close(self) -> None:
        self.closed = True


def smile(amount: float) -> FloatArray:
    """Neutral with AU12 at `amount`; the fake animator paints it 200 × amount bright."""
    values = neutral()
    values[11] = amount
    return values
