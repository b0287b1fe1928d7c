"""Eye contact: the eyes look into the camera, wherever the head turns and the driver looks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.attributes import GAZE_LIMIT_RAD, POSE_LIMIT_RAD, FloatArray

REACH_RAD: Final = 0.44
"""The eyes follow as far as this. Of a head that turns farther they let the camera go, and come half-way back."""
LOST_RAD: Final = 0.65
SACCADE_RAD: Final = 0.02
"""Standard deviation of the small jumps. Eyes that never move stare."""
SACCADE_GAP_S: Final = (0.4, 1.2)
"""The shortest time between two, and what is added to it on average."""


class CameraGaze:
    """Gives the gaze into the camera. The same seed and times give the same jumps."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._jump_rad = (0.0, 0.0)
        self._next_s = -math.inf

    def gaze(self, pose: FloatArray, time_s: float) -> tuple[float, float]:
        """The gaze attributes of a head with these pose attributes (3,); time never runs back."""
        if time_s >= self._next_s:
            down, left = np.clip(self._random.normal(0.0, SACCADE_RAD, 2), -2 * SACCADE_RAD, 2 * SACCADE_RAD)
            self._jump_rad = float(down), float(left)
            shortest, more = SACCADE_GAP_S
            self._next_s = time_s + shortest + float(self._random.exponential(more))
        return looking_at_the_camera(pose, self._jump_rad)


def looking_at_the_camera(
    pose: FloatArray, beside_rad: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float]:
    """The gaze attributes of a head with these pose attributes (3,), for eyes that look so far beside the camera."""
    # Down and to the image's left, as the gaze is: the camera lies where the head's turn came from.
    down, left = ((0.5 - at) * 2 * POSE_LIMIT_RAD for at in pose[:2].tolist())
    angle = math.hypot(down, left)
    if angle > REACH_RAD:
        back = min(1.0, (angle - REACH_RAD) / (LOST_RAD - REACH_RAD))
        share = REACH_RAD / angle * (1 - 0.5 * back * back * (3 - 2 * back))
        down, left = down * share, left * share
    return (
        min(1.0, max(-1.0, (down + beside_rad[0]) / GAZE_LIMIT_RAD)),
        min(1.0, max(-1.0, (left + beside_rad[1]) / GAZE_LIMIT_RAD)),
    )
