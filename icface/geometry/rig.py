"""The face rig: from 20 attributes to the maps of a backward warp. This is the edge family's work per frame.

Attributes → moved vertices → flow of head and body → exact map of the face → maps of eyes and mouth behind it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, FloatArray, pose_from_unit
from icface.geometry import layers, raster
from icface.geometry import topology as mesh
from icface.geometry.flow import HeadFlow
from icface.geometry.shape import RING, Projection, ring_triangles, rotation_matrix
from icface.geometry.topology import face_tables

GRID_CELLS: Final = 64
PARTING_POWER: Final = 0.9
"""Trackers miss narrow gaps between the lips, so a small AU25 already stands for a visible gap."""
LAUGH: Final = 0.45
"""How much of a smile is added where the jaw drops, because a dropped jaw alone draws the corners in and down."""

# A tracker reads a rendered movement as smaller or larger than asked. These gains bring the slopes near one.
POSE_GAIN: Final = np.array([1.28, 1.4, 1.0], dtype=np.float32)
AU_GAIN: Final = np.array(
    [2.0, 1.5, 1.65, 1.15, 1.2, 1.6, 1.65, 1.2, 1.4, 1.0, 1.8, 1.4, 1.4, 1.6, 1.1, 1.4, 1.4], dtype=np.float32
)

_AU01, _AU04, _AU10, _AU12, _AU25, _AU26, _AU45 = (
    AU_NAMES.index(name) for name in ("AU01", "AU04", "AU10", "AU12", "AU25", "AU26", "AU45")
)
_LIDS: Final = tuple(
    tuple(np.array(row, dtype=np.intp) for row in rows) for rows in (mesh.RIGHT_LIDS, mesh.LEFT_LIDS)
)
LIPS_FOLLOW: Final = 0.35
"""AU25 that a whole AU26 takes back. Trackers see less of a chin's drop than of the gap between the lips."""
_LID_SHARES: Final = (0.90, -0.10, 0.55, 0.12, -0.05)
"""How far each of these rows travels of the way from the upper to the lower lid."""
LASHES_IOD: Final = 0.016
"""Thickness of the line of the lashes of a closed eye."""
_UPPER_LIP: Final = np.array(mesh.INNER_UPPER_LIP, dtype=np.intp)
_LOWER_LIP: Final = np.array(mesh.INNER_LOWER_LIP, dtype=np.intp)


