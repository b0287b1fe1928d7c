"""Head pose in OpenFace's convention: R = Rx·Ry·Rz, y down; +pitch looks down, +yaw nose to image-left, +roll clockwise.

It is a weighted Procrustes fit of the canonical face in a virtual camera with a vertical field of view of 63°, with two
passes for the scale. This is MediaPipe's published method and gives the same angles as its pose matrix.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from icface.arrays import Array
from icface.face.landmarker import Points
from icface.face.landmarks import Landmarks

VERTICAL_FOV_RAD: Final = math.radians(63.0)
NEAR: Final = 1.0
FLIP: Final = np.diag([1.0, -1.0, -1.0])

# MediaPipe's canonical face (Apache-2.0) in IOD (unit: outer eye corners), origin between them, x right, y up,
# z to the camera. A pair is a vertex on the left of the picture and its mirror image, whose place is given.
# After x, y, z come MediaPipe's weight for the head pose (0 where it is not used) and whether expressions leave it alone.
_VERTICES: Final[dict[tuple[int, ...], tuple[float, float, float, float, bool]]] = {
    (4,): (0.0000, -0.3517, 0.4963, 0.070910, True),
    (5,): (0.0000, -0.2585, 0.4577, 0.0, True),
    (6,): (0.0000, -0.0215, 0.2941, 0.032100, True),
    (10,): (0.0000, 0.6296, 0.1471, 0.008447, True),
    (168,): (0.0000, 0.0683, 0.2320, 0.0, True),
    (195,): (0.0000, -0.1805, 0.4050, 0.0, True),
    (197,): (0.0000, -0.1052, 0.3535, 0.0, True),
    (21, 251): (0.7971, 0.3116, -0.3457, 0.0, True),
    (33, 263): (0.5000, 0.0000, 0.0000, 0.058724, True),
    (54, 284): (0.7062, 0.4444, -0.1965, 0.007667, True),
    (67, 297): (0.3963, 0.6008, 0.0625, 0.009078, True),
    (103, 332): (0.5773, 0.5423, -0.0577, 0.0, True),
    (109, 338): (0.2127, 0.6267, 0.1239, 0.0, True),
    (117, 346): (0.5914, -0.1932, -0.0224, 0.009792, False),
    (119, 348): (0.3712, -0.2027, 0.0787, 0.014565, False),
    (121, 350): (0.2048, -0.1345, 0.1182, 0.018591, False),
    (127, 356): (0.8708, -0.0336, -0.5824, 0.005198, True),
    (129, 358): (0.2008, -0.4096, 0.1886, 0.120625, False),
    (130, 359): (0.5253, 0.0001, -0.0100, 0.0, True),
    (132, 361): (0.8177, -0.6247, -0.6102, 0.005560, False),
    (133, 362): (0.2088, -0.0089, 0.0657, 0.053286, True),
    (136, 365): (0.5719, -1.1069, -0.2765, 0.066890, False),
    (143, 372): (0.7206, -0.0481, -0.1814, 0.014817, False),
    (147, 376): (0.7012, -0.5183, -0.1698, 0.014263, False),
    (162, 389): (0.8498, 0.1623, -0.4685, 0.0, True),
    (198, 420): (0.1402, -0.2737, 0.2820, 0.025462, False),
    (205, 425): (0.4311, -0.4725, 0.1085, 0.047252, False),
    (234, 454): (0.8619, -0.2239, -0.6308, 0.0, True),
}


class _Template:
    """Some vertices of the canonical face, ready to be fitted to points again and again."""

    def __init__(self, weights: dict[int, float]) -> None:
        self.index = np.array(list(weights), dtype=np.intp)
        places = {
            vertex: (place[0] if side else -place[0], *place[1:3])
            for pair, place in _VERTICES.items()
            for side, vertex in enumerate(pair)
        }
        weight = np.array(list(weights.values()))[:, None]
        canonical = np.array([places[vertex] for vertex in weights])
        self.shares = weight[:, 0] / weight.sum()
        self.centre = self.shares @ canonical
        centred = canonical - self.centre
        # As these sum to zero, the points that are fitted need no centring.
        self._weighted = weight * centred
        self._spread = float((weight * centred**2).sum())

    def fit(self, points: Array) -> tuple[Array, float]:
        """Weighted similarity from the canonical face to points (n, 3): rotation (3, 3) and scale."""
        u, s, vt = np.linalg.svd(points.T @ self._weighted)
        if np.linalg.det(u @ vt) < 0:
            u[:, 2] = -u[:, 2]
            s[2] = -s[2]
        return u @ vt, float(s.sum()) / self._spread


_POSE: Final = _Template(
    {vertex: place[3] for pair, place in _VERTICES.items() if place[3] for vertex in pair}
)
_RIGID: Final = _Template({vertex: 1.0 for pair, place in _VERTICES.items() if place[4] for vertex in pair})


class Pose(NamedTuple):
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
    """Pose of a face in an unmirrored picture, in a camera of VERTICAL_FOV_RAD."""
    width, height = landmarks.image_size_px
    # Screen at the near plane, origin in the middle, y up; z in the scale of x.
    unit = 2 * NEAR * math.tan(VERTICAL_FOV_RAD / 2) / height
    screen = landmarks.points_px[_POSE.index].astype(np.float64)
    screen[:, 0] = (screen[:, 0] - width / 2) * unit
    screen[:, 1] = (height / 2 - screen[:, 1]) * unit
    screen[:, 2] *= unit
    depth = float(landmarks.points_px[:468, 2].mean()) * unit

    _, scale = _POSE.fit(screen * [1, 1, -1])
    scale *= _POSE.fit(_metric(screen, depth, scale))[1]
    upward, _ = _POSE.fit(_metric(screen, depth, scale))
    return pose_from_rotation(FLIP @ upward @ FLIP)


def weak_perspective(points_px: Points) -> tuple[Array, float, Array]:
    """The canonical face laid over landmarks in parallel projection, by the vertices that expressions leave alone.

    MediaPipe's head pose weights nose wings, cheeks and jaw too, and so nods a little with a smile or an open mouth.

    Returns:
        Rotation (3, 3), pixels per IOD, and where the canonical origin comes to lie (3,): pixels, y up, z to the
        camera. A canonical point p (IOD) lies at `scale · rotation @ p + origin`.
    """
    points = points_px[_RIGID.index].astype(np.float64) @ FLIP
    rotation, scale = _RIGID.fit(points)
    return rotation, scale, _RIGID.shares @ points - scale * rotation @ _RIGID.centre


def _metric(screen: Array, depth: float, scale: float) -> Array:
    """Screen points pushed to their distance and unprojected; z towards the camera."""
    z = (screen[:, 2] - depth + NEAR) / scale
    return np.stack([screen[:, 0] * z / NEAR, screen[:, 1] * z / NEAR, -z], axis=1)
