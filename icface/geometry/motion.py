"""From 20 attributes to a backward map: the per-frame host part of the edge generator.

A newcomer reads `Motion.step`: attributes → moved vertices → coarse flow of the whole crop → exact map of the
face → maps of eyes and mouth behind the skin.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, pose_from_unit
from icface.geometry import layers, raster
from icface.geometry.shape import PIVOT, rotation_matrix
from icface.geometry.tables import face_tables
from icface.geometry.topology import (
    FACE_VERTICES,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE_OPENING,
    LEFT_LOWER_LID,
    LEFT_LOWER_RING1,
    LEFT_UPPER_LID,
    LEFT_UPPER_RING1,
    LEFT_UPPER_RING2,
    MOUTH_OPENING,
    OVAL,
    RIGHT_EYE_OPENING,
    RIGHT_LOWER_LID,
    RIGHT_LOWER_RING1,
    RIGHT_UPPER_LID,
    RIGHT_UPPER_RING1,
    RIGHT_UPPER_RING2,
)

Float = NDArray[np.float32]

GRID_CELLS = 64
FLOW_BLUR_CELLS = 1.8
JAW_FOLLOW = 0.75
"""How much of the oval's expression the ring behind it takes part in: the jaw's outline lies between the two."""
BORDER_CELLS = 5.0
"""Over this many cells the flow fades to exactly zero at the crop's border."""

# A rendered movement re-measures smaller or larger than asked for; these bring the slopes near one.
PARTING_POWER = 0.75
POSE_GAIN = np.array([1.24, 1.34, 1.0], dtype=np.float32)
AU_GAIN = dict(
    zip(
        AU_NAMES,
        (1.5, 1.2, 1.25, 1.5, 1.0, 1.5, 1.2, 1.1, 1.0, 1.0, 1.5, 1.0, 1.5, 1.2, 1.25, 1.15, 1.3),
        strict=True,
    )
)

_AU = {name: i for i, name in enumerate(AU_NAMES)}


def ring_triangles() -> NDArray[np.int32]:
    """Triangles of the strips oval–ring 1–ring 2–border, vertex numbers after the 468 of the face."""
    n = len(OVAL)
    loops = [list(OVAL)] + [[FACE_VERTICES + k * n + i for i in range(n)] for k in range(3)]
    triangles = []
    for inner, outer in pairwise(loops):
        for i in range(n):
            j = (i + 1) % n
            triangles += [(inner[i], inner[j], outer[i]), (inner[j], outer[j], outer[i])]
    return np.array(triangles, dtype=np.int32)


def border_points(base_px: Float, directions: Float, width: int, height: int) -> Float:
    """Where rays from `base_px` along `directions` (n, 2) leave the crop, (n, 2)."""
    limits = np.where(directions > 0, [width - 1, height - 1], 0.0) - base_px
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(np.abs(directions) > 1e-6, limits / directions, np.inf)
    return np.asarray(base_px + directions * steps.min(1, keepdims=True), dtype=np.float32)


