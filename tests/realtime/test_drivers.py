"""From frames to samples; from a table to samples."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import AttributeTrack, FloatArray
from icface.errors import DeviceError
from icface.face.landmarks import Landmarks
from icface.face.tracker import FaceTracker
from realtime.cameras import Camera, CapturedFrame
from realtime.config import LiveConfig
from realtime.drivers import Driver, Sample
from realtime.drivers.face import FaceDriver
from realtime.drivers.table import TableDriver
from realtime.metrics import Metrics
from realtime.slot import Closed, Lane, Slot
from tests.realtime.fakes import Clock, ScriptedCamera, Stop, frame, smile


@dataclass
class State:
    """What the tracker gives; the feed reads the attributes only."""

    attributes: FloatArray
    landmarks: Landmarks | None = None


class Tracker:
    """Sees a face in frames of odd brightness; keeps what was done to it."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.log: list[str] = []
        self._fail_at = fail_at

    def read(self, frame: Frame, time_s: float) -> State | None:
        value = int(frame[0, 0, 0])
        if value == self._fail_at:
            raise ZeroDivisionError("defect")
        self.log.append(f"read {value}")
        return State(smile(value / 10)) if value % 2 else None

    def set_neutral(self) -> None:
        self.log.append("neutral")

    def choose_next(self) -> None:
        self.log.append("next")


def taken(samples: Lane[Sample]) -> list[Sample]:
    """All samples until the end."""
    found: list[Sample] = []
    while True:
        try:
            sample = samples.get(30)
        except Closed:
            return found
        assert sample is not None
        found.append(sample)


def face_driver(
    camera: Camera, tracker: Tracker, metrics: Metrics, neutral_after_s: float | None = None
) -> FaceDriver:
    def reopen(timeout_s: float) -> Camera:
        raise AssertionError("nothing was lost")

    config = LiveConfig(
        sources=(Path("me.jpg"),),
        drivers=(__file__,),
        null=True,
        neutral_after_s=neutral_after_s,
        camera_fps=29.97,
    )
    return FaceDriver(camera, reopen, cast(FaceTracker, tracker), config, metrics)


class Bench:
    """A tracker's thread, run as a plain call between two lanes."""

    def __init__(
        self, indices: list[int], tracker: Tracker | None = None, neutral_after_s: float | None = None
    ) -> None:
        self.metrics = Metrics(Clock())
        self.frames: Lane[CapturedFrame] = Lane(100)
        self.samples: Lane[Sample] = Lane(100)
        for index in indices:
            self.frames.put(CapturedFrame(frame(index), index, index / 10))
        self.frames.close()
        self.tracker = tracker or Tracker()
        self.driver = face_driver(ScriptedCamera([]), self.tracker, self.metrics, neutral_after_s)

    def run(self) -> list[Sample]:
        self.driver.track(self.frames, self.samples)
        return taken(self.samples)


def test_each_frame_becomes_a_sample_face_or_no_face() -> None:
    bench = Bench([0, 1, 2, 3])
    samples = bench.run()
    assert [(s.serial, s.time_s) for s in samples] == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert [s.attributes is None for s in samples] == [True, False, True, False]
    assert samples[3].attributes is not None and np.array_equal(samples[3].attributes, smile(0.3))
    assert (bench.metrics.counters["tracked"], bench.metrics.counters["faces"]) == (4, 2)
    assert bench.metrics.counters["dropped_before_tracking"] == 0


def test_that_nobody_was_seen_is_said_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """After 3 s, 9 s, 27 s, and not once a face was there."""
    Bench(list(range(0, 200, 2))).run()
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "no face was seen in 3 s",
        "no face was seen in 9 s",
    ]
    caplog.clear()
    Bench([1, *range(2, 200, 2)]).run()
    assert not caplog.records


def test_gaps_in_the_index_are_dropped_frames() -> None:
    bench = Bench([1, 2, 5])
    assert [s.serial for s in bench.run()] == [0, 1, 2]
    assert bench.metrics.counters["dropped_before_tracking"] == 1 + 2


def test_at_half_rate_every_second_frame_is_left_out_but_never_one_after_a_gap() -> None:
    bench = Bench([0, 1, 2, 3, 4, 7, 8])
    assert bench.driver.halve_tracking is not None
    bench.driver.halve_tracking(True)
    assert [s.time_s for s in bench.run()] == [0.1, 0.3, 0.7]
    assert bench.metrics.counters["dropped_before_tracking"] == 1 + 1 + 3


def test_neutral_is_set_before_the_next_frame_and_once() -> None:
    bench = Bench([0, 1])
    assert bench.driver.ask_neutral is not None
    bench.driver.ask_neutral()
    bench.run()
    assert bench.tracker.log == ["neutral", "read 0", "read 1"]


def test_neutral_after_counts_from_the_first_frame() -> None:
    bench = Bench([5, 6, 7, 8], neutral_after_s=0.15)
    bench.run()
    assert bench.tracker.log == ["read 5", "read 6", "neutral", "read 7", "read 8"]


