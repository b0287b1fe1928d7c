"""The landmarks' smoothing: the published filter, and what it does to noise, movement and blinks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icface.face.landmarks import PointSmoothing


def published_filter(values: list[float], times_s: list[float], size_px: float) -> list[float]:
    """One-Euro, one number at a time."""

    def weight(hz: float, dt: float) -> float:
        tau = 1 / (2 * math.pi * hz)
        return 1 / (1 + tau / dt)

    shown, speed, result = values[0], 0.0, [values[0]]
    for i in range(1, len(values)):
        dt = times_s[i] - times_s[i - 1]
        speed += weight(6.0, dt) * ((values[i] - values[i - 1]) / dt / size_px - speed)
        shown += weight(0.05 + 60.0 * abs(speed), dt) * (values[i] - shown)
        result.append(shown)
    return result


def face_points(x: float = 0.0) -> np.ndarray:
    """(478, 3) a face of 100 by 140 pixels."""
    points = np.zeros((478, 3), dtype=np.float32)
    points[:240] = [100, 140, 0]
    points[0, 0] += x
    return points


def test_the_smoothing_is_the_published_filter_with_uneven_times() -> None:
    times_s = [0.0, 0.033, 0.071, 0.1, 0.16, 0.2]
    moved = [0.0, 0.5, -0.6, 3.0, 3.2, 3.1]
    smoothing = PointSmoothing(face_points(), 0.0)
    shown = [0.0]
    for x, time_s in zip(moved[1:], times_s[1:], strict=True):
        points = face_points()
        points[1:238, 0] = 100 + x - max(0.0, x)  # inside the face, whose size stays as it is
        shown.append(float(smoothing.update(points, time_s)[1, 0]) - 100)
    expected = published_filter([x - max(0.0, x) for x in moved], times_s, 120.0)
    assert shown == pytest.approx(expected, abs=1e-3)


def test_a_still_face_trembles_less_and_a_moving_one_is_followed() -> None:
    rng = np.random.default_rng(3)
    smoothing, before, after = PointSmoothing(face_points(), 0.0), [], []
    for i in range(1, 200):
        noisy = face_points() + rng.normal(0, 0.2, (478, 3)).astype(np.float32)
        before.append(noisy)
        after.append(smoothing.update(noisy, i / 25))
    assert np.std(np.diff(after, axis=0)) < 0.5 * np.std(np.diff(before, axis=0))
    for i in range(200, 210):
        target = face_points() + np.float32(5 * (i - 199))
        moved = smoothing.update(target, i / 25)
    assert np.abs(moved - target).max() < 2.5  # half a frame's way


def test_lids_pass() -> None:
    """A blink of one frame is seen whole."""
    smoothing = PointSmoothing(face_points(), 0.0)
    closed = face_points()
    closed[[159, 386], 1] += 4
    np.testing.assert_array_equal(smoothing.update(closed, 0.04)[[159, 386]], closed[[159, 386]])


def test_a_time_that_stands_still_changes_little() -> None:
    smoothing = PointSmoothing(face_points(), 1.0)
    again = smoothing.update(face_points(), 1.0)
    np.testing.assert_allclose(again, face_points(), atol=1e-5)
