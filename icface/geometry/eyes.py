"""The eyes of the rig: eyeballs that turn behind the lids, and lids that close and follow the gaze."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray
from icface.geometry import topology as mesh
from icface.geometry.shape import Projection

IRIS_TRAVEL_IOD: Final = np.array([0.135, 0.105], dtype=np.float32)
"""From the eyeball's centre to the iris, as it shows when the gaze turns aside and up or down. An eyeball measures 24 mm,
an IOD 90 mm. Lids hide what lies far up or down."""
PARALLAX: Final = 0.32
"""An iris lies in front of its eye's corners. A head that turns by an angle moves it against them towards the nose, as a
gaze by this share of the angle would. Measured on people who look into the camera with their head turned."""
SAME_RAD: Final = 1e-4
"""Gazes that differ by less are the same: attributes are rounded to float32."""
LIMBUS: Final = np.float32(0.99)
"""How far the iris reaches, in iris radii, with its soft rim."""
LASHES_IOD: Final = 0.016
"""Thickness of the line of the lashes of a closed eye."""

_LIDS: Final = tuple(
    tuple(np.array(row, dtype=np.intp) for row in rows) for rows in (mesh.RIGHT_LIDS, mesh.LEFT_LIDS)
)
# How far each row of lids travels of the way from the upper to the lower lid at full closure. Then how far it travels
# with the iris that moves down, and with one that moves up.
_CLOSE: Final = np.array([0.90, -0.10, 0.55, 0.12, -0.05], dtype=np.float32)
_DOWN: Final = np.array([0.95, 0.38, 0.52, 0.14, 0.25], dtype=np.float32)
_UP: Final = np.array([0.65, 0.25, 0.55, 0.25, 0.12], dtype=np.float32)
_FOLLOW_MAX: Final = 0.75
"""Of the opening: an upper lid that follows the gaze does not close the eye."""


def move_lids(shape: FloatArray, closures: tuple[float, float], gaze_rad: float) -> None:
    """Move the lids of the right and the left eye along their own openings, in place; the skin around them follows.

    `closures` are in [0, 1], `gaze_rad` is downwards. Looking down lowers the lids, and closed lids stay.
    """
    drop = float(IRIS_TRAVEL_IOD[1]) * math.sin(gaze_rad)
    follow = (_DOWN if drop > 0 else _UP) * drop
    for rows, closure in zip(_LIDS, closures, strict=True):
        if closure <= 0.0 and drop == 0.0:
            continue
        travel = shape[rows[1]] - shape[rows[0]]
        height = max(1e-3, -float(travel[3, 1]))
        share = follow * min(1.0, _FOLLOW_MAX * height / max(1e-6, abs(float(follow[0])))) / height
        for row, part in zip(rows, closure * _CLOSE + (1 - closure) * share, strict=True):
            shape[row] += part * travel


class Opening(NamedTuple):
    """The pixels of one opening of the skin in one frame, and what moved."""

    x_px: FloatArray
    """(1, w) positions in the crop."""
    y_px: FloatArray
    """(h, 1)."""
    height_px: float
    """Mean height of the opening."""
    rotation: FloatArray
    gaze_rad: tuple[float, float]
    """Of the eyes in the head: down, and to the image's left."""
    jaw: FloatArray
    """(3,) how far the lower teeth have moved, in head space."""
    vertices: FloatArray


