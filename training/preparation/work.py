"""The work on one clip: decode it, follow the face, measure it, cut it out, write the part. Ray calls it, or we do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.errors import ConfigError, SourceError
from icface.face.alignment import square_affine
from icface.face.landmarks import Landmarks, open_detector
from icface.files import write_file
from icface.images import cut_crop
from training.preparation.calibrate import Measured
from training.preparation.clips import Clip
from training.preparation.follow import Follower, smooth, square_of
from training.preparation.openface_csv import OpenFaceTable, read_openface
from training.preparation.parts import (
    Part,
    PartInfo,
    Settings,
    empty_part,
    is_done,
    part_path,
    save_part,
    stamp_of,
)
from training.preparation.video import TimedFrame, read_frames, read_portrait

logger = logging.getLogger(__name__)

MAX_FACES: Final = 3
"""Faces that are looked for in each frame. With more than one, MediaPipe's task does not smooth over time, so a
measurement belongs to its frame alone."""
MIN_FRAMES: Final = 2
MAX_TRIES: Final = 3
"""A decoder may crash on a clip and take its process along. After so many tries the clip is given up; Ray would go on."""
TRIES_SUFFIX: Final = ".tries"
JPEG_QUALITY: Final = 95


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """The followed face in a frame that is kept."""

    frame: int
    """Number of the frame as `read_frames` gives them."""
    time_s: float
    track: int
    face: Landmarks
    square: NDArray[np.float64]
    row: int | None
    """Row of the CSV, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went with one clip."""

    name: str
    unexpected: str = ""
    """An error that nobody expected. The clip has no part then, so the next run tries it again."""
    fatal: str = ""
    """Why no further clip can be made: the disk is full or cannot be written."""


class Worker:
    """Prepares clips one after another, in any process. Clips that are done cost nothing.

    Args:
        out: the data set's folder.
        settings: the same for all clips.
    """

    def __init__(self, out: Path, settings: Settings) -> None:
        self._out = out
        self._settings = settings
        self._stamp = settings.stamp()

    def is_done(self, clip: Clip) -> bool:
        """Whether the clip's part is there; False where the clip itself is gone."""
        try:
            stamp = stamp_of(clip, self._stamp)
        except OSError:
            return False
        return is_done(part_path(self._out, clip.name), stamp)

    def __call__(self, clip: Clip) -> Outcome:
        """Make a clip's part, if it is not there yet."""
        cv2.setNumThreads(1)
        try:
            if not self.is_done(clip):
                self._make(clip)
        except OSError as error:
            if not clip.path.exists():
                return Outcome(name=clip.name, unexpected="it was taken away while it was prepared")
            return Outcome(name=clip.name, fatal=f"cannot write to {self._out}: {error.strerror or error}")
        except Exception as error:
            # This is a worker's top. One odd clip among a hundred thousand must not end the run; it is listed as skipped.
            logger.debug("%s", clip.path, exc_info=True)
            return Outcome(name=clip.name, unexpected=f"unexpected {type(error).__name__}: {error}")
        return Outcome(name=clip.name)

    def _make(self, clip: Clip) -> None:
        path, stamp = part_path(self._out, clip.name), stamp_of(clip, self._stamp)
        tries = path.with_suffix(TRIES_SUFFIX)
        tried = _read_number(tries)
        if tried >= MAX_TRIES:
            reason = f"its process died over it {tried} times"
            save_part(path, empty_part(PartInfo(name=clip.name, reason=reason)), stamp)
        else:
            write_file(tries, str(tried + 1))
            try:
                save_part(path, self._part(clip), stamp)
            finally:  # not reached by a process that dies
                tries.unlink(missing_ok=True)

    def _part(self, clip: Clip) -> Part:
        try:
            return prepare_clip(clip, self._settings)
        except (SourceError, ConfigError) as error:
            # The report names the file in front of the reason.
            reason = str(error).removeprefix(f"{clip.path} ").removeprefix("is ")
            return empty_part(PartInfo(name=clip.name, reason=reason))


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def prepare_clip(clip: Clip, settings: Settings) -> Part:
    """Measure and cut a clip.

    Raises:
        SourceError: it cannot be read, or has no face that can be used.
        ConfigError: its CSV cannot be used, and `settings` do not allow to measure it instead.
    """
    notes: list[str] = []
    table = _table(clip, settings, notes)
    sightings, seen, seconds = _look(clip, settings, table, notes)
    kept, times_s = _worthy(clip, settings, sightings, notes)
    squares = np.concatenate(
        [smooth(np.array([s.square for s in run]), np.array([s.time_s for s in run])) for run in kept]
    )
    flat = [sighting for run in kept for sighting in run]
    jpegs = tuple(_crops(clip, settings, flat, squares))
    lasting_s = sum(run[-1].time_s - run[0].time_s for run in kept)
    info = PartInfo(
        name=clip.name,
        fps=round((len(flat) - len(kept)) / lasting_s, 3) if lasting_s > 0 else settings.fps,
        seconds=seconds,
        frames_seen=seen,
        tracks=len(kept),
        face_px=round(float(np.median([np.exp(s.square[2]) for s in flat])), 1),
        notes=tuple(notes),
    )
    rows = [sighting.row for sighting in flat if sighting.row is not None]
    return Part(
        info=info,
        track=np.repeat(np.arange(len(kept), dtype=np.int32), [len(run) for run in kept]),
        measured=Measured.of([s.face for s in flat], times_s),
        face_px=np.array([np.exp(s.square[2]) for s in flat], dtype=np.float32),
        openface=None if table is None else table.values[rows],
        presence=None if table is None else table.presence[rows],
        jpegs=jpegs,
    )


