"""Attributes from tables and into them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from icface import attributes
from icface.attributes import AttributeTrack, neutral
from icface.errors import ConfigError
from icface.tables import read_csv, write_csv
from realtime.drivers.table import frame_rate, load_table
from realtime.recorder import Recorder
from tests.realtime.fakes import smile


def track(times_s: list[float] | np.ndarray) -> AttributeTrack:
    n = len(times_s)
    return AttributeTrack(
        times_s=np.asarray(times_s, dtype=np.float64),
        values=np.repeat(neutral()[None], n, axis=0),
        present=np.ones(n, dtype=np.bool_),
    )


def test_what_is_recorded_comes_back_bit_by_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.random((20, attributes.SIZE), dtype=np.float32)
    recorder = Recorder(tmp_path / "drive.csv")
    for i, row in enumerate(values):
        recorder.add(row, 50.0 + i / 30, present=i % 3 != 0)
    recorder.close()
    drive = load_table(tmp_path / "drive.csv")
    assert np.array_equal(drive.values, values), "rows without a face too: they hold what was shown"
    assert drive.times_s == pytest.approx(np.arange(20) / 30, abs=1e-6)
    assert list(drive.present) == [i % 3 != 0 for i in range(20)]


def test_the_recorder_writes_what_write_csv_writes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.csv")
    recorder.add(smile(0.3), 7.0, present=True)
    recorder.add(smile(0.4), 7.04, present=False)
    recorder.close()
    expected = AttributeTrack(
        times_s=np.array([0.0, 0.04]),
        values=np.stack([smile(0.3), smile(0.4)]),
        present=np.array([True, False]),
    )
    write_csv(tmp_path / "b.csv", expected)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write attributes"):
        Recorder(tmp_path / "missing" / "drive.csv")


def test_rows_where_openface_saw_no_face_are_held_and_eased(tmp_path: Path) -> None:
    n = 60
    present = np.ones(n, dtype=np.bool_)
    present[10:40] = False
    values = np.stack([smile(0.4) if p else neutral() for p in present])
    seen = AttributeTrack(times_s=np.arange(n) / 25, values=values, present=present)
    write_csv(tmp_path / "openface.csv", seen, openface=True)
    drive = load_table(tmp_path / "openface.csv")
    au12 = drive.values[:, attributes.INDEX["AU12"]]
    assert au12[9] == pytest.approx(0.4, abs=0.01)
    assert au12[11] == pytest.approx(0.4, abs=0.01), "held at first, not dropped at once"
    assert au12[39] < 0.05, "eased to neutral"
    assert au12[40] < 0.3, "no jump on return"
    assert au12[-1] == pytest.approx(0.4, abs=0.01)


def test_an_openface_file_with_a_face_in_every_row_is_taken_as_it_is(tmp_path: Path) -> None:
    write_csv(tmp_path / "openface.csv", track([0.0, 0.04]), openface=True)
    assert np.array_equal(
        load_table(tmp_path / "openface.csv").values, read_csv(tmp_path / "openface.csv").values
    )


@pytest.mark.parametrize(
    ("times_s", "rate"),
    [
        (np.arange(100) / 25, Fraction(25)),
        (np.round(np.arange(100) / 30, 3), Fraction(30)),  # milliseconds: .033, .034
        (np.round(np.arange(100) / 30, 6), Fraction(30)),
        (np.arange(500) * 1001 / 30000, Fraction(30000, 1001)),
        (np.arange(100) / 17.3, Fraction(173, 10)),
        ([0.0], Fraction(25)),
        ([0.0, 0.0, 0.0], Fraction(25)),
        ([0.0, 0.04, 0.08, 5.0, 5.04], Fraction(25)),  # a pause: the rate is that of the rest
    ],
)
def test_the_rate_of_a_track(times_s: list[float] | np.ndarray, rate: Fraction) -> None:
    assert frame_rate(np.asarray(times_s, dtype=np.float64)) == rate


@pytest.mark.parametrize("gap_s", [0.001, 3.0])
def test_absurd_rates_are_refused(gap_s: float) -> None:
    with pytest.raises(ConfigError, match="rows a second"):
        frame_rate(np.arange(5, dtype=np.float64) * gap_s)


def table(path: Path, times_s: np.ndarray, au12: np.ndarray) -> Path:
    """A file of ours with these smiles."""
    values = np.stack([smile(float(value)) for value in au12])
    write_csv(path, AttributeTrack(times_s=times_s, values=values, present=np.ones(len(values), np.bool_)))
    return path


def test_missing_rows_keep_the_length(tmp_path: Path) -> None:
    whole_s = np.arange(120) / 30
    kept = np.delete(np.arange(120), [10, *range(40, 100)])
    drive = load_table(table(tmp_path / "gap.csv", whole_s[kept], np.full(len(kept), 0.5)))
    np.testing.assert_allclose(drive.times_s, whole_s, atol=1e-5)
    au12 = drive.values[:, attributes.INDEX["AU12"]]
    np.testing.assert_array_equal(au12[:45], 0.5, "a short gap is bridged, a long one is held at first")
    assert au12[99] < 0.05 and au12[-1] == 0.5, "then it eases, and returns"
    assert drive.present[10] and not drive.present[40:100].any() and drive.present[100:].all()


def test_a_short_gap_is_bridged_by_straight_lines(tmp_path: Path) -> None:
    kept = np.delete(np.arange(20), [7, 8])
    drive = load_table(table(tmp_path / "gap.csv", kept / 30, kept / 20))
    np.testing.assert_allclose(drive.values[:, attributes.INDEX["AU12"]], np.arange(20) / 20, atol=1e-6)


@pytest.mark.parametrize("step_s", [0.001, 0.01, 0.1])
def test_rounded_times_lose_and_add_no_row(tmp_path: Path, step_s: float) -> None:
    times_s = np.round(np.arange(200) / 25 / step_s) * step_s
    ramp = np.arange(200) / 200
    drive = load_table(table(tmp_path / "rounded.csv", times_s, ramp))
    np.testing.assert_allclose(drive.values[:, attributes.INDEX["AU12"]], ramp, atol=1e-6)


def test_a_recording_that_trembles_keeps_its_rows_and_its_length(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    slots = np.delete(np.arange(300), rng.choice(np.arange(1, 299), 30, replace=False))
    times_s = slots / 30 + rng.uniform(-0.008, 0.008, len(slots))
    times_s -= times_s[0]
    drive = load_table(table(tmp_path / "live.csv", times_s, slots / 300))
    assert abs(len(drive) - 300) <= 1
    assert np.isin(np.float32(slots / 300), drive.values[:, attributes.INDEX["AU12"]]).mean() > 0.98


def test_times_that_are_no_seconds_are_refused(tmp_path: Path) -> None:
    times_s = np.array([0, 0.04, 0.08, 4e6])
    with pytest.raises(ConfigError, match="cut it into shorter files"):
        load_table(table(tmp_path / "years.csv", times_s, np.zeros(4)))
