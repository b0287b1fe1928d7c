"""The matte of a portrait: how much of each pixel is the person, with soft hair. And whether it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.segmentation.headgear import worn
from icface.segmentation.segmenters import Mask, hair_mask, person_mask

# Lengths in IOD.
HAIR_REACH: Final = 0.22
"""Hair so near to the person is the person's."""
SURE_INSIDE: Final = 0.05
SURE_OUTSIDE: Final = 0.07
WORK_PX: Final = 800
"""Longest side of the picture in which the person is looked for."""
CROWN_SCALE: Final = 1.2
"""Of the face's outline. In its upper half everything is head."""
FILTER_RADIUS: Final = 0.07
FILTER_EPSILON: Final = 1e-4
"""Of the square of the range. Edges of the picture that are weaker than this do not guide the matte."""


@dataclass(frozen=True)
class Matte:
    """The person of a picture (H, W, 3)."""

    alpha: Mask
    hair: Mask
    """Hair in or near the person, as the network tells it."""
    unsure: float
    """Share of the person, above the chin, whose alpha is neither near 0 nor near 1."""
    seen: float
    """Share of the face that the networks take for a person."""
    missed: float
    """Share of forehead and crown that the matte leaves out, in full or in part: a hat, or a head that is cut off."""
    hair_left: float
    """Hair above the chin that the matte leaves out, as a share of the head: loose curls, or a wrong mask."""


def person_matte(frame: Frame, oval_px: FloatArray, iod_px: float) -> Matte:
    """The matte of the person whose face is given; other people are background.

    Args:
        frame: (H, W, 3) RGB.
        oval_px: (n, 2) outline of the face.
        iod_px: distance of the outer eye corners.
    """
    # The networks see little detail, so that a small picture is enough. The photo's edges come in at full size.
    full_px = frame.shape[1::-1]
    scale = min(1.0, WORK_PX / max(full_px))
    work_px = round(scale * full_px[0]), round(scale * full_px[1])
    oval_px, iod_px = (oval_px + 0.5) * np.float32(scale) - np.float32(0.5), iod_px * scale
    small = np.asarray(_resized(frame, work_px), dtype=np.uint8)

    person, all_hair = person_mask(small), hair_mask(small)
    hair = all_hair * grown(person > 0.5, HAIR_REACH * iod_px)
    both = np.maximum(person, hair)
    both[worn(small, both, all_hair, oval_px, iod_px)] = 1
    centre = oval_px.mean(axis=0)
    face = _filled(centre + 0.92 * (oval_px - centre), both)

    # Only what hangs together with the face.
    _, parts = cv2.connectedComponents(((both > 0.1) | (face > 0)).astype(np.uint8))
    x, y = np.clip(np.round(centre).astype(int), 0, np.array(both.shape[::-1]) - 1)
    own = (parts == parts[y, x]).astype(np.uint8)
    both = np.where(_holes(both), 1, both)
    inside = (1 - grown(both <= 0.85, SURE_INSIDE * iod_px)) * own | face
    outside = grown(own, SURE_OUTSIDE * iod_px) == 0

    guess = np.where(inside > 0, 1, np.where(outside, 0, both)).astype(np.float32)
    whole = guided(frame, guess, max(3, round(FILTER_RADIUS * iod_px)), FILTER_EPSILON)
    # The filter leaves a veil. This takes it away.
    whole = np.clip((whole - 0.08) / 0.84, 0, 1)
    whole = np.minimum(whole, 1 - _resized(outside.astype(np.float32), full_px))
    whole = np.maximum(whole, _resized(inside.astype(np.float32), full_px))
    alpha = _resized(whole, work_px)

    above = np.s_[: max(1, int(oval_px[:, 1].max()))]  # the chin
    head = max(1, (alpha > 0.5)[above].sum())
    crown = _filled(centre + CROWN_SCALE * (oval_px - centre), both)
    crown[max(0, y) :] = 0
    left = (all_hair > 0.3) & (person < 0.3) & (alpha < 0.3)
    return Matte(
        whole.astype(np.float32),
        _resized(hair, full_px),
        unsure=float(((alpha > 0.1) & (alpha < 0.9))[above].sum() / head),
        seen=float((both > 0.5)[face > 0].mean()) if face.any() else 0.0,
        missed=float((alpha < 0.9)[crown > 0].mean()) if crown.any() else 1.0,
        hair_left=float(left[above].sum() / head),
    )