def _table(clip: Clip, settings: Settings, notes: list[str]) -> OpenFaceTable | None:
    if clip.csv is None:
        return None
    try:
        return read_openface(clip.csv, settings.fps)
    except ConfigError as error:
        if settings.csv_errors != "tracker":
            raise
        notes.append(f"measured here: {error}")
        return None


def _frames(clip: Clip, settings: Settings) -> Iterator[TimedFrame]:
    if clip.is_portrait:
        yield read_portrait(clip.path)
    else:
        yield from read_frames(clip.path, settings.fps, settings.max_frames)


def _look(
    clip: Clip, settings: Settings, table: OpenFaceTable | None, notes: list[str]
) -> tuple[list[_Sighting], int, float]:
    """The followed face in each frame, how many frames there were, and how long they last."""
    sightings: list[_Sighting] = []
    follower = Follower()
    seen, last_s = 0, 0.0
    faces_at_once = 0
    detector = open_detector(video=not clip.is_portrait, max_faces=MAX_FACES)
    try:
        for number, timed in enumerate(_frames(clip, settings)):
            seen, last_s = number + 1, timed.time_s
            faces = detector.detect(timed.frame, None if clip.is_portrait else timed.time_s)
            faces_at_once = max(faces_at_once, len(faces))
            sight = follower.update(timed.frame, faces, timed.time_s)
            if sight is None:
                continue
            row = None if table is None else table.row_at(timed.time_s)
            if table is not None and row is None:
                continue
            sightings.append(
                _Sighting(
                    frame=number,
                    time_s=timed.time_s,
                    track=sight.track,
                    face=sight.face,
                    square=square_of(sight.face),
                    row=row,
                )
            )
    except SourceError as error:
        if not seen:
            raise
        notes.append(str(error))
    finally:
        detector.close()
    if not sightings:
        raise SourceError("no face was found" if table is None else "no face was found that its CSV has too")
    if faces_at_once > 1:
        notes.append("several faces were seen; only the largest is kept")
    if len(sightings) < seen:
        notes.append(f"{seen - len(sightings)} of {seen} frames have no usable face")
    return sightings, seen, last_s


def _worthy(
    clip: Clip, settings: Settings, sightings: list[_Sighting], notes: list[str]
) -> tuple[list[list[_Sighting]], NDArray[np.float64]]:
    """Tracks that are long and large enough, and the times of all their frames.

    Raises:
        SourceError: no track is.
    """
    runs: dict[int, list[_Sighting]] = {}
    for sighting in sightings:
        runs.setdefault(sighting.track, []).append(sighting)
    kept, reasons = [], []
    for run in runs.values():
        side_px = float(np.median([np.exp(sighting.square[2]) for sighting in run]))
        if len(run) < MIN_FRAMES and not clip.is_portrait:
            reasons.append("a face seen in one frame only")
        elif side_px < settings.min_face_px:
            reasons.append(f"face of {side_px:.0f} pixels (at least {settings.min_face_px:g} are needed)")
        else:
            kept.append(run)
    if not kept:
        raise SourceError("; ".join(dict.fromkeys(reasons)))
    notes += [f"left out: {reason}" for reason in dict.fromkeys(reasons)]
    return kept, np.array([sighting.time_s for run in kept for sighting in run])


def _crops(
    clip: Clip, settings: Settings, sightings: list[_Sighting], squares: NDArray[np.float64]
) -> Iterator[bytes]:
    """JPEG of each sighting, in their order.

    The clip is decoded a second time. Squares are smoothed with later ones, and keeping all frames of a long clip until
    then would take gigabytes.
    """
    wanted = {sighting.frame: i for i, sighting in enumerate(sightings)}
    last = sightings[-1].frame
    for number, timed in enumerate(_frames(clip, settings)):
        if number in wanted:
            x, y, log_side = squares[wanted[number]]
            affine = square_affine((float(x), float(y), float(np.exp(log_side))), settings.size_px)
            yield _jpeg(cut_crop(timed.frame, affine, settings.size_px))
        if number == last:
            return
    raise SourceError("it gave other frames when it was decoded again")


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    # Colour at full resolution: at this size, lips and irises are a few pixels.
    options: list[Any] = [
        cv2.IMWRITE_JPEG_QUALITY,
        JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)[1].tobytes())
