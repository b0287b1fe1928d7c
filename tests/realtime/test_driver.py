"""From frames to samples; from a CSV to samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import AttributeTrack, FloatArray
from realtime.camera import CapturedFrame
from realtime.driver import CsvFeed, Sample, TrackerFeed
from realtime.slot import Closed, Lane, Slot
from realtime.timing import Stats
from tests.realtime.fakes import Clock, Stop, frame, smile


@dataclass
class State:
    """What the tracker gives; the feed reads the attributes only."""

    attributes: FloatArray


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


class Bench:
    def __init__(self, indices: list[int], tracker: Tracker | None = None, **settings: float) -> None:
        self.clock = Clock()
        self.stats = Stats(self.clock)
        self.frames: Lane[CapturedFrame] = Lane(100)
        self.samples: Lane[Sample] = Lane(100)
        for index in indices:
            self.frames.put(CapturedFrame(frame(index), index, index / 10), 0)
        self.frames.close()
        self.tracker = tracker or Tracker()
        self.feed = TrackerFeed(
            self.frames, self.samples, self.tracker, self.stats, Stop(self.clock), **settings
        )

    def run(self) -> list[Sample]:
        self.feed.run()
        taken = []
        while True:
            try:
                sample = self.samples.get(0)
            except Closed:
                return taken
            assert sample is not None
            taken.append(sample)


def test_each_frame_becomes_a_sample_face_or_no_face() -> None:
    bench = Bench([0, 1, 2, 3])
    samples = bench.run()
    assert [(s.index, s.serial, s.time_s) for s in samples] == [
        (0, 0, 0.0),
        (1, 1, 0.1),
        (2, 2, 0.2),
        (3, 3, 0.3),
    ]
    assert [s.attributes is None for s in samples] == [True, False, True, False]
    assert np.array_equal(samples[3].attributes, smile(0.3))
    assert (bench.stats.counters["tracked"], bench.stats.counters["faces"]) == (4, 2)
    assert bench.stats.counters["dropped_before_tracking"] == 0


def test_gaps_in_the_index_are_dropped_frames() -> None:
    bench = Bench([1, 2, 5])
    assert [s.serial for s in bench.run()] == [0, 1, 2]
    assert bench.stats.counters["dropped_before_tracking"] == 1 + 2


def test_at_half_rate_every_second_frame_is_left_out_but_never_one_after_a_gap() -> None:
    bench = Bench([0, 1, 2, 3, 4, 7, 8])
    bench.feed.set_half_rate(True)
    assert [s.index for s in bench.run()] == [1, 3, 7]
    assert bench.stats.counters["dropped_before_tracking"] == 1 + 1 + 3


def test_neutral_is_set_before_the_next_frame_and_once() -> None:
    bench = Bench([0, 1])
    bench.feed.ask_neutral()
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
        bench.frames.put(CapturedFrame(frame(), 9, 0.9), 0)


def test_what_ended_the_camera_goes_on_to_the_consumer() -> None:
    bench = Bench([])
    bench.frames = Slot()
    bench.frames.close(OSError("camera"))
    bench.feed = TrackerFeed(bench.frames, bench.samples, bench.tracker, bench.stats, Stop(bench.clock))
    with pytest.raises(OSError, match="camera"):
        bench.run()


class KeepingSlot(Slot[Sample]):
    def __init__(self, stop: Stop, enough: int = 10**9) -> None:
        super().__init__()
        self.items: list[Sample] = []
        self._stop = stop
        self._enough = enough

    def put(self, item: Sample, timeout_s: float = 0.0) -> bool:
        self.items.append(item)
        if len(self.items) == self._enough:
            self._stop.set()
        return super().put(item, timeout_s)


def track(times_s: list[float]) -> AttributeTrack:
    values = np.stack([smile(i / 10) for i in range(len(times_s))])
    return AttributeTrack(
        times_s=np.array(times_s), values=values, present=np.ones(len(times_s), dtype=np.bool_)
    )


def test_a_csv_is_played_at_its_timestamps() -> None:
    clock = Clock()
    stop = Stop(clock)
    slot = KeepingSlot(stop)
    CsvFeed(track([0.0, 0.04, 0.5]), slot, Stats(clock), stop, period_s=0.04, clock=clock).run()
    assert [s.time_s for s in slot.items] == pytest.approx([100.0, 100.04, 100.5])
    assert [round(float(s.attributes[11]), 1) for s in slot.items if s.attributes is not None] == [
        0.0,
        0.1,
        0.2,
    ]
    slot.get(0)
    with pytest.raises(Closed):
        slot.get(0)


def test_a_looped_csv_starts_again_one_period_after_its_last_row() -> None:
    clock = Clock()
    stop = Stop(clock)
    slot = KeepingSlot(stop, enough=5)
    CsvFeed(track([0.0, 0.1]), slot, Stats(clock), stop, period_s=0.1, loop=True, clock=clock).run()
    assert [s.time_s for s in slot.items] == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert [s.serial for s in slot.items] == [0, 1, 2, 3, 4]
