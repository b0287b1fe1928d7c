"""The sheets with the sides of the head, frame by frame: each fades in as its side turns to the camera.

They are drawn as eyes and mouth are, over the skin and from the atlas `inner`. So all engines show them.
"""

from __future__ import annotations

from typing import Final

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.attributes import FloatArray
from icface.compiled import compiled
from icface.geometry import topology as mesh
from icface.geometry.follow import smooth
from icface.geometry.person import SIDES
from icface.geometry.raster import NO_OPENING, row_span, triangle, write_line
from icface.geometry.side import COLS, ROWS
from icface.geometry.warp import NO_MAP

BEGINS, WHOLE = 0.08, 0.28
"""Sines of the head's turn where a sheet begins to be seen, and where nothing else is seen."""
REGIONS: Final = 2
"""Boxes of the frame that a sheet takes."""
APART_PX: Final = 3
"""It stays so far from the openings of eyes and mouth."""
NOWHERE: Final = np.float32(0)
"""A place in the atlas that no side has, and that is quick to read."""
_OPENINGS: Final = np.array([vertex for opening in mesh.OPENINGS for vertex in opening], dtype=np.intp)


class _Sheet:
    """One side of a source."""

    def __init__(self, cache: Tensors, name: str) -> None:
        alpha = cache[f"{name}_side_alpha"]
        left, top, width, height = cache[f"{name}_side_patch"].tolist()
        self.alpha = np.zeros(cache["inner"].shape[:2], dtype=np.uint8)
        """(H, W) of the atlas."""
        self.alpha[top : top + height, left : left + width] = alpha
        x, y = np.meshgrid(np.linspace(0, width - 1, COLS), np.linspace(0, height - 1, ROWS))
        columns, rows = x[0].astype(int), y[:, 0].astype(int)
        seen = [
            row * COLS + col
            for row, col in np.ndindex(ROWS - 1, COLS - 1)
            if alpha[rows[row] : rows[row + 1] + 2, columns[col] : columns[col + 1] + 2].any()
        ]
        halves = np.array([[0, COLS, 1], [1, COLS, COLS + 1]])
        triangles = (np.array(seen)[:, None, None] + halves).reshape(-1, 3)
        used, numbers = np.unique(triangles, return_inverse=True)
        self.triangles = numbers.reshape(-1, 3).astype(np.int32)
        self.places = np.stack([left + x.ravel(), top + y.ravel()], axis=1).astype(np.float32)[used]
        self.follow = np.ascontiguousarray(cache[f"{name}_side_follow"][used])
        self.offsets = cache[f"{name}_side_offsets"][used]


class SideOfHead:
    """The sheets of one source; none where no side is known.

    Args:
        cache: what `prepare_source` made.
    """

    def __init__(self, cache: Tensors) -> None:
        self._to_px = np.array([1, -1], dtype=np.float32) * np.float32(cache["iod_px"][()])
        self._sheets = [_Sheet(cache, name) if f"{name}_side_patch" in cache else None for name in SIDES]

    def covers(self, rotation: FloatArray) -> bool:
        """Whether nothing but the sheet is seen of the head's near side, at a rotation (3, 3)."""
        sheet, strength = self._near(rotation)
        return sheet is not None and strength == 1

    def _near(self, rotation: FloatArray) -> tuple[_Sheet | None, float]:
        """The sheet of the side that is turned to the camera, and how much of it is seen, 0 to 1."""
        turn = float(rotation[2, 0])
        strength = float(smooth(np.array((abs(turn) - BEGINS) / (WHOLE - BEGINS))))
        return self._sheets[0 if turn > 0 else 1], strength

    def __call__(
        self, rotation: FloatArray, face: FloatArray, motion: Tensors, regions: NDArray[np.int32]
    ) -> None:
        """Draw the side that is turned to the camera. Nothing is drawn where eyes and mouth are.

        Args:
            rotation: (3, 3) of the head, as a real head is turned.
            face: (468, 3) the face's vertices in the frame.
            motion: whose maps are written.
            regions: (REGIONS, 4) are overwritten with the boxes that were drawn.
        """
        regions[:] = 0
        sheet, strength = self._near(rotation)
        if strength == 0 or sheet is None:
            return
        vertices = sheet.offsets @ (rotation[:2].T * self._to_px)
        vertices += sheet.follow @ face[:, :2]
        inner_map, inner_alpha = motion["inner_map"], motion["inner_alpha"]
        height, width = inner_alpha.shape
        lay_boxes(vertices, face[_OPENINGS, :2], rotation[2, 0] > 0, width, height, regions)
        draw_sheet(vertices, sheet.triangles, sheet.places, regions, inner_map)
        for left, top, right, bottom in regions:
            if right <= left:
                continue
            part = np.s_[top:bottom, left:right]
            alpha = inner_alpha[part]
            # It becomes 0 where nothing is drawn.
            cv2.remap(sheet.alpha, inner_map[part], NO_MAP, cv2.INTER_LINEAR, dst=alpha)
            if strength < 1:
                cv2.convertScaleAbs(alpha, dst=alpha, alpha=strength)
            motion["inner_shade"][part] = NO_OPENING


