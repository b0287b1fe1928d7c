"""From a photo and numbers to a frame: `set_source()` once, `animate()` per frame. It is the same for every model.

A family (`icface/families/`) does a model's work on the host. An engine (`icface/engines/`) runs its graphs.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import (
    ALL_NAMES,
    COUNT,
    EXTENSIONS,
    INDEX,
    PLACE_NAMES,
    SIZE,
    FloatArray,
    in_range,
    to_openface,
    with_extensions,
)
from icface.bundle import Bundle
from icface.engines import Engine, open_engine
from icface.errors import ConfigError, EngineError
from icface.families import Alpha, open_family
from icface.images import Photo
from icface.preparation import Preparation, has_network, scaled
from icface.prepared_source import PreparedSource
from icface.source_cache import SourceCache

logger = logging.getLogger(__name__)

_OPENS_MOUTH = [INDEX[name] for name in ("AU10", "AU25", "AU26", "AU22")]
"""What a covered mouth does not do. All else moves what covers it like skin."""


class Reenactor:
    """Animates prepared photos. Any thread may call `prepare_source`; one thread calls everything else.

    Args:
        bundle: the model.
        engine: `auto`, or an engine's name.
        size_px: side of the output; None keeps each photo's own resolution, or the model's where it has only one.
        threads: CPU threads an engine may use.
        source_cache: where prepared sources are kept; None takes the user's folder.
        still_border: nothing moves at the frame's border, so that the frame fits into its photo. The crop is wider.
        free_layer: prepare what `PreparedSource.before` needs.
        view_px: (width, height) of a picture as in a video call, that takes the photo's place: `photo_frame` is that.
        corrected: let the bundle's network correct the frames; False: geometry alone.

    Raises:
        BundleError: the model needs host code that this version does not have.
        ConfigError: there is no such engine, or the size is out of range.
        EngineError: no engine works, or the one asked for does not.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str = "auto",
        size_px: int | None = 512,
        threads: int = 1,
        source_cache: SourceCache | None = None,
        still_border: bool = False,
        free_layer: bool = False,
        view_px: tuple[int, int] | None = None,
        corrected: bool = True,
    ) -> None:
        if size_px is not None and not 64 <= size_px <= 2048:
            raise ConfigError(f"an output of {size_px} pixels is out of range; choose 64 to 2048, or native")
        self._bundle = bundle
        self._family = open_family(bundle)
        self._engine = open_engine(engine, bundle, threads=threads)
        self._size_px = size_px
        self._preparation = Preparation(
            bundle, self._family, source_cache or SourceCache(), size_px=size_px, threads=threads,
            still_border=still_border, free_layer=free_layer, view_px=view_px,
        )  # fmt: skip
        self.corrected = corrected
        """Whether the network corrects the frames, where the bundle has one. It may change from frame to frame."""
        self._source: PreparedSource | None = None
        self._untaken = np.array(
            [name in EXTENSIONS and name not in bundle.extensions for name in ALL_NAMES], dtype=np.bool_
        )
        self._told: set[str] = set()
        self._motion: Tensors = {}
        self._alpha: Alpha | None = None
        self._scaled: Frame = np.empty((0, 0, 3), dtype=np.uint8)

    def describe(self) -> str:
        """One line about the engine that was picked and how well it passed its check."""
        own, asked = self._bundle.size_px, self._size_px
        scaled = "" if own is None or asked in (None, own) else f"; its {own} px frames are scaled to {asked}"
        plain = ", geometry alone" if self.has_network and not self.corrected else ""
        return f"engine: {self._engine.description}{plain}{scaled}"

    @property
    def has_network(self) -> bool:
        """Whether a network can correct the frames."""
        return has_network(self._bundle, self._engine)

    @property
    def unbuilt_engines(self) -> tuple[str, ...]:
        """Better engines for this machine that are not built yet, best first."""
        return self._engine.unbuilt

    def prepare_source(self, photo: Photo, face: int | None = None) -> PreparedSource:
        """Neutralise a face of a photo, or take it from the cache.

        Args:
            photo: from `load_photo`.
            face: its number, counted from 1, from left to right. None takes the largest; a note tells of the others.

        Raises:
            SourceError: there is no face, or it is too small or turned away.
            ConfigError: there are fewer faces than `face`.
            EngineError: the model's graph for photos does not run.
        """
        return self._preparation.prepare(photo, face, self._engine)

    def set_source(self, source: PreparedSource) -> None:
        """Show this source from the next frame on."""
        self._engine.set_source(source.cache)
        if self._scaled.shape != source.neutral.shape:
            self._scaled = np.empty_like(source.neutral)
        self._source, self._alpha, self._motion = source, None, {}

    def adopt(self, engine: Engine) -> None:
        """Make the next frames with another engine of the same model, and close the one before.

        `open_engine` opened it, and the thread that did so released it. The calling thread owns it from now on.

        Raises:
            EngineError: it cannot take the source. The engine before stays in use.
        """
        if self._source is not None:
            engine.set_source(self._source.cache)
        before, self._engine = self._engine, engine
        before.close()

    def animate(self, attributes: FloatArray) -> Frame:
        """One frame.

        Args:
            attributes: (SIZE,) full-shape, clamped to their ranges here; or the paper's (COUNT,) alone.

        Returns:
            (H, W, 3) RGB, valid until the next call.

        Raises:
            ValueError: the attributes are not so many finite numbers.
            EngineError: no source is set, the engine fails, or its frame is black.
        """
        if attributes.shape not in ((SIZE,), (COUNT,)) or not np.isfinite(attributes).all():
            raise ValueError(
                f"attributes must be {SIZE} finite numbers, or {COUNT}, got shape {attributes.shape}"
            )
        if self._source is None:
            raise EngineError("no source is set; call set_source first")
        asked = in_range(attributes if len(attributes) == SIZE else with_extensions(attributes))
        if asked[self._untaken].any():
            self._leave_out(asked)
        if "mouth_covered" in self._source.cache:
            asked[_OPENS_MOUTH] = 0
        if self._bundle.attribute_scale == "openface":
            asked = to_openface(asked)
        self._motion = self._source.rig.motion(asked)
        if not self.corrected and self._bundle.correct is not None:
            self._motion["gates"][:] = 0
        frame = self._engine.animate(self._motion)
        if not frame[
            frame.shape[0] // 2
        ].any():  # a face is there; this is a device that failed without a word
            raise EngineError(
                f"the engine {self._engine.name} gives a black picture; choose another with --engine"
            )
        return scaled(frame, self._scaled)

    def alpha(self) -> NDArray[np.uint8]:
        """How much of each pixel of the last frame is the person, (H, W), valid until the next call.

        Raises:
            EngineError: no frame was made, or the model has no layers.
        """
        if self._source is None or not self._motion or self._family.alpha is None:
            raise EngineError("there is no alpha: no frame was made, or this model has no layers")
        if self._alpha is None:
            self._alpha = self._family.alpha(self._source.cache)
        return self._alpha.frame(self._motion)

    def _leave_out(self, asked: FloatArray) -> None:
        """Set the extensions that the model does not take to 0, in place, and say so once for each."""
        # Whoever frames the picture may show the place of the head.
        names = {name for i, name in enumerate(ALL_NAMES) if self._untaken[i] and asked[i]} - {*PLACE_NAMES}
        if names - self._told:
            new = ", ".join(name for name in ALL_NAMES if name in names - self._told)
            logger.debug("the model %s does not show %s", self._bundle.name, new)
            self._told |= names
        asked[self._untaken] = 0.0

    def close(self) -> None:
        """Close the engine and free its memory, also on a device."""
        self._engine.close()
        self._source = None