class FaceRig:
    """Moves one source that `prepare_source` made. Frames have the size of its `plate`. One thread uses it."""

    def __init__(self, cache: Tensors, still_border: bool = False) -> None:
        tables = face_tables()
        height, width = cache["plate"].shape[:2]
        margin = int(cache["margin"])
        self._neutral = cache["neutral_shape"]
        self._basis = tables.displacements.reshape(len(AU_NAMES), -1)
        self._project = Projection(cache["base_px"], np.float32(cache["iod_px"][()]))
        self._pose_offset = cache["pose_offset_rad"]
        self._au_offset = cache["au_offset"]

        # The exact map of the face, and of a strip around it. Values: a vertex's place in the layer, and its weight.
        self._ring_shape = cache["ring_shape"]
        ring_px = self._project(self._ring_shape, cache["rotation"])[:, :2]
        self._ring_px = np.clip(ring_px, -margin, np.array([width, height], dtype=np.float32) - 1 + margin)
        self._vertices = np.empty((mesh.FACE_VERTICES + RING, 3), dtype=np.float32)
        self._triangles = np.concatenate([tables.skin_triangles, ring_triangles()])
        self._values = np.zeros_like(self._vertices)
        self._values[:, :2] = np.concatenate([cache["texture_px"], self._ring_px]) + margin
        self._values[: mesh.FACE_VERTICES, 2] = 1.0
        self._depth = np.empty((height, width), dtype=np.float32)

        # The flow of everything else, on a coarse grid.
        self._step = int(np.ceil(max(width, height) / GRID_CELLS))
        rows, cols = (int(np.ceil(side / self._step)) + 1 for side in (height, width))
        self._grid = np.empty((rows, cols, 2), dtype=np.float32)
        self._margin = np.float32(margin)
        self._flow = HeadFlow(cache, self._project, self._step, (rows, cols), still_border or not margin)

        self._behind: tuple[_Eye | _Mouth, ...] = (
            _Eye(cache, self._project, "right", mesh.RIGHT_EYE_OPENING),
            _Eye(cache, self._project, "left", mesh.LEFT_EYE_OPENING),
            _Mouth(cache, self._project),
        )
        self._motion: dict[str, NDArray[Any]] = {
            "skin_map": np.empty((height, width, 2), dtype=np.float32),
            "inner_map": np.zeros((height, width, 2), dtype=np.float32),
            "inner_alpha": np.zeros((height, width), dtype=np.uint8),
            "inner_shade": np.full((height, width), 255, dtype=np.uint8),
            "regions": np.zeros((len(self._behind), 4), dtype=np.int32),
        }

    def motion(self, attributes: FloatArray) -> Tensors:
        """The maps of one frame, overwritten by the next call, from (20,) full-shape attributes, finite, in [0, 1].

        The module `warp` says what the maps mean.
        """
        pose = pose_from_unit(attributes[POSE]) * POSE_GAIN + self._pose_offset
        rotation = rotation_matrix(*pose.tolist())
        action_units = np.clip(attributes[ACTION_UNITS] * AU_GAIN + self._au_offset, -0.5, 2.0)
        shape = self._moved(action_units)
        self._vertices[: mesh.FACE_VERTICES] = self._project(shape, rotation)
        self._flow.move(shape, rotation)
        ring = self._vertices[mesh.FACE_VERTICES :]
        ring[:, :2] = self._ring_px + self._flow.at(self._ring_px)
        ring[:, 2] = self._project(self._ring_shape, rotation)[:, 2]
        self._flow.backward(self._grid)
        self._grid += self._margin
        skin_map = self._motion["skin_map"]
        raster.upsample_grid(self._grid, self._step, skin_map)
        raster.raster_map(self._vertices, self._triangles, self._values, self._depth, skin_map)
        self._behind_the_skin(action_units, rotation)
        return self._motion

    def _moved(self, action_units: FloatArray) -> FloatArray:
        """(468, 3) head space: the neutral shape moved by Action Units (17,)."""
        amounts = action_units.copy()
        # Lids travel along their own opening, so AU45 is done apart.
        closure = float(np.clip(amounts[_AU45], 0.0, 1.0))
        amounts[_AU45] = 0.0
        # Brows that are raised and drawn together at once stay oblique: the frown does not lower their inner ends.
        amounts[_AU01] += 0.6 * max(0.0, min(amounts[_AU01], amounts[_AU04]))
        # These movements overlap: a smile has raised the lip already, and a raised lip has opened the mouth already.
        amounts[_AU10] *= 1 - 0.8 * min(1.0, max(0.0, amounts[_AU12]))
        parted = amounts[_AU25] * (1 - 0.5 * min(1.0, max(0.0, amounts[_AU10])))
        amounts[_AU25] = max(0.0, parted) ** PARTING_POWER - LIPS_FOLLOW * max(0.0, amounts[_AU26])
        amounts[_AU12] *= 1 + LAUGH * min(1.0, max(0.0, amounts[_AU26]))
        moved = (amounts @ self._basis).reshape(self._neutral.shape)
        shape = np.asarray(self._neutral + moved, dtype=np.float32)
        _close_lids(shape, closure)
        _part_lips(shape)
        return shape

    def _behind_the_skin(self, action_units: FloatArray, rotation: FloatArray) -> None:
        """Map eyes and mouth, each inside the box of its opening."""
        alpha, regions = self._motion["inner_alpha"], self._motion["regions"]
        height, width = alpha.shape
        for x0, y0, x1, y1 in regions:  # clear what the last frame drew
            alpha[y0:y1, x0:x1] = 0
        for region, part in zip(regions, self._behind, strict=True):
            polygon = self._vertices[part.contour, :2]
            margin = 2
            x0, y0 = np.maximum(np.floor(polygon.min(0)).astype(int) - margin, 0)
            x1, y1 = np.minimum(np.ceil(polygon.max(0)).astype(int) + margin + 1, (width, height))
            region[:] = x0, y0, x1, y1
            if x1 <= x0 or y1 <= y0:
                continue
            view = alpha[y0:y1, x0:x1]
            # cv2 draws a polygon with its outline, so a closed opening leaves a hair line. Lips fade it out. Lids
            # keep it as the line of the lashes.
            height_px = cv2.contourArea(polygon) / max(1.0, float(np.ptp(polygon[:, 0])))
            weight = round(255 * min(1.0, max(part.closed_alpha, height_px - 0.25)))
            corners = np.round((polygon - [x0, y0]) * 16).astype(np.int32)
            cv2.fillPoly(view, [corners], (weight,), cv2.LINE_AA, 4)
            if lashes_px := part.lashes_px(height_px):
                cv2.polylines(view, [corners[1:8]], False, (weight,), lashes_px, cv2.LINE_AA, 4)
            cv2.GaussianBlur(view, (3, 3), part.feather_px, dst=view)
            x_px = np.arange(x0, x1, dtype=np.float32)[None, :]
            y_px = np.arange(y0, y1, dtype=np.float32)[:, None]
            opening = _Opening(x_px, y_px, height_px, rotation, action_units, self._vertices)
            inner_map, shade = self._motion["inner_map"], self._motion["inner_shade"]
            inner_map[y0:y1, x0:x1, 0], inner_map[y0:y1, x0:x1, 1], shade[y0:y1, x0:x1] = part.look(opening)


