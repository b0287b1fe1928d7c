"""Distances and heights of a face that do not change with its pose: what Action Units are read from.

All are in IOD (distance of the outer eye corners, vertices 33 and 263), after the head rotation is taken out, with y
up and z to the camera. They are means over both sides.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.arrays import Array
from icface.face.landmarks import Landmarks
from icface.face.pose import FLIP, weak_perspective

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
# Distances: mean length over the pairs. The thickness is the sum of both lips. An eye's lids are divided by its width.
_LENGTHS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "brow_gap": ((55, 285),),
    "nose_wing": ((168, 98), (168, 327)),
    "corner_width": ((61, 291),),
    "lower_lip_length": ((17, 152),),
    "lips_thickness": ((0, 13), (14, 17)),
    "lip_gap": ((13, 14), (82, 87), (312, 317)),
    "chin_drop": ((168, 152),),
    "ear_right": ((159, 145), (158, 153), (160, 144)),
    "ear_left": ((386, 374), (385, 380), (387, 373)),
}
_EYE_WIDTHS: Final = ((33, 133), (263, 362))


def _mean_of(vertices: tuple[int, ...]) -> Array:
    """(478,) weights that average these vertices."""
    weights = np.zeros(478)
    weights[list(vertices)] = 1.0 / len(vertices)
    return weights


_HEIGHT_ROWS: Final = np.array([INDEX[name] for name in _HEIGHTS])
_HEIGHT_WEIGHTS: Final = np.array([_mean_of(top) - _mean_of(bottom) for top, bottom in _HEIGHTS.values()])
# All lengths in one gather: the pairs of `_LENGTHS`, then the eyes' widths.
_PAIRS: Final = np.array([*(pair for pairs in _LENGTHS.values() for pair in pairs), *_EYE_WIDTHS])
_LENGTH_ROWS: Final = np.array([INDEX[name] for name in _LENGTHS])
_LENGTH_STARTS: Final = np.cumsum([0, *map(len, _LENGTHS.values())])[:-1]
_LENGTH_COUNTS: Final = np.array(
    [1 if name == "lips_thickness" else len(_LENGTHS[name]) for name in _LENGTHS]
)
_EAR_ROWS: Final = np.array([INDEX["ear_right"], INDEX["ear_left"]])


def face_shape(landmarks: Landmarks) -> Array:
    """(478, 3) landmarks with the head rotation taken out, in IOD, origin between the eyes, y up, z to the camera."""
    rotation, _, _ = weak_perspective(landmarks.points_px)
    points = landmarks.points_px.astype(np.float64) @ FLIP
    iod_px = float(np.linalg.norm(points[33] - points[263]))
    return np.asarray((points - (points[33] + points[263]) / 2) @ rotation / max(iod_px, 1e-6))


def measure_features(landmarks: Landmarks) -> Array:
    """(22,) features in `NAMES` order. The eye aspect ratios are the distance of the lids over the eye's width."""
    return features_of(face_shape(landmarks))


def features_of(shape: Array) -> Array:
    """(22,) features of a `face_shape` (478, 3)."""
    result = np.empty(len(NAMES))
    result[_HEIGHT_ROWS] = _HEIGHT_WEIGHTS @ shape[:, 1]
    between = shape[_PAIRS[:, 0]] - shape[_PAIRS[:, 1]]
    lengths = np.sqrt(np.einsum("ij,ij->i", between, between))
    result[_LENGTH_ROWS] = np.add.reduceat(lengths[:-2], _LENGTH_STARTS) / _LENGTH_COUNTS
    result[_EAR_ROWS] /= np.maximum(lengths[-2:], 1e-6)
    result[INDEX["corner_depth"]] = (shape[61, 2] + shape[291, 2]) / 2
    result[INDEX["lip_centre_depth"]] = (shape[0, 2] + shape[17, 2]) / 2
    return result
