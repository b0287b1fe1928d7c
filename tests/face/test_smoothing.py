"""One-Euro against a scalar reference, and what it does to blinks and to noise."""

import math

import numpy as np
import pytest

from icface.attributes import INDEX, neutral
from icface.face.smoothing import OneEuro


def reference(values: list[float], times_s: list[float], cutoff: float, beta: float) -> list[float]:
    """The published filter, one number at a time."""

    def weight(hz: float, dt: float) -> float:
        tau = 1 / (2 * math.pi * hz)
        return 1 / (1 + tau / dt)

    shown, slope, result = values[0], 0.0, [values[0]]
    for i in range(1, len(values)):
        dt = times_s[i] - times_s[i - 1]
        slope += weight(1.0, dt) * ((values[i] - shown) / dt - slope)
        shown += weight(cutoff + beta * abs(slope), dt) * (values[i] - shown)
        result.append(shown)
    return result


@pytest.mark.parametrize(
    ("name", "cutoff", "beta"), [("yaw", 1.5, 10), ("AU12", 2, 4), ("AU45", 4, 8), ("AU01", 1.5, 3)]
)
def test_it_is_the_published_filter_with_uneven_times(name: str, cutoff: float, beta: float) -> None:
    times_s = [0.0, 0.033, 0.071, 0.1, 0.16, 0.2]
    values = [0.5, 0.55, 0.4, 0.7, 0.7, 0.1]
    smooth = OneEuro()
    shown = []
    for value, time_s in zip(values, times_s, strict=True):
        raw = neutral()
        raw[INDEX[name]] = value
        shown.append(float(smooth.update(raw, time_s)[INDEX[name]]))
    assert shown == pytest.approx(reference(values, times_s, cutoff, beta), abs=1e-5)


def test_a_short_blink_keeps_its_peak() -> None:
    smooth = OneEuro()
    peak = 0.0
    for i in range(60):
        raw = neutral()
        raw[INDEX["AU45"]] = 1.0 if 30 <= i < 33 else 0.0
        peak = max(peak, float(smooth.update(raw, i / 25)[INDEX["AU45"]]))
    assert peak > 0.95


def test_a_still_head_trembles_less() -> None:
    rng = np.random.default_rng(3)
    smooth, before, after = OneEuro(), [], []
    for i in range(300):
        raw = neutral()
        raw[INDEX["yaw"]] += rng.normal(0, 0.004)
        before.append(raw[INDEX["yaw"]])
        after.append(smooth.update(raw, i / 25)[INDEX["yaw"]])
    assert np.std(np.diff(after)) < 0.5 * np.std(np.diff(before))


def test_a_reset_lets_the_next_value_pass() -> None:
    smooth = OneEuro()
    smooth.update(neutral(), 0.0)
    smooth.reset()
    far = np.full(20, 0.9, dtype=np.float32)
    np.testing.assert_array_equal(smooth.update(far, 0.04), far)


def test_time_that_stands_still_changes_nothing() -> None:
    smooth = OneEuro()
    first = smooth.update(neutral(), 1.0)
    np.testing.assert_array_equal(smooth.update(np.ones(20, np.float32), 1.0), first)


def test_time_that_runs_back_begins_anew() -> None:
    """A looped file."""
    smooth = OneEuro()
    smooth.update(neutral(), 9.96)
    again = np.ones(20, np.float32)
    np.testing.assert_array_equal(smooth.update(again, 0.0), again)
    smooth.update(again, 0.04)
    assert smooth.update(neutral(), 0.08)[INDEX["AU12"]] < 1.0


def test_a_head_that_is_smooth_already_passes() -> None:
    smooth = OneEuro()
    smooth.update(neutral(), 0.0, pose_is_smooth=True)
    moved = neutral()
    moved[INDEX["yaw"]], moved[INDEX["AU12"]] = 0.8, 1.0
    shown = smooth.update(moved, 0.04, pose_is_smooth=True)
    assert shown[INDEX["yaw"]] == np.float32(0.8) and shown[INDEX["AU12"]] < 1.0
