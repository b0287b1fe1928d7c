"""From a photo and numbers to a frame: `set_source()` once, `animate()` per frame. It is the same for every model.

A family (`icface/families/`) does a model's work on the host. An engine (`icface/engines/`) runs its graphs.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
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
from icface.attributes import neutral as neutral_attributes
from icface.bundle import Bundle
from icface.engines import Engine, HostFrames, neutralise, open_engine
from icface.errors import ConfigError, EngineError, SourceError
from icface.face.expectations import expectations, hides_mouth, numbered
from icface.face.landmarks import MODEL_SHA256, LandmarkDetector, Landmarks, open_detector
from icface.face.photo import faces_of, put_upright, without_far
from icface.face.suitability import MAX_FACES, check_suitable, choose_face
from icface.families import Alpha, Means, Rig, open_family
from icface.geometry.call_view import VIEW_VERSION, call_view
from icface.geometry.tight import TIGHT_VERSION, with_room
from icface.images import Photo
from icface.source_cache import SourceCache, source_key

logger = logging.getLogger(__name__)

_READING = 2
"""Raise it when another face of a photo is taken than before, or other notes."""
_OPENS_MOUTH = [INDEX[name] for name in ("AU10", "AU25", "AU26", "AU22")]
"""What a covered mouth does not do. All else moves what covers it like skin."""


@dataclass(frozen=True)
class PreparedSource:
    """A photo made neutral, ready to be shown by the Reenactor that prepared it."""

    photo_frame: Frame
    """(H, W, 3) RGB, the whole photo."""
    crop_to_photo: Array
    """(2, 3) affine from pixels of the animated crop to pixels of the photo."""
    neutral: Frame
    """(T, T, 3) RGB, the neutral image for a user to look at. T is the side of the frames."""
    cache: Tensors
    """What the family prepared: the engine's cache tensors and what the rig reads."""
    rig: Rig = field(repr=False)
    rim: float
    """Share of a frame's side, along its border, that shows no face. There the frame may fade into the photo."""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""
    key: str = ""
    """Under which the source cache keeps it; empty: nowhere."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return self.neutral.shape[1], self.neutral.shape[0]

    @property
    def own(self) -> FloatArray:
        """(SIZE,) the photo's own pose and expression; neutral where a family does not tell."""
        return self.cache.get("own", neutral_attributes())

    @property
    def has_layers(self) -> bool:
        """Whether the person could be told from the background."""
        return int(self.cache.get("margin", 0)) > 0

    @property
    def one_layer_because(self) -> str:
        """Why it has no layers, as part of a sentence."""
        said = bytes(self.cache.get("one_layer_because", ())).decode()
        return said or "no clear outline of the person was found"

    def before(self, plate: Frame, *, free: bool = True) -> PreparedSource:
        """The same person before another background.

        Args:
            plate: (T, T, 3) RGB, of the frames' size.
            free: it may be anything, so the person's own colours are taken. False: it is like the photo's.

        Raises:
            SourceError: the person could not be told from the background, or the Reenactor was not asked for
                `free_layer`.
        """
        layer = "free" if free else "skin"
        if not self.has_layers:
            raise SourceError(f"the background cannot be replaced, because {self.one_layer_because}")
        if layer not in self.cache:
            raise SourceError(
                "the background cannot be replaced: the source was prepared without `free_layer`"
            )
        return replace(self, cache={**self.cache, "skin": self.cache[layer], "plate": plate})


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
        self._threads = threads
        self._size_px = size_px
        self._still_border = still_border
        self._free_layer = free_layer
        self._view_px = view_px
        self.corrected = corrected
        """Whether the network corrects the frames, where the bundle has one. It may change from frame to frame."""
        self._cache = source_cache or SourceCache()
        self._source: PreparedSource | None = None
        self._untaken = np.array(
            [name in EXTENSIONS and name not in bundle.extensions for name in ALL_NAMES], dtype=np.bool_
        )
        self._told: set[str] = set()
        self._motion: Tensors = {}
        self._alpha: Alpha | None = None
        self._preparing = threading.Lock()
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
        return self._bundle.correct is not None and not self._engine.geometry_alone

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
        crop_px = self._size_px if self._bundle.size_px is None else self._bundle.size_px
        key = source_key(
            photo.sha256, self._bundle.sha256, crop_px, face, self._still_border, self._free_layer, self._view_px,
            VIEW_VERSION, TIGHT_VERSION, _READING, self._family.version, MODEL_SHA256,
        )  # fmt: skip
        with self._preparing:
            cache = self._cache.load(key)
            if cache is None:
                cache = self._prepare(photo, face, crop_px)
                self._cache.store(key, cache)
            else:
                logger.debug("%s was prepared before", photo.path)
        notes = bytes(cache.get("notes", ())).decode().splitlines()
        neutral: Frame = cache["neutral"]
        side = neutral.shape[0] if self._bundle.size_px is None else self._size_px or neutral.shape[0]
        return PreparedSource(
            photo_frame=cache.get("view", photo.frame),
            crop_to_photo=_for_side(cache["crop_to_photo"], neutral.shape[0], side),
            neutral=_scale(neutral, np.empty((side, side, 3), dtype=np.uint8)),
            cache=cache,
            rig=self._family.rig(cache, self._still_border),
            rim=self._family.rim,
            notes=tuple(f"{photo.path.name}: {note}" for note in notes),
            key=key,
        )

    def _prepare(self, photo: Photo, face: int | None, crop_px: int | None) -> Tensors:
        # The engine that makes the frames also neutralises, so that both use the same arithmetic.
        run_graph = partial(neutralise, self._engine.name, self._bundle, threads=self._threads)
        found = faces_of(photo.frame)
        seen = choose_face(found, photo.path, face)
        frame, chosen = put_upright(*without_far(photo.frame, seen))
        notes = expectations(photo.frame, seen, frame, chosen)
        if photo.moves:
            notes.insert(0, "the file is an animation; its first picture is taken")
        uncut = frame, chosen
        if face is None and len(found) > 1:
            notes.insert(0, numbered(found, next(i for i, other in enumerate(found) if other is seen)))
        view = {} if frame is photo.frame else {"view": frame}
        with (
            closing(open_detector(video=False, max_faces=MAX_FACES)) as detector,
            closing(HostFrames(self._bundle, threads=self._threads)) as corrected,
        ):
            means = Means(
                detector, run_graph, crop_px, free_layer=self._free_layer, wide=self._still_border,
                corrected=corrected if self.has_network else None,
            )  # fmt: skip
            try:
                check_suitable(chosen)
                added_px = 0, 0
                if self._view_px is not None:
                    frame, chosen = _as_in_a_call(frame, chosen, self._view_px, detector)
                    view = {"view": frame}
                else:
                    frame, chosen, added_px = with_room(frame, chosen)
                cache = self._family.prepare(frame, chosen, means)
            except SourceError as error:
                raise SourceError(f"{photo.path}: {error}") from error
        covered = {"mouth_covered": np.array(1, dtype=np.uint8)} if hides_mouth(*uncut) else {}
        place = cache["crop_to_photo"].copy()
        place[:, 2] -= added_px
        said = np.frombuffer("\n".join(notes).encode(), dtype=np.uint8)
        return {**cache, "crop_to_photo": place, **view, **covered, **({"notes": said} if notes else {})}

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
        return _scale(frame, self._scaled)

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


