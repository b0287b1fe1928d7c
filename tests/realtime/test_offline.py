"""File to file: every frame once and in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from icface.attributes import AttributeTrack, FloatArray, neutral
from icface.errors import DeviceError, ICFaceError
from realtime.camera import CapturedFrame
from realtime.controls import Controls
from realtime.driver import Sample
from realtime.mixer import Mixer
from realtime.offline import FileFeed, OfflineRun, lane_samples, track_samples
from realtime.outputs import Outputs
from realtime.performer import Performer, make_scene
from realtime.slot import Closed, Lane
from realtime.sources import SourceBank
from realtime.timing import Stats
from tests.realtime.fakes import Animator, Clock, KeepingSink, ScriptedCamera, Source, Stop, smile


class NeutralWithoutFace:
    def update(self, attributes: FloatArray | None, time_s: float) -> FloatArray:
        return neutral() if attributes is None else attributes


class Bench:
    def __init__(self, *sinks: KeepingSink) -> None:
        self.stats = Stats()
        self.stop = Stop(Clock())
        self.sinks = list(sinks) or [KeepingSink()]
        self.outputs = Outputs(self.sinks, self.stats)
        scene = make_scene(0, Source(), "crop", None)  # type: ignore[arg-type]
        self.performer = Performer(Animator(), scene, self.stats, mark=False)

    def run(self, samples: Iterator[Sample | None], **limits: float) -> list[tuple[int, int, float]]:
        mixer = Mixer(mirrored=False)
        bank: SourceBank[object] = SourceBank((), lambda number: None)
        work = OfflineRun(
            samples=samples,
            conditioner=NeutralWithoutFace(),
            mixer=mixer,
            performer=self.performer,
            outputs=self.outputs,
            controls=Controls(self.performer, mixer, bank, self.stop),  # type: ignore[arg-type]
            stats=self.stats,
            stop=self.stop,
            **limits,  # type: ignore[arg-type]
        )
        work.run()
        return self.sinks[0].sent


def ramp(count: int) -> Iterator[Sample | None]:
    for i in range(count):
        yield Sample(i, i, i / 10, None if i == 2 else smile(i / 100))
        yield None  # nothing for a while


def test_frame_i_answers_frame_i_also_without_a_face() -> None:
    sent = Bench().run(ramp(5))
    assert sent == [(0, 0, 0.0), (2, 1, 0.1), (0, 2, 0.2), (6, 3, 0.3), (8, 4, 0.4)]


def test_a_still_driver_still_gets_every_frame() -> None:
    bench = Bench()
    sent = bench.run(iter([Sample(i, i, i / 10, smile(0.5)) for i in range(4)]))
    assert [index for _, index, _ in sent] == [0, 1, 2, 3]
    assert bench.stats.counters["held"] == 3


@pytest.mark.parametrize(
    ("limit", "count"), [({"frames": 3}, 3), ({"duration_s": 0.3}, 3), ({"total": 99}, 5)]
)
def test_limits_count_output_frames_and_the_files_own_time(limit: dict[str, float], count: int) -> None:
    assert len(Bench().run(ramp(5), **limit)) == count


def test_stopped_early_it_says_how_far_it_came() -> None:
    bench = Bench(KeepingSink(keys=["x", "q"]))
    with pytest.raises(ICFaceError, match="stopped after 2 of 5 frames"):
        bench.run(ramp(5), total=5)


def test_a_file_that_was_lost_is_an_error_at_the_end_though_others_are_complete() -> None:
    bench = Bench(KeepingSink("good"), KeepingSink("full", fail_at=2))
    with pytest.raises(DeviceError, match="not everything was written: full is gone"):
        bench.run(ramp(5))
    assert len(bench.sinks[0].sent) == 5


def test_decoding_waits_for_room_and_keeps_the_order() -> None:
    lane: Lane[CapturedFrame] = Lane(100)
    stats = Stats()
    FileFeed(ScriptedCamera(range(7), is_file=True), lane, stats, Stop(Clock())).run()
    indices = []
    with pytest.raises(Closed):
        while (captured := lane.get(0)) is not None:
            indices.append(captured.index)
    assert indices == list(range(7))
    assert stats.counters["captured"] == 7
    assert stats.stages["capture"].count == 8, "the end is looked for too"


def test_a_defect_while_decoding_is_raised_in_the_consumer() -> None:
    lane: Lane[CapturedFrame] = Lane(100)
    FileFeed(
        ScriptedCamera([0, ZeroDivisionError("defect")], is_file=True), lane, Stats(), Stop(Clock())
    ).run()
    assert lane.get(0) is not None
    with pytest.raises(ZeroDivisionError):
        lane.get(0)


def test_lane_samples_end_with_the_lane() -> None:
    lane: Lane[Sample] = Lane(3)
    lane.put(Sample(0, 0, 0.0, None), 0)
    lane.close()
    assert [s.index for s in lane_samples(lane) if s is not None] == [0]


def test_rows_of_a_csv_are_frames_at_a_constant_rate() -> None:
    track = AttributeTrack(
        times_s=np.array([0.0, 0.01, 0.9]),
        values=np.stack([smile(0.1), smile(0.2), smile(0.3)]),
        present=np.ones(3, dtype=np.bool_),
    )
    samples = [s for s in track_samples(track, 25.0) if s is not None]
    assert [(s.index, s.time_s) for s in samples] == [(0, 0.0), (1, 0.04), (2, 0.08)]
