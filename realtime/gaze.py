"""Eye contact: the eyes look into the camera, wherever the head turns and the driver looks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.attributes import GAZE, GAZE_LIMIT_RAD, POSE, FloatArray, pose_from_unit

REACH_RAD: Final = 0.44
"""The eyes follow as far as this. Of a head that turns farther they let the camera go, and come half-way back."""
LOST_RAD: Final = 0.65
SACCADE_RAD: Final = 0.02
"""Standard deviation of the small jumps. Eyes that never move stare."""
SACCADE_GAP_S: Final = (0.4, 1.2)
"""The shortest time between two, and what is added to it on average."""


class CameraGaze:
    """Replaces the gaze of attributes by one into the camera. The same seed and times give the same jumps."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._jump_rad = np.zeros(2)
        self._next_s = -math.inf

    def __call__(self, attributes: FloatArray, present: bool, time_s: float) -> FloatArray:
        """(SIZE,) attributes to show, a new array. `present` is whether there is a driver, and time never runs back."""
        if time_s >= self._next_s:
            self._jump_rad = np.clip(
                self._random.normal(0.0, SACCADE_RAD, 2), -2 * SACCADE_RAD, 2 * SACCADE_RAD
            )
            shortest, more = SACCADE_GAP_S
            self._next_s = time_s + shortest + float(self._random.exponential(more))
        # Down and to the image's left, as the gaze is: the camera lies where the head's turn came from.
        camera = -pose_from_unit(attributes[POSE])[:2].astype(np.float64)
        angle = float(np.hypot(*camera))
        if angle > REACH_RAD:
            back = min(1.0, (angle - REACH_RAD) / (LOST_RAD - REACH_RAD))
            camera *= REACH_RAD / angle * (1 - 0.5 * back * back * (3 - 2 * back))
        result = attributes.copy()
        result[GAZE] = np.clip((camera + self._jump_rad) / GAZE_LIMIT_RAD, -1.0, 1.0)
        return result
