"""A person's neutral 3-D face from one photo's landmarks, and where every mesh vertex lies in that photo.

Head space: unit IOD (outer eye corners, vertices 33 and 263), origin between them, x to the image's right for a
frontal face, y up, z to the camera. Image positions are weak perspective: `base + s · (R (q − PIVOT))` with y
turned down.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icface.attributes import ACTION_UNITS, AU_NAMES, SIDED, FloatArray
from icface.face.pose import FLIP, rotation_from_pose
from icface.geometry import topology as mesh
from icface.geometry.person import Person, rest_of
from icface.geometry.topology import face_tables

PIVOT: Final = np.array([0.0, -0.55, -0.60], dtype=np.float32)
"""The head turns about this point of the neck (IOD)."""
RING: Final = len(mesh.OVAL)
"""Vertices of the face oval, and of the ring around it."""
FACE_CENTRE: Final = np.array([0.0, -0.35], dtype=np.float32)
OVAL_INSET: Final = 0.45
"""Share of the way to their inner neighbours by which the oval's vertices are drawn inwards."""

# Share of a photo's measured Action Unit that is taken out of its shape; .7 where none is named. Lids stay as they
# are, and the lips are closed by `close_lips`.
_REMOVE: Final = {"AU01": 0.6, "AU02": 0.6, "AU04": 0.6, "AU12": 0.9} | dict.fromkeys(
    ("AU05", "AU07", "AU25", "AU26", "AU45"), 0.0
)
_REMOVED: Final = np.array([_REMOVE.get(name, 0.7) for name in AU_NAMES], dtype=np.float32)
STRONG_FROM: Final = 0.35
"""From here on an Action Unit that is measured in a photo is surely an expression."""
# How far a whole one has moved a photographed face, in the table's displacements; .9 where none is named. `close_lips`
# closes the lips.
_WHOLE: Final = {
    "AU01": 1.6, "AU02": 1.2, "AU04": 1.4, "AU07": 0.6, "AU09": 1.2, "AU15": 1.2, "AU17": 1.2, "AU25": 0.0, "AU26": 0.0,
    "AU45": 1.0,
}  # fmt: skip
_WHOLE_PHOTO: Final = np.array([_WHOLE.get(name, 0.9) for name in AU_NAMES], dtype=np.float32)
_SIDED: Final = [AU_NAMES.index(name) for name in SIDED]
_EXPRESSION: Final = [i for i, name in enumerate(AU_NAMES) if name not in ("AU05", "AU07", "AU45")]
_REMOVED_SIDES: Final = np.array([_REMOVE.get(name, 0.7) for name in SIDED], dtype=np.float32)


def rotation_matrix(pitch_rad: float, yaw_rad: float, roll_rad: float) -> FloatArray:
    """Head-space rotation (3, 3) for OpenFace angles, which are stated with y down."""
    return np.asarray(FLIP @ rotation_from_pose(pitch_rad, yaw_rad, roll_rad) @ FLIP, dtype=np.float32)


class Projection(NamedTuple):
    """Where head space lies in the crop."""

    base_px: FloatArray
    """(2,) of PIVOT."""
    iod_px: np.float32

    def __call__(self, points: FloatArray, rotation: FloatArray) -> FloatArray:
        """Head space (..., 3) to crop pixels x, y and depth (IOD, larger = nearer)."""
        turned = np.asarray((points - PIVOT) @ rotation.T, dtype=np.float32)
        turned[..., 0] = self.base_px[0] + self.iod_px * turned[..., 0]
        turned[..., 1] = self.base_px[1] - self.iod_px * turned[..., 1]
        return turned


class SourceShape(NamedTuple):
    """One photo's face, ready to be moved."""

    neutral_shape: FloatArray
    """(468, 3) head space without expression, lips closed."""
    rotation: FloatArray
    """(3, 3) the photo's own head rotation."""
    base_px: FloatArray
    """(2,) image position of PIVOT; it stays where it is when the head turns."""
    iod_px: float
    texture_px: FloatArray
    """(468, 2) where each vertex lies in the photo's crop, with the photo's expression."""
    photo_shape: FloatArray
    """(468, 3) head space with the photo's expression."""


