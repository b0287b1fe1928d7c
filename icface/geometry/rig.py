"""The face rig: from attributes to the maps of a backward warp. This is the edge family's work per frame.

Attributes → moved vertices → flow of head and body → exact map of the face → maps of eyes and mouth behind it → what a
learned correction is told.
"""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.attributes import (
    ACTION_UNITS,
    AU_NAMES,
    GAZE,
    GAZE_LIMIT_RAD,
    POSE,
    SHAPE_NAMES,
    SHAPES,
    SIDED,
    FloatArray,
    pose_from_unit,
)
from icface.geometry import raster, teeth
from icface.geometry import topology as mesh
from icface.geometry.back import BackOfHead
from icface.geometry.correction import CorrectionInputs
from icface.geometry.eyes import Eye, Opening, axes, inverted, seen_gaze
from icface.geometry.flow import HeadFlow
from icface.geometry.movement import moved
from icface.geometry.shape import RING, Projection, ring_triangles, rotation_matrix
from icface.geometry.sheet import REGIONS, SideOfHead
from icface.geometry.slide import Slide
from icface.geometry.topology import face_tables

GRID_CELLS: Final = 64
# A tracker reads a rendered movement as smaller or larger than asked. These gains bring the slopes near one.
POSE_GAIN: Final = np.array([1.3, 1.33, 1.0], dtype=np.float32)
AU_GAIN: Final = np.array(
    [2.0, 1.5, 1.6, 1.5, 1.05, 1.05, 2.0, 1.15, 1.33, 1.0, 1.42, 1.4, 1.4, 1.6, 1.17, 1.44, 1.05],
    dtype=np.float32,
)
# A tracker sees the first half of these less well than the second, in a driver and in a picture, so they rise early.
AU_POWER: Final = np.array(
    [0.75 if name in ("AU06", "AU09", "AU15", "AU17") else 1.0 for name in AU_NAMES], dtype=np.float32
)
_SIDED: Final = np.array([AU_NAMES.index(name) for name in SIDED])
# Both sides of an Action Unit have its gain.
SHAPE_GAIN: Final = np.concatenate(
    [AU_GAIN[_SIDED], [1.3, 1.0, 1.0, 1.0, 1.5, 1.0, 1.0]]  # AU18, 22, 24, 29, 34, jaw_side, mouth_side
).astype(np.float32)
_JAW: Final = [SHAPE_NAMES.index(name) for name in ("AU29", "jaw_side")]

_AU26: Final = AU_NAMES.index("AU26")
_BROWS: Final = [AU_NAMES.index("AU01"), AU_NAMES.index("AU02")]
_UPPER_LIP: Final = np.array(mesh.INNER_UPPER_LIP, dtype=np.intp)
_LOWER_LIP: Final = np.array(mesh.INNER_LOWER_LIP, dtype=np.intp)
# AU01 and AU02, as drawn, by the sine of pitch, and by one less the cosine of yaw.
BROWS_BY_PITCH, BROWS_BY_YAW = 0.67, 2.0
JAW_SHARE: Final = 0.8
"""Lower teeth and tongue follow the chin a little less far."""


