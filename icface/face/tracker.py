"""From a driver's frames to calibrated attributes. The landmarks they are read from are smoothed already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, PLACE, FloatArray
from icface.face.action_units import attributes_of
from icface.face.calibration import Calibration, Neutral, load_neutral, save_neutral
from icface.face.driver import Driver
from icface.face.extensions import ExtensionReader
from icface.face.features import face_shape, features_of
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.face.mouth import MouthHold, MouthWatch
from icface.face.place import Place
from icface.face.pose import Pose, head_pose

JUMP_RAD: Final = 0.35
"""A head that turns by more than this in one frame is a mistake of the detector."""
JUMP_FRAMES: Final = 2
"""A turn that lasts for more than this many frames is believed."""
DEAD_ZONE: Final = 0.04
_RANGE_HALF_LIFE_S: Final = 80.0
BLINK_HOLD_S: Final = 1 / 30
"""A closed eye stays closed for at least one frame of a 30 FPS output, which may not take every sample."""
_BLINK: Final = INDEX["AU45"]
# A driver who moves little may be amplified so much. Not where distances tell how far a mouth is open: in a call it would
# open further from minute to minute. A blink is whole in everybody, however little of it is seen.
_MOST_GAIN: Final = {"AU01": 1.5, "AU02": 1.5, "AU04": 1.5, "AU12": 1.5, "AU45": 3.0}
_MOST_GAINS: Final = np.array([_MOST_GAIN.get(name, 1.0) for name in AU_NAMES], dtype=np.float32)
_FIRST_PEAK: Final = {"AU01": 0.75, "AU02": 0.75, "AU45": 0.75}
"""What is taken for a driver's larger movements until they were seen. Raised brows are shown as less than they are."""
_FIRST_PEAKS: Final = np.array([_FIRST_PEAK.get(name, 1.0) for name in AU_NAMES], dtype=np.float32)


@dataclass(frozen=True)
class DriverState:
    """A driver's face at one moment."""

    attributes: FloatArray
    """(SIZE,) full-shape and calibrated; not mirrored."""
    landmarks: Landmarks
    """Smoothed, in the driver's frame."""


class FaceTracker:
    """Reads one driver; one thread at a time.

    Args:
        neutral_path: the file that keeps a "set neutral"; None keeps it for as long as this face drives.
        detector: finds the face; None opens the one that ships. The tracker closes it.
        follow: measure where the head is in the picture too; else its place is 0.
    """

    def __init__(
        self,
        neutral_path: Path | None = None,
        detector: LandmarkDetector | None = None,
        *,
        follow: bool = False,
    ) -> None:
        self._place = Place() if follow else None
        self._neutral_path = neutral_path
        self._detector = detector or open_detector(video=True)
        self._kept = None if neutral_path is None else load_neutral(neutral_path)
        self._person = 0
        self._meet(0)
        self._last_pose: Pose | None = None
        self._last_s = math.inf
        self._jumps = 0
        self._closure = 0.0
        self._closed_s = 0.0

    def read(self, frame: Frame, time_s: float) -> DriverState | None:
        """The driver's face in a frame (H, W, 3) RGB; None where there is none."""
        if time_s < self._last_s:  # the first frame, or a file that begins again
            self.reset()
        elapsed_s = max(0.0, time_s - self._last_s)
        self._last_s = time_s
        faces = self._detector.detect(frame, time_s)
        if not faces:
            self.reset()
            return None
        face = faces[0]
        if face.person != self._person:
            self._meet(face.person)
        pose = head_pose(face)
        if self._is_jump(pose):
            return None
        self._last_pose = pose
        shape = face_shape(face)
        features = features_of(shape)
        hidden = self._mouth.update(frame, face.points_px, pose.yaw_rad, time_s)
        fresh = self._calibration.update(features, face.blendshapes, pose, time_s, trusted=not hidden)
        if fresh is not None and self._neutral_path is not None:
            rest = self._extensions.rest  # it takes fewer frames than the baseline, so it is learned by now
            self._kept = Neutral(fresh, rest)
            save_neutral(self._neutral_path, fresh, rest)
        attributes = attributes_of(features, face.blendshapes, pose, self._calibration.baseline)
        attributes[ACTION_UNITS] = self._ranged(attributes[ACTION_UNITS], elapsed_s, learn=not hidden)
        attributes[_BLINK] = self._held_closure(float(attributes[_BLINK]), time_s)
        extensions = self._extensions.read(
            shape, features, face.blendshapes, self._calibration.baseline, pose, attributes, time_s
        )
        whole = np.concatenate([attributes, extensions])
        if self._place is not None:
            whole[PLACE] = self._place.update(face, time_s)
        return DriverState(self._hold.update(whole, hidden, time_s), face)

    def _meet(self, person: int) -> None:
        """Begin with what is usual, or was kept: nothing that was learned about one person is true of another.

        Whoever comes back after another face drove is met anew, and what was kept is most likely theirs.
        """
        if self._person:
            self.reset()
        self._person = person
        kept, place = self._kept, self._place
        self._calibration = Calibration(None if kept is None else kept.baseline)
        self._extensions = ExtensionReader(None if kept is None else kept.extensions)
        self._mouth, self._hold = MouthWatch(), MouthHold()
        self._peak = _FIRST_PEAKS
        if place is not None:
            place.set_rest()

    def choose_next(self) -> None:
        """Let the next face to the right drive; any thread may ask."""
        if isinstance(self._detector, Driver):
            self._detector.choose_next()

    def set_neutral(self) -> None:
        """Take the driver's face over the next frames as neutral."""
        self._calibration.set_neutral()
        self._extensions.set_neutral()
        if self._place is not None:
            self._place.set_rest()

    def reset(self) -> None:
        """Forget motion, after a gap; what was learned about the person stays."""
        self._last_pose = None
        self._jumps = 0
        self._closure = 0.0
        self._hold = MouthHold()

    def close(self) -> None:
        self._detector.close()

    def _is_jump(self, pose: Pose) -> bool:
        last = self._last_pose
        if last is None:
            return False
        moved = np.abs(np.subtract(pose, last)).max()
        self._jumps = self._jumps + 1 if moved > JUMP_RAD else 0
        if self._jumps > JUMP_FRAMES:  # believed: the face is elsewhere now
            self.reset()
        return self._jumps > 0

    def _held_closure(self, closure: float, time_s: float) -> float:
        """The largest closure of the last BLINK_HOLD_S, so that a blink of one frame is not lost on the way."""
        if closure >= self._closure or time_s - self._closed_s >= BLINK_HOLD_S:
            self._closure, self._closed_s = closure, time_s
        return self._closure

    def _ranged(self, action_units: FloatArray, elapsed_s: float, *, learn: bool) -> FloatArray:
        """Dead zone, then a gain that lets this driver's larger movements reach the whole movement.

        The larger movements count where `learn` says so.
        """
        values = np.maximum((action_units - DEAD_ZONE) / (1 - DEAD_ZONE), 0.0)
        decay = np.float32(0.5 ** (elapsed_s / _RANGE_HALF_LIFE_S))
        self._peak = np.maximum(self._peak * decay, values if learn else 0)
        gain = np.clip(1 / np.maximum(self._peak, 1e-3), 1.0, _MOST_GAINS)
        return np.asarray(np.clip(values * gain, 0.0, 1.0), dtype=np.float32)