def _resized(picture: NDArray[Any], size_px: tuple[int, int]) -> NDArray[Any]:
    """A picture at (width, height); itself where it has that size."""
    if picture.shape[1::-1] == size_px:
        return picture
    how = cv2.INTER_AREA if size_px[0] < picture.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size_px, interpolation=how))


def _filled(polygon: FloatArray, like: Mask) -> NDArray[np.uint8]:
    """A mask that is 1 inside a polygon (n, 2)."""
    mask = np.zeros(like.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1)
    return mask


def _holes(mask: Mask) -> NDArray[np.bool_]:
    """Where a mask has doubts, with certainty all around and no background inside."""
    parts: Any = cv2.connectedComponents((mask <= 0.85).astype(np.uint8))[1]
    lowest = np.ones(parts.max() + 1, dtype=np.float32)
    np.minimum.at(lowest, parts.ravel(), mask.ravel())
    at_border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    lowest[at_border] = 0
    return np.asarray((lowest > 0.1)[parts] & (parts > 0))


def grown(mask: NDArray[np.bool_ | np.uint8], radius_px: float) -> NDArray[np.uint8]:
    """A mask (0 or 1) that reaches farther, by a round distance."""
    away = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away <= max(1.0, radius_px), dtype=np.uint8)


def guided(frame: Frame, mask: Mask, radius_px: int, epsilon: float) -> Mask:
    """A mask that follows the edges of a picture: in each window the linear function of RGB that is nearest to it.

    Source: He, Sun, Tang, Guided Image Filtering (2010), with a colour guide.

    Args:
        frame: (H, W, 3) RGB.
        mask: (h, w) of the same picture; it may be smaller.
        radius_px: of the window, in pixels of the mask.
        epsilon: of the square of the range; weaker edges do not guide.

    Returns:
        (H, W).
    """
    # The function is smooth, so it is found at half the size. Small determinants want float64.
    half: Any = tuple(max(1, side // 2) for side in mask.shape[::-1])
    guide: Any = cv2.resize(frame, half, interpolation=cv2.INTER_AREA) / 255.0
    wanted = cv2.resize(mask, half, interpolation=cv2.INTER_AREA).astype(np.float64)
    window = (2 * max(1, radius_px // 2) + 1,) * 2

    def mean(values: Any) -> Any:
        return cv2.blur(values, window, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_wanted = mean(guide), mean(wanted)
    (red, green, blue), (m0, m1, m2) = cv2.split(guide), cv2.split(mean_guide)
    # Covariances of the guide, and of guide and mask.
    rr, rg, rb = (mean(red * other) for other in (red, green, blue))
    gg, gb, bb = mean(green * green), mean(green * blue), mean(blue * blue)
    rr, rg, rb = rr - m0 * m0 + epsilon, rg - m0 * m1, rb - m0 * m2
    gg, gb, bb = gg - m1 * m1 + epsilon, gb - m1 * m2, bb - m2 * m2 + epsilon
    c0, c1, c2 = cv2.split(mean(guide * wanted[..., None]) - mean_guide * mean_wanted[..., None])
    # The inverse of a symmetric matrix, by its cofactors.
    a, b, c = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    d, e, f = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    slope = np.dstack([a * c0 + b * c1 + c * c2, b * c0 + d * c1 + e * c2, c * c0 + e * c1 + f * c2])
    slope /= (rr * a + rg * b + rb * c)[..., None]
    offset = mean_wanted - (slope * mean_guide).sum(axis=-1)
    function = np.dstack([mean(slope) / 255, mean(offset)]).astype(np.float32)
    large: Any = cv2.resize(function, frame.shape[1::-1])
    return np.asarray(np.einsum("ijk,ijk->ij", large[..., :3], frame) + large[..., 3], dtype=np.float32)
