"""The landmarks of a video's face, smoothed: a still face stands still, and a moving one is followed at once."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from icface.face.landmarker import Points


class PointSmoothing:
    """One-Euro filter over landmarks: a still face stands still, and a moving one is followed at once.

    Speeds are in face sizes per second. MediaPipe filters likewise, with 80 and 1 Hz, which is half a frame later and
    takes a third of a short blink away. So the lids pass unfiltered here: docs/tracking.md has the figures.

    Source: Casiez, Roussel, Vogel, "1 € filter", CHI 2012.
    """

    CUTOFF_HZ: ClassVar[float] = 0.05
    SPEED_WEIGHT: ClassVar[float] = 60.0
    SPEED_CUTOFF_HZ: ClassVar[float] = 6.0
    UNFILTERED: ClassVar[tuple[int, ...]] = (
        246, 161, 160, 159, 158, 157, 173, 155, 154, 153, 145, 144, 163, 7,
        466, 388, 387, 386, 385, 384, 398, 382, 381, 380, 374, 373, 390, 249,
    )  # fmt: skip

    def __init__(self, points: Points, time_s: float) -> None:
        self._raw = points.astype(np.float64)
        self._shown = self._raw
        self._speed = np.zeros_like(self._raw)
        self._time_s = time_s

    def update(self, points: Points, time_s: float) -> Points:
        """Smoothed (478, 3) landmarks, a new array; a time that stands still counts as a millisecond."""
        elapsed_s = max(time_s - self._time_s, 0.001)
        self._time_s = time_s
        raw = points.astype(np.float64)
        size_px = float(np.ptp(raw[:, :2], axis=0).mean())
        speed = (raw - self._raw) / (size_px * elapsed_s)
        self._speed = self._speed + _share(self.SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed)
        cutoff_hz = self.CUTOFF_HZ + self.SPEED_WEIGHT * np.abs(self._speed)
        self._shown = self._shown + _share(cutoff_hz, elapsed_s) * (raw - self._shown)
        self._raw = raw
        result = self._shown.astype(np.float32)
        result[list(self.UNFILTERED)] = points[list(self.UNFILTERED)]
        return result


def _share(cutoff_hz: Any, elapsed_s: float) -> Any:
    ratio = 2 * math.pi * cutoff_hz * elapsed_s
    return ratio / (1.0 + ratio)
