"""The back of head and neck: what a frontal photo does not show, and a turn brings into view behind ear and jaw.

Two round solids lie inside the person's outline. They are drawn only where the moved photo leaves the background bare. The
head has the colours of the hair, or of the scalp, along the outline above the ears; the neck has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Tensors
from icface.attributes import FloatArray
from icface.geometry import topology as mesh
from icface.geometry.follow import CHIN, smooth
from icface.geometry.raster import compiled
from icface.geometry.shape import Projection

# Heights and lengths in head space (IOD).
CENTRE: Final = np.array([0.0, 0.2, -0.75], dtype=np.float32)
"""Of the head. The neck has the same axis."""
DEPTH: Final = 1.1
"""How deep the back of the head is, of its half width."""
EAR_TOP: Final = 0.30
"""Above this the outline is the head's. Below it is the ear's, and the solid rounds off."""
BELOW: Final = (
    (0.15, 1.0), (0.0, 0.98), (-0.15, 0.92), (-0.28, 0.83), (-0.4, 0.7), (-0.5, 0.52), (-0.57, 0.25)
)  # fmt: skip
"""Heights below the ears' tops, and how wide the head is there, of its width at EAR_TOP."""
ROWS_ABOVE: Final = 10
WIDEST: Final = 1.05
WIDEST_BELOW: Final = 0.92
HIGHEST: Final = 1.5
LEAST_HEIGHT: Final = 0.9
"""A head that ends lower above the eyes was not seen as a whole. It gets no back."""
INSET: Final = 0.06
"""The solids lie so far inside the outline. They are not seen at rest, and their colours come from no nearer to it."""
SURE: Final = 240
"""Alpha of what is the person altogether."""
SOFT: Final = 0.02
"""The outline before the solids is smoothed over so much."""
COVERED: Final = 180
"""How much of a pixel (255 = all) is the person's, smoothed so, where the solids are hidden."""
LEAST_STRIP: Final = 0.03
WIDEST_STRIP: Final = 0.25
"""The colours come from a strip inside the outline, so wide, and not from the face."""
OTHER_COLOUR: Final = 28
"""Levels by which the strip's colours differ at most, so that it is of hair or of skin alone."""
FAR: Final = 1.0
"""Around the head, the colours of a strip are spread so far."""
SWEEP: Final = 0.8
REPEAT: Final = 0.45
"""The hair sweeps around the ear's top. What lies behind it looks like what lies above it, SWEEP times as far; and what lies
below it, REPEAT times as far."""
HIGHEST_LOOK: Final = 0.8
"""Nothing looks like what is higher than this, on the way from the ears to the top of the head: there light shines."""
TURNS: Final = np.radians(np.linspace(-60, 240, 31))
"""Around the head, from before its left side (0) over the back (90°) to before its right side (180°)."""
SIDES: Final = 1, -1
SEEN_ALIKE: Final = 0.07
"""A photo that is turned by more (a sine) shows one side of the head too edge-on."""
NECK: Final = -0.45, -1.4
"""From where to where the neck is drawn."""
NECK_SEEN: Final = -1.15, -1.5
"""Where a photo shows it. It is as wide as where it is narrowest there."""
WIDEST_NECK: Final = 0.75
NARROWER: Final = 0.82
"""Its back is so many times as wide."""
NOT_SKIN: Final = 0.05
"""By so much the shares of red, green and blue differ from the cheeks' at most. What differs more is a collar or hair."""
DARKEST: Final = 0.3
BRIGHTEST: Final = 1.3
"""How bright it is, of the cheeks, at least and at most."""
CHEEKS: Final = (50, 280)
STILL: Final = 0.75
"""Over so much below the chin the neck comes to rest."""


class _Solid(NamedTuple):
    """What is round about the head's axis. Pairs are of the head's left side, at positive x, and of its right side."""

    heights: FloatArray
    """(n,) from above."""
    widths: FloatArray
    """(n, 2)."""
    looks: Callable[[FloatArray, FloatArray, int], Array]
    """Pixels of the layer from which the colours come, at heights, distances around the head, and on a side (0 or 1)."""


