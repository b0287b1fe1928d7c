"""Puts a prepared source before the background that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.errors import SourceError
from icface.images import cut_crop, load_photo
from icface.source_cache import SourceCache, source_key
from realtime.backgrounds import Background

if TYPE_CHECKING:
    from icface.prepared_source import PreparedSource

BLUR: Final = 0.22
"""Radius of the blur, in IOD."""
FITS: Final = 0.03
"""A photo whose proportions differ from the picture's by less is shown without bars."""


class Backdrop:
    """Puts sources before the background that was asked for. Raises SourceError where its photo cannot be read.

    `kept`: where whole photos without their person are kept from one run to the next; None: nowhere.
    """

    def __init__(self, background: Background, kept: SourceCache | None = None) -> None:
        self._kept = kept
        self._kind = background.kind
        self._colour = background.colour
        self._photo = load_photo(background.path).frame if background.path is not None else None

    @property
    def keeps(self) -> bool:
        """Whether it is the photo's own room, as it is."""
        return self._kind == "keep"

    @property
    def transparent(self) -> bool:
        """Whether pictures have an alpha channel."""
        return self._kind == "transparent"

    def behind_crop(self, source: PreparedSource) -> PreparedSource:
        """The source with another background in its crop; raises SourceError where it has no layers."""
        if self._kind == "keep":
            return source
        self._check(source)
        plate = self._paint(source.cache["plate"], float(source.cache["iod_px"]))
        return source.before(plate, free=self._kind != "blur")

    def behind_photo(self, source: PreparedSource, size_px: tuple[int, int] | None) -> PreparedSource:
        """The source with another background in its whole photo, which gets the proportions of `size_px`.

        `photo_frame` is (H, W, 4) RGBA, colours multiplied by alpha, where nothing is behind it. Raises SourceError
        where the source has no layers.
        """
        if self._kind == "keep":
            return source
        from icface.geometry.raster import over  # see realtime/engine.py: loaded beside the tracker

        layer, behind, crop_to_photo = self._apart(source, size_px)
        whole = layer
        if not self.transparent:
            whole = np.empty_like(behind)
            over(layer, behind, whole)
        plate = cut_crop(behind, crop_to_photo, source.size_px)
        before = source.before(plate, free=self._kind != "blur")
        return replace(before, photo_frame=whole, crop_to_photo=crop_to_photo)

    def on_nothing(
        self, source: PreparedSource, size_px: tuple[int, int] | None
    ) -> tuple[PreparedSource, Frame]:
        """The source on nothing, as `behind_photo` gives it, and what is to be seen behind it, (H, W, 3).

        Raises SourceError where the source has no layers.
        """
        layer, behind, crop_to_photo = self._apart(source, size_px)
        before = source.before(np.zeros_like(source.cache["plate"]))
        return replace(before, photo_frame=layer, crop_to_photo=crop_to_photo), behind

    def _apart(self, source: PreparedSource, size_px: tuple[int, int] | None) -> tuple[Frame, Frame, Array]:
        """The person of the whole photo (RGBA), what is behind them, and the crop's affine to both."""
        from icface.geometry.surroundings import reduced

        self._check(source)
        photo, crop_to_photo = reduced(source.photo_frame, source.crop_to_photo)
        layer, room = self._layers(photo, crop_to_photo, source)
        left, top = _bars(photo, size_px)
        if left or top:
            layer = _padded(layer, left, top, cv2.BORDER_CONSTANT)
            room = _padded(room, left, top, cv2.BORDER_REPLICATE)
            crop_to_photo = np.add(crop_to_photo, [[0, 0, left], [0, 0, top]])
        iod_px = float(source.cache["iod_px"]) * float(crop_to_photo[0, 0])
        return layer, self._paint(room, iod_px), crop_to_photo

    def _layers(self, photo: Frame, crop_to_photo: Array, source: PreparedSource) -> tuple[Frame, Frame]:
        """The person of a photo (RGBA) and the photo without them."""
        from icface.geometry.surroundings import surroundings

        if self._kept is None or not source.key:
            return surroundings(photo, crop_to_photo, source.cache)
        key = source_key(source.key, "surroundings", crop_to_photo.tolist())
        found = self._kept.load(key)
        if found is None:
            layer, room = surroundings(photo, crop_to_photo, source.cache)
            found = {"layer": layer, "room": room}
            self._kept.store(key, found)
        return found["layer"], found["room"]

    def _check(self, source: PreparedSource) -> None:
        if "margin" not in source.cache:
            raise SourceError("this model paints the background itself; only --background keep is possible")
        if not source.has_layers:
            raise SourceError(
                f"the background cannot be replaced, because {source.one_layer_because}; take --background keep, or a "
                "photo with more room around a clearly outlined head"
            )

    def _paint(self, room: Frame, iod_px: float) -> Frame:
        """The background of a picture that shows `room`, of the same size."""
        height, width = room.shape[:2]
        if self._kind == "keep":
            return room
        if self._kind == "blur":
            return _blurred(room, BLUR * iod_px)
        if self._photo is None:
            return np.full((height, width, 3), self._colour, dtype=np.uint8)
        scale = min(self._photo.shape[1] / width, self._photo.shape[0] / height)
        centred = (np.array(self._photo.shape[1::-1]) - 1 - scale * (np.array([width, height]) - 1)) / 2
        return cut_crop(
            self._photo, np.array([[scale, 0, centred[0]], [0, scale, centred[1]]]), (width, height)
        )


def _blurred(room: Frame, sigma_px: float) -> Frame:
    """A strong blur, made at a quarter of the size."""
    quarter = max(1, room.shape[1] // 4), max(1, room.shape[0] // 4)
    small = cv2.resize(room, quarter, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.5, sigma_px / 4), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, room.shape[1::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _bars(photo: Frame, size_px: tuple[int, int] | None) -> tuple[int, int]:
    """Pixels to the left (and right) and above (and below) that give a photo the proportions of a picture."""
    if size_px is None:
        return 0, 0
    height, width = photo.shape[:2]
    wanted, own = size_px[0] / size_px[1], width / height
    if abs(wanted / own - 1) < FITS:
        return 0, 0
    if wanted > own:
        return round((wanted * height - width) / 2), 0
    return 0, round((width / wanted - height) / 2)


def _padded(picture: Frame, left: int, top: int, how: int) -> Frame:
    wide = cv2.copyMakeBorder(picture, top, top, left, left, how, value=(0, 0, 0, 0))
    return np.asarray(wide, dtype=np.uint8)
