"""Parts of a live run that break at random, from a seed: camera, tracker, renderer and output.

A camera stalls, freezes, changes its size and goes away; a tracker gives NaN; a sink is lost; keys are pressed at random;
bursts of overload come. `benchmarks/rounds.py` makes runs of them.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import cv2
import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError, EngineError
from icface.face.tracker import FaceTracker
from realtime.cameras import Camera, CameraConfig, CameraInfo, CapturedFrame, open_camera
from realtime.drivers import opening
from realtime.renderer import Renderer
from realtime.sinks import TICK_S, Sink, SinkSettings

FPS: Final = 30
FAULT_RATE: Final = 1 / 60
"""Of camera frames, pictures and tracked frames: on average so many begin a fault."""
FAULT_FRAMES: Final = 30
"""A camera's fault lasts for so many of its frames."""
KEYS: Final = ("1", "2", "m", "g", "p", "c", "d")


@dataclass
class Dice:
    """Decides what breaks in one part of a run, and counts it.

    Each part runs in a thread of its own, so each has its own dice. Shared ones would fall differently each time.
    """

    random: random.Random
    thrown: Counter[str] = field(default_factory=Counter)
    """May be shared."""

    def falls(self, *names: str) -> str:
        """One of the names now and then, and else nothing."""
        if self.random.random() >= FAULT_RATE:
            return ""
        name = self.random.choice(names)
        self.thrown[name] += 1
        return name


class BreakingCamera(Camera):
    """A device of a clip's frames, at their rate, that breaks."""

    def __init__(self, frames: list[Frame], dice: Dice) -> None:
        height_px, width_px = frames[0].shape[:2]
        self.info = CameraInfo("breaking", width_px, height_px, Fraction(FPS), "MJPG", False, None)
        self._frames, self._dice = frames, dice
        self._index, self._due_s, self._left = 0, time.monotonic(), 0
        self.fault = ""
        """What is broken now."""

    def read(self) -> CapturedFrame | None:
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s = max(self._due_s, time.monotonic() - 1 / FPS) + 1 / FPS
        if not self._left:
            self.fault = self._dice.falls(
                "unplugged", "stalled", "frozen", "resized", "grey", "noise", "black"
            )
            self._left = FAULT_FRAMES if self.fault else 1
        self._left -= 1
        if self.fault == "unplugged":
            raise DeviceError("the camera was unplugged")
        if self.fault == "stalled" and self._left == FAULT_FRAMES - 1:
            time.sleep(0.4)
        index, self._index = self._index, self._index + 1
        frame = self._frames[0 if self.fault == "frozen" else index % len(self._frames)]
        return CapturedFrame(self._broken(frame), index, time.monotonic())

    def _broken(self, frame: Frame) -> Frame:
        if self.fault == "resized":
            return frame[::2, ::2].copy()
        if self.fault == "grey":
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
        if self.fault == "noise":
            return np.random.default_rng(self._index).integers(0, 255, frame.shape, dtype=np.uint8)
        return frame // 255 if self.fault == "black" else frame.copy()

    def close(self) -> None:
        pass


class BreakingSink(Sink):
    """Counts pictures, presses keys, is slow in bursts; fails for good at the picture of that number."""

    name = "breaking"

    def __init__(self, dice: Dice, fails_at: int | None) -> None:
        super().__init__(SinkSettings())
        self._dice, self._fails_at, self._slow, self._count = dice, fails_at, 0, 0

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        self._shape = height_px, width_px, 3

    def send(self, frame: Frame, time_s: float) -> None:
        if frame.shape != self._shape or not frame.any():
            raise AssertionError(f"a wrong picture of {frame.shape}")
        self._count += 1
        if self._count == self._fails_at:
            self._dice.thrown["sink lost"] += 1
            raise DeviceError("the sink is gone")
        if not self._slow and self._dice.falls("overload"):
            self._slow = 20
        if self._slow:
            self._slow -= 1
            time.sleep(2 / FPS)

    def poll_key(self) -> str | None:
        return self._dice.random.choice(KEYS) if self._dice.falls("key") else None

    def close(self) -> None:
        pass


def steady_camera(frames: list[Frame]) -> Camera:
    """A camera of these frames that never breaks."""
    dice = Dice(random.Random(0))
    dice.falls = lambda *names: ""  # type: ignore[method-assign]
    return BreakingCamera(frames, dice)


@contextmanager
def taking(work_s: float) -> Iterator[None]:
    """Let each picture of runs inside take so long at least."""
    render = Renderer.render

    def slow(renderer: Renderer, *arguments: Any) -> Any:
        ends_s = time.monotonic() + work_s
        made = render(renderer, *arguments)
        time.sleep(max(0.0, ends_s - time.monotonic()))
        return made

    with patch.object(Renderer, "render", slow):
        yield


def frames_of(clip: Path, count: int = 90) -> list[Frame]:
    """The first frames of a clip, at 320 pixels."""
    with open_camera(CameraConfig(device=str(clip))) as camera:
        frames = [captured.frame for captured in islice(camera.frames(), count)]
    return [cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA).astype(np.uint8) for frame in frames]


@contextmanager
def broken_parts(
    frames: list[Frame],
    camera: Dice,
    tracker_dice: Dice,
    ending: str,
    at: int,
    stop: threading.Event,
    folder: Path,
) -> Iterator[threading.Event]:
    """Let the camera, the tracker and the renderer of runs inside break, and end as `ending` says at that picture.

    The event is set when that picture has come.
    """
    read, render, count, came = FaceTracker.read, Renderer.render, [0], threading.Event()

    def broken_read(tracker: FaceTracker, *arguments: Any) -> Any:
        if ending == "tracker raises" and came.is_set():
            raise EngineError("the tracker is gone")
        state = read(tracker, *arguments)
        if state is not None and tracker_dice.falls("NaN"):
            return replace(state, attributes=np.full_like(state.attributes, np.nan))
        return state

    def broken_render(renderer: Renderer, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == at:
            came.set()
            if ending == "stop":
                stop.set()
            elif ending == "SIGTERM":
                signal.raise_signal(signal.SIGTERM)
            elif ending == "engine raises":
                raise EngineError("the engine is gone")
            elif ending == "memory short":
                raise MemoryError
        return render(renderer, *arguments)

    with ExitStack() as stack:
        stack.enter_context(
            patch.object(opening, "open_camera", lambda config: BreakingCamera(frames, camera))
        )
        # The user's own neutral face stays as it is.
        stack.enter_context(patch.object(opening, "neutral_file", lambda: folder / "neutral.json"))
        stack.enter_context(patch.object(FaceTracker, "read", broken_read))
        stack.enter_context(patch.object(Renderer, "render", broken_render))
        yield came