def head_space(points_px: FloatArray, rotation: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Landmarks (n, 3) in pixels (y down, z away) to (n, 3) head space, (2,) eye midpoint in pixels, pixels per IOD."""
    flipped = points_px * np.array([1, -1, -1], dtype=np.float32)
    middle = (flipped[33] + flipped[263]) / 2
    iod_px = float(np.linalg.norm(flipped[33] - flipped[263]))
    shape = (flipped - middle) @ rotation / np.float32(iod_px)
    return shape.astype(np.float32), np.array([middle[0], -middle[1]], dtype=np.float32), iod_px


def inset_oval(points: FloatArray) -> FloatArray:
    """Landmarks (468, 3) with the oval drawn inwards.

    The oval's landmarks lie on the silhouette or a little outside. A turn that stretches the cheek would smear
    background over it from there.
    """
    oval = list(mesh.OVAL)
    result = points.copy()
    result[oval] += OVAL_INSET * (_oval_neighbours() @ points - points[oval])
    return result


@cache
def _oval_neighbours() -> FloatArray:
    """(36, 468) weights that average the inner vertices to which each vertex of the oval is joined."""
    triangles = face_tables().skin_triangles
    weights = np.zeros((len(mesh.OVAL), mesh.FACE_VERTICES), dtype=np.float32)
    for row, vertex in enumerate(mesh.OVAL):
        inner = np.setdiff1d(triangles[(triangles == vertex).any(axis=1)], mesh.OVAL)
        weights[row, inner] = 1.0 / len(inner)
    return weights


def neutral_shape(
    shape: FloatArray, action_units: FloatArray, sides: FloatArray, person: Person | None = None
) -> FloatArray:
    """Take measured Action Units (17,) and sides (13,) out of a head-space shape (468, 3), and close the lips.

    The face is that of `person`, or of anybody.
    """
    known = person or face_tables()
    expression = np.tensordot(action_units * _REMOVED, known.displacements, axes=1)
    expression += np.tensordot(sides * _REMOVED_SIDES, known.extensions[: len(SIDED)], axes=1)
    rest = close_lips((shape - expression).astype(np.float32))
    if person is None:
        return rest
    return close_lips(rest_of(person, rest, float(action_units[_EXPRESSION].max())))


def calmed_shape(shape: FloatArray, expression: FloatArray, sides: FloatArray) -> FloatArray:
    """A neutral shape (468, 3) without what `neutral_shape` leaves of a strong expression: brows, nose and lids.

    Closed eyes come open. What the photo lacks there has to be painted. The others are what `beyond_doubt` gives.
    """
    known, more = face_tables(), np.maximum(_WHOLE_PHOTO - _REMOVED, 0)
    moved = np.tensordot(expression * more, known.displacements, axes=1)
    moved += np.tensordot(sides * more[_SIDED], known.extensions[: len(SIDED)], axes=1)
    return close_lips((shape - moved).astype(np.float32))


def beyond_doubt(action_units: FloatArray, sides: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of measured Action Units (17,) and sides (13,), what is surely an expression: each side from STRONG_FROM on."""
    half = np.zeros_like(action_units)
    half[_SIDED] = sides / 2
    right, left = (
        np.clip((action_units + sign * half - STRONG_FROM) / (1 - STRONG_FROM), 0, 1) for sign in (-1, 1)
    )
    return (right + left) / 2, (left - right)[_SIDED]


def close_lips(shape: FloatArray) -> FloatArray:
    """Close the gap between the inner lips exactly. The upper lip moves 30 %, the lower 70 %, fading over the face."""
    result = shape.copy()
    upper, lower = list(mesh.INNER_UPPER_LIP[1:-1]), list(mesh.INNER_LOWER_LIP[1:-1])
    gap = shape[upper] - shape[lower]
    gap[:, 0] = 0.0
    gap[gap[:, 1] <= 0] = 0.0
    middle = (shape[upper] + shape[lower]) / 2
    order = np.argsort(middle[:, 0])
    height = shape[:, 1] - np.interp(shape[:, 0], middle[order, 0], middle[order, 1])
    for rows, share, width, below in ((upper, -0.3, 0.18, False), (lower, 0.7, 0.30, True)):
        centre = shape[rows]
        distance = np.linalg.norm(shape[:, None, :2] - centre[None, :, :2], axis=2)
        weight = np.exp(-((distance / width) ** 2))
        nearest = np.exp(-((distance / 0.06) ** 2)) + 1e-9
        local = (nearest[..., None] * gap[None]).sum(1) / nearest.sum(1, keepdims=True)
        moved = (height < 0) if below else (height > 0)
        moved[rows] = True
        moved[upper if below else lower] = False
        result += share * weight.max(1, keepdims=True) * local * moved[:, None]
    meeting = (result[upper] + result[lower]) / 2
    result[upper], result[lower] = meeting, meeting
    return result.astype(np.float32)


def fit_source(
    points_px: FloatArray,
    rotation: FloatArray,
    attributes: FloatArray,
    sides: FloatArray,
    person: Person | None = None,
) -> SourceShape:
    """Shape of a face in a crop: (478, 3) landmarks, (3, 3) head rotation, and what was measured.

    That is (20,) attributes, and left minus right (13,) in `SIDED` order. `person` is whose face it is, if that is known.
    """
    points_px = inset_oval(points_px[: mesh.FACE_VERTICES])
    shape, eyes_px, iod_px = head_space(points_px, rotation)
    pivot = rotation @ PIVOT
    base_px = eyes_px + np.float32(iod_px) * np.array([pivot[0], -pivot[1]], dtype=np.float32)
    return SourceShape(
        neutral_shape=neutral_shape(shape, attributes[ACTION_UNITS], sides, person),
        rotation=rotation,
        base_px=base_px,
        iod_px=iod_px,
        texture_px=np.ascontiguousarray(points_px[:, :2], dtype=np.float32),
        photo_shape=shape,
    )


def ring_around(shape: FloatArray) -> FloatArray:
    """A ring of vertices (36, 3) around the face oval, in head space."""
    oval = shape[list(mesh.OVAL)]
    out = oval[:, :2] - FACE_CENTRE
    up = np.clip(out[:, 1:] / np.abs(out[:, 1]).max(), -1, 1)
    reach, depth = ring_place(oval[:, 2:], up)
    return np.hstack([FACE_CENTRE + out * reach, depth]).astype(np.float32)


def ring_place(oval_depth: Any, up: Any) -> tuple[Any, Any]:
    """How many times as far out as the oval the ring lies, and its depth, where the oval has a depth and points up (±1).

    The head rounds off behind the oval: hair over the forehead lies further forward than ears and neck.
    """
    return 1.15 + 0.30 * np.clip(up, 0, 1), 0.5 * oval_depth - 0.35 - 0.10 * np.clip(-up, 0, 1)


def ring_triangles() -> NDArray[np.int32]:
    """Triangles of the strip between oval and ring, vertex numbers after the 468 of the face."""
    inner, outer = np.array(mesh.OVAL), mesh.FACE_VERTICES + np.arange(RING)
    first = np.stack([inner, np.roll(inner, -1), outer], axis=-1)
    second = np.stack([np.roll(inner, -1), np.roll(outer, -1), outer], axis=-1)
    return np.concatenate([first, second]).astype(np.int32)
