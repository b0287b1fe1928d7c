"""Where a driver's head is in the picture, against where it usually is: as calm as a good camera's picture."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.attributes import PLACE_LIMIT_IOD, PLACE_LIMIT_OCTAVES, FloatArray
from icface.face.landmarks import Landmarks

REST_TAU_S: Final = 20.0
"""The place that counts as rest follows the head with this time constant, at first faster."""
FIRST_TAU_S: Final = 0.5
CALM_TAU_S: Final = np.array([0.08, 0.08, 0.15], dtype=np.float32)
"""Of each of two low passes one after the other, which let no jitter through: right, down, nearer."""
_EYE_CORNERS: Final = (33, 263)
_CHEEKS: Final = (234, 454)
"""Beside the ears. The middle between them stays where it is when the head turns."""


class Place:
    """Follows one driver."""

    def __init__(self) -> None:
        self._rest: FloatArray | None = None
        self._stages: list[FloatArray] = []
        self._known_s = 0.0
        self._last_s = math.inf

    def update(self, face: Landmarks, time_s: float) -> FloatArray:
        """Place (3,) of a face as the attributes have it: right, down, nearer; each in [-1, 1]."""
        measured = _measured(face)
        elapsed_s = max(0.0, time_s - self._last_s)
        self._last_s = time_s
        if self._rest is None:
            self._rest = measured
            self._stages = [measured, measured]
        self._known_s += elapsed_s
        tau_s = min(REST_TAU_S, FIRST_TAU_S + 4 * self._known_s)
        self._rest = self._rest + (measured - self._rest) * _share(elapsed_s, tau_s)
        for i, stage in enumerate(self._stages):
            self._stages[i] = measured = stage + (measured - stage) * _share(elapsed_s, CALM_TAU_S)
        rest_iod = 2.0 ** self._rest[2]
        away = measured - self._rest
        place = [*(away[:2] / (PLACE_LIMIT_IOD * rest_iod)), away[2] / PLACE_LIMIT_OCTAVES]
        return np.clip(np.array(place, dtype=np.float32), -1, 1)

    def set_rest(self) -> None:
        """Take where the head is next as its rest."""
        self._rest = None
        self._known_s = 0.0


def _measured(face: Landmarks) -> FloatArray:
    """(3,) x and y in pixels, and the logarithm to base 2 of the distance of the outer eye corners."""
    points = face.points_px
    middle = points[list(_CHEEKS), :2].mean(axis=0)
    corners = points[list(_EYE_CORNERS)]
    iod_px = max(float(np.linalg.norm(corners[0] - corners[1])), 1.0)
    return np.array([*middle, math.log2(iod_px)], dtype=np.float64).astype(np.float32)


def _share(elapsed_s: float, tau_s: float | FloatArray) -> FloatArray:
    return np.asarray(1.0 - np.exp(-elapsed_s / tau_s), dtype=np.float32)
