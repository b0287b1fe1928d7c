"""Which frames are learned from: spread over poses and expressions, so that what is rare is not lost."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import INDEX, PLACE, POSE, SIZE, FloatArray

MOST: Final = 360
HELD_SHARE: Final = 0.25
"""The end of what was filmed judges; nothing learns from it."""
LEAST: Final = 30
"""Of fewer frames nothing is learned that the photo does not show."""
SPREAD_SHARE: Final = 0.6
"""So many of the frames are those that differ most. The others are spread over time, so that what is usual stays so."""
APART: Final = 0.06
"""Frames that differ by less show the same."""

_WEIGHTS: Final = np.ones(SIZE, dtype=np.float32)
_WEIGHTS[POSE] = 4.0
"""A quarter of the range of a pose, 20°, is as far as a whole movement."""
_WEIGHTS[PLACE] = 0.0
for _name in ("AU14", "AU23", "gaze_pitch", "gaze_yaw"):
    _WEIGHTS[INDEX[_name]] = 0.5
    """Measured less well, or of little effect on the skin."""


def chosen(attributes: FloatArray, most: int) -> list[int]:
    """The places of the frames to keep, rising.

    Args:
        attributes: (n, SIZE) of frames in their order.
        most: how many to keep.
    """
    points = attributes * _WEIGHTS
    spread = _farthest(points, round(SPREAD_SHARE * most))
    # Those spread over time come from the frames that are left and show something else than what is there.
    rest = [i for i in range(len(points)) if i not in set(spread)]
    count = min(len(rest), most - len(spread))
    even = [rest[i] for i in np.linspace(0, len(rest) - 1, count).astype(int)] if count else []
    return sorted({*spread, *even})


def distinct(attributes: FloatArray) -> int:
    """How many frames of (n, SIZE) show something of their own, counted up to LEAST."""
    return len(_farthest(attributes * _WEIGHTS, LEAST)) if len(attributes) else 0


def _farthest(points: NDArray[np.floating[Any]], most: int) -> list[int]:
    """Places of points (n, D), each the farthest from those before, from the one in the middle on."""
    first = int(np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin())
    places, away = [first], np.linalg.norm(points - points[first], axis=1)
    while len(places) < min(most, len(points)):
        farthest = int(away.argmax())
        if away[farthest] < APART:
            break
        places.append(farthest)
        away = np.minimum(away, np.linalg.norm(points - points[farthest], axis=1))
    return places


def held_from(count: int) -> int:
    """Of so many frames in their order, the place from which on they are held back."""
    return round((1 - HELD_SHARE) * count)
