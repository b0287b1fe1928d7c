"""A turned photo made frontal: what its far side hides is taken from the mirror image of the near side. Once a photo."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import FloatArray, neutral
from icface.geometry import raster
from icface.geometry.follow import smooth
from icface.geometry.rig import FaceRig
from icface.geometry.shape import PIVOT, Projection, head_space, ring_around
from icface.geometry.topology import FACE_VERTICES, face_tables
from icface.geometry.warp import HostWarp

Mask = NDArray[np.float32]

COMPLETE_FROM_RAD: Final = 0.175
"""A photo that is turned further shows too little of its far side. That side is completed."""
BETTER_SEEN: Final = (0.2, 0.5)
"""A vertex comes from the mirror image where the other side was seen so much better: from nothing to all of it.

The unit is pixels of the photo per pixel of the frontal picture, by area.
"""
MIDLINE: Final = 0.02
"""So far from the midline the mirror image begins (IOD)."""
SEAM: Final = (0.14, 0.05)
"""Over so much it fades in (IOD): in a photo that is turned little, and in one that is turned far."""
HAIR_TURNS_RAD: Final = (0.10, 0.22)
"""Between these turns the mirror image takes over more and more of the far side's hair."""
EAR: Final = 0.10
HAIR: Final = 1.20
"""So far beyond the face the mirror image reaches at the first of these turns, and so much farther at the last (IOD)."""
BESIDE: Final = 0.25
"""Where a turn hides the ear alone, what is carried begins so far inside of the face's widest place (IOD)."""
BELOW_EAR: Final = 0.75
BELOW_HAIR: Final = 1.85
"""It ends so far below the eyes: BELOW_EAR with the smallest of these turns, BELOW_HAIR with the largest (IOD)."""
FAR_TURNS_RAD: Final = (0.25, 0.55)
"""Between these turns it takes over all of the far side, with the neck."""
RIDGE: Final = (0.001, 0.005, 0.01)
"""Keeps each term of the light small where little was seen on both sides."""
AROUND_PX: Final = 800
"""From this side on the mirror image's place is found at half the size."""
LIGHT_PX: Final = 256
"""Side of the picture in which the light is looked at, at least."""
MOST_LIGHT: Final = 0.45
"""The light of the two sides differs by no more than this, as a natural logarithm."""


def frontal(prepared: Tensors, yaw_rad: float) -> Frame:
    """The frontal, neutral picture (T, T, 3) of a photo that `prepare_source` read, completed by mirror images.

    Args:
        prepared: the tensors of the photo as it is.
        yaw_rad: how far the photo is turned.
    """
    prepared = _centred(prepared)
    seen = _seen(prepared)
    better = _smoothed(seen[_pairs()] - seen)
    shape = _symmetric(prepared["neutral_shape"], better)
    person, behind = _person({**prepared, "neutral_shape": shape, "ring_shape": ring_around(shape)})

    project = Projection(prepared["base_px"], np.float32(prepared["iod_px"][()]))
    front = project(shape, np.eye(3, dtype=np.float32))
    middle_px = float(project.base_px[0])
    mirrored = _flipped(person, middle_px)
    far = float(smooth(_between(abs(yaw_rad), FAR_TURNS_RAD)))
    face, weight = _weight(front, -np.sign(yaw_rad) * shape[:, 0], better, far, len(behind))
    around = _around(weight, face, project, yaw_rad, far)
    light = _light(person, mirrored, face * (1 - weight), project)
    # Where the mirror image has no person, the photo's own stays, unless the photo is turned far.
    box = _box(around)
    share = around[box][..., None]
    added = mirrored[box] * share
    added[..., :3] = np.minimum(added[..., :3] * light[box], added[..., 3:])
    person[box] = added + person[box] * (1 - np.maximum(added[..., 3:] / 255, far * share))
    frame = person[..., :3] + behind * (1 - person[..., 3:] / 255)
    return (frame + np.float32(0.5)).clip(0, 255).astype(np.uint8)


