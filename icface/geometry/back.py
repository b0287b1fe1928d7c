"""The back of head and neck: what a frontal photo does not show, and a turn brings into view behind ear and jaw.

Two round solids lie inside the person's outline. They are drawn only where the moved photo leaves the background bare.
The head has the colours of the hair, or of the scalp, along the outline above the ears. The neck has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Tensors
from icface.attributes import FloatArray
from icface.geometry.follow import CHIN, head_share, smooth
from icface.geometry.outline import SURE, Outline
from icface.geometry.raster import fill_behind
from icface.geometry.shape import Projection
from icface.geometry.topology import OVAL

# Heights and lengths in head space (IOD).
CENTRE: Final = np.array([0.0, 0.2, -0.75], dtype=np.float32)
"""Of the head. The neck has the same axis."""
DEPTH: Final = 1.1
"""How deep the back is, of its half width."""
TURNS: Final = np.radians(np.linspace(-50, 230, 29))
"""Around the axis, from before the left side (0) over the back (90°) to before the right side (180°)."""
SIDES: Final = 1, -1
INSET: Final = 0.06
"""The solids lie so far inside the outline. They are not seen at rest, and their colours come from no nearer to it."""

EAR_TOP: Final = 0.30
"""Above this the outline is the head's. Below it is the ear's, and the solid rounds off."""
BELOW: Final = (
    (0.15, 1.0), (0.0, 0.98), (-0.15, 0.92), (-0.28, 0.83), (-0.4, 0.7), (-0.5, 0.52), (-0.57, 0.25)
)  # fmt: skip
"""Heights below the ears' tops, and how wide the head is there, of its width at EAR_TOP."""
ROWS_ABOVE: Final = 10
WIDEST: Final = 1.15
WIDEST_BELOW: Final = 0.92
EAR_LOW: Final = -0.35
STANDS_OUT: Final = 1.05
BEHIND_HAIR: Final = 0.3
"""A side that is wider at the ear's top or its lower end is hair that stands out or hangs. There the solid is so much
narrower, and not seen."""
HIGHEST: Final = 1.5
LEAST_HEIGHT: Final = 0.9
"""A head that ends lower above the eyes was not seen as a whole. It gets no back."""

WIDEST_STRIP: Final = 0.25
LEAST_STRIP: Final = 0.03
"""The colours come from a strip inside the outline, so wide, and not from the face."""
OTHER_COLOUR: Final = 28
"""Levels by which the strip's colours differ at most, so that it is of hair or of skin alone."""
BEGINS: Final = 0.2
"""The strip begins within this, where the colour is the hair's."""
LESS_ALIKE: Final = 40
"""A side that differs by so many levels more from the hair than the other one is lit from behind, and looks like that
one."""
FAR: Final = 1.0
"""Around the head, the colours of a strip are spread so far."""
SWEEP: Final = 0.8
REPEAT: Final = 0.45
"""Hair sweeps around the ear's top. What lies behind it looks like what lies above it, SWEEP times as far. What lies
below it looks like what lies REPEAT times as far above."""
HIGHEST_LOOK: Final = 0.8
"""Nothing looks like what is higher than this, on the way from the ears to the top of the head: there light shines."""
SEEN_ALIKE: Final = 0.07
"""A photo that is turned by more (a sine) shows one side of the head too edge-on. Both look like the other one then."""

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
STILL: Final = 0.75
"""Over so much below the chin the neck comes to rest."""
JAW: Final = -0.15
"""Below this the face's outline is the jaw's."""
SOFT: Final = 0.05
"""The outline in front of the solids is smoothed over so much."""


class _Solid(NamedTuple):
    """What is round about the axis. Pairs are of the head's left side, at positive x, and of its right side."""

    heights: Array
    """(n,) from above."""
    widths: Array
    """(n, 2)."""
    looks: Callable[[Array, Array, int], Array]
    """Pixels of the layer from which the colours come, at heights, distances around the axis, and on a side (0 or 1)."""


class BackOfHead:
    """The solids of one source that has layers.

    Args:
        cache: what `prepare_source` made.
        project: from head space to pixels of the crop.
        freedom: how much places (n, 2) of the crop may move, from 0 to 1.
    """

    def __init__(
        self, cache: Tensors, project: Projection, freedom: Callable[[FloatArray], FloatArray]
    ) -> None:
        self._project = project
        outline = Outline(cache, project, CENTRE)
        turned = float(cache["rotation"][2, 0])
        shown = (0, 1) if abs(turned) < SEEN_ALIKE else (0, 0) if turned > 0 else (1, 1)
        head, neck = _head(outline, shown), _neck(outline, shown)
        meshes = [_mesh(solid) for solid in (head, neck) if head and solid]
        self._drawn = bool(meshes)
        if not meshes:
            return
        self._of_head = len(meshes[0][2])
        starts = np.cumsum([0, *(len(shape) for shape, _, _ in meshes)], dtype=np.int32)
        self._shape = np.concatenate([shape for shape, _, _ in meshes])
        self._values = np.concatenate([values for _, values, _ in meshes])
        self._triangles = np.concatenate(
            [triangles + start for (_, _, triangles), start in zip(meshes, starts[:-1], strict=True)]
        )
        self._rest = project(self._shape, cache["rotation"])
        self._facing_rest = cache["rotation"][1, 2]
        x, y, _ = self._shape.T
        share = head_share(x / NARROWER, y, 0 * y, CHIN - STILL, False) * freedom(self._rest[:, :2])
        self._share = share[:, None].astype(np.float32)
        # The outline is smooth, and lies inside the soft edge. Where the solids lie at rest they never hide the photo.
        person = np.where(outline.alpha > SURE, np.uint8(255), np.uint8(0))
        window = 2 * (2 * round(SOFT * float(project.iod_px) / 2) + 1,)
        cover: Any = cv2.blur(cv2.blur(person, window), window)
        self._cover: NDArray[np.uint8] = cover
        # The same goes for the jaw, which the matte may doubt in a bright place.
        at_rest = np.round(self._rest[:, :2] + outline.margin).astype(np.int32)
        for triangle in at_rest[self._triangles]:
            cv2.fillConvexPoly(self._cover, triangle, (255,))
        oval = cache["texture_px"][list(OVAL)][cache["neutral_shape"][list(OVAL), 1] < JAW] + outline.margin
        cv2.fillPoly(self._cover, [np.round(oval).astype(np.int32)], (255,))

    def __call__(self, rotation: FloatArray, skin_map: FloatArray, neck_alone: bool = False) -> None:
        """Write them into a map (H, W, 2) of the layer, for a rotation (3, 3) of the head."""
        if self._drawn:
            moved = self._project(self._shape, self._not_below(rotation))
            moved -= self._rest
            moved *= self._share
            moved += self._rest
            triangles = self._triangles[self._of_head :] if neck_alone else self._triangles
            fill_behind(moved, triangles, self._values, self._cover, skin_map)

    def _not_below(self, rotation: FloatArray) -> FloatArray:
        """The same; but where the head looks up, its back does not come down to stand out beside jaw and neck."""
        held = rotation.copy()
        held[1, 2] = min(rotation[1, 2], self._facing_rest)
        return held


