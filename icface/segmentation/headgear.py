"""What is worn on the head and neither network tells from the room: the crown of a hat, feathers, a real crown."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.pyramid import highest, push_pull
from icface.segmentation.segmenters import Mask

HALF_WIDTH: Final = 0.65
"""So far beside the middle, in widths of the face, doubts above the forehead are about what is worn."""
REACH: Final = 1.0
"""What goes on in the colour of what is worn ends within this: else it is the room's."""
LEAST_BELIEF: Final = 0.2
MOST_HAIR: Final = 0.1
"""Where the network sees more hair than this, hair is what is on the head."""
LEAST_WIDTH: Final = 0.2
"""Of what is worn, in IOD. What is thinner is an edge."""
LIKE_LEVELS: Final = 25.0
"""The same thing differs by less, in levels of RGB."""


def worn(frame: Frame, person: Mask, hair: Mask, oval_px: FloatArray, iod_px: float) -> NDArray[np.bool_]:
    """Where (H, W) something on the head goes on that the networks doubt or do not see.

    Args:
        frame: (H, W, 3) RGB.
        person: (H, W) how sure the networks are of person or hair.
        hair: (H, W) how sure one is of hair.
        oval_px: (n, 2) outline of the face.
        iod_px: distance of the outer eye corners.
    """
    result = np.zeros(person.shape, dtype=np.bool_)
    forehead = int(oval_px[:, 1].min())
    if forehead < 2:
        return result
    width, middle = float(np.ptp(oval_px[:, 0])), float(oval_px[:, 0].mean())
    above = np.s_[:forehead]
    aside = np.abs(np.arange(person.shape[1]) - middle) / width
    size = max(3, round(LEAST_WIDTH * iod_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    bare = cv2.blur(hair, (size, size))[above] < MOST_HAIR
    believed = person[above]

    central = aside < HALF_WIDTH
    doubted = (believed > LEAST_BELIEF) & bare & central
    found = cv2.morphologyEx(doubted.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    # What does not touch the head, but for a small gap, is the room's.
    _, parts = cv2.connectedComponents(cv2.dilate((found | (believed > 0.85)).astype(np.uint8), disc))
    found &= np.isin(parts, np.unique(parts[-1][central & (believed[-1] > 0.85)]))
    sure = found | ((believed > 0.85) & bare & central)
    if sure.any():
        found |= _in_the_same_colour(frame[above], sure, aside < REACH, disc)
    found = cv2.morphologyEx((found | (believed > 0.85)).astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0
    result[above] = found & bare & (aside < REACH)
    return result


def _in_the_same_colour(
    frame: Frame, sure: NDArray[np.bool_], within: NDArray[np.bool_], disc: NDArray[Any]
) -> NDArray[np.bool_]:
    """Where a thing goes on in its own colour; nowhere, if the colour goes on to the sides and so is the room's."""
    colours = push_pull(frame.astype(np.float32), sure.astype(np.float32))
    like = (highest(np.abs(frame - colours)) < LIKE_LEVELS) & ~sure
    like = cv2.morphologyEx(like.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    _, parts = cv2.connectedComponents((like | sure).astype(np.uint8))
    grown = like & np.isin(parts, np.unique(parts[sure]))
    beside = grown & ~within
    room = np.unique(parts[beside])
    return np.asarray(grown & ~np.isin(parts, room))