def test_a_defect_in_the_tracker_is_raised_in_the_consumer_and_frees_the_producer() -> None:
    bench = Bench([0, 1, 2], Tracker(fail_at=1))
    with pytest.raises(ZeroDivisionError):
        bench.run()
    with pytest.raises(Closed):
        bench.frames.put(CapturedFrame(frame(), 9, 0.9))


def test_what_ended_the_camera_goes_on_to_the_consumer() -> None:
    bench = Bench([])
    bench.frames = Slot()
    bench.frames.close(OSError("camera"))
    with pytest.raises(OSError, match="camera"):
        bench.run()


class KeepingSlot(Slot[Sample]):
    def __init__(self, stop: Stop, enough: int = 10**9) -> None:
        super().__init__()
        self.items: list[Sample] = []
        self._stop = stop
        self._enough = enough

    def put(self, item: Sample) -> None:
        self.items.append(item)
        if len(self.items) == self._enough:
            self._stop.set()
        super().put(item)


def track(times_s: list[float]) -> AttributeTrack:
    values = np.stack([smile(i / 10) for i in range(len(times_s))])
    return AttributeTrack(
        times_s=np.array(times_s), values=values, present=np.ones(len(times_s), dtype=np.bool_)
    )


def test_a_table_is_played_at_its_timestamps() -> None:
    clock = Clock()
    stop = Stop(clock)
    slot = KeepingSlot(stop)
    TableDriver(track([0.0, 0.04, 0.5]), Metrics(clock), clock=clock).fill(slot, stop)
    assert [s.time_s for s in slot.items] == pytest.approx([100.0, 100.04, 100.5])
    smiles = [round(float(s.attributes[11]), 1) for s in slot.items if s.attributes is not None]
    assert smiles == [0.0, 0.1, 0.2]
    slot.get(0)
    with pytest.raises(Closed):
        slot.get(0)


def test_a_looped_table_starts_again_one_period_after_its_last_row() -> None:
    clock = Clock()
    stop = Stop(clock)
    slot = KeepingSlot(stop, enough=5)
    TableDriver(track([0.0, 0.1]), Metrics(clock), loop=True, clock=clock).fill(slot, stop)
    assert [s.time_s for s in slot.items] == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert [s.serial for s in slot.items] == [0, 1, 2, 3, 4]


def test_rows_of_a_table_are_frames_at_a_constant_rate() -> None:
    driver = TableDriver(track([0.0, 0.04, 0.081]), Metrics(Clock()))
    assert driver.fps == Fraction(24691, 1000)
    assert driver.frame_count == 3
    samples = taken(driver.read_in_order())
    assert [s.serial for s in samples] == [0, 1, 2]
    assert [s.time_s for s in samples] == pytest.approx([0.0, 1 / 24.691, 2 / 24.691])


def test_a_camera_without_a_rate_has_the_one_asked_for_as_a_short_fraction() -> None:
    camera = ScriptedCamera(range(2), is_file=True)
    camera.info = replace(camera.info, fps=Fraction(0))
    assert face_driver(camera, Tracker(), Metrics()).fps == Fraction(2997, 100)


# With their threads


def test_a_file_is_read_to_its_end_in_order() -> None:
    metrics = Metrics()
    driver = face_driver(ScriptedCamera(range(20), is_file=True), Tracker(), metrics)
    samples = taken(driver.read_in_order())
    driver.close()
    assert [s.time_s for s in samples] == [i / 10 for i in range(20)]
    assert metrics.counters["dropped_before_tracking"] == 0
    assert driver.fps == Fraction(10) and driver.frame_count == 20


def test_what_ends_a_thread_is_raised_where_the_samples_are_read() -> None:
    unplugged = DeviceError("camera 0 is gone")
    driver = face_driver(ScriptedCamera([0, unplugged], is_file=True), Tracker(), Metrics())
    samples = driver.read_in_order()
    with pytest.raises(DeviceError, match="is gone"):
        taken(samples)
    driver.close()


class Endless(ScriptedCamera):
    """A device or file that always has another frame."""

    def read(self) -> CapturedFrame | None:
        self._script.append(len(self._script))
        return super().read()


def drivers() -> list[Driver]:
    looped = TableDriver(track([0.0, 0.04]), Metrics(), loop=True)
    return [
        looped,
        face_driver(Endless([0], Clock()), Tracker(), Metrics()),
        face_driver(Endless([0], is_file=True), Tracker(), Metrics()),
    ]


@pytest.mark.parametrize("driver", drivers(), ids=["table", "device", "file"])
def test_closing_a_live_driver_ends_its_threads(driver: Driver) -> None:
    stop = threading.Event()
    samples = driver.play(stop)
    assert samples.get(30) is not None
    stop.set()
    driver.close()
    assert driver._threads and not any(thread.is_alive() for thread in driver._threads)


def test_closing_a_driver_that_nobody_reads_ends_its_threads() -> None:
    driver = face_driver(Endless([0], is_file=True), Tracker(), Metrics())
    driver.read_in_order()
    driver.close()
    assert len(driver._threads) == 2 and not any(thread.is_alive() for thread in driver._threads)
