"""Head pose in OpenFace's convention: R = Rx·Ry·Rz, y down; +pitch looks down, +yaw nose to image-left, +roll clockwise.

From the task file's matrix where there is one; else by weighted Procrustes of the canonical face in a virtual
camera with a vertical field of view of 63°, two scale passes, which is MediaPipe's published method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.face.landmarks import Landmarks

Array = NDArray[np.float64]

VERTICAL_FOV_RAD: Final = math.radians(63.0)
NEAR: Final = 1.0
FLIP: Final = np.diag([1.0, -1.0, -1.0])

# MediaPipe's weights of the canonical face; the pairs are right and left.
_WEIGHTS: Final = {
    (129, 358): 0.120625, (4,): 0.070910, (136, 365): 0.066890, (33, 263): 0.058724, (133, 362): 0.053286,
    (205, 425): 0.047252, (6,): 0.032100, (10,): 0.008447, (127, 356): 0.005198, (121, 350): 0.018591,
    (147, 376): 0.014263, (198, 420): 0.025462, (132, 361): 0.005560, (143, 372): 0.014817, (117, 346): 0.009792,
    (119, 348): 0.014565, (54, 284): 0.007667, (67, 297): 0.009078,
}  # fmt: skip
_INDEX: Final = np.array([vertex for pair in _WEIGHTS for vertex in pair], dtype=np.intp)
_ROOT: Final = np.sqrt(np.array([w for pair, w in _WEIGHTS.items() for _ in pair], dtype=np.float64))

# Canonical positions of those vertices in IOD (unit: outer eye corners), x right, y up, z to the camera.
_CANONICAL: Final = np.array(
    [
        (-0.2008, -0.4096, 0.1886), (0.2008, -0.4096, 0.1886), (0.0000, -0.3517, 0.4963),
        (-0.5719, -1.1069, -0.2765), (0.5719, -1.1069, -0.2765), (-0.5000, 0.0000, 0.0000),
        (0.5000, 0.0000, 0.0000), (-0.2088, -0.0089, 0.0657), (0.2088, -0.0089, 0.0657),
        (-0.4311, -0.4725, 0.1085), (0.4311, -0.4725, 0.1085), (0.0000, -0.0215, 0.2941),
        (0.0000, 0.6296, 0.1471), (-0.8708, -0.0336, -0.5824), (0.8708, -0.0336, -0.5824),
        (-0.2048, -0.1345, 0.1182), (0.2048, -0.1345, 0.1182), (-0.7012, -0.5183, -0.1698),
        (0.7012, -0.5183, -0.1698), (-0.1402, -0.2737, 0.2820), (0.1402, -0.2737, 0.2820),
        (-0.8177, -0.6247, -0.6102), (0.8177, -0.6247, -0.6102), (-0.7206, -0.0481, -0.1814),
        (0.7206, -0.0481, -0.1814), (-0.5914, -0.1932, -0.0224), (0.5914, -0.1932, -0.0224),
        (-0.3712, -0.2027, 0.0787), (0.3712, -0.2027, 0.0787), (-0.7062, 0.4444, -0.1965),
        (0.7062, 0.4444, -0.1965), (-0.3963, 0.6008, 0.0625), (0.3963, 0.6008, 0.0625),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """Angles in radians."""

    pitch_rad: float
    yaw_rad: float
    roll_rad: float


def rotation_from_pose(pitch_rad: float, yaw_rad: float, roll_rad: float) -> Array:
    """(3, 3) R = Rx·Ry·Rz, y down."""
    cx, sx = math.cos(pitch_rad), math.sin(pitch_rad)
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    cz, sz = math.cos(roll_rad), math.sin(roll_rad)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(rx @ ry @ rz)


def pose_from_rotation(rotation: Array) -> Pose:
    """Angles of R = Rx·Ry·Rz, y down."""
    return Pose(
        pitch_rad=math.atan2(-rotation[1, 2], rotation[2, 2]),
        yaw_rad=math.asin(min(1.0, max(-1.0, rotation[0, 2]))),
        roll_rad=math.atan2(-rotation[0, 1], rotation[0, 0]),
    )


def head_pose(landmarks: Landmarks) -> Pose:
    """Pose of a face in an unmirrored picture."""
    if landmarks.matrix is not None:
        left, _, right = np.linalg.svd(landmarks.matrix[:3, :3])
        upward = left @ right
    else:
        upward = _procrustes_rotation(landmarks.points_px, landmarks.image_size_px)
    return pose_from_rotation(FLIP @ upward @ FLIP)


def weak_perspective_rotation(points_px: NDArray[np.float32]) -> Array:
    """(3, 3) rotation of the canonical face, y up, that fits landmarks as seen in parallel projection."""
    points = points_px[_INDEX].astype(np.float64) @ FLIP
    return _fit(points)[0]


def _procrustes_rotation(points_px: NDArray[np.float32], image_size_px: tuple[int, int]) -> Array:
    """Rotation of the canonical face, y up, in a camera of VERTICAL_FOV_RAD."""
    width, height = image_size_px
    # Screen at the near plane, origin in the middle, y up; z in the scale of x.
    unit = 2 * NEAR * math.tan(VERTICAL_FOV_RAD / 2) / height
    screen = points_px[_INDEX].astype(np.float64)
    screen[:, 0] = (screen[:, 0] - width / 2) * unit
    screen[:, 1] = (height / 2 - screen[:, 1]) * unit
    screen[:, 2] *= unit
    depth = float(points_px[:468, 2].mean()) * unit

    handed = screen * [1, 1, -1]
    scale = _fit(handed)[1]
    scale *= _fit(_metric(screen, depth, scale))[1]
    return _fit(_metric(screen, depth, scale))[0]


def _metric(screen: Array, depth: float, scale: float) -> Array:
    """Screen points pushed to their distance and unprojected; z towards the camera."""
    z = (screen[:, 2] - depth + NEAR) / scale
    return np.stack([screen[:, 0] * z / NEAR, screen[:, 1] * z / NEAR, -z], axis=1)


def _fit(points: Array) -> tuple[Array, float]:
    """Weighted similarity from the canonical face to points: rotation (3, 3) and scale."""
    weight = (_ROOT**2)[:, None]
    total = weight.sum()
    source = (_CANONICAL - (weight * _CANONICAL).sum(0) / total) * _ROOT[:, None]
    target = (points - (weight * points).sum(0) / total) * _ROOT[:, None]
    u, s, vt = np.linalg.svd(target.T @ source)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (u * sign) @ vt, float((s * sign).sum() / (source**2).sum())
