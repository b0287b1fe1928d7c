"""File to file: every frame once and in order."""

from __future__ import annotations

import pytest

from icface.errors import DeviceError, ICFaceError
from realtime.cameras import CapturedFrame
from realtime.config import LiveConfig
from realtime.drivers import Sample
from realtime.drivers.face import read_file
from realtime.drivers.several import FileDrivers
from realtime.loop import run_offline
from realtime.metrics import Metrics
from realtime.slot import Closed, Lane
from tests.realtime import fakes
from tests.realtime.fakes import KeepingSink, ScriptedCamera, limits, smile

NO_LIMITS = limits()


class Bench(fakes.Bench):
    def run(
        self, samples: list[Sample], config: LiveConfig = NO_LIMITS, total: int | None = None
    ) -> list[tuple[int, int, float]]:
        lane: Lane[Sample] = Lane(len(samples))
        for sample in samples:
            lane.put(sample)
        lane.close()
        run_offline(self.reenactment, FileDrivers([lane], self.metrics), self.controls, config, total)
        return self.sent


def ramp(count: int) -> list[Sample]:
    return [Sample(i, i / 10, None if i == 2 else smile(i / 100)) for i in range(count)]


def test_frame_i_answers_frame_i_also_without_a_face() -> None:
    sent = Bench().run(ramp(5))
    assert sent == [(0, 0, 0.0), (2, 1, 0.1), (0, 2, 0.2), (6, 3, 0.3), (8, 4, 0.4)]


def test_a_still_driver_still_gets_every_frame() -> None:
    bench = Bench()
    sent = bench.run([Sample(i, i / 10, smile(0.5)) for i in range(4)])
    assert [index for _, index, _ in sent] == [0, 1, 2, 3]
    assert bench.metrics.counters["held"] == 3


@pytest.mark.parametrize(
    ("config", "total", "count"),
    [(limits(frames=3), None, 3), (limits(duration_s=0.3), None, 3), (NO_LIMITS, 99, 5)],
)
def test_limits_count_output_frames_and_the_files_own_time(
    config: LiveConfig, total: int | None, count: int
) -> None:
    assert len(Bench().run(ramp(5), config, total)) == count


def test_stopped_early_it_says_how_far_it_came() -> None:
    bench = Bench(KeepingSink(keys=["x", "q"]))
    with pytest.raises(ICFaceError, match="stopped after 2 of 5 frames"):
        bench.run(ramp(5), total=5)


def test_a_file_that_was_lost_is_an_error_at_the_end_though_others_are_complete() -> None:
    bench = Bench(KeepingSink("good"), KeepingSink("full", fail_at=2))
    with pytest.raises(DeviceError, match="not everything was written: full is gone"):
        bench.run(ramp(5))
    assert len(bench.sinks[0].sent) == 5


def test_decoding_keeps_the_order_and_ends_the_lane() -> None:
    lane: Lane[CapturedFrame] = Lane(100)
    metrics = Metrics()
    read_file(ScriptedCamera(range(7), is_file=True), lane, metrics)
    indices = []
    with pytest.raises(Closed):
        while (captured := lane.get(0)) is not None:
            indices.append(captured.index)
    assert indices == list(range(7))
    assert metrics.counters["captured"] == 7
    assert metrics.stages["capture"].count == 8, "the end is looked for too"


def test_decoding_ends_when_nobody_takes_the_frames_any_more() -> None:
    lane: Lane[CapturedFrame] = Lane(100)
    lane.close()
    metrics = Metrics()
    read_file(ScriptedCamera(range(7), is_file=True), lane, metrics)
    assert metrics.counters["captured"] == 1


def test_a_defect_while_decoding_is_raised_in_the_consumer() -> None:
    lane: Lane[CapturedFrame] = Lane(100)
    read_file(ScriptedCamera([0, ZeroDivisionError("defect")], is_file=True), lane, Metrics())
    assert lane.get(0) is not None
    with pytest.raises(ZeroDivisionError):
        lane.get(0)


def test_a_lane_that_is_empty_for_a_while_is_waited_for() -> None:
    bench = Bench()
    left = ramp(3)

    class Slow(Lane[Sample]):
        def get(self, timeout_s: float | None = None) -> Sample | None:
            empty.append(not empty or not empty[-1])
            if empty[-1]:
                return None
            if not left:
                raise Closed
            return left.pop(0)

    empty: list[bool] = []
    run_offline(bench.reenactment, FileDrivers([Slow(1)], bench.metrics), bench.controls, NO_LIMITS)
    assert [number for _, number, _ in bench.sent] == [0, 1, 2]