class Motion:
    """The moving part of one source at one size; not shared between threads.

    Args:
        cache: tensors made by `prepare_source`.
        size_px: (width, height) of the output; the crop's own size.
    """

    def __init__(self, cache: Mapping[str, NDArray[np.generic]], size_px: tuple[int, int]) -> None:
        tables = face_tables()
        width, height = size_px
        self._neutral = np.asarray(cache["neutral_shape"], dtype=np.float32)
        self._basis = tables.displacements.reshape(len(AU_NAMES), -1)
        self._base = np.asarray(cache["base_px"], dtype=np.float32)
        self._iod = np.float32(cache["iod_px"][()])
        self._gain = np.array([AU_GAIN[name] for name in AU_NAMES], dtype=np.float32)
        self._pose_offset = np.asarray(cache["pose_offset_rad"], dtype=np.float32)
        self._au_offset = np.asarray(cache["au_offset"], dtype=np.float32)
        source_rotation = np.asarray(cache["rotation"], dtype=np.float32)

        # Texture: where every vertex lies in the photo.
        texture = np.asarray(cache["texture_px"], dtype=np.float32)
        self._ring_shape = np.asarray(cache["ring_shape"], dtype=np.float32)
        self._ring_weight = np.asarray(cache["ring_weight"], dtype=np.float32)[:, None]
        self._ring_rest_px = self._project(self._ring_shape, source_rotation)[:, :2]
        outer = self._ring_rest_px[len(OVAL) :]
        centre = self._ring_rest_px.mean(0)
        self._border_px = border_points(centre, outer - centre, width, height)
        self._ring_px = _keep_inside(self._ring_rest_px, self._border_px)
        self._skin_triangles = np.concatenate([tables.skin_triangles, ring_triangles()[: 2 * len(OVAL)]])
        self._all_triangles = np.concatenate(
            [tables.skin_triangles, tables.opening_triangles, ring_triangles()]
        )
        ring1 = len(OVAL)
        self._values = np.zeros((FACE_VERTICES + ring1, 3), dtype=np.float32)
        self._values[:, :2] = np.concatenate([texture, self._ring_px[:ring1]])
        self._values[:FACE_VERTICES, 2] = 1.0
        self._step = int(np.ceil(max(width, height) / GRID_CELLS))
        rows = int(np.ceil(height / self._step)) + 1
        cols = int(np.ceil(width / self._step)) + 1
        nodes = len(texture) + len(self._ring_px) + len(self._border_px)
        self._coarse_values = np.ones((nodes, 3), dtype=np.float32)
        self._coarse_values[:, :2] = np.concatenate([texture, self._ring_px, self._border_px])
        self._coarse_vertices = np.full((nodes, 3), -3.0, dtype=np.float32)
        self._coarse_vertices[-len(self._border_px) :, :2] = self._border_px / self._step
        node_x, node_y = np.meshgrid(np.arange(cols), np.arange(rows))
        self._identity = np.stack([node_x, node_y], axis=-1).astype(np.float32) * np.float32(self._step)
        last_x, last_y = (width - 1) / self._step, (height - 1) / self._step
        edge = np.minimum.reduce([node_x, node_y, last_x - node_x, last_y - node_y])
        fade = np.clip(edge / BORDER_CELLS, 0, 1)
        self._fade = (fade * fade * (3 - 2 * fade)).astype(np.float32)[..., None]
        self._grid = np.empty_like(self._identity)
        self._grid_depth = np.empty((rows, cols), dtype=np.float32)
        self._depth = np.empty((height, width), dtype=np.float32)
        self._vertices = np.empty((FACE_VERTICES + ring1, 3), dtype=np.float32)

        # Eyes and mouth behind the skin.
        self._parts: tuple[_Part, ...] = (
            _Eye(cache, "right", RIGHT_EYE_OPENING, source_rotation),
            _Eye(cache, "left", LEFT_EYE_OPENING, source_rotation),
            _Mouth(cache),
        )
        self._pixel_x = np.arange(width, dtype=np.float32)[None, :]
        self._pixel_y = np.arange(height, dtype=np.float32)[:, None]
        self._skin_map: Float = np.empty((height, width, 2), dtype=np.float32)
        self._inner_map: Float = np.zeros((height, width, 2), dtype=np.float32)
        self._alpha: NDArray[np.uint8] = np.zeros((height, width), dtype=np.uint8)
        self._shade: NDArray[np.uint8] = np.full((height, width), 255, dtype=np.uint8)
        self._regions: NDArray[np.int32] = np.zeros((3, 4), dtype=np.int32)
        self._out: dict[str, NDArray[np.generic]] = {
            "skin_map": self._skin_map,
            "inner_map": self._inner_map,
            "inner_alpha": self._alpha,
            "inner_shade": self._shade,
            "regions": self._regions,
        }

    def step(self, attributes: Float) -> dict[str, NDArray[np.generic]]:
        """Maps for one frame (see the module `warp` for what they mean); overwritten by the next call.

        Args:
            attributes: (20,) full-shape, finite, in [0, 1].
        """
        rotation = self._rotation(attributes)
        action_units = np.clip(attributes[ACTION_UNITS] * self._gain + self._au_offset, -0.5, 1.5)
        shape = self._moved(action_units)
        self._vertices[:FACE_VERTICES] = self._project(shape, rotation)
        self._coarse_flow(shape, rotation)
        raster.upsample_grid(self._grid, self._step, self._skin_map)
        raster.raster_map(self._vertices, self._skin_triangles, self._values, self._depth, self._skin_map)
        self._behind_the_skin(action_units, rotation)
        return self._out

    def _rotation(self, attributes: Float) -> Float:
        pose = pose_from_unit(attributes[POSE]) * POSE_GAIN + self._pose_offset
        return rotation_matrix(float(pose[0]), float(pose[1]), float(pose[2]))

    def _moved(self, action_units: Float) -> Float:
        """(468, 3) head space: neutral plus Action Units, lids travelling along their own opening."""
        coefficients = action_units.copy()
        closure = float(np.clip(coefficients[_AU["AU45"]], 0.0, 1.0))
        coefficients[_AU["AU45"]] = 0.0
        # These share their motion: a smile has raised the lip already, a raised lip has opened the mouth already.
        coefficients[_AU["AU10"]] *= 1 - 0.5 * min(1.0, max(0.0, coefficients[_AU["AU12"]]))
        parted = coefficients[_AU["AU25"]] * (1 - 0.5 * min(1.0, max(0.0, coefficients[_AU["AU10"]])))
        # Trackers miss narrow gaps between the lips, so a small value already stands for a visible one.
        coefficients[_AU["AU25"]] = max(0.0, parted) ** PARTING_POWER
        shape: Float = self._neutral + (coefficients @ self._basis).reshape(FACE_VERTICES, 3)
        _close_lids(shape, closure)
        _part_lips(shape)
        return shape

    def _project(self, shape: Float, rotation: Float) -> Float:
        """Head space (n, 3) to crop pixels x, y and depth (IOD, larger = nearer)."""
        turned = (shape - PIVOT) @ rotation.T
        turned[:, 0] = self._base[0] + self._iod * turned[:, 0]
        turned[:, 1] = self._base[1] - self._iod * turned[:, 1]
        return np.asarray(turned, dtype=np.float32)

    def _coarse_flow(self, shape: Float, rotation: Float) -> None:
        """The backward map of the whole crop on a coarse grid: smooth, and exactly identity at the border."""
        vertices = self._coarse_vertices
        n = len(self._ring_shape)
        ring = self._ring_shape.copy()
        oval = list(OVAL)
        ring[: len(oval)] += JAW_FOLLOW * (shape[oval] - self._neutral[oval])
        moved = self._project(ring, rotation)
        target = self._ring_px + self._ring_weight * (moved[:, :2] - self._ring_rest_px)
        self._vertices[FACE_VERTICES:, :2] = target[: len(oval)]
        self._vertices[FACE_VERTICES:, 2] = moved[: len(oval), 2]
        vertices[:FACE_VERTICES] = self._vertices[:FACE_VERTICES]
        vertices[FACE_VERTICES : FACE_VERTICES + n, :2] = target
        vertices[FACE_VERTICES : FACE_VERTICES + n, 2] = moved[:, 2]
        vertices[: FACE_VERTICES + n, :2] /= np.float32(self._step)
        np.copyto(self._grid, self._identity)
        raster.raster_map(vertices, self._all_triangles, self._coarse_values, self._grid_depth, self._grid)
        self._grid -= self._identity
        cv2.GaussianBlur(self._grid, (0, 0), FLOW_BLUR_CELLS, dst=self._grid, borderType=cv2.BORDER_REPLICATE)
        self._grid *= self._fade
        self._grid += self._identity

    def _behind_the_skin(self, action_units: Float, rotation: Float) -> None:
        alpha = self._alpha
        for x0, y0, x1, y1 in self._regions:  # what the last frame drew
            alpha[y0:y1, x0:x1] = 0
        for i, part in enumerate(self._parts):
            polygon = self._vertices[part.contour, :2]
            box = _box(polygon, alpha.shape[1], alpha.shape[0], margin=2)
            self._regions[i] = box
            x0, y0, x1, y1 = box
            if x1 <= x0 or y1 <= y0:
                continue
            view = alpha[y0:y1, x0:x1]
            # A polygon is drawn with its outline, so a closed one leaves a hair line: lips fade it out, lids
            # keep it as the line of the lashes.
            opening_px = 0.5 * abs(_area(polygon)) / max(1.0, float(np.ptp(polygon[:, 0])))
            weight = round(255 * min(1.0, max(part.closed_alpha, opening_px - 0.25)))
            corners = np.round((polygon - [x0, y0]) * 16).astype(np.int32)
            cv2.fillPoly(view, [corners], (weight,), cv2.LINE_AA, 4)
            cv2.GaussianBlur(view, (3, 3), part.feather, dst=view)
            part.fill(
                self._inner_map[y0:y1, x0:x1],
                self._shade[y0:y1, x0:x1],
                self._pixel_x[:, x0:x1],
                self._pixel_y[y0:y1],
                _Moment(rotation, self._base, self._iod, action_units, self._vertices, opening_px),
            )


