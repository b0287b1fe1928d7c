"""From a photo to a prepared source: the face is found, put upright and made neutral, or taken from the cache."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final

import cv2
import numpy as np

from icface.arrays import Array, Frame, Tensors
from icface.bundle import Bundle
from icface.engines import Engine, HostFrames, neutralise
from icface.errors import SourceError
from icface.face.expectations import expectations, hides_mouth, numbered
from icface.face.landmarks import MODEL_SHA256, LandmarkDetector, Landmarks, open_detector
from icface.face.photo import faces_of, put_upright, without_far
from icface.face.suitability import MAX_FACES, check_suitable, choose_face
from icface.families import Family, Means
from icface.geometry.call_view import VIEW_VERSION, call_view
from icface.geometry.tight import TIGHT_VERSION, with_room
from icface.images import Photo
from icface.prepared_source import PreparedSource
from icface.source_cache import SourceCache, source_key

logger = logging.getLogger(__name__)

_READING: Final = 2
"""Raise it when another face of a photo is taken than before, or other notes."""


class Preparation:
    """Prepares photos for one model, one at a time; any thread may ask.

    Args:
        family: of the bundle.
        cache: where prepared sources are kept.

    The others are those of `Reenactor`.
    """

    def __init__(
        self,
        bundle: Bundle,
        family: Family,
        cache: SourceCache,
        *,
        size_px: int | None,
        threads: int,
        still_border: bool,
        free_layer: bool,
        view_px: tuple[int, int] | None,
    ) -> None:
        self._bundle, self._family, self._cache = bundle, family, cache
        self._size_px = size_px
        self._threads = threads
        self._still_border = still_border
        self._free_layer = free_layer
        self._view_px = view_px
        self._preparing = threading.Lock()

    def prepare(self, photo: Photo, face: int | None, engine: Engine) -> PreparedSource:
        """See `Reenactor.prepare_source`. The engine is the one that makes the frames."""
        crop_px = self._size_px if self._bundle.size_px is None else self._bundle.size_px
        network = has_network(self._bundle, engine)
        key = source_key(
            photo.sha256, self._bundle.sha256, crop_px, face, self._still_border, self._free_layer, self._view_px,
            VIEW_VERSION, TIGHT_VERSION, _READING, self._family.version, MODEL_SHA256, network,
        )  # fmt: skip
        with self._preparing, closing(HostFrames(self._bundle, threads=self._threads)) as frames:
            cache = self._cache.load(key)
            if cache is None:
                cache = self._prepared(photo, face, crop_px, engine.name, frames if network else None)
                if not frames.geometry_alone:  # else its network failed, and may run the next time
                    self._cache.store(key, cache)
            else:
                logger.debug("%s was prepared before", photo.path)
        notes = bytes(cache.get("notes", ())).decode().splitlines()
        neutral: Frame = cache["neutral"]
        side = neutral.shape[0] if self._bundle.size_px is None else self._size_px or neutral.shape[0]
        return PreparedSource(
            photo_frame=cache.get("view", photo.frame),
            crop_to_photo=_for_side(cache["crop_to_photo"], neutral.shape[0], side),
            neutral=scaled(neutral, np.empty((side, side, 3), dtype=np.uint8)),
            cache=cache,
            rig=self._family.rig(cache, self._still_border),
            rim=self._family.rim,
            notes=tuple(f"{photo.path.name}: {note}" for note in notes),
            key=key,
        )

    def _prepared(
        self, photo: Photo, face: int | None, crop_px: int | None, engine: str, corrected: HostFrames | None
    ) -> Tensors:
        # The engine that makes the frames also neutralises, so that both use the same arithmetic.
        run_graph = partial(neutralise, engine, self._bundle, threads=self._threads)
        found = faces_of(photo.frame)
        seen = choose_face(found, photo.path, face, photo.when_reduced)
        frame, chosen = put_upright(*without_far(photo.frame, seen))
        paints = corrected is not None and self._bundle.neutralise is not None
        notes = expectations(photo.frame, seen, frame, chosen, opens_eyes=paints)
        if photo.moves:
            notes.insert(0, "the file is an animation; its first picture is taken")
        uncut = frame, chosen
        if face is None and len(found) > 1:
            notes.insert(0, numbered(found, next(i for i, other in enumerate(found) if other is seen)))
        view = {} if frame is photo.frame else {"view": frame}
        with closing(open_detector(video=False, refined=True, max_faces=MAX_FACES)) as detector:
            means = Means(
                detector, run_graph, crop_px, free_layer=self._free_layer, wide=self._still_border,
                corrected=corrected,
            )  # fmt: skip
            try:
                check_suitable(chosen, photo.when_reduced)
                room_to_photo = np.eye(2, 3)
                if self._view_px is not None:
                    frame, chosen, scale = _as_in_a_call(frame, chosen, self._view_px, detector)
                    view, means = {"view": frame}, replace(means, view_scale=scale)
                else:
                    frame, chosen, room_to_photo = with_room(frame, chosen)
                cache = self._family.prepare(frame, chosen, means)
            except SourceError as error:
                raise SourceError(f"{photo.path}: {error}") from error
        covered = {"mouth_covered": np.array(1, dtype=np.uint8)} if hides_mouth(*uncut) else {}
        place = room_to_photo @ np.vstack([cache["crop_to_photo"], [0, 0, 1]])
        said = np.frombuffer("\n".join(notes).encode(), dtype=np.uint8)
        return {**cache, "crop_to_photo": place, **view, **covered, **({"notes": said} if notes else {})}


def has_network(bundle: Bundle, engine: Engine) -> bool:
    """Whether a network can correct the frames that an engine makes."""
    return bundle.correct is not None and not engine.geometry_alone


def _as_in_a_call(
    photo: Frame, face: Landmarks, size_px: tuple[int, int], detector: LandmarkDetector
) -> tuple[Frame, Landmarks, float]:
    """The photo as a camera of a call would show it, the face in it, and pixels of the photo for one of it."""
    view, view_to_photo = call_view(photo, face, size_px)
    scale = float(view_to_photo[0, 0])
    points = face.points_px / scale
    points[:, :2] -= (view_to_photo[:, 2] / scale).astype(np.float32)
    moved = replace(face, points_px=points, image_size_px=size_px)
    # Seen anew, because the pose that a tracker sees depends on the picture around the face.
    centre, iod = points[:, :2].mean(axis=0), np.ptp(points[:, 0])
    for found in detector.detect(view):
        if np.linalg.norm(found.points_px[:, :2].mean(axis=0) - centre) < iod / 4:
            return view, found, scale
    return view, moved, scale


def scaled(frame: Frame, out: Frame) -> Frame:
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
