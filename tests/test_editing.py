"""Tracks, edited: by values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from icface import editing
from icface.attributes import INDEX, SIZE, AttributeTrack, neutral
from icface.errors import ConfigError


def track(count: int = 11, fps: float = 10.0, **columns: float | np.ndarray) -> AttributeTrack:
    values = np.repeat(neutral()[None], count, axis=0)
    for name, column in columns.items():
        values[:, INDEX[name]] = column
    return AttributeTrack(
        times_s=np.arange(count) / fps, values=values, present=np.ones(count, dtype=np.bool_)
    )


def column(of: AttributeTrack, name: str) -> np.ndarray:
    return of.values[:, INDEX[name]]


def test_cut_keeps_from_the_first_to_before_the_last() -> None:
    part = editing.cut(track(AU12=np.arange(11) / 10), 0.3, 0.6)
    np.testing.assert_allclose(column(part, "AU12"), [0.3, 0.4, 0.5])
    np.testing.assert_allclose(part.times_s, [0, 0.1, 0.2])
    assert len(editing.cut(track(), 0.25)) == 8


@pytest.mark.parametrize(
    ("start_s", "end_s", "words"),
    [(0.6, 0.3, "runs backwards"), (5.0, None, "ends at 1.00 s"), (0.31, 0.39, "nothing is left")],
)
def test_a_cut_that_leaves_nothing_is_refused(start_s: float, end_s: float | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        editing.cut(track(), start_s, end_s)


def test_a_gain_grows_from_rest_and_takes_the_sides_along() -> None:
    made = editing.scaled(track(yaw=0.6, AU12=0.3, AU12_side=-0.2, AU04=0.3), ["yaw", "AU12"], gain=2.0)
    assert column(made, "yaw")[0] == pytest.approx(0.7)
    assert column(made, "AU12")[0] == pytest.approx(0.6)
    assert column(made, "AU12_side")[0] == pytest.approx(-0.4)
    assert column(made, "AU04")[0] == pytest.approx(0.3)
    assert column(editing.scaled(track(AU12=0.6), ["AU12"], gain=2.0), "AU12")[0] == 1.0, "in its range"


def test_an_offset_moves_both_sides() -> None:
    made = editing.scaled(track(AU12=0.3, AU12_side=0.1), ["AU12"], offset=-0.5)
    assert column(made, "AU12")[0] == 0.0 and column(made, "AU12_side")[0] == pytest.approx(0.1)


def test_smoothing_delays_nothing_and_keeps_what_is_slow() -> None:
    times_s = np.arange(200) / 50
    slow, quick = 0.5 + 0.3 * np.sin(np.pi * times_s), 0.1 * np.sin(2 * np.pi * 10 * times_s)
    made = editing.smoothed(track(200, 50.0, yaw=slow + quick, AU12=quick + 0.5), ["yaw"], 0.2)
    middle = slice(20, -20)
    np.testing.assert_allclose(column(made, "yaw")[middle], slow[middle], atol=0.012)
    np.testing.assert_allclose(column(made, "AU12"), quick + 0.5, atol=1e-6)
    step = editing.smoothed(track(101, 50.0, yaw=np.arange(101) >= 50), ["yaw"], 0.2)
    assert column(step, "yaw")[49] == pytest.approx(1 - column(step, "yaw")[50]), "symmetric in time"
    assert np.searchsorted(column(step, "yaw"), 0.5) == 50


def test_smoothing_a_constant_changes_nothing_not_even_at_the_ends() -> None:
    same = track(5, AU12=0.4)
    np.testing.assert_allclose(editing.smoothed(same, ["AU12"], 60.0).values, same.values, atol=1e-6)


def test_merging_reads_the_other_track_at_the_times_of_the_first() -> None:
    other = track(6, 5.0, AU12=np.arange(6) / 10, AU12_side=0.2, yaw=0.9)  # 0 to 1 s
    made = editing.merged(track(AU12=1.0, yaw=0.4), [(["AU12"], other)])
    np.testing.assert_allclose(column(made, "AU12"), np.arange(11) / 20, atol=1e-6)
    np.testing.assert_allclose(column(made, "AU12_side"), 0.2)
    np.testing.assert_allclose(column(made, "yaw"), 0.4)


def test_merging_with_a_shift_keeps_what_both_have() -> None:
    other = track(8, AU12=np.arange(8) / 10)
    other.present[2] = False
    made = editing.merged(track(), [(["AU12"], other)], shift_s=0.5)
    np.testing.assert_allclose(made.times_s, np.arange(6) / 10, atol=1e-9)
    np.testing.assert_allclose(column(made, "AU12"), np.arange(6) / 10, atol=1e-6)
    assert made.present.tolist() == [True, True, False, True, True, True]
    early = editing.merged(track(), [(["AU12"], other)], shift_s=-0.5)
    np.testing.assert_allclose(column(early, "AU12"), [0.5, 0.6, 0.7], atol=1e-6)


@pytest.mark.parametrize("shift_s", [3.0, -3.0])
def test_tracks_without_a_common_time_are_refused(shift_s: float) -> None:
    with pytest.raises(ConfigError, match="no time in common"):
        editing.merged(track(), [(["AU12"], track())], shift_s)


def test_resampling_keeps_the_length_and_the_line() -> None:
    slope = track(31, 30.0, yaw=np.arange(31) / 30)
    for fps, count in ((60.0, 61), (25.0, 26), (10.0, 11)):
        made = editing.resampled(slope, fps)
        assert len(made) == count and made.times_s[-1] == pytest.approx(1.0)
        middle = slice(count // 4, -count // 4)
        np.testing.assert_allclose(column(made, "yaw")[middle], made.times_s[middle], atol=1e-3)


def test_a_single_row_can_be_edited() -> None:
    one = track(1, AU12=0.5)
    assert editing.resampled(one, 30.0).values.shape == (1, SIZE)
    np.testing.assert_allclose(editing.smoothed(one, ["AU12"], 0.5).values, one.values, atol=1e-6)
