"""Attributes in, finished picture out: animate the crop, put it into its frame, draw the mark."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import FloatArray, neutral
from icface.errors import EngineError
from realtime.backdrop import Backdrop
from realtime.disclosure import Mark
from realtime.framing import CropFraming, PhotoFraming
from realtime.metrics import Metrics

if TYPE_CHECKING:
    from icface.engines import Engine
    from icface.reenactor import PreparedSource, Reenactor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """A photo that can be shown at once: all that takes time is done."""

    number: int
    """Counted from 0, in the order of `--source`."""
    source: PreparedSource
    framing: CropFraming | PhotoFraming
    transparent: bool = False
    """Pictures are RGBA, colours multiplied by alpha."""


def make_scene(
    number: int,
    source: PreparedSource,
    framing: str,
    size_px: tuple[int, int] | None,
    backdrop: Backdrop | None = None,
) -> Scene:
    """Frame a photo as one of FRAMINGS says.

    Args:
        number: of the source.
        source: what is shown.
        framing: `crop` or another.
        size_px: (width, height) of the picture; None: as the photo wants it.
        backdrop: what is behind the person; None: the photo's own room.

    Raises:
        SourceError: the background cannot be replaced.
    """
    transparent = backdrop is not None and backdrop.transparent
    if framing == "crop":
        if backdrop is not None:
            source = backdrop.behind_crop(source)
        in_crop = CropFraming(size_px or source.size_px, 4 if transparent else 3)
        return Scene(number, source, in_crop, transparent)
    if framing == "call":  # the photo has the picture's size already
        size_px = source.photo_frame.shape[1], source.photo_frame.shape[0]
    if backdrop is not None:
        source = backdrop.behind_photo(source, size_px)
    crop_px = source.size_px[0]
    in_photo = PhotoFraming(source.photo_frame, source.crop_to_photo, crop_px, size_px, rim=source.rim)
    return Scene(number, source, in_photo, transparent)


class Renderer:
    """Makes pictures of the scene that is shown. One thread owns it.

    Args:
        reenactor: moves the face.
        scene: what is shown first. It decides the size of all pictures.
        metrics: of the run.
        mark: draw the disclosure mark.
        take_engine: gives a better engine, once, when one is ready; else None. It never waits.
    """

    def __init__(
        self,
        reenactor: Reenactor,
        scene: Scene,
        metrics: Metrics,
        *,
        mark: bool,
        take_engine: Callable[[], Engine | None] | None = None,
    ) -> None:
        self._reenactor = reenactor
        self._metrics = metrics
        self._take_engine = take_engine
        self.size_px = scene.framing.size_px
        """(width, height) of every picture."""
        self._mark = Mark(*self.size_px) if mark else None
        self._made_of: tuple[bytes, int] | None = None
        self.attributes = neutral()
        """(SIZE,) that the last picture shows."""
        self.picture: Frame = np.zeros(
            (self.size_px[1], self.size_px[0], 4 if scene.transparent else 3), dtype=np.uint8
        )
        """The last one, (height, width, 3) RGB, or 4 of a transparent scene; valid until the next `render`."""
        self._crop: Frame = np.empty((0, 0, 4), dtype=np.uint8)
        self.show(scene)

    def show(self, scene: Scene) -> None:
        """Show that scene from the next picture on."""
        self._reenactor.set_source(scene.source)
        self.scene = scene

    def render(self, attributes: FloatArray) -> Frame:
        """Make the picture for (SIZE,) attributes and give it; an unchanged one is not made again."""
        if self._take_engine is not None and (engine := self._take_engine()) is not None:
            self._adopt(engine)
        made_of = (attributes.tobytes(), self.scene.number)
        if made_of == self._made_of:
            self._metrics.count("held")
            return self.picture
        with self._metrics.time("animate"):
            crop = self._reenactor.animate(attributes)
            if self.scene.transparent:
                crop = self._with_alpha(crop)
        with self._metrics.time("compose"):
            self.picture = self.scene.framing.compose(crop)
            if self._mark is not None:
                self._mark.apply(self.picture)
        self._metrics.count("animated")
        self._made_of = made_of
        self.attributes = attributes
        return self.picture

    def _with_alpha(self, crop: Frame) -> Frame:
        """The crop, made before a black plate, with its alpha: that is RGBA with colours multiplied by alpha."""
        if self._crop.shape[:2] != crop.shape[:2]:
            self._crop = np.empty((*crop.shape[:2], 4), dtype=np.uint8)
        cv2.mixChannels([crop, self._reenactor.alpha()], [self._crop], [0, 0, 1, 1, 2, 2, 3, 3])
        return self._crop

    def _adopt(self, engine: Engine) -> None:
        try:
            self._reenactor.adopt(engine)
        except EngineError as error:
            logger.warning("%s is not used: %s", engine.description, error)
            engine.close()
            return
        described = self._reenactor.describe()
        logger.info("%s", described)
        self._metrics.event(described)
        self._metrics.about["engine"] = described