class BackOfHead:
    """The solids of one source that has layers.

    Args:
        cache: what `prepare_source` made.
        project: from head space to pixels of the crop.
    """

    def __init__(self, cache: Tensors, project: Projection) -> None:
        self._project = project
        seen = _Seen(cache, project)
        head, neck = _head(seen), _neck(seen)
        meshes = [_mesh(solid) for solid in (head, neck) if head and solid]
        starts = np.cumsum([0, *(len(shape) for shape, _, _ in meshes)], dtype=np.int32)
        self._shape = np.concatenate([np.empty((0, 3), np.float32), *(shape for shape, _, _ in meshes)])
        self._values = np.concatenate([np.empty((0, 2), np.float32), *(values for _, values, _ in meshes)])
        of = [m[2] + start for m, start in zip(meshes, starts[:-1], strict=True)]
        self._triangles = np.concatenate([np.empty((0, 3), np.int32), *of])
        self._rest = project(self._shape, cache["rotation"])
        self._share = np.ones((len(self._shape), 1), dtype=np.float32)
        self._share[:, 0] = 1 - smooth((CHIN - self._shape[:, 1]) / STILL)
        # Where the solids lie at rest, they never cover the photo. The outline is smooth and lies inside the soft edge.
        soft_px = SOFT * float(project.iod_px)
        self._cover = cv2.GaussianBlur((seen.alpha > SURE).astype(np.uint8) * np.uint8(255), (0, 0), soft_px)
        at_rest = np.round(self._rest[:, :2] + seen.margin).astype(np.int32)
        for triangle in at_rest[self._triangles]:
            cv2.fillConvexPoly(self._cover, triangle, (255,))

    def __call__(self, rotation: FloatArray, skin_map: FloatArray) -> None:
        """Write them into a map (H, W, 2) of the layer, for a rotation (3, 3) of the head."""
        moved = self._rest + self._share * (self._project(self._shape, rotation) - self._rest)
        fill_behind(moved, self._triangles, self._values, self._cover, skin_map)


