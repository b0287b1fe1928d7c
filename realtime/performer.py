"""Attributes in, finished picture out: animate, put into its frame, mark. For live and for files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.engines.background import BackgroundBuild
from icface.errors import EngineError, ICFaceError
from icface.frame_cache import FrameCache, rounded
from realtime.framing import CropFraming, Framing, PhotoFraming
from realtime.mark import Mark
from realtime.timing import Stats

if TYPE_CHECKING:
    from icface.engines import Engine
    from icface.reenactor import PreparedSource

logger = logging.getLogger(__name__)


CLOSE_TIMEOUT_S: Final = 5.0


class Animator(Protocol):
    """The part of `icface.reenactor.Reenactor` that is used."""

    def set_source(self, source: PreparedSource, /) -> None: ...
    def animate(self, attributes: FloatArray, /) -> Frame: ...
    def adopt(self, engine: Engine, /) -> None: ...
    def describe(self) -> str: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Scene:
    """A source that can be shown at once: all that takes time is done."""

    number: int
    """Counted from 0, in the order of `--source`."""
    source: PreparedSource
    framing: Framing


def make_scene(number: int, source: PreparedSource, framing: str, size_px: tuple[int, int] | None) -> Scene:
    """Frame a source.

    Args:
        number: counted from 0.
        source: prepared.
        framing: `crop` or `photo`.
        size_px: (width, height) of the picture; None: as this source wants it.
    """
    crop_px = source.neutral.shape[0]
    if framing == "photo":
        in_photo = PhotoFraming(source.photo_frame, source.crop_to_photo, crop_px, size_px, rim=source.rim)
        return Scene(number, source, in_photo)
    return Scene(number, source, CropFraming(size_px or (crop_px, crop_px)))


class HalfSize:
    """A second, smaller animator for when there is no time; made in the background when first wanted.

    Args:
        make: gives a small animator with the source of that number set; called from a thread of this object.
    """

    def __init__(self, make: Callable[[int], Animator]) -> None:
        self._make = make
        self._thread: threading.Thread | None = None
        self._ready: tuple[int, Animator] | None = None
        self._tried: int | None = None

    def animator(self, number: int) -> Animator | None:
        """The small animator for that source, or None while it is being made. Never waits."""
        if self._ready is not None and self._ready[0] == number:
            return self._ready[1]
        if self._tried != number and (self._thread is None or not self._thread.is_alive()):
            self._tried = number
            self._thread = threading.Thread(target=self._run, args=(number,), name="half size", daemon=True)
            self._thread.start()
        return None

    def _run(self, number: int) -> None:
        try:
            # A new animator for each source, never one in use: one thread owns an animator.
            self._ready = (number, self._make(number))
        except ICFaceError as error:
            logger.warning("the smaller size cannot be used: %s", error)

    def close(self) -> None:
        """Let go of the small animator; waits for one that is being made, within CLOSE_TIMEOUT_S."""
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        if self._ready is not None:
            self._ready[1].close()
            self._ready = None


class Performer:
    """Makes pictures of the scene that is shown; one thread owns it."""

    def __init__(
        self,
        animator: Animator,
        scene: Scene,
        stats: Stats,
        *,
        mark: bool,
        half_size: HalfSize | None = None,
        cache: FrameCache | None = None,
        upgrade: BackgroundBuild | None = None,
    ) -> None:
        self._animator = animator
        self._stats = stats
        self._upgrade = upgrade
        self._cache = cache
        self._crop = np.empty((0, 0, 3), dtype=np.uint8)
        self.half_size = half_size
        self.small = False
        """Animate at half size, as soon as that is ready."""
        self.size_px = scene.framing.size_px
        """(width, height) of every picture."""
        self._mark = Mark(*self.size_px) if mark else None
        self._made_of: tuple[bytes, int, Animator] | None = None
        self._picture = np.zeros((self.size_px[1], self.size_px[0], 3), dtype=np.uint8)
        self.show(scene)

    @property
    def scene(self) -> Scene:
        """What is shown."""
        return self._scene

    def show(self, scene: Scene) -> None:
        """Show that scene from the next picture on."""
        self._animator.set_source(scene.source)
        self._scene = scene

    def perform(self, attributes: FloatArray) -> tuple[Frame, bool]:
        """Make the picture for (20,) `attributes`.

        Returns:
            (height, width, 3) RGB, valid until the next call, and whether anything changed: what was asked
            for last is not made again.
        """
        if self._upgrade is not None and (engine := self._upgrade.take()) is not None:
            self._change_engine(engine)
        if self._cache is not None:
            attributes = rounded(attributes)
        animator = self._animator
        if self.small and self.half_size is not None:
            animator = self.half_size.animator(self._scene.number) or animator
        made_of = (attributes.tobytes(), self._scene.number, animator)
        if made_of == self._made_of:
            return self._picture, False
        with self._stats.time("animate"):
            crop = self._animate(animator, attributes)
        with self._stats.time("compose"):
            self._picture = self._scene.framing.compose(crop)
            if self._mark is not None:
                self._mark.apply(self._picture)
        self._stats.count("animated")
        self._made_of = made_of
        return self._picture, True

    def _change_engine(self, engine: Engine) -> None:
        try:
            self._animator.adopt(engine)
        except EngineError as error:
            logger.warning("%s is not used: %s", engine.description, error)
            engine.close()
            return
        logger.info("%s", self._animator.describe())
        self._stats.event(self._animator.describe())
        self._stats.about["engine"] = self._animator.describe()

    def _animate(self, animator: Animator, attributes: FloatArray) -> Frame:
        if self._cache is None:
            return animator.animate(attributes)
        key = (attributes.tobytes(), self._scene.number, animator is self._animator)
        kept = self._cache.find(key)
        if kept is None:
            crop = animator.animate(attributes)
            self._cache.keep(key, crop)
            return crop
        self._stats.count("from_cache")
        # The mark is drawn into what is returned, and must not be drawn into what is kept.
        if self._crop.shape != kept.shape:
            self._crop = np.empty_like(kept)
        np.copyto(self._crop, kept)
        return self._crop

    def again(self) -> Frame:
        """The last picture."""
        return self._picture