class FaceRig:
    """Moves one source that `prepare_source` made. Frames have the size of its `plate`. One thread uses it.

    Args:
        cache: what `prepare_source` made.
        still_border: whether nothing moves at the crop's border.
        as_seen: each place keeps its own colours, so that light can be told from a frame. What turns to the camera is
            stretched then.
    """

    def __init__(self, cache: Tensors, still_border: bool = False, *, as_seen: bool = False) -> None:
        tables = face_tables()
        self.shape, self.rotation = cache["photo_shape"], cache["rotation"]
        """Head space (468, 3) of the face in the last frame, and the head's rotation (3, 3)."""
        height, width = cache["plate"].shape[:2]
        margin = int(cache["margin"])
        self._neutral = cache["neutral_shape"]
        displacements = cache.get("displacements", tables.displacements)  # a person's own, or everybody's
        extensions = cache.get("extensions", tables.extensions)
        self._displacements = displacements.reshape(len(AU_NAMES), -1)
        self._extensions = extensions.reshape(len(SHAPE_NAMES), -1)
        self._brows = displacements[_BROWS].reshape(len(_BROWS), -1, 3).sum(axis=0)
        self._jaw = JAW_SHARE * np.stack([displacements[_AU26, 152], *extensions[_JAW, 152]])
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
        self._slide = Slide(cache, cheeks=not as_seen)
        self._depth = np.empty((height, width), dtype=np.float32)

        # The flow of everything else, on a coarse grid.
        self._step = int(np.ceil(max(width, height) / GRID_CELLS))
        rows, cols = (int(np.ceil(side / self._step)) + 1 for side in (height, width))
        self._grid = np.empty((rows, cols, 2), dtype=np.float32)
        self._margin = np.float32(margin)
        self._flow = HeadFlow(cache, self._project, self._step, (rows, cols), still_border or not margin)

        self._back = BackOfHead(cache, self._project, self._flow.freedom) if margin else None
        self._behind: tuple[Eye | _Mouth, ...] = (
            Eye(cache, self._project, "right", mesh.RIGHT_EYE_OPENING),
            Eye(cache, self._project, "left", mesh.LEFT_EYE_OPENING),
            _Mouth(cache, self._project),
        )
        self._side = SideOfHead(cache)
        self._motion: dict[str, NDArray[Any]] = {
            "skin_map": np.empty((height, width, 2), dtype=np.float32),
            "inner_map": np.zeros((height, width, 2), dtype=np.float32),
            "inner_alpha": np.zeros((height, width), dtype=np.uint8),
            "inner_shade": np.full((height, width), 255, dtype=np.uint8),
            "regions": np.zeros((len(self._behind) + REGIONS, 4), dtype=np.int32),
        }
        self._correction = CorrectionInputs(cache, self._project)
        self._motion |= self._correction.motion

    @property
    def vertices(self) -> FloatArray:
        """(468, 3) of the last frame: x and y in its pixels, depth in IOD, larger = nearer."""
        return self._vertices[: mesh.FACE_VERTICES]

    def motion(self, attributes: FloatArray) -> Tensors:
        """The maps of one frame, overwritten by the next call, from (SIZE,) full-shape attributes, finite and in range.

        The module `warp` says what the maps mean.
        """
        turn_rad = pose_from_unit(attributes[POSE])
        pose = turn_rad * POSE_GAIN + self._pose_offset
        rotation = rotation_matrix(*pose.tolist())
        pitch_rad, yaw_rad = (attributes[GAZE] * GAZE_LIMIT_RAD).tolist()
        action_units, shapes = asked_for(attributes, self._au_offset)
        shape = self.moved(action_units, shapes, pitch_rad)
        shape += np.float32(brows_of_turn(*turn_rad[:2].tolist())) * self._brows
        gaze_rad = seen_gaze(pitch_rad, float(turn_rad[0])), seen_gaze(yaw_rad, float(turn_rad[1]))
        jaw = self._jaw[0] * action_units[_AU26] + shapes[_JAW] @ self._jaw[1:]
        seen = rotation_matrix(*(pose / POSE_GAIN).tolist())
        return self.motion_of_shape(shape, rotation, gaze_rad, jaw, seen)

    def motion_of_shape(
        self,
        shape: FloatArray,
        rotation: FloatArray,
        gaze_rad: tuple[float, float],
        jaw: FloatArray,
        seen: FloatArray | None = None,
    ) -> Tensors:
        """The maps of one frame, overwritten by the next call, for a face that is given as it shall be seen.

        Args:
            shape: (468, 3) head space, with expression.
            rotation: (3, 3) of the head.
            gaze_rad: of the eyes in the head: down, and to the image's left.
            jaw: (3,) how far the lower teeth have moved, in head space.
            seen: (3, 3) how far a real head is turned that looks so; None: as far as this one.
        """
        self.shape, self.rotation = shape, rotation
        self._vertices[: mesh.FACE_VERTICES] = self._project(shape, rotation)
        self._flow.move(shape, rotation)
        self._slide(rotation, self._values[: mesh.FACE_VERTICES, :2])
        ring = self._vertices[mesh.FACE_VERTICES :]
        ring[:, :2] = self._ring_px + self._flow.at(self._ring_px)
        ring[:, 2] = self._project(self._ring_shape, rotation)[:, 2]
        self._flow.backward(self._grid)
        self._grid += self._margin
        skin_map = self._motion["skin_map"]
        raster.upsample_grid(self._grid, self._step, skin_map)
        raster.raster_map(self._vertices, self._triangles, self._values, self._depth, skin_map)
        seen = rotation if seen is None else seen
        if self._back:
            self._back(rotation, skin_map, neck_alone=self._side.covers(seen))
        self._behind_the_skin(rotation, seen, gaze_rad, jaw)
        self._correction.tell(shape, rotation)
        return self._motion

    def moved(self, action_units: FloatArray, shapes: FloatArray, gaze_rad: float) -> FloatArray:
        """(468, 3) head space: the neutral shape moved by Action Units (17,), extensions (20,) and lids that follow."""
        return moved(self._neutral, self._displacements, self._extensions, action_units, shapes, gaze_rad)

    def _behind_the_skin(
        self, rotation: FloatArray, seen: FloatArray, gaze_rad: tuple[float, float], jaw: FloatArray
    ) -> None:
        """Map the side of the head, and eyes and mouth, each inside the box of its opening."""
        alpha, regions = self._motion["inner_alpha"], self._motion["regions"]
        height, width = alpha.shape
        for x0, y0, x1, y1 in regions:  # clear what the last frame drew
            alpha[y0:y1, x0:x1] = 0
        self._side(seen, self.vertices, self._motion, regions[-REGIONS:])
        for region, part in zip(regions[:-REGIONS], self._behind, strict=True):
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
            opening = Opening(x_px, y_px, height_px, rotation, gaze_rad, jaw, self._vertices)
            inner_map, shade = self._motion["inner_map"], self._motion["inner_shade"]
            inner_map[y0:y1, x0:x1, 0], inner_map[y0:y1, x0:x1, 1], shade[y0:y1, x0:x1] = part.look(opening)
            drawn = shade[y0:y1, x0:x1]
            drawn[drawn == raster.NO_OPENING] = 255


