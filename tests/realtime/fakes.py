"""Clocks that are moved by hand, cameras that follow a script, and stand-ins for what is slow."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray, mirror, neutral
from icface.control.mixing import Mixer
from icface.control.state import ControlState
from icface.errors import DeviceError
from icface.prepared_source import PreparedSource
from icface.reenactor import Reenactor
from realtime.cameras import Camera, CameraInfo, CapturedFrame
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.drivers import Sample
from realtime.hotkeys import Controls
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.photos import Photos
from realtime.recorder import Recorder
from realtime.renderer import Renderer, Scene, make_scene
from realtime.sinks import TICK_S, Sink, SinkSettings, create_sink
from realtime.step import Reenactment


class Clock:
    """Time that moves only when told to, or when somebody waits on `Stop`."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Stop(threading.Event):
    """An event on a clock of our own: waiting takes no time and moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._clock.now_s += timeout
        return self.is_set()


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


class NoRig:
    """The family's part of a source. The fake animator does not use it."""

    def motion(self, attributes: FloatArray) -> dict[str, NDArray[np.generic]]:
        raise AssertionError("the fake animator has no motion")


def source(
    side: int = 16,
    photo_px: tuple[int, int] = (60, 40),
    corner_px: tuple[int, int] = (20, 10),
) -> PreparedSource:
    """A prepared photo of one colour (90), of which a square is the crop."""
    (x, y), (width, height) = corner_px, photo_px
    return PreparedSource(
        photo_frame=np.full((height, width, 3), 90, dtype=np.uint8),
        crop_to_photo=np.array([[1.0, 0, x], [0, 1.0, y]]),
        neutral=np.zeros((side, side, 3), dtype=np.uint8),
        cache={},
        rig=NoRig(),
        rim=1 / 24,
    )


class Animator:
    """Paints AU12 as brightness, so that a frame tells what animated it; keeps what it was asked."""

    def __init__(self, side: int = 16) -> None:
        self._frame = np.zeros((side, side, 3), dtype=np.uint8)
        self.sources: list[object] = []
        self.asked: list[FloatArray] = []

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

    def as_reenactor(self) -> Reenactor:
        """Itself: it has all that the renderer calls."""
        return cast(Reenactor, self)


class NeutralWithoutFace(Mixer):
    """The first driver, or neutral at once; mirrored as the state says. It keeps what it was told as (time, face)."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[float, bool]] = []

    def update(
        self, state: ControlState, drivers: Sequence[FloatArray | None], photo: FloatArray, time_s: float
    ) -> FloatArray:
        self.told.append((round(time_s, 3), drivers[0] is not None))
        values = neutral() if drivers[0] is None else drivers[0]
        return mirror(values) if 1 in state.mirrored else values


class KeepingSink(Sink):
    """Keeps every frame's brightness in the middle; fails at `fail_at`."""

    def __init__(self, name: str = "keeping", fail_at: int | None = None, keys: Sequence[str] = ()) -> None:
        self.name = name
        self.sent: list[tuple[int, int, float]] = []
        self.opened: tuple[int, int, Fraction] | None = None
        self.closed = False
        self._fail_at = fail_at
        self._keys = list(keys)

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        self.opened = (width_px, height_px, fps)

    def send(self, frame: Frame, time_s: float) -> None:
        if self._fail_at is not None and len(self.sent) >= self._fail_at:
            raise DeviceError(f"{self.name} is gone")
        height, width = frame.shape[:2]
        self.sent.append((int(frame[height // 2, width // 2, 0]), len(self.sent), time_s))

    def poll_key(self) -> str | None:
        return self._keys.pop(0) if self._keys else None

    def close(self) -> None:
        self.closed = True


def limits(frames: int | None = None, duration_s: float | None = None) -> LiveConfig:
    """Settings of a run that ends by itself."""
    return LiveConfig(sources=(Path("me.jpg"),), null=True, frames=frames, duration_s=duration_s)


def open_sink(
    name: str,
    settings: SinkSettings | None = None,
    *,
    width_px: int,
    height_px: int,
    fps: Fraction,
    time_base: Fraction = TICK_S,
) -> Sink:
    """A real sink, open."""
    sink = create_sink(name, settings)
    sink.open(width_px, height_px, fps, time_base)
    return sink


def smile(amount: float) -> FloatArray:
    """Neutral with AU12 at `amount`; the fake animator paints it 200 × amount bright."""
    values = neutral()
    values[11] = amount
    return values


class Bench:
    """A reenactment of fakes: `animator`, `sinks`, `stop` and everything between them, on a clock moved by hand."""

    def __init__(
        self,
        *sinks: KeepingSink,
        animator: Animator | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        mirrored: bool = False,
        photos: Photos[Scene] | None = None,
        mixer: Mixer | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.metrics = Metrics(self.clock)
        self.stop = Stop(self.clock)
        self.sinks = list(sinks) or [KeepingSink()]
        self.animator = animator or Animator()
        self.conditioner = NeutralWithoutFace()
        self.neutral_asked = 0
        scene = make_scene(0, source(), "crop", None)
        self.reenactment = Reenactment(
            control=Control(ControlState.default(1, mirrored=frozenset({1} if mirrored else ())), self.clock),
            mixer=self.conditioner if mixer is None else mixer,
            renderer=Renderer(self.animator.as_reenactor(), scene, self.metrics, mark=False),
            outputs=Outputs(self.sinks, self.metrics),
            metrics=self.metrics,
            recorder=recorder,
        )
        photos = photos or Photos((), lambda number: make_scene(number, source(), "crop", None))
        self.controls = Controls(self.reenactment, photos, self.stop, ask_neutral=self._ask_neutral)

    def step(self, attributes: FloatArray | None, time_s: float) -> None:
        """One picture of one driver."""
        self.reenactment.step([Sample(0, time_s, attributes)], time_s)

    @property
    def state(self) -> ControlState:
        """Of control, now."""
        return self.reenactment.control.state

    def _ask_neutral(self) -> None:
        self.neutral_asked += 1

    @property
    def sent(self) -> list[tuple[int, int, float]]:
        """(brightness, number, time) of each picture that the first sink got."""
        return self.sinks[0].sent
