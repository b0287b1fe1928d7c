"""Whether a face is the one that was followed: small grey pictures of it, in the poses that it was seen in.

It tells people apart who are before one camera in one light, and no more. In 21 clips of people, nine tenths of the
second half's pictures agree with those of the first by .71 or more (median of the clips: .97). Of 250 photos of others,
one in a hundred agrees by more than .68 (median of the clips; at most .80).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.face.landmarker import Points

MATCH: Final = 0.72
"""A face that agrees so well is the same."""
OTHER: Final = 0.66
"""One that jumps and agrees less is another."""
STRANGE: Final = 0.5
"""One in the driver's place that agrees less is another. A face behind a hand agrees more."""
LEARN_BELOW: Final = 0.92
"""A picture is kept where the others agree with it less."""
MOST: Final = 24

_SIDE: Final = 32
_CORNERS: Final = [33, 263, 2]
"""Outer eye corners and the base of the nose, and where they are in the small picture."""
_PLACES: Final = np.array([[0.2, 0.3], [0.8, 0.3], [0.5, 0.72]], dtype=np.float32) * np.float32(_SIDE)
_FINEST: Final = 1.0
_COARSEST: Final = 8.0
"""Blurs, in pixels: detail below the first trembles, and what is coarser than the second is light."""

Picture = NDArray[np.float32]
"""(1024,) of length 1."""


class Likeness:
    """What one person's face looks like."""

    def __init__(self) -> None:
        self._pictures = np.zeros((0, _SIDE * _SIDE), dtype=np.float32)

    def match(self, picture: Picture) -> float:
        """How well a picture agrees with the one that is most like it, −1 to 1; −1 before any is known."""
        return float((self._pictures @ picture).max(initial=-1.0))

    def learn(self, picture: Picture) -> None:
        """Keep a picture where it shows something new. The oldest but one gives way; the first is kept for good."""
        if self.match(picture) >= LEARN_BELOW:
            return
        kept = np.delete(self._pictures, 1, axis=0) if len(self._pictures) == MOST else self._pictures
        self._pictures = np.vstack([kept, picture])


def picture_of(frame: Frame, points: Points) -> Picture:
    """The small grey picture of a face, upright, without its light."""
    corners = points[_CORNERS, :2]
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    reduced = max(1, int((high - low).max() / (2 * _SIDE)))
    # Every so many pixels are read; the blur below takes what that leaves of aliasing.
    left, top = np.maximum(np.floor(low).astype(int), 0)
    right, bottom = np.ceil(high).astype(int)
    part = frame[top:bottom:reduced, left:right:reduced]
    if part.size == 0:
        return np.zeros(_SIDE * _SIDE, dtype=np.float32)
    to_small = cv2.getAffineTransform(((corners - [left, top]) / reduced).astype(np.float32), _PLACES)
    small = cv2.warpAffine(part, to_small, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _FINEST)
    detail = np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _COARSEST), dtype=np.float32).ravel()
    return detail / np.float32(max(float(np.linalg.norm(detail)), 1e-6))
