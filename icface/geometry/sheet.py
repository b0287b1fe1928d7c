"""The sheets with the sides of the head, frame by frame: each fades in as its side turns to the camera.

They are drawn as eyes and mouth are, over the skin and from the atlas `inner`. So all engines show them.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import FloatArray
from icface.compiled import compiled
from icface.geometry import topology as mesh
from icface.geometry.follow import smooth
from icface.geometry.person import SIDES
from icface.geometry.raster import NO_OPENING
from icface.geometry.side import COLS, ROWS

BEGINS, WHOLE = 0.08, 0.28
"""Sines of the head's turn where a sheet begins to be seen, and where nothing else is seen."""
REGIONS: Final = 2
"""Boxes of the frame that a sheet takes."""
APART_PX: Final = 3
"""It stays so far from the openings of eyes and mouth."""
_OPENINGS: Final = np.array([vertex for opening in mesh.OPENINGS for vertex in opening], dtype=np.intp)


class _Sheet:
    """One side of a source."""

    def __init__(self, cache: Tensors, name: str) -> None:
        self.alpha = np.ascontiguousarray(cache[f"{name}_side_alpha"])
        self.follow, self.offsets = cache[f"{name}_side_follow"], cache[f"{name}_side_offsets"]
        left, top, width, height = cache[f"{name}_side_patch"].tolist()
        self.corner = np.array([left, top], dtype=np.float32)
        x, y = np.meshgrid(np.linspace(0, width - 1, COLS), np.linspace(0, height - 1, ROWS))
        self.places = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        # What is never seen is not drawn, and where all is seen nothing is looked up.
        columns, rows = x[0].astype(int), y[:, 0].astype(int)
        corners, whole = [], []
        for row, col in np.ndindex(ROWS - 1, COLS - 1):
            part = self.alpha[rows[row] : rows[row + 1] + 2, columns[col] : columns[col + 1] + 2]
            if part.any():
                corners.append(row * COLS + col)
                whole.append(part.min() == 255)
        first = np.array(corners, dtype=np.int32)[:, None] + np.array([0, COLS, 1], dtype=np.int32)
        second = np.array(corners, dtype=np.int32)[:, None] + np.array([1, COLS, COLS + 1], dtype=np.int32)
        self.triangles = np.concatenate([first, second])
        self.whole = np.array(whole * 2)
        self.used = np.unique(self.triangles)


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
        height, width = motion["inner_alpha"].shape
        x0, y0 = np.clip(np.floor(vertices[sheet.used].min(0)), 0, (width, height)).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(vertices[sheet.used].max(0)) + 1, 0, (width, height)).astype(int).tolist()
        # Above the eyes a sheet may reach over them. From their upper end downwards it lies beside them.
        openings = face[_OPENINGS, :2]
        below = int(np.clip(openings[:, 1].min() - APART_PX, y0, max(y0, y1)))
        beside0, beside1 = x0, x1
        if rotation[2, 0] > 0:
            beside0 = max(x0, int(openings[:, 0].max()) + 1 + APART_PX)
        else:
            beside1 = min(x1, int(openings[:, 0].min()) - APART_PX)
        for region, box in zip(regions, ((x0, y0, x1, below), (beside0, below, beside1, y1)), strict=True):
            if box[0] < box[2] and box[1] < box[3]:
                region[:] = box
        draw_sheet(
            vertices, sheet.triangles, sheet.whole, sheet.places, sheet.corner, sheet.alpha, strength, regions,
            motion["inner_map"], motion["inner_alpha"], motion["inner_shade"],
        )  # fmt: skip


_F1 = nb.types.Array(nb.float32, 1, "C")
_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")
_B1 = nb.types.Array(nb.boolean, 1, "C")
_I2 = nb.types.Array(nb.int32, 2, "C")
_U2 = nb.types.Array(nb.uint8, 2, "C")


