"""What of the photograph is shown: the animated crop as it is, or put back into the whole photo.

A sink's size is fixed when it is opened, so the first source decides it; another one that differs is fitted
in, with black beside it.
"""

from __future__ import annotations

from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Affine = NDArray[np.float64]

PHOTO_MAX_PX: Final = 1280
"""Longest side with `--framing photo`: what video calls show; more costs time in every later step."""

FEATHER: Final = 1 / 24
"""Part of the crop's side over which it fades into the photo; the warp hardly moves there."""


class Framing(Protocol):
    """Puts crops into pictures of one size."""

    size_px: tuple[int, int]
    """(width, height) of the picture."""

    def compose(self, crop: Frame) -> Frame:
        """The picture, (height, width, 3) RGB, in a buffer of this object's that the caller may draw on;
        valid until the next call. `crop` is not changed."""
        ...


def even(length: float) -> int:
    """The nearest even length, at least 2: 4:2:0 video has no odd sides."""
    return max(2, 2 * round(length / 2))


class CropFraming:
    """The crop alone, `size_px` wide and high; a crop of another size is scaled to fit."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self.size_px = size_px
        self._picture = np.zeros((size_px[1], size_px[0], 3), dtype=np.uint8)

    def compose(self, crop: Frame) -> Frame:
        """See Framing."""
        width_px, height_px = self.size_px
        if crop.shape[1::-1] == self.size_px:
            np.copyto(self._picture, crop)
            return self._picture
        scale = min(width_px / crop.shape[1], height_px / crop.shape[0])
        w, h = min(width_px, round(crop.shape[1] * scale)), min(height_px, round(crop.shape[0] * scale))
        x0, y0 = (width_px - w) // 2, (height_px - h) // 2
        cv2.resize(crop, (w, h), dst=self._picture[y0 : y0 + h, x0 : x0 + w], interpolation=cv2.INTER_LINEAR)
        return self._picture


def photo_size(photo: Frame, crop_to_photo: Affine) -> tuple[int, int]:
    """(width, height) for the whole photo: the crop keeps its pixels, within PHOTO_MAX_PX; even."""
    height_px, width_px = photo.shape[:2]
    scale = min(1 / float(crop_to_photo[0, 0]), PHOTO_MAX_PX / max(width_px, height_px))
    return even(width_px * scale), even(height_px * scale)


class PhotoFraming:
    """The crop at its place in the whole photo.

    Args:
        photo: (Hp, Wp, 3) RGB, upright.
        crop_to_photo: (2, 3) from crop pixels to photo pixels (centres at integers), without shear.
        crop_px: side of the square crop that `crop_to_photo` speaks of; `compose` takes any other side too
            and scales it.
        size_px: (width, height) of the picture; None: what `photo_size` says. The photo is fitted in whole.
    """

    def __init__(
        self,
        photo: Frame,
        crop_to_photo: Affine,
        crop_px: int,
        size_px: tuple[int, int] | None = None,
    ) -> None:
        self.size_px = size_px or photo_size(photo, crop_to_photo)
        self._crop_px = crop_px
        photo_to_picture, self._still = _fit(photo, self.size_px)
        self._picture = self._still.copy()
        self._crop_to_picture = (photo_to_picture @ np.vstack([crop_to_photo, [0.0, 0.0, 1.0]]))[:2]
        self._region, self._weight = self._feathered()
        x0, y0, x1, y1 = self._region
        self._moved = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        self._rest = np.ascontiguousarray(self._still[y0:y1, x0:x1])
        self._rest_weight = 1.0 - self._weight

    def _feathered(self) -> tuple[tuple[int, int, int, int], NDArray[np.float32]]:
        """The crop's box in the picture (x0, y0, x1, y1), and its weight there, (h, w) 0 to 1."""
        width_px, height_px = self.size_px
        side = self._crop_px
        corners = np.array(
            [[0, 0, 1], [side - 1, 0, 1], [0, side - 1, 1], [side - 1, side - 1, 1]], dtype=np.float64
        )
        placed = corners @ self._crop_to_picture.T
        x0, y0 = np.maximum(np.floor(placed.min(0)), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(placed.max(0)) + 1, [width_px, height_px]).astype(int)
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        # Distance to the nearest edge of the crop, in feather widths, for each pixel of the box.
        inverse = cv2.invertAffineTransform(self._crop_to_picture)
        xs, ys = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
        u = inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]
        v = inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]
        inside = np.minimum(np.minimum(u, side - 1 - u), np.minimum(v, side - 1 - v))
        ramp = np.clip(inside / (FEATHER * side), 0.0, 1.0)
        return (int(x0), int(y0), int(x1), int(y1)), (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

    def compose(self, crop: Frame) -> Frame:
        """See Framing."""
        x0, y0, x1, y1 = self._region
        here = self._crop_to_picture.copy()
        if crop.shape[0] != self._crop_px:
            # Both grids have their centres at integers, so a scale also moves the origin by (scale − 1) / 2.
            scale = self._crop_px / crop.shape[0]
            here[:, 2] += here[:, :2] @ np.full(2, (scale - 1) / 2)
            here[:, :2] *= scale
        here[:, 2] -= (x0, y0)
        cv2.warpAffine(
            crop,
            here,
            (x1 - x0, y1 - y0),
            dst=self._moved,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        # The caller may have drawn anywhere (the mark), so the rest of the photo is laid down anew: .1 ms.
        np.copyto(self._picture, self._still)
        self._picture[y0:y1, x0:x1] = cv2.blendLinear(
            self._moved, self._rest, self._weight, self._rest_weight
        )
        return self._picture


def _fit(photo: Frame, size_px: tuple[int, int]) -> tuple[Affine, Frame]:
    """The photo scaled to fit into `size_px`, centred on black: its (3, 3) affine and the picture."""
    width_px, height_px = size_px
    scale = min(width_px / photo.shape[1], height_px / photo.shape[0])
    w, h = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
    # An even size seldom has the photo's exact proportions: fill it rather than leave a black line.
    w = width_px if w > 0.97 * width_px else w
    h = height_px if h > 0.97 * height_px else h
    x0, y0 = (width_px - w) // 2, (height_px - h) // 2
    picture = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture[y0 : y0 + h, x0 : x0 + w] = cv2.resize(photo, (w, h), interpolation=interpolation)
    sx, sy = w / photo.shape[1], h / photo.shape[0]
    affine = np.array([[sx, 0, sx / 2 - 0.5 + x0], [0, sy, sy / 2 - 0.5 + y0], [0, 0, 1]], dtype=np.float64)
    return affine, picture
