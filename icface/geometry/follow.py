"""What the head takes along: hair at its roots, less of it at its ends, and less and less of the body."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Array

# Heights in head space, lengths in IOD.
CHIN: Final = -1.05
SHOULDERS: Final = -0.40
"""Beside the neck the body begins higher, so that a tilting head does not squeeze the shoulders."""
JAW_BESIDE: Final = 0.35, 1.1
"""Between these distances from the middle the body's upper end rises from one to the other, as the jaw does. A neck that
followed beside the jaw would bulge out below the ear."""
BODY_ENDS: Final = (-2.0, -1.55)
"""The crop's lower border, between these heights, follows the head no more."""
HANG_HEIGHT: Final = -0.75
"""Of the mouth. Hair below it moves as it does there."""
HANG_BEND: Final = 0.2
HAIR_ENDS: Final = 0.6
"""So much less than its roots does long hair follow the head at its ends."""
HAIR_LENGTH: Final = 2.5
"""From the mouth to those ends."""


def smooth(x: Array) -> Array:
    """0 to 1 without a corner."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def sampled(values: Array, at: Array) -> Array:
    """Values of a picture (h, w) at places (..., 2) that count from 0 to 1."""
    where = (at * values.shape[::-1] - 0.5).astype(np.float32)
    x, y = where[..., 0], where[..., 1]
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def hung(y: Array, hair: Array) -> Array:
    """The heights (head space) as which places at heights `y` move, where so much of them is hair.

    Hair hangs: below the mouth it moves as it does there. So straight strands stay straight.
    """
    hanging = HANG_HEIGHT + HANG_BEND * np.logaddexp(0, (y - HANG_HEIGHT) / HANG_BEND)
    return y + hair * (hanging - y)


def head_share(x: Array, y: Array, hair: Array, border: float, still_border: bool) -> Array:
    """How much places at `x`, `y` (head space) follow the head: 1 above chin and shoulders, 0 at the crop's lower border.

    Args:
        x: to the image's right.
        y: up.
        hair: how much of each place is hair.
        border: height of the crop's lower border.
        still_border: whether hair, too, has to be still there.
    """
    highest = CHIN + (SHOULDERS - CHIN) * smooth(
        (np.abs(x) - JAW_BESIDE[0]) / (JAW_BESIDE[1] - JAW_BESIDE[0])
    )
    body = 1 - smooth((highest - y) / (highest - np.clip(border, *BODY_ENDS)))
    ends, length = (1, HANG_HEIGHT - min(border, BODY_ENDS[1])) if still_border else (HAIR_ENDS, HAIR_LENGTH)
    return body + hair * (1 - ends * smooth((HANG_HEIGHT - y) / length) - body)
