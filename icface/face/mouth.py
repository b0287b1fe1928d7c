"""Whether a driver's mouth is hidden, as by a hand, and what is shown of it meanwhile.

The landmarks of a hidden mouth are a guess: it opens, smiles and jumps. What tells a hand is colour. Lips are redder than
skin, a hand is not, and its fingers are lighter or darker than the chin behind them. So colours at the mouth are compared
with how this driver's usually look, relative to the rest of the face. docs/tracking.md has the figures.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import ALL_NAMES, FloatArray
from icface.face.landmarker import Points

HIDDEN_AT: Final = (9.0, 12.0)
"""A difference from which the mouth begins to be hidden, and at which it is."""
SEEN_AT: Final = (5.0, 8.0)
"""The same for a mouth that was hidden in the frame before."""
REDNESS: Final = 0.07
REDNESS_SHARE: Final = 0.6
"""Differences of the logarithm of red over green that count as one. Lips that are redder vary by a share of that."""
LARGEST_REDNESS, REDDER = 0.12, 0.002
"""Lips are redder on the whole where their mean rises by the second. One place counts no further than the first."""
LIGHTNESS: Final = (0.35, 0.30)
"""Differences of the logarithm of lightness that count as one, at the lips and on the skin."""
LARGEST: Final = 9.0
"""A single place counts no further."""
SKIN_LARGEST: Final = 14.0
"""Where cheeks, nose and forehead differ by more as well, the light has changed or the head has turned."""
YAW_RAD: Final = 0.45
"""In a head that is turned further, one side of the mouth is hardly seen."""
FIRST_S: Final = 0.5
"""The driver's usual look is learned within this."""
FOLLOW_S: Final = 3.0
FOLLOW_HIDDEN_S: Final = 20.0
HIDE_S, SHOW_S = 0.05, 0.40
"""How long the mouth takes to be held, and to be shown again."""
BEFORE_S: Final = 0.16
"""What is held was seen this long before, because a hand that arrives disturbs the landmarks first."""
EASE_S: Final = 1.5
"""What is held goes to rest with this time constant."""

# Pairs of a vertex of the outer and of the inner contour. Between them are the lips.
_LIPS: Final = (
    ((61, 78), (185, 191), (40, 80)), ((39, 81), (37, 82)), ((0, 13),), ((267, 312), (269, 311)),
    ((270, 310), (409, 415), (291, 308)), ((146, 95), (91, 88), (181, 178)), ((84, 87),), ((17, 14),),
    ((314, 317),), ((405, 402), (321, 318), (375, 324)),
)  # fmt: skip
_SKIN_AROUND: Final = (
    (57, 212, 43), (287, 432, 273), (202, 204, 210), (422, 424, 430), (106, 182, 194), (335, 406, 418),
    (83, 18, 313, 200, 199), (32, 171, 140), (262, 396, 369), (164, 165, 391, 2), (206, 203, 92), (426, 423, 322),
)  # fmt: skip
_SKIN_ABOVE: Final = (
    (50, 101, 118), (280, 330, 347), (205, 36), (425, 266), (6, 197), (195, 5), (9, 151), (108, 69), (337, 299),
)  # fmt: skip
_LIP_COUNT, _AROUND_COUNT = len(_LIPS), len(_LIPS) + len(_SKIN_AROUND)
_PLACES: Final = (*_LIPS, *(tuple((v, v) for v in group) for group in (*_SKIN_AROUND, *_SKIN_ABOVE)))
_ENDS: Final = np.array([pair for group in _PLACES for pair in group])
_STARTS: Final = np.cumsum([0, *map(len, _PLACES)])[:-1]
_COUNTS: Final = np.array([len(group) for group in _PLACES], dtype=np.float32)[:, np.newaxis]
_LIGHTNESS: Final = np.repeat(
    np.array([*LIGHTNESS, LIGHTNESS[1]], dtype=np.float32), [_LIP_COUNT, len(_SKIN_AROUND), len(_SKIN_ABOVE)]
)
_STENCIL_IOD: Final = 0.025
_STENCIL: Final = _STENCIL_IOD * np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])

_MOUTH: Final = np.array(
    [
        name.removesuffix("_side") in ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
        or name in ("AU06", "AU09", "AU18", "AU22", "AU24", "AU29", "AU34", "jaw_side", "mouth_side")
        for name in ALL_NAMES
    ]
)
"""(SIZE,) the attributes that are read from the lower face."""