def _box(mask: Mask) -> tuple[slice, slice]:
    """The least box that holds all of a mask."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def upright(points: FloatArray, rotation: FloatArray) -> FloatArray:
    """The rotation (3, 3) of a turned head, corrected so that the head's two sides are mirror images.

    The measured one is off by a few degrees in turned photos. There the frontal face would lean.

    Args:
        points: (n, 3) landmarks, y down and z away.
        rotation: (3, 3) as measured.
    """
    shape, _, _ = head_space(points[:FACE_VERTICES], rotation)
    other = shape[_pairs()] * np.array([-1, 1, 1], dtype=np.float32)
    shape, other = shape - shape.mean(0), other - other.mean(0)
    u, _, vt = np.linalg.svd(other.T @ shape)
    onto_other = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    half, _ = cv2.Rodrigues(cv2.Rodrigues(onto_other)[0] / 2)
    return np.asarray(rotation @ half.T, dtype=np.float32)


def _centred(prepared: Tensors) -> Tensors:
    """The same source with the middle of its head at x = 0."""
    shape, rotation = prepared["neutral_shape"], prepared["rotation"]
    middle = shape[_pairs() == np.arange(FACE_VERTICES), 0].mean()
    moved = prepared["iod_px"] * middle * rotation[:2, 0] * [1, -1]
    return {
        **prepared,
        "neutral_shape": shape - np.array([middle, 0, 0], dtype=np.float32),
        "base_px": (prepared["base_px"] + moved).astype(np.float32),
    }


def _between(value: Any, limits: tuple[float, float]) -> Any:
    return (value - limits[0]) / (limits[1] - limits[0])


@cache
def _pairs() -> NDArray[np.intp]:
    """(468,) each vertex's mirror image."""
    canonical = face_tables().canonical
    apart = np.linalg.norm(canonical[:, None] * [-1, 1, 1] - canonical[None], axis=2)
    return np.asarray(apart.argmin(axis=1), dtype=np.intp)


@cache
def _triangles() -> NDArray[np.int32]:
    tables = face_tables()
    return np.concatenate([tables.skin_triangles, tables.opening_triangles])


def _areas(points: FloatArray) -> FloatArray:
    a, b, c = (points[_triangles()[:, i], :2] for i in range(3))
    return (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]) - (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1])


def _seen(prepared: Tensors) -> FloatArray:
    """(468,) how well the photo shows each vertex: its area there against the frontal picture; 0 where it is hidden."""
    project = Projection(prepared["base_px"], np.float32(prepared["iod_px"][()]))
    shape = prepared["neutral_shape"]
    side = len(prepared["plate"])
    photographed = project(shape, prepared["rotation"])
    photographed[:, :2] = prepared["texture_px"]
    ratio = _areas(photographed) / np.maximum(_areas(project(shape, np.eye(3, dtype=np.float32))), 1e-3)
    total, count = np.zeros(FACE_VERTICES), np.zeros(FACE_VERTICES)
    for corner in _triangles().T:
        np.add.at(total, corner, np.clip(ratio, 0, 2))
        np.add.at(count, corner, 1)
    # What lies behind the nose is hidden.
    depth = np.empty((side, side), dtype=np.float32)
    scratch = np.zeros((side, side, 2), dtype=np.float32)
    raster.raster_map(photographed, _triangles(), np.zeros((FACE_VERTICES, 3), np.float32), depth, scratch)
    x, y = np.clip(np.round(photographed[:, :2]).astype(int), 0, side - 1).T
    hidden = depth[y, x] > photographed[:, 2] + 0.08
    return np.asarray(np.where(hidden, 0, total / np.maximum(count, 1)), dtype=np.float32)


def _smoothed(values: FloatArray) -> FloatArray:
    """Values (468,) of the vertices, averaged with their neighbours."""
    corners = _triangles()
    for _ in range(3):
        total, count = np.zeros(FACE_VERTICES), np.zeros(FACE_VERTICES)
        mean = values[corners].mean(axis=1)
        for corner in corners.T:
            np.add.at(total, corner, mean)
            np.add.at(count, corner, 1)
        values = (total / np.maximum(count, 1)).astype(np.float32)
    return values


def _symmetric(shape: FloatArray, better: FloatArray) -> FloatArray:
    """The shape, each vertex like its mirror image in as far as that was seen better."""
    mirrored = shape[_pairs()] * np.array([-1, 1, 1], dtype=np.float32)
    share = np.clip(0.5 + better / (2 * BETTER_SEEN[1]), 0, 1)[:, None]
    return np.asarray(shape + (mirrored - shape) * share, dtype=np.float32)


