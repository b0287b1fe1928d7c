"""The side of the head as turned frames showed it, over what a frontal photo gives when the head turns.

A frontal photo sees cheek, ear and the hair beside them edge-on. Where other pictures of the person showed a side, their
pixels lie on a sheet around it, and fade in as that side turns to the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import FloatArray
from icface.geometry import raster
from icface.geometry.back import CENTRE, DEPTH
from icface.geometry.follow import smooth
from icface.geometry.person import SIDES, KnownSide, Person
from icface.geometry.shape import PIVOT, Projection
from icface.geometry.topology import face_tables
from icface.pyramid import push_pull

ROWS, COLS = 17, 13
"""Nodes of the sheet."""
FROM, WHOLE = 0.10, 0.32
"""Sines of the head's turn where the sheet begins to be seen, and where it is all that is seen."""
HIGH: Final = 1.3
"""How far the head goes on above `CENTRE` (IOD)."""
WIDENS: Final = 0.05
"""The head is wider at the ears than at the face's rim by so much (IOD)."""
NEAR: Final = 0.16
"""A node follows the vertices of the face within about this (IOD)."""
LIGHT: Final = 0.10
"""Colours are compared over so much (IOD)."""
MOST_LIGHT: Final = 0.45
"""They differ by no more than this, as a natural logarithm."""
_SKIN: Final = face_tables().skin_triangles


class Sides(NamedTuple):
    """What is known of the sides, for one photo."""

    pictures: tuple[Frame, ...] = ()
    """For the atlas."""
    which: tuple[int, ...] = ()
    """0 for the head's left side, 1 for the right one."""
    alphas: tuple[Frame, ...] = ()
    nodes: tuple[FloatArray, ...] = ()
    shapes: tuple[FloatArray, ...] = ()

    def tensors(self, patches: Sequence[NDArray[np.int32]]) -> dict[str, NDArray[Any]]:
        """Those of `SideOfHead`, with the places (4,) of the pictures in the atlas."""
        result: dict[str, NDArray[Any]] = {}
        for which, alpha, nodes, shape, patch in zip(
            self.which, self.alphas, self.nodes, self.shapes, patches, strict=True
        ):
            name = SIDES[which]
            result |= {
                f"{name}_side_alpha": alpha,
                f"{name}_side_nodes": nodes,
                f"{name}_side_shape": shape,
                f"{name}_side_patch": patch,
            }
        return result


def prepared(person: Person | None, crop: Frame, texture_px: FloatArray) -> Sides:
    """What is known of a person's sides, in the light of a photo's crop (T, T, 3)."""
    known = [] if person is None else [(i, each) for i, each in enumerate(person.sides) if each is not None]
    if not known:
        return Sides()
    return Sides(
        tuple(lit_as(each, crop, texture_px) for _, each in known),
        tuple(i for i, _ in known),
        tuple(np.ascontiguousarray(each.picture[..., 3]) for _, each in known),
        tuple(nodes_of(each) for _, each in known),
        tuple(each.shape for _, each in known),
    )


def nodes_of(known: KnownSide) -> FloatArray:
    """(ROWS * COLS, 3) head space of the sheet's nodes, which lie evenly over the picture, row by row.

    Inside of the face they lie on it. Beyond its rim the head is as round as its back (`back.py`).
    """
    height, width = known.picture.shape[:2]
    x, y = np.meshgrid(np.linspace(0, width - 1, COLS), np.linspace(0, height - 1, ROWS))
    rotation, project = known.rotation.astype(np.float64), _projection(known)
    side = float(np.sign(rotation[2, 0]))
    seen = project(known.shape, known.rotation)
    flat = np.stack([x - project.base_px[0], project.base_px[1] - y], axis=-1) / float(project.iod_px)

    depth = np.full((height, width), -1e30, dtype=np.float32)
    scratch = np.zeros((height, width, 2), dtype=np.float32)
    raster.raster_map(seen, _SKIN, np.zeros_like(seen), depth, scratch)
    on_face = depth[np.round(y).astype(int), np.round(x).astype(int)].astype(np.float64)

    # Beyond it the head is round, and narrower towards its top. What lies outside is as deep as the outline.
    half = float(np.max(side * known.shape[:, 0])) + WIDENS
    up = np.clip((flat[..., 1] + PIVOT[1] - CENTRE[1]) / HIGH, 0, 0.95)
    from_axis = flat @ rotation[:2] + PIVOT - CENTRE
    size = half * np.array([1.0, 1.0, DEPTH])
    along, start = (rotation[2] / size)[[0, 2]], (from_axis / size)[..., [0, 2]]
    square, middle = float(along @ along), start @ along
    inside = middle**2 - square * ((start**2).sum(axis=-1) - (1 - up**2))
    behind = (np.sqrt(np.maximum(inside, 0)) - middle) / square
    z = np.where(on_face > -1e29, on_face, behind)
    z = cv2.GaussianBlur(z, (0, 0), 0.8)
    turned = np.stack([flat[..., 0], flat[..., 1], z], axis=-1)
    return np.asarray((turned @ rotation + PIVOT).reshape(-1, 3), dtype=np.float32)


