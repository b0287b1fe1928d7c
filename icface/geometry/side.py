"""The side of the head as a turned picture of the person showed it, made ready for one photo. Once a photo.

A frontal photo sees cheek, ear and the hair beside them edge-on. Where another picture of the person showed a side, its
pixels lie on a sheet around the head. `sheet.py` draws it.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import FloatArray
from icface.geometry import raster
from icface.geometry.back import CENTRE, HIGHEST
from icface.geometry.follow import smooth
from icface.geometry.outline import Outline
from icface.geometry.person import SIDES, KnownSide, Person
from icface.geometry.shape import PIVOT, Projection
from icface.geometry.topology import face_tables
from icface.pyramid import push_pull

ROWS, COLS = 17, 13
"""Nodes of the sheet."""
SHOWN: Final = 64
"""The outline of a side lies where the picture's alpha falls below this."""
NARROWEST, WIDEST = 0.1, 1.3
DEEPEST: Final = 1.7
"""Half of the head's width, and of its depth at most (IOD)."""
BROWS, LEAST_TOP = 0.3, 0.8
"""Heights over the eyes between which a head is made higher or lower, as the photo's is (IOD)."""
MOST_RAISED: Final = 0.2
NEAR: Final = 0.16
"""A node follows the vertices of the face within about this (IOD)."""
LIGHT: Final = 0.10
"""Colours are compared over so much (IOD)."""
RIM: Final = 0.08
"""So near to its rim the face's colours are not compared: they are what the photo does not know (IOD)."""
MOST_LIGHT: Final = 0.45
"""The lights of two pictures differ by no more than this, as a natural logarithm."""
_NOWHERE: Final = -1e30
_SKIN: Final = face_tables().skin_triangles


def known_sides(person: Person | None) -> list[tuple[str, KnownSide]]:
    """The sides that are known, with their names."""
    sides = (None, None) if person is None else person.sides
    return [(name, side) for name, side in zip(SIDES, sides, strict=True) if side is not None]


def lit_as(known: KnownSide, crop: Frame, texture_px: FloatArray) -> Frame:
    """The picture (h, w, 3) in the light of a photo's crop, whose face's vertices lie at `texture_px` (468, 2).

    The ratio of the cheeks goes on smoothly over ear and hair.
    """
    values = np.column_stack([texture_px, np.ones(len(texture_px))]).astype(np.float32)
    depth, places = _drawn(known, values)
    there = cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rim_px = max(1, round(RIM * known.iod_px))
    inside: Any = cv2.erode(
        (depth > _NOWHERE).astype(np.float32), np.ones((3, 3), np.uint8), iterations=rim_px
    )
    blur = LIGHT * known.iod_px
    weight = cv2.GaussianBlur(inside, (0, 0), blur)[..., None]

    def smoothed(picture: NDArray[Any]) -> Any:
        mean = cv2.GaussianBlur(picture.astype(np.float32) * inside[..., None], (0, 0), blur)
        return np.maximum(mean + 8 * weight, 1e-3)  # so that dark pixels have no wild ratio

    colours = known.picture[..., :3]
    ratio = np.log(smoothed(there) / smoothed(colours)).astype(np.float32)
    ratio = cv2.GaussianBlur(push_pull(ratio, inside), (0, 0), blur)
    gain = np.exp(np.clip(ratio, -MOST_LIGHT, MOST_LIGHT))
    return np.clip(np.round(colours * gain), 0, 255).astype(np.uint8)


def sheet_tensors(
    name: str, known: KnownSide, patch: NDArray[np.int32], cache: Tensors
) -> dict[str, NDArray[Any]]:
    """The cache's tensors of one side, whose picture lies at `patch` (4,) in the atlas `inner`.

    `cache` has all that `Outline` reads. Each node lies at an offset (ROWS * COLS, 3), in head space, from what it
    follows: means of the face's vertices, by weights (ROWS * COLS, 468).
    """
    nodes = nodes_of(known, cache)
    apart = np.linalg.norm(nodes[:, None] - known.shape[None], axis=2)
    far = 1e-9 / (apart**4 + 1e-9)  # far nodes follow the nearest vertices
    weight = np.exp(-np.square(apart / NEAR)) + far
    follow = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return {
        f"{name}_side_alpha": np.ascontiguousarray(known.picture[..., 3]),
        f"{name}_side_patch": patch,
        f"{name}_side_follow": follow,
        f"{name}_side_offsets": nodes - follow @ known.shape,
    }


