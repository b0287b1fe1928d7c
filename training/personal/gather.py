"""From videos or a photo to the chosen frames of one person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, POSE, FloatArray, with_extensions
from icface.errors import ConfigError, SourceError
from icface.face.action_units import measure_attributes, population
from icface.face.calibration import save_neutral
from icface.face.extensions import ExtensionReader
from icface.face.features import face_shape, features_of
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of, put_upright
from icface.face.suitability import check_suitable, choose_face
from icface.face.tracker import FaceTracker
from icface.images import load_photo
from training.personal.bar import Progress
from training.personal.calm import COVERED, calm_frames, oddness
from training.personal.choosing import LEAST, MOST, chosen, distinct, held_from
from training.personal.cutting import chosen_frame, write_source
from training.personal.footage import Footage
from training.personal.frames import ChosenFrame, save_frames
from training.personal.looks import Look, look_at, of_one_person, usable
from training.preparation.calibrate import Measured, attributes_of, learn_baseline

FRAMES: Final = "frames"
_NEUTRAL: Final = "neutral.json"
_LOOKING: Final = 0.8
"""The share of the time until all frames were looked at; then they are read again, and some are cut."""
CALM: Final = 0.5
"""A face is calm enough to be the source whose Action Units are below this."""
AHEAD: Final = 0.15
"""And frontal enough whose pose is within this of the middle: 12°."""


def gather(
    footage: Footage, work: Path, progress: Progress, *, choose_source: bool = True
) -> list[ChosenFrame]:
    """Choose frames of the person who is seen most, and write them into `work/frames`.

    Args:
        choose_source: write the calmest one also as `work/source.png`; else that is the user's photo.

    Raises:
        ConfigError: two people are seen, or too little of one.
    """
    looks = usable(of_one_person(look_at(footage, lambda share: progress(_LOOKING * share)), footage))
    _expect(len(looks), footage)
    attributes = _attributes(looks, footage, work / _NEUTRAL)
    if distinct(attributes) < LEAST:
        raise ConfigError(
            f"the face in {footage.name} hardly moves; turn the head, smile, talk and blink, or give a photo: --source"
        )
    held = held_from(len(looks))
    if not _has_calm(attributes[:held]):
        raise ConfigError(
            f"no calm frontal face is seen in {footage.name}; look at the camera with a resting face for two seconds"
        )
    places = chosen(attributes[:held], held_from(MOST))
    places += [held + place for place in chosen(attributes[held:], MOST - held_from(MOST))]
    frames = _cut(footage, looks, set(places), held, work / _NEUTRAL, progress)
    odd = oddness(frames)
    frames = [frame for frame, differs in zip(frames, odd, strict=True) if differs < COVERED]
    _expect(len(frames), footage)
    if choose_source:
        source = frames[calm_frames(frames, 1)[0]]
        face = next(look for look in looks if (look.video, look.time_s) == (source.video, source.time_s))
        write_source(footage.frame_at(source.video, source.time_s), face.landmarks, work)
    save_frames(work / FRAMES, frames)
    (work / _NEUTRAL).unlink()
    progress(1.0)
    return frames


def _expect(count: int, footage: Footage) -> None:
    """Raise where so few frames are left."""
    if count < LEAST:
        raise ConfigError(
            f"{footage.name} has {count} frames with a sharp, well lit face that nothing hides, and {LEAST} are needed; "
            "film a minute in good light, with the face towards the camera"
        )


def _attributes(looks: Sequence[Look], footage: Footage, neutral: Path) -> FloatArray:
    """Learn how this face rests, write it for the tracker, and give (n, SIZE) attributes without its range gain."""
    times = np.array([footage.clock_s(look.video, look.time_s) for look in looks])
    measured = Measured.of([look.landmarks for look in looks], times)
    baseline = learn_baseline([measured], population())
    units = attributes_of(measured, baseline)
    reader = ExtensionReader()
    for _ in range(2):  # the second time with the rest that the first time has learned
        reader = ExtensionReader(reader.rest)
        extensions = [
            reader.read(
                shape, features_of(shape), look.landmarks.blendshapes, baseline, look.pose, one, float(time_s)
            )
            for look, one, time_s in zip(looks, units, times, strict=True)
            for shape in [face_shape(look.landmarks)]
        ]
    save_neutral(neutral, baseline, reader.rest)
    return np.concatenate([units, extensions], axis=1, dtype=np.float32)


def _has_calm(attributes: FloatArray) -> bool:
    """Whether a frame of (n, SIZE) is calm and frontal."""
    away = np.abs(attributes[:, POSE] - 0.5).max(axis=1)
    return bool(((attributes[:, ACTION_UNITS].max(axis=1) < CALM) & (away < AHEAD)).any())


class _Found:
    """A detector that gives the landmarks that were found before, by the time of the frame."""

    def __init__(self, faces: dict[float, Landmarks]) -> None:
        self._faces = faces

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        face = None if time_s is None else self._faces.get(time_s)
        return [] if face is None else [face]

    def close(self) -> None:
        pass


def _cut(
    footage: Footage, looks: Sequence[Look], places: set[int], held: int, neutral: Path, progress: Progress
) -> list[ChosenFrame]:
    """Read the videos again, track with what was learned, and cut the frames at some places of `looks`."""
    clocks = [footage.clock_s(look.video, look.time_s) for look in looks]
    faces = {clock_s: look.landmarks for clock_s, look in zip(clocks, looks, strict=True)}
    wanted = {clocks[place] for place in places}
    tracker = FaceTracker(neutral, _Found(faces))
    frames = []
    for count, shot in enumerate(footage.shots()):
        progress(_LOOKING + (1 - _LOOKING) * min(1.0, count / footage.count))
        clock_s = footage.clock_s(shot.video, shot.time_s)
        state = tracker.read(shot.frame, clock_s)
        if state is not None and clock_s in wanted:
            frames.append(
                chosen_frame(
                    shot.frame,
                    state.landmarks,
                    state.attributes,
                    video=shot.video,
                    time_s=shot.time_s,
                    held=clock_s >= clocks[held],
                )
            )
    tracker.close()
    return frames


def gather_photo(path: Path, work: Path) -> list[ChosenFrame]:
    """The one frame of a photo, and the photo as the source, written as `gather` does.

    Raises:
        SourceError: it is no photo, or shows no face that can be used.
    """
    frame, face = source_photo(path, work)
    attributes = with_extensions(measure_attributes(face))
    frames = [chosen_frame(frame, face, attributes, video=0, time_s=0.0, held=False)]
    save_frames(work / FRAMES, frames)
    return frames


def source_photo(path: Path, work: Path) -> tuple[Frame, Landmarks]:
    """Write the part of a photo that becomes the bundle's source; gives the photo, upright, and its face."""
    frame = load_photo(path).frame
    try:
        frame, face = put_upright(frame, choose_face(faces_of(frame), path, None))
        check_suitable(face)
    except SourceError as error:
        raise SourceError(f"{error}" if path.name in str(error) else f"{path}: {error}") from error
    write_source(frame, face, work)
    return frame, face
