"""Attributes in, finished picture out: animate the crop, put it into its frame, mark it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import PLACE, FloatArray, neutral
from icface.errors import EngineError
from realtime.backdrop import Backdrop
from realtime.backgrounds import Background
from realtime.disclosure import Mark
from realtime.follow import Mover
from realtime.framing import CropFraming, PhotoFraming, even
from realtime.metrics import Metrics
from realtime.watermark import Watermark

if TYPE_CHECKING:
    from icface.engines import Engine
    from icface.prepared_source import PreparedSource
    from icface.reenactor import Reenactor

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
    mover: Mover | None = None
    """Moves the person in the picture. Then `framing` composes what is moved."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self.framing.size_px if self.mover is None else self.mover.size_px

    @property
    def on_nothing(self) -> bool:
        """Whether the crop is made with alpha."""
        return self.transparent or (self.mover is not None and self.mover.moves)


def make_scene(
    number: int,
    source: PreparedSource,
    framing: str,
    size_px: tuple[int, int] | None,
    backdrop: Backdrop | None = None,
    follow: bool = False,
) -> Scene:
    """Frame a photo as one of FRAMINGS says.

    Args:
        number: of the source.
        source: what is shown.
        framing: `crop` or another.
        size_px: (width, height) of the picture; None: as the photo wants it.
        backdrop: what is behind the person; None: the photo's own room.
        follow: the person moves over what is behind them. A source of one layer does not.

    Raises:
        SourceError: the background cannot be replaced.
    """
    backdrop = backdrop or Backdrop(Background("keep"))
    transparent = backdrop.transparent
    if framing == "call":  # the photo has the picture's size already
        size_px = source.photo_frame.shape[1], source.photo_frame.shape[0]
    if follow and not source.has_layers:
        logger.info("source %d stays in its place: %s", number + 1, source.one_layer_because)
    if follow and "texture_px" in source.cache:  # not of the paper's models, whose crop is never wider
        return _following(number, source, framing, size_px, backdrop)
    if framing == "crop":
        source = backdrop.behind_crop(source)
        in_crop = CropFraming(size_px or source.size_px, 4 if transparent else 3)
        return Scene(number, source, in_crop, transparent)
    source = backdrop.behind_photo(source, size_px)
    crop_px = source.size_px[0]
    in_photo = PhotoFraming(source.photo_frame, source.crop_to_photo, crop_px, size_px, rim=source.rim)
    return Scene(number, source, in_photo, transparent)


def _following(
    number: int, source: PreparedSource, framing: str, size_px: tuple[int, int] | None, backdrop: Backdrop
) -> Scene:
    """A scene whose person moves: the whole person on nothing, and a window of it before the still room."""
    canvas_px = None if framing == "crop" else size_px
    behind: Frame | None = None
    if source.has_layers or not backdrop.keeps:
        source, behind = backdrop.on_nothing(source, canvas_px)
    crop_px = source.size_px[0]
    canvas = PhotoFraming(
        source.photo_frame, source.crop_to_photo, crop_px, canvas_px, rim=source.rim, drawn_on=False
    )
    room: Frame | None = None
    if behind is not None and not backdrop.transparent:
        room = PhotoFraming(behind, source.crop_to_photo, crop_px, canvas.size_px, rim=source.rim).still
    left, top, side = canvas.place
    scale = side / crop_px
    points = source.cache["texture_px"] * scale + (scale / 2 - 0.5) + np.array([left, top], dtype=np.float32)
    window, shown_px = np.eye(2, 3), canvas.size_px
    if framing == "crop":
        from icface.geometry.prepare import crop_affine  # see realtime/engine.py: loaded beside the tracker

        # As large as a crop that has not to fit into its photo.
        side_px = even(float(crop_affine(points, canvas.size_px, 1)[0, 0]) / scale)
        shown_px = size_px or (side_px, side_px)
        square = min(shown_px)
        window = crop_affine(points, canvas.size_px, square)
        # The crop is square. A picture that is not, because another photo decided it, shows more beside it.
        window[:, 2] -= window[0, 0] * (np.array(shown_px) - square) / 2
    mover = Mover(
        canvas.still,
        room,
        window,
        shown_px,
        points.mean(axis=0),
        float(source.cache["iod_px"]) * scale,
    )
    return Scene(number, source, canvas, backdrop.transparent, mover)


class Renderer:
    """Makes pictures of the scene that is shown. One thread owns it.

    Args:
        reenactor: moves the face.
        scene: what is shown first. It decides the size of all pictures.
        metrics: of the run.
        mark: draw the disclosure mark.
        watermark: add the invisible one.
        take_engine: gives a better engine, once, when one is ready; else None. It never waits.
    """

    def __init__(
        self,
        reenactor: Reenactor,
        scene: Scene,
        metrics: Metrics,
        *,
        mark: bool,
        watermark: bool = False,
        take_engine: Callable[[], Engine | None] | None = None,
    ) -> None:
        self._reenactor = reenactor
        self._metrics = metrics
        self._take_engine = take_engine
        self.size_px = scene.size_px
        """(width, height) of every picture."""
        self._mark = Mark(*self.size_px) if mark else None
        self._watermark = Watermark() if watermark else None
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
            if self.scene.on_nothing:
                crop = self._with_alpha(crop)
        with self._metrics.time("compose"):
            self.picture = self.scene.framing.compose(crop)
            if self.scene.mover is not None:
                self.picture = self.scene.mover.lay(self.picture, attributes[PLACE])
            if self._watermark is not None:
                self._watermark.apply(self.picture)
            if self._mark is not None:
                self._mark.apply(self.picture)
        self._metrics.count("animated")
        self._made_of = made_of
        self.attributes = attributes
        return self.picture

    @property
    def drop_network(self) -> Callable[[bool], None] | None:
        """Makes frames by geometry alone, or not; None where no network corrects them."""
        reenactor = self._reenactor
        if not (reenactor.has_network and reenactor.corrected):
            return None

        def drop(dropped: bool) -> None:
            reenactor.corrected = not dropped

        return drop

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
