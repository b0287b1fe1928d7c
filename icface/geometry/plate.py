"""The background without the person: what was behind them is made up from what is seen beside them."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.pyramid import Colours, highest, push_pull
from icface.segmentation.matte import grown
from icface.segmentation.segmenters import Mask

PLAIN_LEVELS: Final = 8.0
"""A wall is plain where its colours near the person can be told from those farther away within so many levels."""
HAIRS_REACH: Final = 0.7
"""On a plain wall, what stands out within this distance of the person (IOD) belongs to the person."""
LEAST_WALL: Final = 0.02
"""Share of the picture. Where less is seen of the wall, its colours tell nothing."""
MIRROR_REACH: Final = 1.0
"""Of the mirror image, in IOD."""
_RADIUS_OF_GRAIN_PX: Final = 0.7
_MOST_GRAIN: Final = 6.0


def is_plain(frame: Frame, near: NDArray[np.uint8], iod_px: float) -> bool:
    """Whether the background around the person is told by what lies farther away.

    Args:
        frame: (H, W, 3) RGB.
        near: (H, W) 1 where the person is.
        iod_px: distance of the outer eye corners.
    """
    scale = 0.25
    size = max(8, round(frame.shape[1] * scale)), max(8, round(frame.shape[0] * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    inner, outer = (
        cv2.resize(grown(near, reach * iod_px), size, interpolation=cv2.INTER_NEAREST)
        for reach in (0.10, 0.30)
    )
    ring = (outer > 0) & (inner == 0)
    if ring.sum() < 20 or (outer == 0).sum() < 20:
        return False
    told = push_pull(small, (outer == 0).astype(np.float32))
    error = np.abs(told - small)[ring].max(axis=1)
    return bool(np.percentile(error, 80) < PLAIN_LEVELS)


def fill(frame: Frame, hole: NDArray[np.uint8], iod_px: float, *, plain: bool) -> Frame:
    """A picture whose hole (1) is filled: a plain wall smoothly, with its grain; anything else with its mirror image.

    What a turning head uncovers lies near the hole's outline. There a mirror image is as sharp as the picture, and it
    continues what meets the outline. Deep inside, both end in a smooth fill.
    """
    smooth = push_pull(frame.astype(np.float32), (1 - hole).astype(np.float32))
    left, top, width, height = cv2.boundingRect(hole)
    if not width:
        return frame.copy()
    box = np.s_[top : top + height, left : left + width]
    filled = smooth[box]
    if plain:
        filled = filled + _grain(frame, hole)[box]
    else:
        mirror, inside = _mirrored(smooth, hole, iod_px, box)
        filled = filled + np.clip((MIRROR_REACH - inside / iod_px) / 0.3, 0, 1)[..., None] * (mirror - filled)
    out = frame.copy()
    np.copyto(
        out[box], (filled + np.float32(0.5)).clip(0, 255).astype(np.uint8), where=hole[box][..., None] > 0
    )
    return out


def emptied(photo: Frame, near: NDArray[np.uint8], iod_px: float) -> tuple[Frame, bool]:
    """A photo (H, W, 3) without its person, who is where `near` (H, W) is 1; and whether the background is plain."""
    plain = is_plain(photo, near, iod_px)
    hole = hole_in_wall(photo, near, iod_px) if plain else near
    return fill(photo, hole, iod_px, plain=plain), plain


def hole_in_wall(photo: Frame, near: NDArray[np.uint8], iod_px: float) -> NDArray[np.uint8]:
    """What has to be filled of a plain wall: the person, a little around them, and single hairs."""
    return grown(near, 0.12 * iod_px) | _hairs(photo, near, iod_px)


def _hairs(frame: Frame, near: NDArray[np.uint8], iod_px: float) -> NDArray[np.uint8]:
    """What stands out from a plain wall close to the person: hairs that the matte has missed."""
    zone = grown(near, HAIRS_REACH * iod_px)
    smooth = cv2.GaussianBlur(frame, (0, 0), 3).astype(np.float32)
    far = grown(near, 0.5 * iod_px)
    if (far == 0).mean() < LEAST_WALL:
        return np.zeros_like(near)
    wall = push_pull(smooth, (1 - far).astype(np.float32))
    out = (highest(np.abs(frame - wall)) > 18) & (zone > 0)
    return grown(out, 0.03 * iod_px)


def _grain(frame: Frame, hole: NDArray[np.uint8], seed: int = 0) -> Colours:
    """(H, W, 1) noise in a hole, as strong as that of the rest."""
    fine = frame - cv2.GaussianBlur(frame, (0, 0), 1.5).astype(np.float32)
    far = cv2.erode(1 - hole, np.ones((7, 7), np.uint8)) > 0
    deviation = min(float(np.median(np.abs(fine[far]))) * 1.48, _MOST_GRAIN) if far.sum() > 500 else 0.0
    noise: Any = np.random.default_rng(seed).standard_normal(hole.shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), _RADIUS_OF_GRAIN_PX)
    return np.asarray((deviation / noise.std() * noise * hole)[..., None], dtype=np.float32)


def _mirrored(
    filled: Colours, hole: NDArray[np.uint8], iod_px: float, box: tuple[slice, slice]
) -> tuple[Colours, Mask]:
    """A part of a smoothly filled picture, mirrored at the hole's outline; and how deep each pixel lies inside."""
    deep: Any = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
    # Hair makes a rough outline. A smooth one keeps neighbours together.
    small: Any = tuple(max(2, side // 4) for side in hole.shape[::-1])
    signed = cv2.resize(
        deep - cv2.distanceTransform(1 - hole, cv2.DIST_L2, 5), small, interpolation=cv2.INTER_AREA
    )
    slopes = np.gradient(cv2.GaussianBlur(signed, (0, 0), max(1.0, 0.25 * iod_px / 4)))
    down, right = (
        cv2.resize(slope / 4, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)[box] for slope in slopes
    )
    inside = deep[box]
    step = (2 * inside + 1) / np.maximum(cv2.magnitude(down, right), np.float32(0.3))
    y, x = (line.astype(np.float32) for line in np.ogrid[box])
    mirror = cv2.remap(
        filled, x - step * right, y - step * down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(mirror, dtype=np.float32), inside