class _Seen:
    """What the photo shows of the outline, along lines across the head."""

    def __init__(self, cache: Tensors, project: Projection) -> None:
        # Single holes are no holes.
        alpha: Any = cv2.morphologyEx(cache["skin"][..., 3], cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        self.alpha: NDArray[np.uint8] = np.ascontiguousarray(alpha)
        self.margin = np.float32(int(cache["margin"]))
        self._iod = float(project.iod_px)
        self._colours: Any = cv2.GaussianBlur(cache["skin"][..., :3], (0, 0), 0.02 * self._iod)
        rotation = cache["rotation"]
        up = rotation[:2, 1] * [1, -1]
        self._up = up / np.linalg.norm(up)
        self._across = np.array([-self._up[1], self._up[0]])
        turned = float(rotation[2, 0])
        self.shown = (0, 1) if abs(turned) < SEEN_ALIKE else ((0, 0) if turned > 0 else (1, 1))
        """For each side, the one from which its colours come: a turned photo shows only one well."""
        self._middle = project(CENTRE, rotation)[:2] + self.margin
        face = (project(cache["neutral_shape"], rotation)[:, :2] + self.margin - self._middle) / self._iod
        face = np.stack([face @ self._across, face @ self._up + CENTRE[1]], axis=1)
        self._oval = face[list(mesh.OVAL)]
        self.cheeks = [self.colour(*face[vertex]) for vertex in CHEEKS[::-1]]

    def place(self, x: Any, y: Any) -> Array:
        """Pixels (..., 2) of the layer at distances (IOD) across and heights, in the picture."""
        out, up = np.asarray(x)[..., None], np.asarray(y)[..., None]
        return self._middle + (out * self._across + (up - CENTRE[1]) * self._up) * self._iod

    def _read(self, picture: Any, x: Any, y: Any) -> Array:
        at = np.atleast_2d(self.place(x, y)).astype(np.float32)
        return np.asarray(cv2.remap(picture, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR)[0], dtype=np.float32)

    def colour(self, x: float, y: float) -> Array:
        """(3,) levels."""
        return self._read(self._colours, x, y)[0] + 1

    def _goes_on(self, inside: Array, away: Array) -> float:
        return float(away[np.argmin(inside)] if not inside.all() else away[-1])

    def height(self) -> float:
        """Where the person ends above the head's middle."""
        y = np.arange(CENTRE[1], HIGHEST, 0.02)
        return self._goes_on(self._read(self.alpha, 0 * y, y) > SURE, y)

    def width(self, y: float, side: int, most: float = WIDEST) -> float:
        """How far the person reaches out at a height, less INSET."""
        x = np.arange(0, most + INSET, 0.02)
        return max(0.02, self._goes_on(self._read(self.alpha, side * x, y + 0 * x) > SURE, x) - INSET)

    def strip(self, y: float, side: int, width: float) -> float:
        """How far inside the outline the same colour goes on, outside of the face."""
        near = np.abs(self._oval[:, 1] - y) < 0.15
        face = float(np.max(side * self._oval[near, 0])) if near.any() else 0.0
        inwards = np.arange(0, WIDEST_STRIP, 0.02)
        colours = self._read(self._colours, side * (width - inwards), y + 0 * inwards)
        same = np.abs(colours - np.median(colours[:3], axis=0)).max(axis=1) < OTHER_COLOUR
        deep = min(self._goes_on(same, inwards), width - face) - 0.02
        return float(np.clip(deep, LEAST_STRIP, WIDEST_STRIP))


def _head(seen: _Seen) -> _Solid | None:
    top = seen.height() - INSET
    if top < LEAST_HEIGHT:
        return None
    above = EAR_TOP + (top - EAR_TOP) * np.sin(np.linspace(0, np.pi / 2, ROWS_ABOVE))
    widths = [[seen.width(y, side) for side in SIDES] for y in above]
    strips = [
        [seen.strip(y, side, width) for side, width in zip(SIDES, pair, strict=True)]
        for y, pair in zip(above, widths, strict=True)
    ]
    widths, strips = _smoothed(np.array(widths)), _smoothed(np.array(strips))

    def looks(y: FloatArray, arc: FloatArray, which: int) -> Array:
        which = seen.shown[which]
        up = y - EAR_TOP
        away = np.hypot(up, SWEEP * arc) + 1e-6
        like = EAR_TOP + away * (REPEAT + (1 - REPEAT) * np.clip(up / away, 0, 1))
        like = np.minimum(like, EAR_TOP + HIGHEST_LOOK * (above[-1] - EAR_TOP))
        strip = np.interp(like, above, strips[:, which]) * np.minimum(arc / FAR, 1)
        return seen.place(SIDES[which] * (np.interp(like, above, widths[:, which]) - strip), like)

    below = np.array(BELOW)
    narrowed = smooth((EAR_TOP - below[:, :1]) / 0.4)
    at_ears = widths[0] + narrowed * (np.minimum(widths[0], WIDEST_BELOW) - widths[0])
    return _Solid(
        np.concatenate([above[::-1], below[:, 0]]),
        np.concatenate([widths[::-1], below[:, 1:] * at_ears]),
        looks,
    )


def _neck(seen: _Seen) -> _Solid | None:
    heights = np.arange(NECK_SEEN[0], NECK_SEEN[1], -0.05)
    widths, strips, places = [], [], []
    for side, cheek in zip(SIDES, seen.cheeks, strict=True):
        reach = [seen.width(y, side) for y in heights]
        narrowest = int(np.argmin(reach))
        y, width = heights[narrowest], reach[narrowest]
        neck = seen.colour(side * width, y)
        hue = np.abs(neck / neck.sum() - cheek / cheek.sum()).max()
        if width > WIDEST_NECK or hue > NOT_SKIN or not DARKEST < neck.sum() / cheek.sum() < BRIGHTEST:
            return None
        widths.append(width)
        strips.append(seen.strip(y, side, width))
        places.append(y)

    def looks(y: FloatArray, arc: FloatArray, which: int) -> Array:
        which = seen.shown[which]
        like = places[which] + 0.1 * (y - places[which])
        return seen.place(SIDES[which] * (widths[which] - strips[which] * np.minimum(arc / FAR, 1)), like)

    heights = np.linspace(*NECK, 6)
    return _Solid(heights, NARROWER * np.array(widths) + 0 * heights[:, None], looks)


def _smoothed(rows: FloatArray) -> FloatArray:
    """Values (n, 2) averaged with their neighbours."""
    for _ in range(2):
        padded = np.concatenate([rows[:1], rows, rows[-1:]])
        rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return rows


def _mesh(solid: _Solid) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    """Vertices (n, 3) in head space, their places (n, 2) in the layer, and triangles (m, 3)."""
    y, turn = np.meshgrid(solid.heights, TURNS, indexing="ij")
    left = np.clip(0.5 + np.cos(turn), 0, 1)
    width = left * solid.widths[:, :1] + (1 - left) * solid.widths[:, 1:]
    vertices = np.stack([width * np.cos(turn), y, CENTRE[2] - DEPTH * width * np.sin(turn)], axis=-1)
    arc = np.abs(np.arcsin(np.sin(turn))) * width
    places = np.where(np.cos(turn)[..., None] >= 0, solid.looks(y, arc, 0), solid.looks(y, arc, 1))
    rows, cols = y.shape
    corner = (np.arange(rows - 1)[:, None] * cols + np.arange(cols - 1)).reshape(-1)
    first = np.stack([corner, corner + cols, corner + 1], axis=1)
    second = np.stack([corner + 1, corner + cols, corner + cols + 1], axis=1)
    shape, values = (part.reshape(rows * cols, -1).astype(np.float32) for part in (vertices, places))
    return shape, values, np.concatenate([first, second]).astype(np.int32)


_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")
_I2 = nb.types.Array(nb.int32, 2, "C")
_U2 = nb.types.Array(nb.uint8, 2, "C")


@compiled(_F2, _I2, _F2, _U2, _F3)
def fill_behind(
    vertices: FloatArray,
    triangles: NDArray[np.int32],
    values: FloatArray,
    cover: NDArray[np.uint8],
    out: FloatArray,
) -> None:
    """Draw convex meshes into a backward map, where the map so far shows nothing. Those that come first hide the others.

    Args:
        vertices: (n, 3) x, y in pixels of `out`, and depth.
        triangles: (m, 3) as in `raster_map`; those seen from behind are skipped.
        values: (n, 2) their places in the layer.
        cover: (S, S) of the layer: COVERED and more where it shows the person.
        out: (H, W, 2) changed in place.
    """
    height, width = out.shape[0], out.shape[1]
    last_x, last_y = cover.shape[1] - 1, cover.shape[0] - 1
    half, slack = np.float32(0.5), np.float32(-1e-4)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = vertices[a, 0], vertices[a, 1]
        bx, by = vertices[b, 0], vertices[b, 1]
        cx, cy = vertices[c, 0], vertices[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area >= np.float32(-1e-6):
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        inverse = np.float32(1.0) / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                px, py = np.float32(x), np.float32(y)
                w0 = ((cx - bx) * (py - by) - (cy - by) * (px - bx)) * inverse
                w1 = ((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) * inverse
                w2 = np.float32(1.0) - w0 - w1
                if w0 < slack or w1 < slack or w2 < slack:
                    continue
                u = min(max(int(out[y, x, 0] + half), 0), last_x)
                v = min(max(int(out[y, x, 1] + half), 0), last_y)
                if cover[v, u] < COVERED:
                    out[y, x, 0] = w0 * values[a, 0] + w1 * values[b, 0] + w2 * values[c, 0]
                    out[y, x, 1] = w0 * values[a, 1] + w1 * values[b, 1] + w2 * values[c, 1]
