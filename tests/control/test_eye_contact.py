"""Eye contact: the eyes turn against the head, let go beyond their reach, and are never quite still."""

import numpy as np
import pytest

from icface.attributes import GAZE_LIMIT_RAD, FloatArray, neutral, pose_to_unit
from icface.control.eye_contact import LOST_RAD, REACH_RAD, SACCADE_RAD, CameraGaze


def head(pitch: float, yaw: float) -> FloatArray:
    result = neutral()
    result[:3] = pose_to_unit([pitch, yaw, 0.0])
    return result


def mean_gaze_rad(pitch: float, yaw: float) -> FloatArray:
    gaze = CameraGaze()
    shown = [gaze.gaze(head(pitch, yaw)[:3], i / 30) for i in range(6000)]
    return np.asarray(np.mean(shown, axis=0) * GAZE_LIMIT_RAD)


@pytest.mark.parametrize(("pitch", "yaw"), [(0.0, 0.0), (0.2, 0.0), (0.0, -0.3), (-0.2, 0.3)])
def test_the_eyes_turn_against_the_head(pitch: float, yaw: float) -> None:
    np.testing.assert_allclose(mean_gaze_rad(pitch, yaw), [-pitch, -yaw], atol=0.01)


def test_beyond_their_reach_the_eyes_let_go() -> None:
    at_reach, beyond, far = (-mean_gaze_rad(0.0, yaw)[1] for yaw in (REACH_RAD, 0.55, LOST_RAD))
    assert at_reach == pytest.approx(REACH_RAD, abs=0.01)
    assert at_reach > beyond > far
    assert far == pytest.approx(REACH_RAD / 2, abs=0.01)


def test_the_eyes_jump_now_and_then_by_little() -> None:
    def run(seed: int) -> FloatArray:
        gaze = CameraGaze(seed)
        shown = np.array([gaze.gaze(neutral()[:3], i / 30) for i in range(3000)], dtype=np.float32)
        return shown * np.float32(GAZE_LIMIT_RAD)

    shown = run(1)
    jumps = np.flatnonzero(np.abs(np.diff(shown, axis=0)).any(axis=1))
    assert 40 < len(jumps) < 110  # in 100 seconds
    assert np.diff(jumps).min() >= 0.4 * 30 - 1
    assert np.abs(shown).max() <= 2 * SACCADE_RAD + 1e-6 and shown.std() > SACCADE_RAD / 2
    np.testing.assert_array_equal(shown, run(1))
    assert (shown != run(2)).any()
