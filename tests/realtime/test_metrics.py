"""The figures, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icface.errors import ICFaceError
from realtime.metrics import SCHEMA, Histogram, Metrics
from tests.realtime.fakes import Clock


def test_percentiles_are_right_within_one_percent() -> None:
    histogram = Histogram()
    for ms in range(1, 101):
        histogram.add(ms / 1000)
    assert histogram.percentile_s(50) == pytest.approx(0.050, rel=0.011)
    assert histogram.percentile_s(95) == pytest.approx(0.095, rel=0.011)
    assert histogram.percentile_s(99) == pytest.approx(0.099, rel=0.011)
    assert histogram.percentile_s(100) == pytest.approx(0.100, rel=0.011)
    summary = histogram.summary()
    assert summary["count"] == 100
    assert summary["mean_ms"] == pytest.approx(50.5)
    assert summary["max_ms"] == 100.0


def test_no_percentile_is_beyond_the_longest_and_an_empty_one_is_zero() -> None:
    histogram = Histogram()
    assert histogram.percentile_s(99) == 0.0
    assert histogram.summary()["mean_ms"] == 0.0
    histogram.add(0.0101)
    assert histogram.percentile_s(50) <= 0.0101


@pytest.mark.parametrize("duration_s", [0.0, -1.0, 1e-9, 1e6])
def test_durations_beyond_the_bins_are_counted_at_their_ends(duration_s: float) -> None:
    histogram = Histogram()
    histogram.add(duration_s)
    assert histogram.count == 1


def test_the_memory_of_a_histogram_does_not_depend_on_how_much_it_counts() -> None:
    histogram = Histogram()
    size = len(histogram._bins)
    for i in range(20_000):
        histogram.add(i * 1e-5)
    assert len(histogram._bins) == size < 2000


def test_fps_counts_intervals_not_frames() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    assert metrics.fps == 0.0
    for _ in range(31):
        metrics.sent()
        clock.now_s += 0.1
    assert metrics.counters["sent"] == 31
    assert metrics.elapsed_s == pytest.approx(3.0)
    assert metrics.fps == pytest.approx(10.0)
    assert metrics.stages["interval"].count == 30
    assert metrics.stages["interval"].percentile_s(50) == pytest.approx(0.1, rel=0.011)


def test_a_stage_is_timed_on_the_clock_given() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    with metrics.time("track"):
        clock.now_s += 0.004
    assert metrics.stages["track"].total_s == pytest.approx(0.004)


def test_the_report_holds_what_was_counted_and_survives_json(tmp_path: Path) -> None:
    clock = Clock()
    metrics = Metrics(clock)
    metrics.sent()
    clock.now_s += 0.5
    metrics.level = "half tracker rate"
    metrics.sent()
    metrics.count("dropped_before_tracking", 3)
    metrics.event("camera lost: unplugged")
    metrics.about["engine"] = "openvino"
    metrics.save(tmp_path / "metrics.json")
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["schema"] == SCHEMA
    assert report["fps"] == 2.0
    assert report["frames"]["dropped_before_tracking"] == 3
    assert report["levels"] == {"full": 1, "half tracker rate": 1}
    assert report["events"] == ["camera lost: unplugged"]
    assert set(report["stages"]) == {"interval"}, "stages that never ran are left out"
    assert report["about"]["engine"] == "openvino"
    assert report["machine"]["cores"] >= 1
    assert "3 dropped" in metrics.table()


def test_events_are_bounded() -> None:
    metrics = Metrics()
    for i in range(250):
        metrics.event(str(i))
    assert metrics.events == [str(i) for i in range(150, 250)]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ICFaceError, match="cannot write the metrics"):
        Metrics().save(tmp_path / "file" / "metrics.json")


def test_the_summary_names_what_was_made() -> None:
    metrics = Metrics()
    metrics.counters.update(sent=472, tracked=470, faces=456)
    metrics.made_s = 19.66
    assert metrics.summary([Path("out.mp4")]) == "out.mp4: 472 frames, 19.7 s, face seen in 97 %"
    assert metrics.summary().startswith("472 frames in 0.0 s")
    metrics.counters.update(sent=1, tracked=0, cameras_lost=2)
    assert metrics.summary([Path("a.mp4"), Path("b.csv")]) == "a.mp4, b.csv: 1 frame, 19.7 s, camera lost: 2"