class MouthWatch:
    """Tells how far the mouth of one driver is hidden."""

    def __init__(self) -> None:
        self._usual: FloatArray | None = None
        """(31, 2) redness and lightness of places of this driver's face, relative to the whole face."""
        self._first_s = self._last_s = 0.0
        self._bounds = HIDDEN_AT

    def update(self, frame: Frame, points_px: Points, yaw_rad: float, time_s: float) -> float:
        """How far the mouth is hidden, from 0 to 1, in a frame (H, W, 3) RGB with (478, 3) landmarks."""
        if abs(yaw_rad) > YAW_RAD:
            return 0.0
        look = look_of(frame, points_px)
        if self._usual is None:
            self._usual, self._first_s, self._last_s = look, time_s, time_s
            return 0.0
        elapsed_s, self._last_s = min(0.2, max(0.0, time_s - self._last_s)), time_s
        around, above, redder = differences(look, self._usual)
        low, high = self._bounds
        # A hand makes lips paler on the whole. Where they are redder, one that was there from the start has gone.
        hidden = _unit((around - low) / (high - low)) if redder < REDDER else 0.0
        self._bounds = SEEN_AT if hidden == 1 or (hidden and self._bounds == SEEN_AT) else HIDDEN_AT
        if hidden and above > SKIN_LARGEST:  # the light has changed
            self._usual, hidden = look, 0.0
        follow_s = FOLLOW_S + hidden * (FOLLOW_HIDDEN_S - FOLLOW_S)
        if abs(time_s - self._first_s) < FIRST_S:
            follow_s = FIRST_S / 2
        self._usual = self._usual + np.float32(min(1.0, elapsed_s / follow_s)) * (look - self._usual)
        return hidden


def look_of(frame: Frame, points_px: Points) -> FloatArray:
    """(31, 2) redness and lightness at the lips, around them and above, from (478, 3) landmarks.

    They are logarithms, relative to the median of the skin above.
    """
    iod_px = float(np.hypot(*(points_px[33, :2] - points_px[263, :2])))
    ends = points_px[:, :2][_ENDS]
    places = (ends.mean(axis=1)[:, np.newaxis] + iod_px * _STENCIL).astype(np.float32)
    x, y = places[..., 0], places[..., 1]
    pixels = cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    logs = np.log(pixels.mean(axis=1, dtype=np.float32) + 4.0)
    means = np.add.reduceat(logs, _STARTS) / _COUNTS
    look = np.stack([means[:, 0] - means[:, 1], means.mean(axis=1)], axis=1)
    return np.asarray(look - np.median(look[_AROUND_COUNT:], axis=0), dtype=np.float32)


def differences(look: FloatArray, usual: FloatArray) -> tuple[float, float, float]:
    """How much a (31, 2) look differs from the usual one: the lower face, the skin above, and the lips' redness."""
    changed = look - usual
    one = np.full(len(usual), REDNESS, dtype=np.float32)
    lips = usual[:_LIP_COUNT, 0]
    one[:_LIP_COUNT] = np.maximum(REDNESS, REDNESS_SHARE * np.abs(lips))
    contrast = np.sign(lips) * changed[:_LIP_COUNT, 0]
    changed[:_LIP_COUNT, 0] = np.minimum(
        contrast, 0
    )  # lips that differ more from the skin than usual are no hand
    counted = np.minimum((changed[:, 0] / one) ** 2 + (changed[:, 1] / _LIGHTNESS) ** 2, LARGEST)
    redder = np.clip(contrast, -LARGEST_REDNESS, LARGEST_REDNESS).mean()
    return float(counted[:_AROUND_COUNT].sum()), float(counted[_AROUND_COUNT:].sum()), float(redder)


class MouthHold:
    """Shows what was read of the mouth before it was hidden, eases that to rest, and comes back smoothly."""

    def __init__(self) -> None:
        self._level = 0.0
        """How much of what is shown is held."""
        self._recent: deque[tuple[float, FloatArray]] = deque()
        self._held = np.zeros(_MOUTH.sum(), dtype=np.float32)
        self._last_s = math.inf

    def update(self, attributes: FloatArray, hidden: float, time_s: float) -> FloatArray:
        """The (SIZE,) attributes to show for those that were read; `hidden` is from 0 to 1."""
        elapsed_s = max(0.0, time_s - self._last_s)
        self._last_s = time_s
        if not hidden and not self._level:
            self._recent.append((time_s, attributes))
            while len(self._recent) > 1 and time_s - self._recent[1][0] >= BEFORE_S:
                self._recent.popleft()
            return attributes
        if self._recent:
            self._held = self._recent[0][1][_MOUTH]
            self._recent.clear()
        self._held = self._held * np.float32(math.exp(-elapsed_s / EASE_S))
        step = np.clip(hidden - self._level, -elapsed_s / SHOW_S, elapsed_s / HIDE_S)
        self._level += float(step)
        result = attributes.copy()
        result[_MOUTH] += np.float32(self._level) * (self._held - attributes[_MOUTH])
        return result


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