class Eye:
    """One eyeball. A rigid affine leads from the frame to the eye's patch, so that the iris is never squashed.

    With a gaze the iris turns on a sphere: it moves, and is seen at an angle. Behind it lies a picture of the eyeball
    without iris, which stays, with the light that falls on it.
    """

    feather_px = 0.7
    """Softness of the opening's edge."""
    closed_alpha = 0.9
    """Weight of the line that is left when the opening is closed."""

    def __init__(self, cache: Tensors, project: Projection, side: str, contour: tuple[int, ...]) -> None:
        self.contour = list(contour)
        self._project = project
        corners = [contour[0], contour[8]]
        self._centre = cache["neutral_shape"][corners].mean(0)
        # The corners of three pictures: as photographed, without iris, and the iris.
        photo, blank, iris_only = cache[f"{side}_eye_patches"][:, :2].astype(np.float32)
        middle_px = cache["texture_px"][corners].mean(0)
        self._source_px = middle_px - cache[f"{side}_eye_origin"] + photo
        self._blank_px, self._iris_px = blank - photo, iris_only - photo + self._source_px
        self._source_axes = axes(cache["rotation"])
        iris = cache[f"{side}_iris"]
        self._iris = np.linalg.inv(self._source_axes) @ (iris[:2] - middle_px)
        self._iris_radius = LIMBUS * iris[2]
        self._own_gaze_rad = tuple(cache["gaze_rad"].tolist())

    def look(self, opening: Opening) -> tuple[FloatArray, FloatArray, Any]:
        """What is seen through the opening: x and y (h, w) in the atlas `inner`, and brightness (255 = as it is)."""
        centre = self._project(self._centre, opening.rotation)
        dx, dy = opening.x_px - centre[0], opening.y_px - centre[1]
        to_head = inverted(axes(opening.rotation))
        x, y = _times(self._source_axes @ to_head, dx, dy)
        x += self._source_px[0]
        y += self._source_px[1]
        if math.dist(opening.gaze_rad, self._own_gaze_rad) > SAME_RAD:
            x += self._blank_px[0]
            y += self._blank_px[1]
            self._lay_iris(x, y, *_times(to_head, dx, dy), opening.gaze_rad)
        # The closing lids shade the eyeball. The last slit is the dark line of the lashes.
        return x, y, round(255 * (0.15 + 0.85 * self._slit(opening.height_px)))

    def lashes_px(self, height_px: float) -> int:
        """How thick the line of the lashes is: an upper lid that comes down turns them to the camera."""
        return round((1 - self._slit(height_px)) * LASHES_IOD * float(self._project.iod_px))

    def _slit(self, height_px: float) -> float:
        """0 for a closed eye, 1 for one that the lashes do not cover."""
        return min(1.0, height_px / (0.05 * float(self._project.iod_px)))

    def _lay_iris(
        self,
        x: FloatArray,
        y: FloatArray,
        head_x: FloatArray,
        head_y: FloatArray,
        gaze_rad: tuple[float, float],
    ) -> None:
        """Let the places `x`, `y` (h, w) that a turned iris covers show it.

        `head_x`, `head_y` (h, w) are pixels in the head's plane, y up, from the opening's middle.
        """
        direction, own = gaze_direction(gaze_rad), gaze_direction(self._own_gaze_rad)
        centre = self._iris + (direction - own) * IRIS_TRAVEL_IOD * self._project.iod_px
        to_photo = _tilt(own) @ inverted(_tilt(direction))
        dx, dy = _times(to_photo, head_x - centre[0], head_y - centre[1])
        covered = dx * dx + dy * dy < self._iris_radius**2
        dx, dy = _times(self._source_axes, self._iris[0] + dx[covered], self._iris[1] + dy[covered])
        x[covered], y[covered] = self._iris_px[0] + dx, self._iris_px[1] + dy


def seen_gaze(gaze_rad: float, turn_rad: float) -> float:
    """The gaze that shows in the eye's plane while the head is turned by `turn_rad` in the same direction.

    Eyes that turn back to the camera have a part of the way behind them already. Eyes at rest stay as photographed.
    """
    if gaze_rad * turn_rad >= 0.0:
        return gaze_rad
    return math.copysign(max(0.0, abs(gaze_rad) - PARALLAX * abs(turn_rad)), gaze_rad)


def gaze_direction(gaze_rad: tuple[float, float]) -> FloatArray:
    """(2,) where the gaze's unit vector ends in the head's plane, x to the image's right and y up."""
    pitch, yaw = gaze_rad
    return np.array([-math.sin(yaw) * math.cos(pitch), -math.sin(pitch)], dtype=np.float32)


def _tilt(direction: FloatArray) -> FloatArray:
    """(2, 2) from a disc that faces the head's front to the ellipse that it looks like in that direction."""
    squared = float(direction @ direction)
    if squared < 1e-9:
        return np.eye(2, dtype=np.float32)
    shortened = (1 - math.sqrt(max(0.0, 1 - squared))) / squared
    return np.asarray(np.eye(2) - shortened * np.outer(direction, direction), dtype=np.float32)


def axes(rotation: FloatArray) -> FloatArray:
    """Image (y down) of head-space x and y, (2, 2) by columns."""
    return np.array([[rotation[0, 0], rotation[0, 1]], [-rotation[1, 0], -rotation[1, 1]]], dtype=np.float32)


def inverted(matrix: FloatArray) -> FloatArray:
    """The inverse of a matrix (2, 2); several times as fast as LAPACK's."""
    (a, b), (c, d) = matrix.tolist()
    return np.array([[d, -b], [-c, a]], dtype=np.float32) / np.float32(a * d - b * c)


def _times(matrix: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    return matrix[0, 0] * x + matrix[0, 1] * y, matrix[1, 0] * x + matrix[1, 1] * y
