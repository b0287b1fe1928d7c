"""The driver that does not move: a photo's pose and expression, or nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from icface.attributes import GAZE, GAZE_LIMIT_RAD, SIDES, FloatArray, neutral
from icface.errors import SourceError
from icface.face.action_units import measure_attributes
from icface.face.extensions import measure_sides
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of, put_upright, without_far
from icface.face.pose import head_pose
from icface.face.suitability import choose_face
from icface.geometry.reading import certain, own_gaze
from icface.images import load_photo
from realtime.drivers import Driver, Sample
from realtime.slot import Lane, Slot, filling

FPS = Fraction(30)


def read_still(path: Path, face: int | None = None) -> FloatArray:
    """(SIZE,) pose and expression of a face of a photo; its place is 0.

    Args:
        path: the photo.
        face: its number, counted from 1, from left to right. None takes the largest.

    Raises:
        SourceError: it cannot be read, moves, or has no face.
        ConfigError: there are fewer faces than `face`.
    """
    photo = load_photo(path)
    if photo.moves:
        raise SourceError(f"{path} is an animation that cannot be played; save it as GIF or MP4")
    seen = choose_face(faces_of(photo.frame), path, face, photo.when_reduced)
    return attributes_of_still(put_upright(*without_far(photo.frame, seen))[1])


def attributes_of_still(landmarks: Landmarks) -> FloatArray:
    """(SIZE,) attributes of one face of which nothing else is known. Small movements of a stranger count as none."""
    values = neutral()
    measured = measure_attributes(landmarks)
    values[: len(measured)] = certain(measured)
    values[SIDES] = measure_sides(landmarks, values[: len(measured)])
    values[GAZE] = np.clip(own_gaze(landmarks, head_pose(landmarks)) / GAZE_LIMIT_RAD, -1.0, 1.0)
    return values


class StillDriver(Driver):
    """Gives the same attributes on and on: (SIZE,), or None for nobody, whose pictures need a beat too.

    Args:
        attributes: of every sample.
        fps: samples a second.
        frame_count: so many from file to file; None goes on and on.
    """

    is_still = True

    def __init__(
        self,
        attributes: FloatArray | None,
        *,
        fps: Fraction = FPS,
        frame_count: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._attributes = attributes
        self.fps = fps
        self.frame_count = frame_count
        self._clock = clock

    def play(self, stop: threading.Event) -> Slot[Sample]:
        samples: Slot[Sample] = Slot()
        self._lanes.append(samples)
        self._start("still", self._beat, samples, stop)
        return samples

    def _beat(self, samples: Slot[Sample], stop: threading.Event) -> None:
        serial, due_s = 0, self._clock()
        with filling(samples):
            while not stop.wait(max(0.0, due_s - self._clock())):
                samples.put(Sample(serial, due_s, self._attributes))
                serial += 1
                # After a pause it goes on from now.
                due_s = max(due_s + 1 / float(self.fps), self._clock())

    def read_in_order(self) -> Lane[Sample]:
        samples: Lane[Sample] = Lane(4)
        self._lanes.append(samples)
        self._start("still", self._fill, samples)
        return samples

    def _fill(self, samples: Lane[Sample]) -> None:
        serial = 0
        with filling(samples):
            while self.frame_count is None or serial < self.frame_count:
                samples.put(Sample(serial, serial / float(self.fps), self._attributes))
                serial += 1