_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")
_I2 = nb.types.Array(nb.int32, 2, "C")


@compiled(_F2, _F2, nb.boolean, nb.int64, nb.int64, _I2)
def lay_boxes(
    vertices: FloatArray,
    openings: FloatArray,
    to_right: bool,
    width: int,
    height: int,
    boxes: NDArray[np.int32],
) -> None:
    """The boxes of the frame that a sheet takes: above the eyes' upper end all of it, below that what lies beside them.

    Args:
        vertices: (n, 2) of the sheet.
        openings: (m, 2) of the rims of eyes and mouth.
        to_right: whether the sheet lies at the image's right side of them.
        width: of the frame.
        height: of the frame.
        boxes: (2, 4) left, top, right, bottom; one that is empty is left as it is.
    """
    x0 = max(0, int(np.floor(vertices[:, 0].min())))
    y0 = max(0, int(np.floor(vertices[:, 1].min())))
    x1 = min(width, int(np.ceil(vertices[:, 0].max())) + 1)
    y1 = min(height, int(np.ceil(vertices[:, 1].max())) + 1)
    below = min(max(int(openings[:, 1].min() - APART_PX), y0), max(y0, y1))
    if x0 < x1 and y0 < below:
        boxes[0, 0], boxes[0, 1], boxes[0, 2], boxes[0, 3] = x0, y0, x1, below
    if to_right:
        x0 = max(x0, int(openings[:, 0].max()) + 1 + APART_PX)
    else:
        x1 = min(x1, int(openings[:, 0].min()) - APART_PX)
    if x0 < x1 and below < y1:
        boxes[1, 0], boxes[1, 1], boxes[1, 2], boxes[1, 3] = x0, below, x1, y1


@compiled(_F2, _I2, _F2, _I2, _F3)
def draw_sheet(
    vertices: FloatArray,
    triangles: NDArray[np.int32],
    places: FloatArray,
    boxes: NDArray[np.int32],
    inner_map: FloatArray,
) -> None:
    """Draw a mesh into the map of what lies over the skin, inside of some boxes, which are NOWHERE beside it.

    Args:
        vertices: (n, 2) x, y in pixels of the frame.
        triangles: (m, 3) counter-clockwise seen from the camera with y up. Those seen from behind are skipped.
        places: (n, 2) of the vertices in the atlas.
        boxes: (k, 4) left, top, right, bottom; right and bottom are outside.
        inner_map: (H, W, 2) places in the atlas, changed in place.
    """
    height, stride = inner_map.shape[0], 2 * inner_map.shape[1]
    flat = inner_map.reshape(height, stride)
    for k in range(boxes.shape[0]):
        for y in range(boxes[k, 1], boxes[k, 3]):
            flat[y, 2 * boxes[k, 0] : 2 * boxes[k, 2]] = NOWHERE
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy, e0x, e0y, e1x, e1y = triangle(vertices, a, b, c)
        if e0x == 0 and e0y == 0:
            continue
        ux = e0x * (places[a, 0] - places[c, 0]) + e1x * (places[b, 0] - places[c, 0])
        vx = e0x * (places[a, 1] - places[c, 1]) + e1x * (places[b, 1] - places[c, 1])
        for k in range(boxes.shape[0]):
            left = max(boxes[k, 0], int(np.ceil(min(ax, bx, cx))))
            right = min(boxes[k, 2] - 1, int(np.floor(max(ax, bx, cx))))
            top = max(boxes[k, 1], int(np.ceil(min(ay, by, cy))))
            bottom = min(boxes[k, 3] - 1, int(np.floor(max(ay, by, cy))))
            for y in range(top, bottom + 1):
                w0 = e0x * (np.float32(left) - bx) + e0y * (np.float32(y) - by)
                w1 = e1x * (np.float32(left) - cx) + e1y * (np.float32(y) - cy)
                begin, end = row_span(w0, w1, e0x, e1x, right + 1 - left)
                if begin < end:
                    w0 += e0x * np.float32(begin)
                    w1 += e1x * np.float32(begin)
                    w2 = np.float32(1.0) - w0 - w1
                    u = w0 * places[a, 0] + w1 * places[b, 0] + w2 * places[c, 0]
                    v = w0 * places[a, 1] + w1 * places[b, 1] + w2 * places[c, 1]
                    write_line(flat[y, 2 * (left + begin) :], end - begin, u, v, ux, vx)