def _keep_inside(points_px: Float, border_px: Float) -> Float:
    """Ring vertices pulled back inside the crop, so that the strips around them do not fold over the border."""
    n = len(border_px)
    centre = points_px.mean(0)
    result = points_px.copy()
    for k, share in enumerate((0.80, 0.92)):
        rows = slice(k * n, (k + 1) * n)
        reach = np.linalg.norm(border_px - centre, axis=1) * share
        distance = np.linalg.norm(points_px[rows] - centre, axis=1)
        scale = np.minimum(1.0, reach / np.maximum(distance, 1e-6))[:, None]
        result[rows] = centre + (points_px[rows] - centre) * scale
    return result.astype(np.float32)


_LIDS = tuple(
    tuple(np.array(row, dtype=np.intp) for row in rows)
    for rows in (
        (RIGHT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_UPPER_RING1, RIGHT_UPPER_RING2, RIGHT_LOWER_RING1),
        (LEFT_UPPER_LID, LEFT_LOWER_LID, LEFT_UPPER_RING1, LEFT_UPPER_RING2, LEFT_LOWER_RING1),
    )
)


def _close_lids(shape: Float, closure: float) -> None:
    """Move the upper lid .90 and the lower lid .10 of the opening at full closure, the skin above following."""
    if closure <= 0.0:
        return
    for upper, lower, ring1, ring2, lower_ring in _LIDS:
        travel = (shape[lower] - shape[upper]) * np.float32(closure)
        shape[upper] += 0.90 * travel
        shape[lower] -= 0.10 * travel
        shape[ring1] += 0.55 * travel
        shape[ring2] += 0.12 * travel
        shape[lower_ring] -= 0.05 * travel


