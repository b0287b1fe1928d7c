"""Follows the largest face through a clip. Where it jumps a new track begins; its square does not tremble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.face.alignment import align, face_square
from icface.face.landmarks import Landmarks
from icface.images import cut_crop

Box = tuple[float, float, float, float]

SAME_IOU: Final = 0.4
"""Boxes of one face in two frames overlap by more than this, even at 10 FPS."""
MAX_GAP_S: Final = 0.35
"""A face that was not seen for longer begins a new track."""
LARGER: Final = 4.0
"""Another face is followed instead if its area is this many times larger. Faces printed on shirts come and go."""
CUT_LEVELS: Final = 45.0
"""Mean change of an aligned face from frame to frame, in grey levels; only a cut changes it more."""
SMOOTH_S: Final = 0.12
"""Standard deviation of the Gaussian that smooths the square over time."""
_LOOK_PX: Final = 16


class Follower:
    """Follows one face from frame to frame.

    Args:
        whole: all frames are one piece, however far apart they are in time.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self.track = 0 if whole else -1
        """Number of the piece, from 0."""
        self._last: Landmarks | None = None
        self._last_s = 0.0
        self._look: NDArray[np.float32] | None = None

    def update(self, frame: Frame, faces: Sequence[Landmarks], time_s: float) -> Landmarks | None:
        """The face to keep of those in a frame (largest first), at rising times; None where there is none."""
        if not faces:
            return None
        followed = self._followed(faces, time_s)
        face = followed or faces[0]
        look = _look(frame, face)
        is_cut = self._look is not None and float(np.abs(look - self._look).mean()) > CUT_LEVELS
        if not self._whole and (followed is None or is_cut):
            self.track += 1
        self._last, self._last_s, self._look = face, time_s, look
        return face

    def _followed(self, faces: Sequence[Landmarks], time_s: float) -> Landmarks | None:
        if self._last is None or time_s - self._last_s > MAX_GAP_S:
            return None
        last = self._last.box_px
        best = max(faces, key=lambda face: overlap(face.box_px, last))
        if overlap(best.box_px, last) < SAME_IOU or faces[0].area_px > LARGER * best.area_px:
            return None
        return best


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


def _look(frame: Frame, face: Landmarks) -> NDArray[np.float32]:
    """A tiny grey picture of the face, to tell a cut from a movement."""
    crop = cut_crop(frame, align(face, _LOOK_PX, scale=1.0), _LOOK_PX)
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)


def square_of(face: Landmarks) -> NDArray[np.float64]:
    """(3,) centre x, y and the logarithm of the side, which may be averaged."""
    x, y, side = face_square(face)
    return np.array([x, y, np.log(side)])


def smooth(squares: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares (n, 3) without the detector's tremble: at each time, a line fitted to the squares near in time.

    A mean would lag behind at the beginning and at the end of a movement; a line does not.
    """
    result = np.empty_like(squares)
    starts = np.searchsorted(times_s, times_s - 3 * SMOOTH_S)
    ends = np.searchsorted(times_s, times_s + 3 * SMOOTH_S, side="right")
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        away_s = times_s[start:end] - times_s[i]
        weight = np.exp(-0.5 * (away_s / SMOOTH_S) ** 2)
        weight /= weight.sum()
        middle_s = weight @ away_s
        mean = weight @ squares[start:end]
        spread = weight @ (away_s - middle_s) ** 2
        slope = (weight * (away_s - middle_s)) @ squares[start:end] / spread if spread > 1e-9 else 0.0
        result[i] = mean - middle_s * slope
    return result