@compiled(_F2, _I2, _B1, _F2, _F1, _U2, nb.float32, _I2, _F3, _U2, _U2)
def draw_sheet(
    vertices: FloatArray,
    triangles: NDArray[np.int32],
    whole: NDArray[np.bool_],
    places: FloatArray,
    corner: FloatArray,
    picture: Frame,
    strength: float,
    boxes: NDArray[np.int32],
    inner_map: FloatArray,
    inner_alpha: Frame,
    inner_shade: Frame,
) -> None:
    """Draw a mesh with alpha into the maps of what lies over the skin, inside of some boxes.

    Args:
        vertices: (n, 2) x, y in pixels of the frame.
        triangles: (m, 3) counter-clockwise seen from the camera with y up. Those seen from behind are skipped.
        whole: (m,) whether all of a triangle's alpha is 255.
        places: (n, 2) of the vertices in the mesh's picture.
        corner: (2,) where that picture begins in the atlas.
        picture: (h, w) its alpha, 255 = all.
        strength: of the alpha, 0 to 1.
        boxes: (k, 4) left, top, right, bottom; right and bottom are outside.
        inner_map: (H, W, 2) places in the atlas, changed in place.
        inner_alpha: (H, W) changed in place.
        inner_shade: (H, W) changed in place: NO_OPENING, so that no network takes it for eye or mouth.
    """
    last_u, last_v = np.float32(picture.shape[1] - 1.001), np.float32(picture.shape[0] - 1.001)
    most = np.uint8(np.float32(255) * np.float32(strength) + np.float32(0.5))
    zero, half, slack, share = np.float32(0), np.float32(0.5), np.float32(-1e-4), np.float32(strength)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = vertices[a, 0], vertices[a, 1]
        bx, by = vertices[b, 0], vertices[b, 1]
        cx, cy = vertices[c, 0], vertices[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area >= np.float32(-1e-6):
            continue
        inverse = np.float32(1.0) / area
        e0x, e0y = -(cy - by) * inverse, (cx - bx) * inverse
        e1x, e1y = -(ay - cy) * inverse, (ax - cx) * inverse
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
                w2 = np.float32(1.0) - w0 - w1
                # Where the row lies inside.
                first, last = np.float32(0), np.float32(right - left)
                for w, e in ((w0, e0x), (w1, e1x), (w2, -e0x - e1x)):
                    if e > 0:
                        first = max(first, (slack - w) / e)
                    elif e < 0:
                        last = min(last, (slack - w) / e)
                    elif w < slack:
                        last = np.float32(-1)
                u0 = w0 * places[a, 0] + w1 * places[b, 0] + w2 * places[c, 0]
                v0 = w0 * places[a, 1] + w1 * places[b, 1] + w2 * places[c, 1]
                begin, end = int(np.ceil(first)), int(np.floor(last)) + 1
                if whole[t]:
                    for step in range(begin, end):
                        inner_map[y, left + step, 0] = corner[0] + u0 + ux * np.float32(step)
                        inner_map[y, left + step, 1] = corner[1] + v0 + vx * np.float32(step)
                        inner_alpha[y, left + step] = most
                        inner_shade[y, left + step] = NO_OPENING
                    continue
                for step in range(begin, end):
                    u = min(max(u0 + ux * np.float32(step), zero), last_u)
                    v = min(max(v0 + vx * np.float32(step), zero), last_v)
                    i, j = int(v), int(u)
                    fv, fu = v - np.float32(i), u - np.float32(j)
                    upper = picture[i, j] + (np.float32(picture[i, j + 1]) - picture[i, j]) * fu
                    lower = picture[i + 1, j] + (np.float32(picture[i + 1, j + 1]) - picture[i + 1, j]) * fu
                    alpha = np.uint8(share * (upper + (lower - upper) * fv) + half)
                    if alpha > 0:
                        x = left + step
                        inner_map[y, x, 0], inner_map[y, x, 1] = corner[0] + u, corner[1] + v
                        inner_alpha[y, x] = alpha
                        inner_shade[y, x] = NO_OPENING
