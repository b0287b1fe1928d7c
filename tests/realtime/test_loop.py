"""The live loop on a clock moved by hand: beat, holding, easing, degrading, recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import FloatArray, mirror
from icface.errors import DeviceError
from icface.tables import read_csv
from realtime.drivers import Sample
from realtime.drivers.several import LiveDrivers
from realtime.loop import run_live
from realtime.recorder import Recorder
from realtime.scheduler import FULL, HALF_TRACKING, REPEAT, DeadlineScheduler
from realtime.slot import Closed, Slot
from tests.realtime import fakes
from tests.realtime.fakes import Animator, Clock, KeepingSink, limits, smile

PERIOD_S = 0.1


class ScriptedSlot(Slot[Sample]):
    """Gives samples at their arrival times; waiting moves the clock. After the last: the end or an error."""

    def __init__(
        self, clock: Clock, arrivals: list[tuple[float, Sample]], end: BaseException | None = None
    ) -> None:
        super().__init__()
        self._clock = clock
        self._arrivals = list(arrivals)
        self._end = end or Closed()
        self.ends_at_s: float | None = None

    def get(self, timeout_s: float | None = None) -> Sample | None:
        assert timeout_s is not None
        now_s = self._clock.now_s
        if not self._arrivals and (self.ends_at_s is None or self.ends_at_s <= now_s + timeout_s):
            raise self._end
        if self._arrivals and self._arrivals[0][0] <= now_s + timeout_s:
            at_s, sample = self._arrivals.pop(0)
            self._clock.now_s = max(now_s, at_s)
            return sample
        self._clock.now_s += timeout_s
        return None


class SlowAnimator(Animator):
    """Takes time on the clock."""

    def __init__(self, clock: Clock, work_s: float) -> None:
        super().__init__()
        self.clock = clock
        self.work_s = work_s

    def animate(self, attributes: FloatArray) -> Frame:
        self.clock.now_s += self.work_s
        return super().animate(attributes)


class Bench(fakes.Bench):
    """A loop with everything around it; the clock starts at 100 s."""

    def __init__(
        self,
        arrivals: list[tuple[float, Sample]],
        *,
        sink: KeepingSink | None = None,
        mirrored: bool = False,
        work_s: float = 0.0,
        end: BaseException | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        clock = Clock()
        super().__init__(
            sink or KeepingSink(),
            animator=SlowAnimator(clock, work_s),
            clock=clock,
            mirrored=mirrored,
            recorder=recorder,
        )
        self.slot = ScriptedSlot(clock, arrivals, end)
        self.tracker_rates: list[bool] = []
        self.scheduler = DeadlineScheduler(PERIOD_S, self.tracker_rates.append)

    def run(self, frames: int | None = None, duration_s: float | None = None) -> list[tuple[int, int, float]]:
        run_live(
            self.reenactment,
            LiveDrivers([self.slot], PERIOD_S, self.metrics),
            self.controls,
            self.scheduler,
            limits(frames, duration_s),
            self.clock,
        )
        return self.sent


def sample(serial: int, captured_s: float, amount: float | None) -> Sample:
    return Sample(serial, captured_s, None if amount is None else smile(amount))


def steady(count: int, *, delay_s: float = 0.01) -> list[tuple[float, Sample]]:
    """Samples once a period, each a little different, `delay_s` after their capture."""
    first_s = 100.05
    return [
        (first_s + i * PERIOD_S + delay_s, sample(i, first_s + i * PERIOD_S, (i % 50) / 50))
        for i in range(count)
    ]


def test_a_picture_leaves_at_once_and_then_one_for_each_driver_frame() -> None:
    bench = Bench(steady(5))
    sent = bench.run()
    assert [round(time_s, 3) for _, _, time_s in sent] == [100.0, 100.06, 100.16, 100.26, 100.36, 100.46]
    assert [value for value, _, _ in sent] == [0, 0, 4, 8, 12, 16]
    assert [number for _, number, _ in sent] == list(range(6))


def test_latency_is_from_capture_to_sent_and_only_of_driver_frames() -> None:
    bench = Bench(steady(5), work_s=0.02)
    bench.run()
    latency = bench.metrics.stages["latency"]
    assert latency.count == 5
    # 10 ms until it arrives; the first is the neutral picture again, which costs nothing.
    assert latency.total_s == pytest.approx(0.01 + 4 * 0.03)


def test_without_driver_frames_the_output_goes_on_at_its_rate_and_eases() -> None:
    bench = Bench([(100.06, sample(0, 100.05, 0.5))])
    bench.slot.ends_at_s = 101.1
    sent = bench.run()
    times_s = [round(time_s, 3) for _, _, time_s in sent]
    assert times_s[:4] == [100.0, 100.06, 100.185, 100.285], "a quarter of a period of grace, then the beat"
    assert np.diff(times_s[3:]) == pytest.approx(PERIOD_S)
    # A frame counts for three periods after it came: until 100.36.
    assert bench.conditioner.told[:5] == [
        (100.0, False), (100.06, True), (100.185, True), (100.285, True), (100.385, False),
    ]  # fmt: skip
    assert sent[1][0] == 100 and sent[3][0] == 100 and sent[4][0] == 0


def test_a_slow_tracker_is_no_lost_driver() -> None:
    """Each sample is old when it comes, and the next is five periods away: the face still follows."""
    arrivals = [(101 + 0.5 * i, sample(i, 100.4 + 0.5 * i, (i + 1) / 50)) for i in range(30)]
    bench = Bench(arrivals)
    bench.run()
    seen = [there for time_s, there in bench.conditioner.told if time_s > 104]
    assert all(seen) and len(seen) > 50


def test_the_same_attributes_are_not_animated_again() -> None:
    bench = Bench([(100.06, sample(0, 100.05, 0.5))])
    bench.slot.ends_at_s = 100.3
    sent = bench.run()
    assert [value for value, _, _ in sent] == [0, 100, 100, 100]
    assert len(bench.animator.asked) == 2
    assert bench.metrics.counters["held"] == 2


def test_a_lost_face_is_told_to_what_eases() -> None:
    bench = Bench([(100.06, sample(0, 100.05, 0.5)), (100.16, sample(1, 100.15, None))])
    sent = bench.run()
    assert [value for value, _, _ in sent] == [0, 100, 0]
    assert bench.conditioner.told[-1] == (100.16, False)


def test_samples_nobody_took_are_counted() -> None:
    bench = Bench([(100.1, sample(1, 100.05, 0.1)), (100.2, sample(4, 100.15, 0.2))])
    bench.run()
    assert bench.metrics.counters["dropped_before_animation"] == 1 + 2


def test_the_mirror_turns_yaw_and_roll() -> None:
    bench = Bench([], mirrored=True)
    turned = smile(0.3)
    turned[1], turned[2] = 0.7, 0.4
    bench.slot = ScriptedSlot(bench.clock, [(100.06, Sample(0, 100.05, turned))])
    bench.run()
    assert np.array_equal(bench.animator.asked[-1], mirror(turned))
    assert turned[1] == np.float32(0.7), "the driver's own values stay"


def test_what_ended_the_camera_is_raised_after_the_last_picture() -> None:
    bench = Bench(steady(2), end=DeviceError("the camera did not come back within 10 s"))
    with pytest.raises(DeviceError, match="did not come back"):
        bench.run()
    assert len(bench.sent) == 3


def test_the_last_sink_lost_ends_the_run() -> None:
    bench = Bench(steady(5), sink=KeepingSink("file", fail_at=2))
    with pytest.raises(DeviceError, match="file is gone"):
        bench.run()


@pytest.mark.parametrize(("frames", "duration_s", "count"), [(3, None, 3), (None, 0.3, 5)])
def test_limits(frames: int | None, duration_s: float | None, count: int) -> None:
    assert len(Bench(steady(50)).run(frames, duration_s)) == count


def test_a_stop_ends_it_before_the_next_picture() -> None:
    bench = Bench(steady(5))
    bench.stop.set()
    assert bench.run() == []


def test_keys_work_between_pictures() -> None:
    sink = KeepingSink(keys=["m", "x", "Q"])
    bench = Bench(steady(9), sink=sink)
    assert len(bench.run()) == 3
    assert bench.state.mirrored and bench.stop.is_set()


def test_frozen_pictures_are_repeated_and_recorded_as_shown(tmp_path: Path) -> None:
    sink = KeepingSink(keys=["x", "x", " "])
    recorder = Recorder(tmp_path / "drive.csv")
    bench = Bench(steady(6), sink=sink, recorder=recorder)
    sent = bench.run()
    recorder.close()
    assert [value for value, _, _ in sent] == [0, 0, 4, 4, 4, 4, 4]
    assert bench.metrics.counters["repeated"] == 4
    recorded = [round(200 * float(row[11])) for row in read_csv(tmp_path / "drive.csv").values]
    assert recorded == [0, 0, 4, 4, 4, 4, 4]


def test_too_slow_it_steps_down_and_says_so_in_the_stats() -> None:
    bench = Bench(steady(400), work_s=0.13)
    bench.run(frames=60)
    assert bench.tracker_rates[0] is True
    assert bench.metrics.events[:2] == [f"level: {HALF_TRACKING}", f"level: {REPEAT}"]
    assert bench.metrics.levels[FULL] > 0 and bench.metrics.levels[HALF_TRACKING] > 0
    assert sum(bench.metrics.levels.values()) == 60


def test_at_the_last_level_every_second_picture_is_sent_twice() -> None:
    bench = Bench(steady(400), work_s=0.18)
    bench.scheduler = DeadlineScheduler(PERIOD_S)
    bench.run(frames=40)
    assert bench.metrics.levels[REPEAT] > 10
    assert bench.metrics.counters["repeated"] == pytest.approx(bench.metrics.levels[REPEAT] / 2, abs=1)
