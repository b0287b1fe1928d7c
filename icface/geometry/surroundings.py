"""What lies around a crop in its photo, in layers too: so that the whole photo gets another background."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import FloatArray
from icface.geometry import plate
from icface.geometry.free_layer import free_layer
from icface.geometry.topology import OVAL
from icface.segmentation.matte import grown, person_matte
from icface.segmentation.segmenters import Mask

SQUARE: Final = 1.15
"""Photos whose sides differ by more than this are looked at twice."""
FADE: Final = 0.4
"""Width (IOD) over which the two mattes change over."""


class Surroundings(NamedTuple):
    """A whole picture in layers, at rest."""

    layer: NDArray[np.uint8]
    """(H, W, 4) RGBA of the person, colours multiplied by alpha."""
    room: Frame
    """(H, W, 3) RGB without the person."""


def surroundings(photo: Frame, crop_to_photo: Array, cache: Tensors) -> Surroundings:
    """Cut the person out of a whole photo.

    Args:
        photo: (H, W, 3) RGB.
        crop_to_photo: (2, 3) from pixels of the crop to pixels of `photo`.
        cache: what `prepare_source` made of the same face.
    """
    scale = float(crop_to_photo[0, 0])
    oval = (scale * cache["texture_px"][list(OVAL)] + crop_to_photo[:, 2]).astype(np.float32)
    iod_px = scale * float(cache["iod_px"])
    alpha = _matte(photo, oval, iod_px)
    near = grown(alpha > 0.02, 0.02 * iod_px)
    room, plain = plate.emptied(photo, near, iod_px)
    alpha, colours = free_layer(photo, alpha, room, iod_px, plain=plain)
    cover = (255 * alpha + np.float32(0.5)).astype(np.uint8)
    return Surroundings(np.dstack([np.minimum(colours, cover[..., None]), cover]), room)


def _matte(photo: Frame, oval: FloatArray, iod_px: float) -> Mask:
    """The matte of a whole photo, and of a square around the head within it: there the networks see it undistorted."""
    alpha = person_matte(photo, oval, iod_px).alpha
    height, width = photo.shape[:2]
    side = min(height, width)
    if max(height, width) < SQUARE * side:
        return alpha
    x, y = (
        int(np.clip(middle - share * side, 0, whole - side))
        for middle, share, whole in zip(oval.mean(axis=0), (0.5, 0.4), (width, height), strict=True)
    )
    box = np.s_[y : y + side, x : x + side]
    inside = person_matte(np.ascontiguousarray(photo[box]), oval - np.array([x, y], dtype=np.float32), iod_px)
    # It fades in from those sides of the square at which the photo goes on.
    away = np.arange(side, dtype=np.float32)
    across = np.minimum(away if x else np.inf, away[::-1] if x + side < width else np.inf)
    down = np.minimum(away if y else np.inf, away[::-1] if y + side < height else np.inf)
    share = np.clip(np.minimum.outer(down, across) / (FADE * iod_px), 0, 1)
    alpha[box] += (share * (inside.alpha - alpha[box])).astype(np.float32)
    return alpha


def reduced(photo: Frame, crop_to_photo: Array) -> tuple[Frame, Array]:
    """The photo, no finer than its crop, and the (2, 3) affine from the crop to it: a finer one shows no more."""
    factor = 1 / float(crop_to_photo[0, 0])
    if factor >= 1:
        return photo, crop_to_photo
    size = max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    affine = crop_to_photo * factor
    affine[:, 2] += factor / 2 - 0.5
    return small, affine