def _close_lids(shape: FloatArray, closure: float) -> None:
    """Move the upper lid .90 and the lower lid .10 of the opening at full closure; the skin around them follows."""
    if closure <= 0.0:
        return
    for rows in _LIDS:
        travel = (shape[rows[1]] - shape[rows[0]]) * np.float32(closure)
        for row, share in zip(rows, _LID_SHARES, strict=True):
            shape[row] += share * travel


def _part_lips(shape: FloatArray) -> None:
    """Let the lips meet half-way, column by column, where they would pass through each other."""
    upper, lower = _UPPER_LIP[1:-1], _LOWER_LIP[1:-1]
    overlap = np.maximum(shape[lower, 1] - shape[upper, 1], 0.0)
    shape[upper, 1] += overlap / 2
    shape[lower, 1] -= overlap / 2


class _Opening(NamedTuple):
    """The pixels of one opening of the skin in one frame, and what moved."""

    x_px: FloatArray
    """(1, w) positions in the crop."""
    y_px: FloatArray
    """(h, 1)."""
    height_px: float
    """Mean height of the opening."""
    rotation: FloatArray
    action_units: FloatArray
    vertices: FloatArray


class _Eye:
    """One eyeball. A rigid affine leads from the frame to the eye's patch, so that the iris is never squashed."""

    feather_px = 0.7
    """Softness of the opening's edge."""
    closed_alpha = 0.9
    """Weight of the line that is left when the opening is closed."""

    def __init__(self, cache: Tensors, project: Projection, side: str, contour: tuple[int, ...]) -> None:
        self.contour = list(contour)
        self._project = project
        corners = [contour[0], contour[8]]
        self._centre = cache["neutral_shape"][corners].mean(0)
        patch = cache[f"{side}_eye_patch"].astype(np.float32)
        self._source_px = cache["texture_px"][corners].mean(0) - cache[f"{side}_eye_origin"] + patch[:2]
        self._source_axes = _axes(cache["rotation"])

    def look(self, opening: _Opening) -> tuple[FloatArray, FloatArray, Any]:
        """What is seen through the opening: x and y (h, w) in the atlas `inner`, and brightness (255 = as it is)."""
        centre = self._project(self._centre, opening.rotation)
        affine = self._source_axes @ np.linalg.inv(_axes(opening.rotation))
        dx, dy = opening.x_px - centre[0], opening.y_px - centre[1]
        x = self._source_px[0] + affine[0, 0] * dx + affine[0, 1] * dy
        y = self._source_px[1] + affine[1, 0] * dx + affine[1, 1] * dy
        # The closing lids shade the eyeball. The last slit is the dark line of the lashes.
        return x, y, round(255 * (0.15 + 0.85 * self._slit(opening.height_px)))

    def lashes_px(self, height_px: float) -> int:
        """How thick the line of the lashes is: an upper lid that comes down turns them to the camera."""
        return round((1 - self._slit(height_px)) * LASHES_IOD * float(self._project.iod_px))

    def _slit(self, height_px: float) -> float:
        """0 for a closed eye, 1 for one that the lashes do not cover."""
        return min(1.0, height_px / (0.05 * float(self._project.iod_px)))