def _person(prepared: Tensors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The frontal person (T, T, 4), colours multiplied by alpha, and the background (T, T, 3)."""
    side = len(prepared["plate"])
    motion = FaceRig(prepared, as_seen=True).motion(neutral())
    frame = HostWarp(prepared, (side, side)).frame(motion).astype(np.float32)
    map_x, map_y = (np.ascontiguousarray(motion["skin_map"][..., i]) for i in (0, 1))
    alpha = np.ascontiguousarray(prepared["skin"][..., 3:])
    read = cv2.remap(alpha, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = read.astype(np.float32)[..., None]
    behind = prepared["plate"].astype(np.float32)
    person = np.clip(frame - behind * (1 - cover / 255), 0, cover)
    return np.concatenate([person, cover], axis=2), behind


def _flipped(person: NDArray[np.float32], middle_px: float) -> NDArray[np.float32]:
    """The mirror image about a column; the border is repeated."""
    columns = np.clip(round(2 * middle_px) - np.arange(person.shape[1]), 0, person.shape[1] - 1)
    return np.ascontiguousarray(person[:, columns])


def _weight(
    front: FloatArray, across: FloatArray, better: FloatArray, far: float, side: int
) -> tuple[Mask, Mask]:
    """Where the frontal face lies, and how much of it comes from the mirror image; both (T, T), 0 to 1.

    `across` (468,) is how far each vertex lies from the midline on the far side (IOD).
    """
    weight = smooth(_between(better + far, BETTER_SEEN)) * _off_midline(across, far)
    values = np.stack([weight, np.ones_like(weight), np.ones_like(weight)], axis=1).astype(np.float32)
    depth = np.empty((side, side), dtype=np.float32)
    drawn = np.zeros((side, side, 2), dtype=np.float32)
    raster.raster_map(np.ascontiguousarray(front, dtype=np.float32), _triangles(), values, depth, drawn)
    return np.ascontiguousarray(drawn[..., 1]), np.ascontiguousarray(drawn[..., 0])


def _off_midline(x: Any, far: float, more: Any = 0.0) -> Any:
    """0 at the midline to 1, at distances from it (IOD)."""
    return smooth((x - MIDLINE) / (SEAM[0] + far * (SEAM[1] - SEAM[0]) + more))


def _around(weight: Mask, face: Mask, project: Projection, yaw_rad: float, far: float) -> Mask:
    """The weight carried on beyond the face: over hair and ear, and not over the body."""
    full = len(face)
    # It is smooth, so it is found in a smaller picture.
    side = full // 2 if full > AROUND_PX else full
    scale = side / full
    weight, face = (
        np.asarray(cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
        for each in (weight, face)
    )
    iod_px = float(project.iod_px) * scale
    place = (np.arange(side) + 0.5) / scale - 0.5
    x = (place - project.base_px[0]) / project.iod_px * -np.sign(yaw_rad)
    y = (project.base_px[1] - place) / project.iod_px + PIVOT[1]
    outside: Any = cv2.distanceTransform(1 - (face > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / iod_px
    hair = smooth(_between(abs(yaw_rad), HAIR_TURNS_RAD))
    carried = 1 - smooth((outside - EAR - HAIR * hair) / 0.25)
    # A small turn hides the ear and no more. What lies above and below the face is seen on both sides.
    widest = x[(face > 0.5).any(axis=0)].max()
    beside = smooth((x - widest + BESIDE) / BESIDE)
    beside += hair * (1 - beside)
    lowest = BELOW_EAR + hair * (BELOW_HAIR - BELOW_EAR) + 1.5 * far
    carried = (
        carried
        * _off_midline(x[None, :], far, 0.5 * outside)
        * (beside[None, :] * smooth((y + lowest) / 0.35)[:, None])
    )
    mixed = cv2.GaussianBlur(np.where(face > 0.5, weight, carried), (0, 0), 0.02 * iod_px)
    mixed = np.clip(mixed, 0, 1).astype(np.float32)
    return np.asarray(cv2.resize(mixed, (full, full), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _light(
    person: NDArray[np.float32], mirrored: NDArray[np.float32], known: Mask, project: Projection
) -> NDArray[np.float32]:
    """(T, T, 3) what to multiply the mirror image by, so that the light goes on smoothly from the side that was seen.

    The logarithm of the ratio of the two sides is odd across the midline. Three smooth odd terms, fitted over what
    was seen on both sides, have no spots.
    """
    side = len(known)
    # What is smooth is found in a small picture.
    small = side // max(1, side // LIGHT_PX)
    scale = small / side
    known = np.minimum(known, _flipped(known, float(project.base_px[0])))
    seen, own, other = (
        np.asarray(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), dtype=np.float32)
        for picture in (known, person, mirrored)
    )
    column = (np.arange(small, dtype=np.float32) + 0.5) / scale - 0.5
    x = (column - project.base_px[0]) / project.iod_px
    y = (project.base_px[1] - column) / project.iod_px - 1.0
    u, v = np.meshgrid(x / (1 + np.abs(x)), np.clip(y, -1, 1))
    terms = np.stack([u, u * v, u * v * v], axis=-1)
    blur = max(1.0, 0.05 * scale * float(project.iod_px))
    one, two = (cv2.GaussianBlur(picture[..., :3], (0, 0), blur) + 8 for picture in (own, other))
    ratio = np.log(one / two)
    inside = seen > 0.2
    result: Any = np.zeros((small, small, 3), dtype=np.float32)
    if inside.sum() > 100 * scale * scale:
        a, w = terms[inside], seen[inside][:, None]
        for _ in range(3):
            ridge = w.sum() * np.diag(RIDGE)
            fit = np.linalg.solve((a * w).T @ a + ridge, (a * w).T @ ratio[inside])
            rest = np.abs(ratio[inside] - a @ fit).mean(axis=1, keepdims=True)
            w = seen[inside][:, None] / (1 + (rest / 0.1) ** 2)  # spots of light and shadow do not count
        # The body has its own light.
        result = terms @ fit * smooth((y + 1.85) / 0.35)[:, None, None]
    light = np.exp(np.clip(result, -MOST_LIGHT, MOST_LIGHT)).astype(np.float32)
    return np.asarray(cv2.resize(light, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