_LIP_ROWS = (np.array(INNER_UPPER_LIP[1:-1], dtype=np.intp), np.array(INNER_LOWER_LIP[1:-1], dtype=np.intp))


_UPPER_EDGE_ROW = np.array(INNER_UPPER_LIP, dtype=np.intp)
_LOWER_EDGE_ROW = np.array(INNER_LOWER_LIP, dtype=np.intp)


def _part_lips(shape: Float) -> None:
    """Where the lips would pass through each other they meet half-way, column by column."""
    upper, lower = _LIP_ROWS
    overlap = np.maximum(shape[lower, 1] - shape[upper, 1], 0.0)
    shape[upper, 1] += overlap / 2
    shape[lower, 1] -= overlap / 2


def _box(polygon: Float, width: int, height: int, *, margin: int) -> tuple[int, int, int, int]:
    low = np.floor(polygon.min(0)).astype(int) - margin
    high = np.ceil(polygon.max(0)).astype(int) + margin + 1
    return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))


def _area(polygon: Float) -> float:
    """Twice the signed area of a polygon (n, 2)."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


class _Moment(NamedTuple):
    """What the parts behind the skin need to know of one frame."""

    rotation: Float
    base_px: Float
    iod_px: np.float32
    action_units: Float
    vertices: Float
    opening_px: float
    """Mean height of the part's own opening."""


class _Part(Protocol):
    """Something behind an opening of the skin."""

    contour: list[int]
    feather: float
    """Softness of its edge, pixels."""
    closed_alpha: float
    """Weight of the line that is left when it is closed."""

    def fill(
        self, inner_map: Float, shade: NDArray[np.uint8], x_px: Float, y_px: Float, moment: _Moment
    ) -> None:
        """Write where its pixels come from and how bright they are."""
        ...


class _Eye:
    """One eyeball: a rigid affine from target to the eye's patch, so that the iris never squashes."""

    feather = 0.7
    closed_alpha = 0.75

    def __init__(
        self, cache: Mapping[str, NDArray[np.generic]], side: str, contour: tuple[int, ...], rotation: Float
    ) -> None:
        self.contour = list(contour)
        self._corners = [contour[0], contour[8]]
        neutral = np.asarray(cache["neutral_shape"], dtype=np.float32)
        self._centre = neutral[self._corners].mean(0)
        origin = np.asarray(cache[f"{side}_eye_origin"], dtype=np.float32)
        patch = np.asarray(cache[f"{side}_eye_patch"], dtype=np.float32)
        texture = np.asarray(cache["texture_px"], dtype=np.float32)
        self._source_px = texture[self._corners].mean(0) - origin + patch[:2]
        self._source_axes = _axes(rotation)

    def fill(
        self, inner_map: Float, shade: NDArray[np.uint8], x_px: Float, y_px: Float, moment: _Moment
    ) -> None:
        rotation, base, iod = moment.rotation, moment.base_px, moment.iod_px
        turned = rotation @ (self._centre - PIVOT)
        centre = base + iod * np.array([turned[0], -turned[1]], dtype=np.float32)
        affine = self._source_axes @ np.linalg.inv(_axes(rotation))
        dx, dy = x_px - centre[0], y_px - centre[1]
        inner_map[..., 0] = self._source_px[0] + affine[0, 0] * dx + affine[0, 1] * dy
        inner_map[..., 1] = self._source_px[1] + affine[1, 0] * dx + affine[1, 1] * dy
        # The closing lids shade the eyeball; the last slit is the dark line of the lashes.
        slit = min(1.0, moment.opening_px / (0.035 * float(iod)))
        shade[:] = round(255 * (0.25 + 0.75 * slit))