def asked_for(attributes: FloatArray, au_offset: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Action Units (17,) and extensions (20,) as they are drawn, gains included, from (SIZE,) attributes."""
    asked = attributes[ACTION_UNITS] ** AU_POWER
    return np.clip(asked * AU_GAIN + au_offset, -0.5, 2.0), attributes[SHAPES] * SHAPE_GAIN


def brows_of_turn(pitch_rad: float, yaw_rad: float) -> float:
    """AU01 and AU02, as drawn, that take back half of what a turn moves the brows.

    POSE_GAIN turns the mesh farther than a head, and so its forehead, which lies before the eyes, moves too far.
    """
    return BROWS_BY_PITCH * math.sin(pitch_rad) - BROWS_BY_YAW * (1 - math.cos(yaw_rad))


class _Mouth:
    """The inside of the mouth. Upper teeth move with the skull; lower teeth and tongue move with the jaw."""

    feather_px = 0.9
    closed_alpha = 0.0

    def lashes_px(self, height_px: float) -> int:
        return 0

    def __init__(self, cache: Tensors, project: Projection) -> None:
        self.contour = list(mesh.MOUTH_OPENING)
        self._project = project
        self._upper = teeth.mouth_anchor(cache["neutral_shape"])
        self._patch = cache["mouth_patch"].astype(np.float32)
        self._rows = teeth.MouthRows.of(cache)
        # Photographed teeth already carry the lips' shadow.
        self._shadow = np.float32(0.4 if self._rows.teeth else 1.0)

    def look(self, opening: Opening) -> tuple[FloatArray, FloatArray, Any]:
        iod = self._project.iod_px
        inverse = inverted(axes(opening.rotation)) / iod

        def local(anchor: FloatArray) -> tuple[FloatArray, FloatArray]:
            anchor_px = self._project(anchor, opening.rotation)
            dx, dy = opening.x_px - anchor_px[0], opening.y_px - anchor_px[1]
            return inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy

        x, upper_y = local(self._upper)
        jaw_x, lower_y = local(self._upper + opening.jaw)
        below = self._rows.upper_edge - upper_y  # > 0 under the upper teeth
        above = lower_y - teeth.LOWER_EDGE  # > 0 over the lower teeth
        blend = np.clip(below / np.maximum(below + np.maximum(above, 0.0), 1e-4), 0.0, 1.0)
        upper_row = self._rows.upper + below * self._rows.scale
        lower_row = self._rows.lower - above * self._rows.scale
        middle_row = self._rows.upper + blend * (self._rows.lower - self._rows.upper)
        row = np.where(below < 0, upper_row, np.where(above < 0, lower_row, middle_row))
        column = (x + blend * (jaw_x - x)) * self._rows.scale + (self._patch[2] - 1) / 2
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