def nodes_of(known: KnownSide, cache: Tensors) -> FloatArray:
    """(ROWS * COLS, 3) head space of the sheet's nodes, which lie evenly over the picture, row by row.

    Inside of the face they lie on it. Beyond its rim the head is an ellipse at each height: from the front as wide as the
    photo shows it, and so deep that its outline is that of the picture. So the sheet meets the photo's outline where the
    head faces the camera, and the picture's where it is turned as there.
    """
    height, width = known.picture.shape[:2]
    x, y = np.meshgrid(np.linspace(0, width - 1, COLS), np.linspace(0, height - 1, ROWS))
    rotation = known.rotation.astype(np.float64)
    flat = np.stack([x - known.base_px[0], known.base_px[1] - y], axis=-1) / known.iod_px

    depth, _ = _drawn(known, np.zeros((len(known.shape), 3), dtype=np.float32))
    on_face = depth[np.round(y).astype(int), np.round(x).astype(int)].astype(np.float64)

    from_axis = flat @ rotation[:2] + PIVOT - CENTRE
    outline = None
    if int(cache["margin"]):
        outline = Outline(cache, Projection(cache["base_px"], np.float32(cache["iod_px"][()])), CENTRE)
    size = _sizes(known, flat[:, 0, 1] + PIVOT[1], outline)
    start, along = from_axis[..., [0, 2]] / size[:, None], (rotation[2, [0, 2]] / size)[:, None]
    square, middle = (along**2).sum(axis=-1), (start * along).sum(axis=-1)
    inside = middle**2 - square * ((start**2).sum(axis=-1) - 1)
    round_head = (np.sqrt(np.maximum(inside, 0)) - middle) / square
    z = cv2.GaussianBlur(np.where(on_face > _NOWHERE, on_face, round_head), (0, 0), 0.8)
    nodes = np.dstack([flat, z]) @ rotation + PIVOT
    if outline is not None:  # a turned head's pitch is read badly, and then its top lies too high or too low
        column = int(
            np.argmax(known.picture[: height // (ROWS - 1), :, 3].sum(axis=0)) * (COLS - 1) / (width - 1)
        )
        top = float(nodes[0, column, 1])
        raised = np.clip(outline.top(HIGHEST) - top, -MOST_RAISED, MOST_RAISED)
        nodes[..., 1] += raised * smooth((nodes[..., 1] - BROWS) / (max(top, LEAST_TOP) - BROWS))
    return np.asarray(nodes.reshape(-1, 3), dtype=np.float32)


def _sizes(known: KnownSide, heights: Array, outline: Outline | None) -> Array:
    """(n, 2) half width and half depth of the head at heights (n,) over the eyes."""
    side = float(np.sign(known.rotation[2, 0]))
    if outline is not None:
        half = np.array([outline.reach(y, int(side), WIDEST) for y in heights])
    else:
        half = np.full(len(heights), np.max(side * known.shape[:, 0]))
    half = _smoothed(np.clip(half, NARROWEST, WIDEST))
    # How far out the picture shows the side, from the axis of the head.
    shown = known.picture[..., 3] >= SHOWN
    rows = np.flatnonzero(shown.any(axis=1))
    outermost = (
        shown.shape[1] - 1 - shown[rows, ::-1].argmax(axis=1) if side > 0 else shown[rows].argmax(axis=1)
    )
    level = (known.base_px[1] - rows) / known.iod_px
    to_axis = CENTRE - PIVOT
    axis = known.rotation[0, 1] * level + known.rotation[0, 2] * to_axis[2]
    out = side * ((outermost - known.base_px[0]) / known.iod_px - axis)
    out = np.interp(heights - PIVOT[1], level[::-1], out[::-1])
    cos, sin = float(known.rotation[0, 0]), abs(float(known.rotation[2, 0]))
    deep = np.sqrt(np.clip(out**2 - (half * cos) ** 2, (half * sin / 2) ** 2, (DEEPEST * sin) ** 2)) / sin
    return np.stack([half, _smoothed(deep)], axis=1)


def _smoothed(values: Array) -> Array:
    padded = np.pad(values, 2, mode="edge")
    return np.convolve(padded, np.array([1, 2, 3, 2, 1]) / 9, mode="valid")


def _drawn(known: KnownSide, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The face of the picture: its depth (h, w), _NOWHERE beside it, and what its vertices' values (468, 3) draw."""
    height, width = known.picture.shape[:2]
    project = Projection(known.base_px, np.float32(known.iod_px))
    depth = np.empty((height, width), dtype=np.float32)
    places = np.zeros((height, width, 2), dtype=np.float32)
    raster.raster_map(project(known.shape, known.rotation), _SKIN, values, depth, places)
    return np.where(depth > -1e29, depth, np.float32(_NOWHERE)), places
