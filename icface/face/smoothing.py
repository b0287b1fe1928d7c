"""One-Euro smoothing of the Action Units with true timestamps.

Slow changes are smoothed much and fast ones hardly: a still driver does not jitter, and a blink keeps its peak. The
head's pose passes, because the landmarks that it is read from are smoothed already.
Source: Casiez, Roussel, Vogel, "1 € filter", CHI 2012.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.attributes import COUNT, GROUPS, INDEX, POSE, FloatArray

# (minimum cut-off in Hz, speed coefficient) by group: at 25 FPS about 12 ms of lag for the mouth, 4 ms for blinks.
_SETTINGS: Final = {
    "brows": (1.5, 3.0),
    "eyes": (1.5, 3.0),
    "nose": (1.5, 3.0),
    "mouth": (2.0, 4.0),
}
_BLINK: Final = (4.0, 8.0)
_SPEED_CUTOFF_HZ: Final = 1.0


def _per_attribute() -> tuple[FloatArray, FloatArray]:
    cutoff, speed = np.zeros(COUNT, dtype=np.float32), np.zeros(COUNT, dtype=np.float32)
    for group, setting in _SETTINGS.items():
        for name in GROUPS[group]:
            cutoff[INDEX[name]], speed[INDEX[name]] = _BLINK if name == "AU45" else setting
    return cutoff, speed


class OneEuro:
    """Smooths a stream of (20,) attributes; reset it when the stream breaks."""

    def __init__(self) -> None:
        self._cutoff, self._speed = _per_attribute()
        self._value: FloatArray | None = None
        self._slope = np.zeros(COUNT, dtype=np.float32)
        self._time_s = 0.0

    def reset(self) -> None:
        """Forget the past: the next value passes unchanged."""
        self._value = None
        self._slope[:] = 0.0

    def update(self, values: FloatArray, time_s: float) -> FloatArray:
        """Smoothed (20,) values, a new array.

        Args:
            values: (20,) raw attributes.
            time_s: when they were seen; the same time again returns the last result, an earlier one begins anew.
        """
        if self._value is not None and time_s < self._time_s:
            self.reset()
        if self._value is None:
            self._value, self._time_s = values.astype(np.float32, copy=True), time_s
            return self._value.copy()
        elapsed_s = time_s - self._time_s
        if elapsed_s == 0:
            return self._value.copy()
        self._time_s = time_s
        slope = (values - self._value) / np.float32(elapsed_s)
        self._slope += _weight(_SPEED_CUTOFF_HZ, elapsed_s) * (slope - self._slope)
        cutoff = self._cutoff + self._speed * np.abs(self._slope)
        ratio = np.float32(2 * math.pi * elapsed_s) * cutoff
        self._value += ratio / (ratio + 1) * (values - self._value)
        self._value[POSE] = values[POSE]
        return self._value.copy()


def _weight(cutoff_hz: float, elapsed_s: float) -> np.float32:
    ratio = 2 * math.pi * cutoff_hz * elapsed_s
    return np.float32(ratio / (ratio + 1))
