"""Faults of parts, injected: docs/faults.md has a line for each test. Clocks are moved by hand."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.attributes import INDEX, SIZE, neutral
from icface.control.mixing import Mixer
from icface.errors import DeviceError, ICFaceError
from icface.face.tracker import FaceTracker
from icface.images import load_photo
from realtime import watchdog
from realtime.cameras import CapturedFrame
from realtime.drivers import Sample
from realtime.drivers.face import FROZEN_S, CameraFeed
from realtime.drivers.several import LiveDrivers
from realtime.loop import run_live
from realtime.metrics import Metrics
from realtime.recorder import Recorder
from realtime.scheduler import REPEAT, DeadlineScheduler
from realtime.sinks import SinkSettings, create_sink, video_file
from realtime.slot import Slot
from realtime.watchdog import LOOKS, ON_THE_MAIN_THREAD, StoppedError, Watchdog
from tests.realtime.fakes import Animator, Bench, Clock, ScriptedCamera, Stop, frame, limits, smile

PERIOD_S = 0.1


# The camera


class SameCamera(ScriptedCamera):
    """Gives one picture a second; those that the script says (-1) are another one."""

    def read(self) -> CapturedFrame | None:
        captured = super().read()
        if captured is None or self._clock is None:
            return None
        self._clock.now_s += 1
        return replace(captured, frame=frame(captured.index == 8), time_s=self._clock.now_s)


def test_a_camera_that_shows_the_same_picture_on_and_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once each time, and the frames go on."""
    clock = Clock()
    metrics, slot = Metrics(clock), Slot[CapturedFrame]()
    camera = SameCamera(range(20), clock)
    feed = CameraFeed(camera, lambda timeout_s: camera, slot, limits(), metrics, Stop(clock), clock)
    with caplog.at_level(logging.WARNING):
        feed.run()
    assert metrics.events == ["camera frozen", "camera frozen"], "frames 0 to 7, and 9 to 19"
    assert f"scripted has shown the same picture for {FROZEN_S:g} s" in caplog.text
    assert metrics.counters["captured"] == 20