def _head(outline: Outline, shown: tuple[int, int]) -> _Solid | None:
    top = outline.top(HIGHEST) - INSET
    if top < LEAST_HEIGHT:
        return None
    above = EAR_TOP + (top - EAR_TOP) * np.sin(np.linspace(0, np.pi / 2, ROWS_ABOVE))
    reach = [[_width(outline, y, side) for side in SIDES] for y in above]
    begins = [
        [outline.to_hair(y, *pair, BEGINS, OTHER_COLOUR) for pair in zip(SIDES, row, strict=True)]
        for y, row in zip(above, reach, strict=True)
    ]
    starts, apart = np.moveaxis(np.array(begins), -1, 0)
    deep = [
        [_strip(outline, y, *pair) for pair in zip(SIDES, row, strict=True)]
        for y, row in zip(above, reach - starts, strict=True)
    ]
    widths, starts, strips = (_smoothed(np.array(rows)) for rows in (reach, starts, deep))
    left, right = np.median(apart[: ROWS_ABOVE // 2], axis=0).tolist()
    if min(left, right) < LESS_ALIKE < abs(left - right):
        shown = (0, 0) if left < right else (1, 1)
    elif abs(left - right) > LESS_ALIKE:
        shown = (0, 1)  # light falls from one side, and each side has its own
    beside = np.maximum(reach[0], [_width(outline, EAR_LOW, side) for side in SIDES])
    behind = widths * np.where(beside > STANDS_OUT, BEHIND_HAIR, 1)

    def looks(y: Array, arc: Array, side: int) -> Array:
        which = shown[side]
        up = y - EAR_TOP
        away = np.hypot(up, SWEEP * arc) + 1e-6
        like = EAR_TOP + away * (REPEAT + (1 - REPEAT) * np.clip(up / away, 0, 1))
        like = np.minimum(like, EAR_TOP + HIGHEST_LOOK * (top - EAR_TOP))
        inwards = np.interp(like, above, starts[:, which])
        inwards += np.interp(like, above, strips[:, which]) * np.minimum(arc / FAR, 1)
        return outline.place(SIDES[which] * (np.interp(like, above, widths[:, which]) - inwards), like)

    below = np.array(BELOW)
    narrowed = smooth((EAR_TOP - below[:, :1]) / 0.4)
    at_ears = behind[0] + narrowed * (np.minimum(behind[0], WIDEST_BELOW) - behind[0])
    heights = np.concatenate([above[::-1], below[:, 0]])
    return _Solid(heights, np.concatenate([behind[::-1], below[:, 1:] * at_ears]), looks)


def _neck(outline: Outline, shown: tuple[int, int]) -> _Solid | None:
    widths, strips, places = [], [], []
    for side, cheek in zip(SIDES, outline.cheeks + 1, strict=True):
        width, y = min((_width(outline, y, side), y) for y in np.arange(*NECK_SEEN, -0.05))
        neck = outline.colours([side * width], [y])[0] + 1
        hue = np.abs(neck / neck.sum() - cheek / cheek.sum()).max()
        if width > WIDEST_NECK or hue > NOT_SKIN or not DARKEST < neck.sum() / cheek.sum() < BRIGHTEST:
            return None
        widths.append(width)
        strips.append(_strip(outline, y, side, width))
        places.append(y)

    def looks(y: Array, arc: Array, side: int) -> Array:
        which = shown[side]
        like = places[which] + 0.1 * (y - places[which])
        return outline.place(SIDES[which] * (widths[which] - strips[which] * np.minimum(arc / FAR, 1)), like)

    heights = np.linspace(*NECK, 6)
    return _Solid(heights, NARROWER * np.array(widths) + 0 * heights[:, None], looks)


def _width(outline: Outline, y: float, side: int) -> float:
    return max(0.02, outline.reach(y, side, WIDEST + INSET) - INSET)


def _strip(outline: Outline, y: float, side: int, width: float) -> float:
    deep = outline.strip(y, side, width, WIDEST_STRIP, OTHER_COLOUR) - 0.02
    return float(np.clip(deep, LEAST_STRIP, WIDEST_STRIP))


def _smoothed(rows: Array) -> Array:
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