def _axes(rotation: Float) -> Float:
    """Image (y down) of head-space x and y, (2, 2) by columns."""
    return np.array([[rotation[0, 0], rotation[0, 1]], [-rotation[1, 0], -rotation[1, 1]]], dtype=np.float32)


class _Mouth:
    """The inside of the mouth: upper teeth ride on the skull, lower teeth and tongue on the jaw."""

    feather = 0.9
    closed_alpha = 0.0

    def __init__(self, cache: Mapping[str, NDArray[np.generic]]) -> None:
        self.contour = list(MOUTH_OPENING)
        neutral = np.asarray(cache["neutral_shape"], dtype=np.float32)
        self._upper = layers.mouth_anchor(neutral)
        self._jaw = face_tables().displacements[_AU["AU26"], 152] * np.float32(0.8)
        self._patch = np.asarray(cache["mouth_patch"], dtype=np.float32)
        rows = np.asarray(cache["mouth_rows"], dtype=np.float32)
        self._scale, self._upper_row, self._lower_row, self._upper_edge = rows[:4]
        # Photographed teeth carry their lips' shadow already.
        self._shadow = np.float32(0.4 if rows[4] else 1.0)

    def fill(
        self, inner_map: Float, shade: NDArray[np.uint8], x_px: Float, y_px: Float, moment: _Moment
    ) -> None:
        rotation, base, iod = moment.rotation, moment.base_px, moment.iod_px
        inverse = np.linalg.inv(_axes(rotation)) / iod

        def local(anchor: Float) -> tuple[Float, Float]:
            turned = rotation @ (anchor - PIVOT)
            dx = x_px - (base[0] + iod * turned[0])
            dy = y_px - (base[1] - iod * turned[1])
            return inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy

        x, upper_y = local(self._upper)
        jaw_x, lower_y = local(self._upper + self._jaw * moment.action_units[_AU["AU26"]])
        below = self._upper_edge - upper_y  # > 0 under the upper teeth
        above = lower_y - layers.LOWER_EDGE  # > 0 over the lower teeth
        blend = np.clip(below / np.maximum(below + np.maximum(above, 0.0), 1e-4), 0.0, 1.0)
        scale = self._scale
        upper_row = self._upper_row + below * scale
        lower_row = self._lower_row - above * scale
        middle_row = self._upper_row + blend * (self._lower_row - self._upper_row)
        row = np.where(below < 0, upper_row, np.where(above < 0, lower_row, middle_row))
        column = (x + blend * (jaw_x - x)) * scale + (self._patch[2] - 1) / 2
        inner_map[..., 0] = self._patch[0] + np.clip(column, 0, self._patch[2] - 1)
        inner_map[..., 1] = self._patch[1] + np.clip(row, 0, self._patch[3] - 1)
        # Lips throw a soft shadow inwards; a wider mouth lets more light in.
        upper, lower = moment.vertices[_UPPER_EDGE_ROW], moment.vertices[_LOWER_EDGE_ROW]
        across = np.argsort(upper[:, 0])
        lip_y = np.interp(x_px[0], upper[across, 0], upper[across, 1])
        gap = max(float((lower[:, 1] - upper[:, 1]).max()) / float(iod), 1e-3)
        under_lip = np.clip((y_px - lip_y[None, :]) / (0.05 * iod), 0.0, 1.0)
        # A narrow slit is dark, whatever is behind it.
        entering = 0.35 + 0.65 * min(1.0, gap / 0.09)
        light = (1 - self._shadow * 0.30 * (1 - under_lip)) * entering
        shade[:] = np.round(255 * light)
