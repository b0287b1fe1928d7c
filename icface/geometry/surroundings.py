"""What lies around a crop in its photo, in layers too: so that the whole photo gets another background."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.geometry import plate
from icface.geometry.free_layer import free_layer
from icface.geometry.topology import OVAL
from icface.segmentation.matte import grown, person_matte


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
    alpha = person_matte(photo, oval, iod_px).alpha
    near = grown(alpha > 0.02, 0.02 * iod_px)
    plain = plate.is_plain(photo, near, iod_px)
    room = plate.fill(photo, grown(near, 0.12 * iod_px) if plain else near, iod_px, plain=plain)
    alpha, colours = free_layer(photo, alpha, room, iod_px, plain=plain)
    layer = np.dstack([np.minimum(colours, 255 * alpha[..., None]), 255 * alpha])
    return Surroundings(np.clip(np.round(layer), 0, 255).astype(np.uint8), room)


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