def _as_in_a_call(
    photo: Frame, face: Landmarks, size_px: tuple[int, int], detector: LandmarkDetector
) -> tuple[Frame, Landmarks]:
    """The photo as a camera of a call would show it, and the face in it."""
    view, view_to_photo = call_view(photo, face, size_px)
    points = face.points_px / view_to_photo[0, 0]
    points[:, :2] -= (view_to_photo[:, 2] / view_to_photo[0, 0]).astype(np.float32)
    moved = replace(face, points_px=points, image_size_px=size_px)
    # Seen anew, because the pose that a tracker sees depends on the picture around the face.
    centre, iod = points[:, :2].mean(axis=0), np.ptp(points[:, 0])
    for found in detector.detect(view):
        if np.linalg.norm(found.points_px[:, :2].mean(axis=0) - centre) < iod / 4:
            return view, found
    return view, moved


def _scale(frame: Frame, out: Frame) -> Frame:
    """A frame that has the size of `out`, or else the frame scaled into `out`."""
    if frame.shape == out.shape:
        return frame
    # From 128² to 512² cubic takes .2 ms, as linear does, and shows no cells. Lanczos takes 2.5 ms.
    how = cv2.INTER_CUBIC if frame.shape[0] < out.shape[0] else cv2.INTER_AREA
    cv2.resize(frame, out.shape[1::-1], dst=out, interpolation=how)
    return out


def _for_side(crop_to_photo: Array, side: int, wanted: int) -> Array:
    """The affine of a crop that is `side` pixels wide, for the same crop `wanted` pixels wide."""
    scale = side / wanted
    # Pixel centres are integers, so the edge of the crop lies half a pixel before its first pixel.
    shift = np.full(2, scale / 2 - 0.5)
    linear, offset = crop_to_photo[:, :2], crop_to_photo[:, 2]
    return np.column_stack([linear * scale, linear @ shift + offset])
