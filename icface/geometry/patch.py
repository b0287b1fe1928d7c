"""The patch: a square of the frame that keeps its place on the face. Learned networks see it and correct it.

It turns in the picture as the head does, and covers forehead to chin. `patch_affine` says where it lies, `cut_patch` cuts
it out, and `measures` puts a face's expression into numbers that a network takes beside the picture.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import FloatArray
from icface.geometry.shape import Projection

PATCH_PX: Final = 192
"""Side of what a network sees."""
PATCH_IOD: Final = 1.9
"""Side on the face, in distances of the outer eye corners."""
PATCH_DOWN: Final = 0.43
"""Its centre lies so far down from the middle between the eyes, as a share of the way to the lips."""
SUPERSAMPLING: Final = 2
"""It is read so many times as fine and averaged, so that nothing aliases in frames of up to 1024 pixels."""

MEASURE_NAMES: Final = (
    "mouth_gap", "mouth_width", "mouth_lift", "chin", "nose",
    *(f"{side}_{name}" for side in ("right", "left") for name in ("gap", "brow", "inner_brow", "cheek")),
)  # fmt: skip
"""Distances in head space, in IOD; right and left are the person's own sides."""
MEASURES: Final = len(MEASURE_NAMES)
CONDITIONS: Final = 2 * MEASURES + 2
"""Measures of the frame and of the photo, pitch and yaw."""
_EYE_CORNERS: Final = ((33, 133), (263, 362))
_LIPS: Final = [13, 14]
# Upper and lower lid, brow, inner end of the brow, cheek.
_EYES: Final = ((159, 145, 105, 107, 101), (386, 374, 334, 336, 330))


def patch_affine(
    neutral_shape: FloatArray, rotation: FloatArray, project: Projection, px: int = PATCH_PX
) -> Array:
    """Where the patch lies: the affine (2, 3) from pixels of the patch to pixels of the frame.

    Args:
        neutral_shape: (468, 3) head space, without expression: the patch does not move with jaw and brows.
        rotation: (3, 3) of the head in the frame.
        project: from head space to pixels of the frame.
        px: side of the patch. More than PATCH_PX leaves room around it, at the same scale.
    """
    eyes = neutral_shape[[*_EYE_CORNERS[0], *_EYE_CORNERS[1]]].mean(axis=0)
    lips = neutral_shape[_LIPS].mean(axis=0)
    centre = project(eyes + np.float32(PATCH_DOWN) * (lips - eyes), rotation)[:2]
    turn = np.arctan2(-rotation[1, 0], rotation[0, 0])
    scale = PATCH_IOD * float(project.iod_px) / PATCH_PX
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, centre - linear @ np.full(2, (px - 1) / 2)])


def finer(patch_to_frame: Array, times: int = SUPERSAMPLING) -> Array:
    """The affine of the same patch with so many times as many pixels a side."""
    linear = patch_to_frame[:, :2] / times
    # Pixel centres are whole numbers: the first of the finer ones lies (times − 1) / 2 of them before the coarse one.
    offset = patch_to_frame[:, 2] - linear @ np.full(2, (times - 1) / 2)
    return np.column_stack([linear, offset])


def cut_patch(picture: NDArray[Any], patch_to_frame: Array, px: int = PATCH_PX) -> NDArray[Any]:
    """Cut the patch (px, px[, C]) out of a picture (H, W[, C]) uint8, borders repeated."""
    side = SUPERSAMPLING * px
    fine = cv2.warpAffine(
        picture,
        finer(patch_to_frame),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(fine, (px, px), interpolation=cv2.INTER_AREA)


def measures(shape: FloatArray) -> FloatArray:
    """The expression of a head-space shape (468, 3) as (MEASURES,) numbers, in `MEASURE_NAMES` order."""
    y = shape[:, 1]
    lips = (y[13] + y[14]) / 2
    values = [
        y[13] - y[14], shape[291, 0] - shape[61, 0], (y[61] + y[291]) / 2 - lips, y[1] - y[152], (y[129] + y[358]) / 2,
    ]  # fmt: skip
    for corners, (upper, lower, brow, inner, cheek) in zip(_EYE_CORNERS, _EYES, strict=True):
        level = y[list(corners)].mean()
        values += [y[upper] - y[lower], y[brow] - level, y[inner] - level, y[cheek] - level]
    return np.array(values, dtype=np.float32)


def conditions(target: FloatArray, photo: FloatArray, rotation: FloatArray) -> FloatArray:
    """What a network is told beside the picture, (CONDITIONS,).

    Args:
        target: (MEASURES,) of the face in the frame.
        photo: (MEASURES,) of the face as it was photographed.
        rotation: (3, 3) of the head in the frame; the sines of pitch and yaw are what is taken of it.
    """
    return np.concatenate([target, photo, [rotation[1, 2], rotation[0, 2]]]).astype(np.float32)
