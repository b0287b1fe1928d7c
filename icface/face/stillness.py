"""Whether a face is a picture: its shape never changes, while a living face blinks, talks and turns."""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.attributes import FloatArray
from icface.face.landmarker import Points

SETTLES: Final = 2
"""The first looks do not count: the landmarks come to rest in them."""
STILL_S: Final = 5.0
"""A face is a picture's that did not change for so long."""
LEAST_LOOKS: Final = 8
STILL: Final = 0.015
"""Its landmarks stay within this of where they were, in distances of the eyes' outer corners (root mean square)."""
LIVES: Final = 0.035
"""A face lives whose landmarks have moved by more. Expression and turning count, moving about in the picture does not."""
_CORNERS: Final = (33, 263)
_FACE: Final = 468


class Stillness:
    """What is known of one face."""

    def __init__(self) -> None:
        self._first: FloatArray | None = None
        self._since_s = 0.0
        self._looks = 0
        self._change = 0.0
        self._until_s = 0.0

    def see(self, points: Points, now_s: float) -> None:
        """Take in the landmarks (478, 3) in pixels of one frame."""
        self._looks += 1
        if self._looks <= SETTLES:
            return
        shape = _shape(points)
        if self._first is None:
            self._first, self._since_s = shape, now_s
        self._until_s = now_s
        self._change = max(self._change, float(np.sqrt(np.square(shape - self._first).sum(1).mean())))

    @property
    def lives(self) -> bool:
        """Whether it has changed."""
        return self._change > LIVES

    @property
    def is_picture(self) -> bool:
        """Whether it was watched for long, and did not change."""
        watched = self._looks >= LEAST_LOOKS and self._until_s - self._since_s >= STILL_S
        return watched and self._change < STILL


def _shape(points: Points) -> FloatArray:
    """(468, 2) without place, size and tilt: the outer eye corners are at (±.5, 0)."""
    right, left = points[_CORNERS[0], :2], points[_CORNERS[1], :2]
    x, y = left - right
    turn = np.array([[x, -y], [y, x]], dtype=np.float32) / np.float32(max(x * x + y * y, 1e-6))
    return np.asarray((points[:_FACE, :2] - (left + right) / 2) @ turn, dtype=np.float32)