def _axes(rotation: FloatArray) -> FloatArray:
    """Image (y down) of head-space x and y, (2, 2) by columns."""
    return np.array([[rotation[0, 0], rotation[0, 1]], [-rotation[1, 0], -rotation[1, 1]]], dtype=np.float32)


class _Mouth:
    """The inside of the mouth. Upper teeth move with the skull; lower teeth and tongue move with the jaw."""

    feather_px = 0.9
    closed_alpha = 0.0

    def lashes_px(self, height_px: float) -> int:
        return 0

    def __init__(self, cache: Tensors, project: Projection) -> None:
        self.contour = list(mesh.MOUTH_OPENING)
        self._project = project
        self._upper = layers.mouth_anchor(cache["neutral_shape"])
        self._jaw = face_tables().displacements[_AU26, 152] * np.float32(0.8)
        self._patch = cache["mouth_patch"].astype(np.float32)
        self._scale, self._upper_row, self._lower_row, self._upper_edge, own = cache["mouth_rows"]
        # Photographed teeth already carry the lips' shadow.
        self._shadow = np.float32(0.4 if own else 1.0)

    def look(self, opening: _Opening) -> tuple[FloatArray, FloatArray, Any]:
        iod = self._project.iod_px
        inverse = np.linalg.inv(_axes(opening.rotation)) / iod

        def local(anchor: FloatArray) -> tuple[FloatArray, FloatArray]:
            anchor_px = self._project(anchor, opening.rotation)
            dx, dy = opening.x_px - anchor_px[0], opening.y_px - anchor_px[1]
            return inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy

        x, upper_y = local(self._upper)
        jaw_x, lower_y = local(self._upper + self._jaw * opening.action_units[_AU26])
        below = self._upper_edge - upper_y  # > 0 under the upper teeth
        above = lower_y - layers.LOWER_EDGE  # > 0 over the lower teeth
        blend = np.clip(below / np.maximum(below + np.maximum(above, 0.0), 1e-4), 0.0, 1.0)
        upper_row = self._upper_row + below * self._scale
        lower_row = self._lower_row - above * self._scale
        middle_row = self._upper_row + blend * (self._lower_row - self._upper_row)
        row = np.where(below < 0, upper_row, np.where(above < 0, lower_row, middle_row))
        column = (x + blend * (jaw_x - x)) * self._scale + (self._patch[2] - 1) / 2
        # The lips throw a soft shadow inwards. A wider mouth lets more light in: a narrow slit is dark.
        upper, lower = opening.vertices[_UPPER_LIP], opening.vertices[_LOWER_LIP]
        across = np.argsort(upper[:, 0])
        lip_y = np.interp(opening.x_px[0], upper[across, 0], upper[across, 1])
        gap = max(float((lower[:, 1] - upper[:, 1]).max()) / float(iod), 1e-3)
        under_lip = np.clip((opening.y_px - lip_y[None, :]) / (0.05 * iod), 0.0, 1.0)
        entering = 0.35 + 0.65 * min(1.0, gap / 0.09)
        return (
            self._patch[0] + np.clip(column, 0, self._patch[2] - 1),
            self._patch[1] + np.clip(row, 0, self._patch[3] - 1),
            np.round(255 * (1 - self._shadow * 0.30 * (1 - under_lip)) * entering),
        )
