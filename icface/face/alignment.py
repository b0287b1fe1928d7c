"""The square crop that generators of the paper family see: the face box grown 1.6×, about its centre.

The box of the landmarks would grow with an open mouth and wander with a turned nose. The box of the canonical face, laid
over the landmarks by a rigid fit, stands still under expression. The crop hides translation and distance, which the
attributes do not tell. Source: ICface (arXiv 1904.01909), box grown 1.6×; the rigid fit is ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.face.landmarks import Landmarks
from icface.face.pose import weak_perspective

Affine = NDArray[np.float64]

ALIGNMENT: Final = "canonical face box x 1.6"
"""The name that data sets, checkpoints and bundles carry."""
SCALE: Final = 1.6

# MediaPipe's canonical face in IOD, origin between the outer eye corners, y up, reaches from −1.36 (chin) to .63
# (hairline). The centre lies as deep as the eye corners: the outline of a turning face stays centred about them.
_CENTRE: Final = np.array([0.0, -0.364, 0.0])
_SIDE: Final = 1.99


def face_square(landmarks: Landmarks) -> tuple[float, float, float]:
    """Centre x, y and side of the face's box, in pixels of the picture."""
    rotation, scale, origin = weak_perspective(landmarks.points_px)
    # The fit has y up and z to the camera; pictures have y down.
    x, y, _ = rotation @ _CENTRE * scale + origin
    return float(x), float(-y), _SIDE * scale


def square_affine(square: tuple[float, float, float], size_px: int, scale: float = SCALE) -> Affine:
    """(2, 3) affine from pixels of an upright crop to picture pixels, pixel centres at integers.

    The face's box `square` has a centre x, y and a side. The crop is `scale` times as large, and has `size_px` a side.
    """
    x, y, side = square
    step = side * scale / size_px
    # Crop pixel 0 covers the first `step` picture pixels.
    offset = step / 2 - 0.5 - side * scale / 2
    return np.array([[step, 0.0, x + 0.5 + offset], [0.0, step, y + 0.5 + offset]], dtype=np.float64)


def align(landmarks: Landmarks, size_px: int, scale: float = SCALE) -> Affine:
    """(2, 3) affine from crop pixels to picture pixels for one face."""
    return square_affine(face_square(landmarks), size_px, scale)
