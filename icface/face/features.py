"""Distances and heights of a face that do not change with its pose: what Action Units are read from.

All are in IOD (distance of the outer eye corners, vertices 33 and 263), after the head rotation is taken out, with y
up and z to the camera. They are means over both sides.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.arrays import Array
from icface.face.landmarks import Landmarks
from icface.face.pose import FLIP, weak_perspective_rotation

NAMES: Final = (
    "brow_inner", "brow_outer", "brow_middle", "brow_gap", "upper_lid", "lower_lid", "cheek", "nose_wing",
    "upper_lip", "corner_width", "corner_height", "corner_lift", "corner_depth", "lip_centre_depth", "mouth_height",
    "lower_lip_chin", "lower_lip_length", "lips_thickness", "lip_gap", "chin_drop", "ear_right", "ear_left",
)  # fmt: skip
INDEX: Final = {name: i for i, name in enumerate(NAMES)}

# Heights: mean y of the first group minus mean y of the second.
_EYE_CORNERS = (33, 133, 362, 263)
_HEIGHTS: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "brow_inner": ((107, 336, 55, 285), _EYE_CORNERS),
    "brow_outer": ((70, 300, 63, 293, 46, 276), _EYE_CORNERS),
    "brow_middle": ((105, 334, 52, 282), _EYE_CORNERS),
    "upper_lid": ((159, 386, 158, 385), _EYE_CORNERS),
    "lower_lid": ((145, 374, 144, 373, 153, 380), _EYE_CORNERS),
    "cheek": ((117, 118, 119, 50, 101, 346, 347, 348, 280, 330), _EYE_CORNERS),
    "upper_lip": ((0, 37, 267, 39, 269), (2, 97, 326)),
    "corner_height": ((61, 291), (2,)),
    "corner_lift": ((61, 291), (13, 14)),
    "mouth_height": ((13,), (2,)),
    "lower_lip_chin": ((17,), (199,)),
}
# Distances: mean length over the pairs.
_LENGTHS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "brow_gap": ((55, 285),),
    "nose_wing": ((168, 98), (168, 327)),
    "corner_width": ((61, 291),),
    "lower_lip_length": ((17, 152),),
    "lips_thickness": ((0, 13), (14, 17)),
    "lip_gap": ((13, 14), (82, 87), (312, 317)),
    "chin_drop": ((168, 152),),
}
_EAR: Final = {
    "ear_right": (((159, 145), (158, 153), (160, 144)), (33, 133)),
    "ear_left": (((386, 374), (385, 380), (387, 373)), (263, 362)),
}


def _height_matrix() -> Array:
    matrix = np.zeros((len(_HEIGHTS), 478))
    for row, (top, bottom) in enumerate(_HEIGHTS.values()):
        matrix[row, list(top)] += 1.0 / len(top)
        matrix[row, list(bottom)] -= 1.0 / len(bottom)
    return matrix


_HEIGHT_ROWS: Final = np.array([INDEX[name] for name in _HEIGHTS], dtype=np.intp)
_HEIGHT_WEIGHTS: Final = _height_matrix()
# All lengths in one gather: the rows of `_LENGTHS`, then three lid distances and the width of each eye.
_PAIRS: Final = np.array(
    [pair for pairs in _LENGTHS.values() for pair in pairs]
    + [pair for lids, corners in _EAR.values() for pair in (*lids, corners)],
    dtype=np.intp,
)
_EARS_AT: Final = len(_PAIRS) - 8
_LENGTH_ROWS: Final = np.array([INDEX[name] for name in _LENGTHS], dtype=np.intp)
_EAR_ROWS: Final = np.array([INDEX[name] for name in _EAR], dtype=np.intp)


def _length_weights() -> Array:
    weights = np.zeros((len(_LENGTHS), _EARS_AT))
    start = 0
    for row, (name, pairs) in enumerate(_LENGTHS.items()):
        # The thickness is the sum of both lips; the others are means.
        weights[row, start : start + len(pairs)] = 1.0 if name == "lips_thickness" else 1.0 / len(pairs)
        start += len(pairs)
    return weights


_LENGTH_WEIGHTS: Final = _length_weights()


def face_shape(landmarks: Landmarks) -> Array:
    """(478, 3) landmarks with the head rotation taken out, in IOD, origin between the eyes, y up, z to the camera."""
    rotation = weak_perspective_rotation(landmarks.points_px)
    points = landmarks.points_px.astype(np.float64) @ FLIP
    iod_px = float(np.linalg.norm(points[33] - points[263]))
    return np.asarray((points - (points[33] + points[263]) / 2) @ rotation / max(iod_px, 1e-6))


def measure_features(landmarks: Landmarks) -> Array:
    """(22,) features in `NAMES` order. The eye aspect ratios are the distance of the lids over the eye's width."""
    shape = face_shape(landmarks)
    result = np.empty(len(NAMES))
    result[_HEIGHT_ROWS] = _HEIGHT_WEIGHTS @ shape[:, 1]
    between = shape[_PAIRS[:, 0]] - shape[_PAIRS[:, 1]]
    lengths = np.sqrt(np.einsum("ij,ij->i", between, between))
    result[_LENGTH_ROWS] = _LENGTH_WEIGHTS @ lengths[:_EARS_AT]
    eyes = lengths[_EARS_AT:].reshape(2, 4)
    result[_EAR_ROWS] = eyes[:, :3].sum(1) / (3 * np.maximum(eyes[:, 3], 1e-6))
    result[INDEX["corner_depth"]] = (shape[61, 2] + shape[291, 2]) / 2
    result[INDEX["lip_centre_depth"]] = (shape[0, 2] + shape[17, 2]) / 2
    return result
