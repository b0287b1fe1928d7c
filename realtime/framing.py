"""What is shown: the animated crop alone, or the crop put back into the whole photo.

A sink's size is fixed when it is opened, so the first photo decides it. Another photo that differs is fitted in, with
black beside it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.images import AT_EDGE_PX

PHOTO_MAX_PX: Final = 1280
"""Longest side with `--framing photo`. Video calls show no more, and more costs time in every later step."""


def even(length: float) -> int:
    """The nearest even length, at least 2: 4:2:0 video has no odd sides."""
    return max(2, 2 * round(length / 2))


class CropFraming:
    """The crop alone. A crop that is not `size_px` (width, height) is scaled to fit."""

    def __init__(self, size_px: tuple[int, int], channels: int = 3) -> None:
        self.size_px = size_px
        self._picture = np.zeros((size_px[1], size_px[0], channels), dtype=np.uint8)

    def compose(self, crop: Frame) -> Frame:
        """Give the picture, (height, width, channels). It is a buffer of this object: the caller may draw on it until the
        next call. `crop` is not changed."""
        if crop.shape[1::-1] == self.size_px:
            np.copyto(self._picture, crop)
            return self._picture
        width_px, height_px = self.size_px
        side = min(self.size_px)  # crops are square
        x0, y0 = (width_px - side) // 2, (height_px - side) // 2
        middle = self._picture[y0 : y0 + side, x0 : x0 + side]
        cv2.resize(crop, (side, side), dst=middle, interpolation=cv2.INTER_LINEAR)
        return self._picture


def photo_size(photo: Frame, crop_to_photo: Array) -> tuple[int, int]:
    """(width, height) of the whole photo, even: the crop keeps its pixels, but no side exceeds PHOTO_MAX_PX."""
    height_px, width_px = photo.shape[:2]
    scale = min(1 / float(crop_to_photo[0, 0]), PHOTO_MAX_PX / max(width_px, height_px))
    return even(width_px * scale), even(height_px * scale)


class PhotoFraming:
    """The crop at its place in the whole photo.

    The photo is placed so that the crop falls on whole pixels. Then a picture costs a copy and a blended rim, and the
    crop is not resampled where the photo keeps its size.

    Args:
        photo: (Hp, Wp, 3) RGB, upright; or RGBA with colours multiplied by alpha, and then the crops are so too.
        crop_to_photo: (2, 3) from crop pixels to photo pixels (centres at integers): one scale and a shift.
        crop_px: side of the square crop that `crop_to_photo` is for; `compose` takes other sides as well.
        size_px: (width, height) of the picture; None: what `photo_size` says. The photo is fitted in whole.
        rim: part of the crop's side over which it fades into the photo.
        drawn_on: whether the caller draws on pictures. Else only the crop is laid down anew.
    """

    def __init__(
        self,
        photo: Frame,
        crop_to_photo: Array,
        crop_px: int,
        size_px: tuple[int, int] | None = None,
        *,
        rim: float,
        drawn_on: bool = True,
    ) -> None:
        self.size_px = size_px or photo_size(photo, crop_to_photo)
        width_px, height_px = self.size_px
        crop_scale = float(crop_to_photo[0, 0])
        fit = min(width_px / photo.shape[1], height_px / photo.shape[0])
        self._side = max(2, round(fit * crop_scale * crop_px))
        scale = self._side / crop_px / crop_scale
        # The crop's upper left corner in the centred photo, moved to the nearest corner of a pixel.
        corner = crop_to_photo[:, 2] - crop_scale / 2 + 0.5
        size = np.array(photo.shape[1::-1])
        origin = (np.array(self.size_px) - scale * size) / 2
        left, top = (round(float(edge)) for edge in origin + scale * corner)
        self._still = _lay(photo, scale, np.array([left, top]) - scale * corner, self.size_px)
        self._picture = self._still.copy()
        self._drawn_on = drawn_on
        self.place = left, top, self._side
        """Of the crop in the picture: its left and upper edge, and its side, in pixels."""
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(width_px, left + self._side), min(height_px, top + self._side)
        self._target = self._picture[y0:y1, x0:x1]
        self._visible = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        # Where the crop ends with the photo, there is nothing to fade into.
        end = corner + crop_scale * crop_px
        free = (*(corner > AT_EDGE_PX * crop_scale), *(end < size - AT_EDGE_PX * crop_scale))
        weight = _feathered(self._side, rim, free)[self._visible]
        rest = self._still[y0:y1, x0:x1]
        # Blending costs ten times what copying does: only the rim is blended.
        self._rim = [
            (box, np.ascontiguousarray(rest[box]), weight[box].copy(), 1.0 - weight[box])
            for box in _rim(weight)
        ]

    @property
    def still(self) -> Frame:
        """The picture without the crop."""
        return self._still

    def compose(self, crop: Frame) -> Frame:
        """Give the picture, as `CropFraming.compose` does."""
        if crop.shape[0] != self._side:
            # The area filter takes eight times as long. It is used only where the linear one would alias.
            smooth = cv2.INTER_AREA if crop.shape[0] > 1.5 * self._side else cv2.INTER_LINEAR
            scaled = cv2.resize(crop, (self._side, self._side), interpolation=smooth)
            crop = scaled.astype(np.uint8, copy=False)
        # The caller may have drawn anywhere (the mark), so the rest of the photo is laid down anew.
        if self._drawn_on:
            np.copyto(self._picture, self._still)
        visible = crop[self._visible]
        np.copyto(self._target, visible)
        for box, rest, weight, rest_weight in self._rim:
            self._target[box] = cv2.blendLinear(np.ascontiguousarray(visible[box]), rest, weight, rest_weight)
        return self._picture


def _lay(photo: Frame, scale: float, origin: Array, size_px: tuple[int, int]) -> Frame:
    """The scaled photo in a picture of `size_px`, its upper left corner at `origin` (x, y), black around it."""
    height_px, width_px = photo.shape[:2]
    if scale < 1:  # shrunk with an area filter first, so that nothing aliases
        shrunk_px = max(1, round(width_px * scale)), max(1, round(height_px * scale))
        photo = cv2.resize(photo, shrunk_px, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    sx, sy = width_px * scale / photo.shape[1], height_px * scale / photo.shape[0]
    affine = np.array([[sx, 0, origin[0] + sx / 2 - 0.5], [0, sy, origin[1] + sy / 2 - 0.5]])
    picture = cv2.warpAffine(
        photo, affine, size_px, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    for axis, length in ((1, width_px * scale), (0, height_px * scale)):
        start, end, whole = origin[1 - axis], origin[1 - axis] + length, picture.shape[axis]
        # An even size seldom has the photo's exact proportions. Its edge is repeated, so that no line is black.
        if length < 0.97 * whole:
            lines = np.arange(whole) + 0.5
            outside = np.flatnonzero((lines < start) | (lines > end))
            picture[(slice(None),) * axis + (outside,)] = 0
    return picture


def _feathered(side: int, rim: float, fading: tuple[bool, ...]) -> NDArray[np.float32]:
    """How much of the crop is seen, (side, side): 0 at its very edge, 1 from `rim` of the side inwards.

    `fading`: whether it fades at its left, top, right and lower edge.
    """
    near = np.arange(side, dtype=np.float64)
    far = np.full(side, np.inf)
    left, top, right, bottom = (
        places if fades else far
        for places, fades in zip((near, near, near[::-1], near[::-1]), fading, strict=True)
    )
    inside = np.minimum(np.minimum(top, bottom)[:, None], np.minimum(left, right)[None, :])
    ramp = np.clip(inside / (rim * side), 0.0, 1.0)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def _rim(weight: NDArray[np.float32]) -> list[tuple[slice, slice]]:
    """Up to four boxes that hold every pixel of less than full weight: above, below, left and right."""
    height, width = weight.shape
    full = weight >= 1.0
    rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
    if rows.size == 0:
        return [(slice(0, height), slice(0, width))]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    boxes = [
        (slice(0, top), slice(0, width)),
        (slice(bottom, height), slice(0, width)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    ]
    return [box for box in boxes if box[0].stop > box[0].start and box[1].stop > box[1].start]