def test_a_camera_that_changes_its_size_and_format(repository: Path) -> None:
    """The face is measured the same in a picture of half the size, and in one without colour."""
    large = load_photo(repository / "examples/source.jpg").frame
    half = cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)
    grey = cv2.cvtColor(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    tracker = FaceTracker()
    poses = []
    for i, picture in enumerate((large, large, half, half, grey, grey)):
        state = tracker.read(picture, i / 30)
        assert state is not None
        poses.append(state.attributes[[INDEX["yaw"], INDEX["pitch"], INDEX["roll"]]])
    tracker.close()
    assert np.abs(np.array(poses) - poses[0]).max() < 0.08, "3 degrees either side"


# Time and load


class Newest(Slot[Sample]):
    """A driver of a frame a period, on a clock moved by hand. It gives the newest, and waiting moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock, self._start_s, self._given = clock, clock.now_s, -1

    def get(self, timeout_s: float | None = None) -> Sample | None:
        assert timeout_s is not None
        newest = int((self._clock.now_s - self._start_s) / PERIOD_S + 1e-9)
        if newest == self._given:
            due_s = self._start_s + (newest + 1) * PERIOD_S
            if due_s > self._clock.now_s + timeout_s:
                self._clock.now_s += timeout_s
                return None
            self._clock.now_s, newest = due_s, newest + 1
        self._given = newest
        return Sample(newest, self._start_s + newest * PERIOD_S, smile(newest % 50 / 50))


class Busy(Animator):
    """Takes time on the clock, and once sleeps for as long as `gap_s` says at the frame of that number."""

    def __init__(self, clock: Clock, work_s: float, gap: tuple[int, float] = (-1, 0.0)) -> None:
        super().__init__()
        self.clock, self.work_s, self.gap = clock, work_s, gap

    def animate(self, attributes: np.ndarray) -> np.ndarray:
        self.clock.now_s += self.work_s + (self.gap[1] if len(self.asked) == self.gap[0] else 0.0)
        return super().animate(attributes)


def live(work_s: float, frames: int, gap: tuple[int, float] = (-1, 0.0)) -> Bench:
    """A live run of a driver of a frame a period, whose animation takes `work_s`."""
    clock = Clock()
    bench = Bench(animator=Busy(clock, work_s, gap), clock=clock)
    drivers = LiveDrivers([Newest(clock)], PERIOD_S, bench.metrics)
    run_live(bench.reenactment, drivers, bench.controls, DeadlineScheduler(PERIOD_S), limits(frames), clock)
    return bench


def test_twice_the_load_that_the_machine_can_take() -> None:
    """Frames are left out, and nothing queues up: the latency of the last is that of the first."""
    bench = live(2 * PERIOD_S, 600)
    latency = bench.metrics.stages["latency"]
    assert latency.percentile_s(99) <= 2 * latency.percentile_s(50)
    assert latency.longest_s < 4 * PERIOD_S
    assert bench.metrics.level == REPEAT
    assert bench.metrics.counters["dropped_before_animation"] > 100


def test_a_machine_that_slept_for_minutes() -> None:
    """After it wakes, the newest frame is shown at once. What was due meanwhile is not made up for."""
    gap_s = 600.0
    bench = live(0.01, 60, gap=(20, gap_s))
    times_s = [time_s for _, _, time_s in bench.sent]
    gaps_s = np.diff(times_s)
    assert sum(gaps_s > 1) == 1 and max(gaps_s) == pytest.approx(gap_s, abs=2 * PERIOD_S)
    after = int(np.argmax(gaps_s)) + 2
    assert min(gaps_s[after:]) > PERIOD_S / 2, "it does not race"
    assert bench.metrics.level == "full", "one long gap is no load"


# Stages that stop


@pytest.mark.parametrize("stage", [name for name in Metrics().passes if name not in ("latency", "interval")])
def test_a_stage_that_does_not_return(stage: str) -> None:
    """It is named after LOOKS looks, and not before; a stage that works on and on is none."""
    run, metrics, stop = Metrics(), Metrics(), threading.Event()
    abandoned: list[StoppedError] = []
    watching = Watchdog(run, stop, abandoned.append)
    run.drivers = [("first", run), ("joined later", metrics)]
    for _ in range(2 * LOOKS):  # many passes
        with metrics.within(stage):
            watching.look()
    assert watching.error is None
    with metrics.within(stage):
        for _ in range(LOOKS):
            watching.look()
        assert watching.error is None and not stop.is_set()
        watching.look()
    assert isinstance(watching.error, StoppedError) and f"(stage {stage})" in str(watching.error)
    assert stop.is_set()
    assert (abandoned == [watching.error]) == (stage in ON_THE_MAIN_THREAD)
    with pytest.raises(StoppedError), watching:
        raise DeviceError("what the loop says then is not the reason")


def test_a_machine_that_slept_has_no_stopped_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are counted. A clock that jumps by an hour within one pass is one look."""
    clock = Clock()
    metrics = Metrics(clock)
    watching = Watchdog(metrics, threading.Event())
    with metrics.time("animate"):
        watching.look()
        clock.now_s += 3600
        watching.look()
    assert watching.error is None and watchdog.LOOKS > 2


# Outputs


def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing gives up in bounded time, with one line."""
    release = threading.Event()
    monkeypatch.setattr(video_file, "CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(video_file.VideoFileSink, "_encode", lambda *_: release.wait())
    sink = create_sink("video_file", SinkSettings(path=tmp_path / "out.mp4"))
    sink.open(64, 48, Fraction(25))
    sink.send(np.zeros((48, 64, 3), np.uint8), 0.0)
    with pytest.raises(DeviceError, match=r"out\.mp4 cannot be written: the disk did not take the rest"):
        sink.close()
    assert not (tmp_path / "out.mp4").exists()
    release.set()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_while_attributes_are_recorded() -> None:
    recorder = Recorder(Path("/dev/full"))
    with pytest.raises(ICFaceError, match="can no longer be written to /dev/full: No space left"):
        for i in range(1000):
            recorder.add(neutral(), i / 25, present=True)
    with contextlib.suppress(ICFaceError):
        recorder.close()


# Attributes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -1e9])
def test_attributes_that_are_not_finite_or_out_of_range(value: float) -> None:
    """What reaches the engine is finite and in range, and the pictures go on."""
    bench = Bench(mixer=Mixer())
    for i in range(6):
        wrong = np.full(SIZE, value, dtype=np.float32)
        bench.step(wrong if i in (2, 3) else smile(0.1 * i), 100 + i / 30)
    assert len(bench.sent) == 6
    for asked in bench.animator.asked:
        assert np.isfinite(asked).all() and np.abs(asked).max() <= 1
