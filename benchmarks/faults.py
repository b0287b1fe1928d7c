"""What `soak.py --faults` does: live runs in which everything breaks at random, from a seed, and the log of them.

Each round is a live run of its own: a camera that stalls, freezes, changes its size and goes away; a tracker that gives
NaN; a sink that is lost; keys pressed at random; bursts of overload; and at the end one of ENDINGS. What must hold in
each round is checked at its end. The log has a line of JSON for each round, so that a soak goes on where it was ended.
"""

from __future__ import annotations

import gc
import json
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import av
import cv2
import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError, EngineError, ICFaceError
from icface.face.tracker import FaceTracker
from realtime.cameras import Camera, CameraConfig, CameraInfo, CapturedFrame, open_camera
from realtime.config import LiveConfig
from realtime.disclosure import provenance_of
from realtime.drivers import opening
from realtime.metrics import Metrics
from realtime.process import signals
from realtime.renderer import Renderer
from realtime.session import run
from realtime.sinks import TICK_S, Sink, SinkSettings

FPS: Final = 30
ROUND_FRAMES: Final = 600
FAULT_RATE: Final = 1 / 60
"""Of camera frames, pictures and tracked frames: on average so many have a fault."""
ENDINGS: Final = (
    "limit",
    "stop",
    "SIGTERM",
    "engine raises",
    "tracker raises",
    "memory short",
    "last sink lost",
)
KEYS: Final = ("1", "2", "m", "g", "p", "c", "d")
SLACK_S: Final = 60.0
"""A round takes this long beyond its frames at most: opening, a camera that is away, bursts of overload."""


@dataclass
class Dice:
    """Decides what breaks, and counts it."""

    random: random.Random
    thrown: Counter[str] = field(default_factory=Counter)

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
        self._index, self._due_s, self._left, self._fault = 0, time.monotonic(), 0, ""

    def read(self) -> CapturedFrame | None:
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s = max(self._due_s, time.monotonic() - 1 / FPS) + 1 / FPS
        if not self._left:
            self._fault = self._dice.falls(
                "unplugged", "stalled", "frozen", "resized", "grey", "noise", "black"
            )
            self._left = 30
        self._left -= 1
        if self._fault == "unplugged":
            raise DeviceError("the camera was unplugged")
        if self._fault == "stalled" and self._left == 29:
            time.sleep(0.4)
        index, self._index = self._index, self._index + 1
        frame = self._frames[0 if self._fault == "frozen" else index % len(self._frames)]
        return CapturedFrame(self._broken(frame), index, time.monotonic())

    def _broken(self, frame: Frame) -> Frame:
        if self._fault == "resized":
            return frame[::2, ::2].copy()
        if self._fault == "grey":
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
        if self._fault == "noise":
            return np.random.default_rng(self._index).integers(0, 255, frame.shape, dtype=np.uint8)
        return frame // 255 if self._fault == "black" else frame.copy()

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
    frames: list[Frame], dice: Dice, ending: str, at: int, stop: threading.Event, folder: Path
) -> Iterator[None]:
    """Let the camera, the tracker and the renderer of runs inside break, and end as `ending` says at that picture."""
    read, render, count = FaceTracker.read, Renderer.render, [0]

    def broken_read(tracker: FaceTracker, *arguments: Any) -> Any:
        if ending == "tracker raises" and count[0] >= at:
            raise EngineError("the tracker is gone")
        state = read(tracker, *arguments)
        if state is not None and dice.falls("NaN"):
            return replace(state, attributes=np.full_like(state.attributes, np.nan))
        return state

    def broken_render(renderer: Renderer, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == at:
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
        stack.enter_context(patch.object(opening, "open_camera", lambda config: BreakingCamera(frames, dice)))
        # The user's own neutral face stays as it is.
        stack.enter_context(patch.object(opening, "neutral_file", lambda: folder / "neutral.json"))
        stack.enter_context(patch.object(FaceTracker, "read", broken_read))
        stack.enter_context(patch.object(Renderer, "render", broken_render))
        yield


def one_round(number: int, seed: int, sources: tuple[Path, ...], frames: list[Frame]) -> dict[str, Any]:
    """A round; gives its line of the log. AssertionError where something did not end as it should."""
    dice = Dice(random.Random(seed * 1_000_003 + number))
    ending = dice.random.choice(ENDINGS)
    at = dice.random.randrange(ROUND_FRAMES // 4, ROUND_FRAMES // 2)
    metrics, stop = Metrics(), threading.Event()
    start_s = time.monotonic()
    raised = ""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        lost_at = at if ending == "last sink lost" else None
        config = LiveConfig(
            sources=sources,
            drivers=("0",),
            outputs=() if lost_at else (out,),
            null=True,
            frames=ROUND_FRAMES,
            size_px=256,
            build=False,
        )
        from realtime.session import _create_sinks  # the real file beside the sink that breaks

        sinks = (
            []
            if lost_at
            else [sink for sink in _create_sinks(config, provenance_of(config)) if sink.name != "null"]
        )
        sinks.append(BreakingSink(dice, lost_at or dice.random.choice((None, at))))
        with broken_parts(frames, dice, ending, at, stop, Path(folder)), signals(stop):
            try:
                run(config, metrics, stop, camera=BreakingCamera(frames, dice), sinks=sinks)
            except (ICFaceError, MemoryError) as error:
                raised = str(error) or type(error).__name__
        took_s = time.monotonic() - start_s
        sent = metrics.counters["sent"]
        if not lost_at:
            with av.open(str(out)) as container:
                playable = sum(1 for _ in container.decode(video=0))
            # A picture that a sink failed at is in the file, and not counted as sent.
            assert playable - sent in (0, 1), f"{playable} frames can be played, {sent} were sent"
    expected = {
        "limit": "", "stop": "", "SIGTERM": "", "memory short": "MemoryError", "engine raises": "the engine is gone",
        "tracker raises": "the tracker is gone", "last sink lost": "the sink is gone",
    }[ending]  # fmt: skip
    assert raised == expected, f"{ending}: {raised or 'it ended well'}"
    # A driver's thread ends within its bound; others are gone at once.
    assert took_s < ROUND_FRAMES / FPS * 2 + SLACK_S, f"it took {took_s:.0f} s"
    latency = metrics.stages["latency"]
    return {
        "round": number,
        "ending": ending,
        "faults": dict(sorted(dice.thrown.items())),
        "frames": sent,
        "seconds": round(took_s, 1),
        "p50_ms": round(latency.percentile_s(50) * 1e3, 1),
        "p99_ms": round(latency.percentile_s(99) * 1e3, 1),
        "threads": threading.active_count(),
    }


def rounds_of(log: Path | None) -> list[dict[str, Any]]:
    """What was logged before."""
    if log is None or not log.is_file():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def soak(
    frames: int,
    seed: int,
    clip: Path,
    sources: tuple[Path, ...],
    log: Path | None,
    memory_mib: Callable[[], float],
) -> list[dict[str, Any]]:
    """Make rounds until so many frames were sent, those in the log counted; gives all rounds."""
    rounds = rounds_of(log)
    pictures = frames_of(clip)
    while sum(line["frames"] for line in rounds) < frames:
        line = one_round(len(rounds), seed, sources, pictures)
        gc.collect()
        line["mib"] = round(memory_mib(), 1)
        rounds.append(line)
        print(json.dumps(line), flush=True)
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return rounds
