"""The work on one clip: decode it, follow the face, measure it, cut it out, write the part. Ray calls it, or we do."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.errors import ConfigError, SourceError
from icface.face.alignment import square_affine
from icface.face.landmarks import Landmarks, open_detector
from icface.files import write_file
from icface.images import cut_crop
from training.preparation import parts
from training.preparation.calibrate import Measured
from training.preparation.clips import Clip, frames_of
from training.preparation.follow import Follower, smooth, square_of
from training.preparation.frame_folders import in_order
from training.preparation.openface_csv import OpenFaceTable, read_openface

logger = logging.getLogger(__name__)

MAX_FACES: Final = 3
"""Faces that are looked for in each frame. With more than one, MediaPipe's task does not smooth over time, so a
measurement belongs to its frame alone."""
MIN_FRAMES: Final = 2
MAX_TRIES: Final = 3
"""A decoder may crash on a clip and take its process along. After so many tries the clip is given up; Ray would go on."""
TRIES_SUFFIX: Final = ".tries"
JPEG_OPTIONS: Final = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    # Colour at full resolution: at this size, lips and irises are a few pixels.
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)


class _Sighting(NamedTuple):
    """The followed face in a frame that is kept."""

    frame: int
    """Its number among the frames of the clip."""
    time_s: float
    track: int
    face: Landmarks
    square: NDArray[np.float64]
    row: int
    """Row of the CSV; −1 without one."""


class Outcome(NamedTuple):
    """How it went with one clip."""

    name: str
    unexpected: str = ""
    """An error that nobody expected. The clip has no part then, so the next run tries it again."""
    fatal: str = ""
    """Why no further clip can be made: the disk is full or cannot be written."""


def make_part(clip: Clip, out: Path, settings: parts.Settings) -> Outcome:
    """Make a clip's part in the data set's folder `out`, if it is not there yet; may run in any process."""
    cv2.setNumThreads(1)
    try:
        if not parts.is_done(out, clip, settings):
            _try(clip, settings, parts.part_path(out, clip.name), parts.stamp_of(clip, settings))
    except OSError as error:
        if not clip.path.exists():
            return Outcome(clip.name, unexpected="it was taken away while it was prepared")
        return Outcome(clip.name, fatal=f"cannot write to {out}: {error.strerror or error}")
    except Exception as error:
        # One odd clip among a hundred thousand must not end the run. It is listed as skipped.
        logger.debug("%s", clip.path, exc_info=True)
        return Outcome(clip.name, unexpected=f"unexpected {type(error).__name__}: {error}")
    return Outcome(clip.name)


def _try(clip: Clip, settings: parts.Settings, path: Path, stamp: str) -> None:
    tries = path.with_suffix(TRIES_SUFFIX)
    tried = int(tries.read_text()) if tries.exists() else 0
    if tried >= MAX_TRIES:
        parts.save_reason(path, f"its process died over it {tried} times", stamp)
        return
    write_file(tries, str(tried + 1))
    try:
        parts.save_part(path, prepare_clip(clip, settings), stamp)
    except (SourceError, ConfigError) as error:
        # The report names the file in front of the reason.
        parts.save_reason(path, str(error).removeprefix(f"{clip.path} ").removeprefix("is "), stamp)
    finally:  # not reached by a process that dies
        tries.unlink(missing_ok=True)


def prepare_clip(clip: Clip, settings: parts.Settings) -> parts.Part:
    """Measure and cut a clip.

    Raises:
        SourceError: it cannot be read, or has no face that can be used.
        ConfigError: its CSV cannot be used, and `settings` do not allow to measure it instead.
    """
    notes: list[str] = []
    table = None
    try:
        table = _table_of(clip, settings)
    except ConfigError as error:
        if settings.csv_errors != "tracker":
            raise
        notes.append(f"measured here: {error}")
    tracks = _worthy(clip, settings, _look(clip, settings, table, notes), notes)
    flat = [sighting for track in tracks for sighting in track]
    squares = np.concatenate(
        [smooth(np.array([s.square for s in track]), np.array([s.time_s for s in track])) for track in tracks]
    )
    lasting_s = sum(track[-1].time_s - track[0].time_s for track in tracks)
    rows = [sighting.row for sighting in flat]
    return parts.Part(
        info=parts.PartInfo(
            fps=max(round((len(flat) - len(tracks)) / lasting_s, 3), 0.001)
            if lasting_s > 0
            else settings.fps,
            face_px=round(_side_px(flat), 1),
            notes=tuple(notes),
        ),
        track=np.repeat(np.arange(len(tracks), dtype=np.int32), [len(track) for track in tracks]),
        measured=Measured.of([s.face for s in flat], np.array([s.time_s for s in flat])),
        openface=table.values[rows] if table else None,
        presence=table.presence[rows] if table else None,
        jpegs=tuple(_crops(clip, settings, flat, squares)),
    )


def _table_of(clip: Clip, settings: parts.Settings) -> OpenFaceTable | None:
    """What OpenFace says of a clip, if it says anything; raises ConfigError where it cannot be used."""
    if clip.csv is None:
        return None
    if clip.frame_rate is None:
        return read_openface(clip.csv, settings.fps)
    pictures = in_order(clip.path, clip.frame_rate)
    return read_openface(clip.csv, clip.frame_rate).of_pictures(pictures, clip.frame_rate)


def _look(
    clip: Clip, settings: parts.Settings, table: OpenFaceTable | None, notes: list[str]
) -> list[_Sighting]:
    """The followed face in each frame that has one."""
    sightings: list[_Sighting] = []
    # Pictures in a folder may be seconds apart, so a face is looked for in each anew.
    apart = clip.is_portrait or clip.frame_rate is not None
    follower = Follower(whole=apart)
    seen = faces_at_once = 0
    with closing(open_detector(video=not apart, max_faces=MAX_FACES)) as detector:
        try:
            for number, (frame, time_s) in enumerate(frames_of(clip, settings.fps, settings.max_frames)):
                seen = number + 1
                faces = detector.detect(frame, None if apart else time_s)
                faces_at_once = max(faces_at_once, len(faces))
                face = follower.update(frame, faces, time_s)
                row = table.row_at(time_s) if table else -1
                if face is not None and row is not None:
                    sightings.append(_Sighting(number, time_s, follower.track, face, square_of(face), row))
        except SourceError as error:
            if not seen:
                raise
            notes.append(str(error))
    if not sightings:
        raise SourceError("no face was found that its CSV has too" if table else "no face was found")
    if faces_at_once > 1:
        notes.append("several faces were seen; only the largest is kept")
    if len(sightings) < seen:
        notes.append(f"{seen - len(sightings)} of {seen} frames have no usable face")
    return sightings


def _side_px(sightings: Sequence[_Sighting]) -> float:
    return float(np.median([np.exp(sighting.square[2]) for sighting in sightings]))


def _worthy(
    clip: Clip, settings: parts.Settings, sightings: list[_Sighting], notes: list[str]
) -> list[list[_Sighting]]:
    """Tracks that are long and large enough; raises SourceError where none is."""
    kept: list[list[_Sighting]] = []
    reasons: dict[str, None] = {}
    for _, group in groupby(sightings, lambda sighting: sighting.track):
        track = list(group)
        side_px = _side_px(track)
        if len(track) < MIN_FRAMES and not clip.is_portrait:
            reasons["a face seen in one frame only"] = None
        elif side_px < settings.min_face_px:
            reasons[f"face of {side_px:.0f} pixels (at least {settings.min_face_px:g} are needed)"] = None
        else:
            kept.append(track)
    if not kept:
        raise SourceError("; ".join(reasons))
    notes += [f"left out: {reason}" for reason in reasons]
    return kept


def _crops(
    clip: Clip, settings: parts.Settings, sightings: list[_Sighting], squares: NDArray[np.float64]
) -> Iterator[bytes]:
    """JPEG of each sighting, in their order.

    The clip is decoded a second time. Squares are smoothed with later ones, and keeping all frames of a long clip until
    then would take gigabytes.
    """
    wanted = {sighting.frame: square for sighting, square in zip(sightings, squares, strict=True)}
    for number, (frame, _) in enumerate(frames_of(clip, settings.fps, settings.max_frames)):
        if number in wanted:
            x, y, log_side = wanted[number].tolist()
            affine = square_affine((x, y, float(np.exp(log_side))), settings.size_px)
            crop = cut_crop(frame, affine, settings.size_px)
            yield bytes(cv2.imencode(".jpg", crop[..., ::-1], JPEG_OPTIONS)[1].tobytes())
        if number == sightings[-1].frame:
            return
    raise SourceError("it gave other frames when it was decoded again")