def lit_as(known: KnownSide, crop: Frame, texture_px: FloatArray) -> Frame:
    """The picture (h, w, 3) in the light of a photo's crop, whose face's vertices lie at `texture_px` (468, 2).

    The ratio of the cheeks goes on smoothly over ear and hair.
    """
    height, width = known.picture.shape[:2]
    project = _projection(known)
    seen = project(known.shape, known.rotation)
    values = np.column_stack([texture_px, np.ones(len(texture_px))]).astype(np.float32)
    depth = np.empty((height, width), dtype=np.float32)
    places = np.full((height, width, 2), -1, dtype=np.float32)
    raster.raster_map(seen, _SKIN, values, depth, places)
    there = cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (depth > -1e29).astype(np.float32)
    # The rim of the photo is the very thing that is not known.
    inside = cv2.erode(inside, np.ones((3, 3), np.uint8), iterations=max(1, round(0.08 * float(project.iod_px))))
    blur = LIGHT * float(project.iod_px)
    weight = cv2.GaussianBlur(inside, (0, 0), blur)

    def smoothed(picture: Any) -> Any:
        return cv2.GaussianBlur(picture.astype(np.float32) * inside[..., None], (0, 0), blur) + 8 * weight[..., None]

    colours = known.picture[..., :3]
    ratio = np.log(np.maximum(smoothed(there), 1e-3) / np.maximum(smoothed(colours), 1e-3))
    ratio = push_pull(ratio.astype(np.float32), np.ascontiguousarray(inside))
    ratio = cv2.GaussianBlur(ratio, (0, 0), blur)
    gain = np.exp(np.clip(ratio, -MOST_LIGHT, MOST_LIGHT))
    return np.clip(np.round(colours * gain), 0, 255).astype(np.uint8)


def _projection(known: KnownSide) -> Projection:
    return Projection(known.base_px, np.float32(known.iod_px))


class _Sheet:
    """One side of a source."""

    def __init__(self, cache: Tensors, name: str) -> None:
        self.alpha = np.ascontiguousarray(cache[f"{name}_side_alpha"])
        self.nodes, self.shape = cache[f"{name}_side_nodes"], cache[f"{name}_side_shape"]
        left, top, width, height = cache[f"{name}_side_patch"].astype(np.float32)
        self.corner = np.array([left, top], dtype=np.float32)
        x, y = np.meshgrid(left + np.linspace(0, width - 1, COLS), top + np.linspace(0, height - 1, ROWS))
        self.values = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1).astype(np.float32)
        apart = np.linalg.norm(self.nodes[:, None] - self.shape[None], axis=2)
        weight = np.exp(-np.square(apart / NEAR)) + 1e-9 / (apart**4 + 1e-9)
        self.follow = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


class SideOfHead:
    """The sheets of one source. They are drawn as eyes and mouth are: over the skin, from the atlas `inner`.

    Args:
        cache: what `prepare_source` made.
        project: from head space to pixels of the crop.
    """

    def __init__(self, cache: Tensors, project: Projection) -> None:
        self._project = project
        corner = (np.arange(ROWS - 1)[:, None] * COLS + np.arange(COLS - 1)).reshape(-1)
        first = np.stack([corner, corner + COLS, corner + 1], axis=1)
        second = np.stack([corner + 1, corner + COLS, corner + COLS + 1], axis=1)
        self._triangles = np.concatenate([first, second]).astype(np.int32)
        self._sheets = [_Sheet(cache, name) if f"{name}_side_patch" in cache else None for name in SIDES]

    def __call__(
        self, rotation: FloatArray, face: FloatArray, motion: Tensors, depth: FloatArray, region: NDArray[np.int32]
    ) -> None:
        """Draw the side that is turned to the camera.

        Args:
            rotation: (3, 3) of the head.
            face: (468, 3) the face's vertices in the frame.
            motion: whose maps are written.
            depth: (H, W) scratch.
            region: (4,) is overwritten with the box that was drawn.
        """
        turn = float(rotation[2, 0])
        sheet = self._sheets[0 if turn > 0 else 1]
        strength = float(smooth((abs(turn) - FROM) / (WHOLE - FROM)))
        region[:] = 0
        if strength == 0 or sheet is None:
            return
        vertices = self._project(sheet.nodes, rotation)
        apart = face[:, :2] - self._project(sheet.shape, rotation)[:, :2]
        vertices[:, :2] += sheet.follow @ apart
        height, width = depth.shape
        x0, y0 = np.maximum(np.floor(vertices[:, :2].min(0)).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(vertices[:, :2].max(0)).astype(int) + 1, (width, height))
        if x1 <= x0 or y1 <= y0:
            return
        region[:] = x0, y0, x1, y1
        box = np.s_[y0:y1, x0:x1]
        inner_map = motion["inner_map"]
        inner_map[box] = -16
        raster.raster_map(vertices, self._triangles, sheet.values, depth, inner_map)
        motion["inner_shade"][box] = 255
        places = inner_map[box] - sheet.corner
        alpha: Any = cv2.remap(
            sheet.alpha, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT  # type: ignore[call-overload]
        )
        motion["inner_alpha"][box] = np.round(alpha * np.float32(strength)).astype(np.uint8)
