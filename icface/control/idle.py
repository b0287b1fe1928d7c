"""Signs of life: blinks, breath and a head that is never quite still."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.attributes import INDEX, POSE_LIMIT_RAD, FloatArray

WAIT_S: Final = 0.8
"""So long after a driver is lost they begin. Until then the face eases to rest."""
RISE_S: Final = 1.5
FALL_S: Final = 0.3
"""How long they take to grow to full strength, and to vanish when the driver is back."""
BLINK_GAP_S: Final = (2.0, 6.0)
BLINK_S: Final = (0.07, 0.04, 0.19)
"""Closing, closed, opening. Lids open more slowly than they close."""
BREATH_S: Final = 4.2
BREATH_PITCH_RAD: Final = 0.010
BREATH_PLACE: Final = 0.008
SWAY_RAD: Final = 0.012
_SWAY_S: Final = (7.3, 11.9)

_PITCH, _YAW, _BLINK, _PLACE_Y = (INDEX[name] for name in ("pitch", "yaw", "AU45", "place_y"))


class Idle:
    """Adds blinks and breath to attributes. The same seed and times give the same blinks."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._start_s = math.nan
        self._blink_s = math.inf

    def add(self, attributes: FloatArray, strength: float, time_s: float) -> None:
        """Change (SIZE,) attributes in place; `strength` is in [0, 1], and time never runs back."""
        if math.isnan(self._start_s):
            self._start_s = time_s
            self._blink_s = time_s + self._gap_s()
        while time_s > self._blink_s + sum(BLINK_S):
            self._blink_s += sum(BLINK_S) + self._gap_s()
        if strength == 0.0:
            return
        attributes[_BLINK] = max(float(attributes[_BLINK]), strength * _closure(time_s - self._blink_s))
        since_s = time_s - self._start_s
        breath = strength * math.sin(2 * math.pi * since_s / BREATH_S)
        sway = strength * sum(math.sin(2 * math.pi * since_s / period) for period in _SWAY_S) / 2
        attributes[_PITCH] += BREATH_PITCH_RAD * breath / (2 * POSE_LIMIT_RAD)
        attributes[_YAW] += SWAY_RAD * sway / (2 * POSE_LIMIT_RAD)
        attributes[_PLACE_Y] += BREATH_PLACE * breath

    def _gap_s(self) -> float:
        """From one blink to the next: mostly about three seconds."""
        low, high = BLINK_GAP_S
        return low + (high - low) * float(self._random.beta(1.5, 3.0))


class IdleStrength:
    """How strong the signs of life are while a driver comes and goes."""

    def __init__(self) -> None:
        self._strength = 0.0
        self._last_s = math.nan
        self._gone_s = -math.inf
        """When the driver was last seen; long ago before the first time."""

    def update(self, wanted: bool, present: bool, time_s: float) -> float:
        """In [0, 1]; `wanted` is whether there shall be any, `present` whether there is a driver."""
        elapsed_s = 0.0 if math.isnan(self._last_s) else time_s - self._last_s
        self._last_s = time_s
        if present:
            self._gone_s = time_s
        alone = wanted and not present and time_s - self._gone_s >= WAIT_S
        step = elapsed_s / RISE_S if alone else -elapsed_s / FALL_S
        self._strength = min(1.0, max(0.0, self._strength + step))
        return self._strength


def _closure(since_s: float) -> float:
    """How far the lids are closed so long after a blink began, in [0, 1]."""
    closing, closed, opening = BLINK_S
    if since_s <= 0.0 or since_s >= closing + closed + opening:
        return 0.0
    if since_s < closing:
        return 0.5 - 0.5 * math.cos(math.pi * since_s / closing)
    return 0.5 + 0.5 * math.cos(math.pi * max(0.0, since_s - closing - closed) / opening)
