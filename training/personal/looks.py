"""What the detector saw in each frame, and who it was: numbers only, so that an hour's pictures need no memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from scipy.sparse.csgraph import connected_components

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.face.landmarks import Landmarks, open_detector
from icface.face.likeness import MATCH, Picture, picture_of
from icface.face.mouth import MouthWatch
from icface.face.pose import Pose, head_pose
from training.personal.bar import Progress
from training.personal.footage import Footage

_AHEAD_RAD: Final = 0.3
"""Faces that are turned further look alike from person to person."""
_COMPARED: Final = 800
"""So many pictures are compared with each other."""
OTHERS_SHARE: Final = 0.25
"""Other people may take less than this of the frames with a face."""
_EYES: Final = [33, 133, 362, 263, 70, 300, 145, 374]
_EYE_PX: Final = 100.0
"""Sharpness counts at this distance of the outer eye corners, so that near and far faces compare."""
BLURRED: Final = 0.3
"""A frame is blurred that is less sharp than this share of the median. Closed eyes and turned heads have .4."""
DARK: Final = 40.0
"""A face is too dark whose mean brightness is below this, of 255."""
_BRIGHT: Final = 225.0
_HAND_S: Final = 0.4
"""A hand hangs before the face for so long before it is seen to hide the mouth, and after."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One frame with a face."""

    video: int
    time_s: float
    landmarks: Landmarks
    """Those of the detector, with its number of the person."""
    pose: Pose
    sharpness: float
    """Of the eyes and brows: detail against brightness."""
    brightness: float
    """Mean of the face, 0 to 255."""
    likeness: Picture | None
    """None where the head is turned."""
    hidden: float
    """How much a hand hides the mouth, 0 to 1."""

    @classmethod
    def of(cls, video: int, time_s: float, frame: Frame, face: Landmarks, mouth: MouthWatch) -> Look:
        """Measure a face."""
        pose = head_pose(face)
        ahead = max(abs(pose.yaw_rad), abs(pose.pitch_rad)) < _AHEAD_RAD
        return cls(
            video=video,
            time_s=time_s,
            landmarks=face,
            pose=pose,
            sharpness=_sharpness(frame, face),
            brightness=brightness(frame, face),
            likeness=picture_of(frame, face.points_px) if ahead else None,
            hidden=float(mouth.update(frame, face.points_px, pose.yaw_rad, time_s)),
        )


def look_at(footage: Footage, progress: Progress) -> list[Look]:
    """The face that is followed in each frame of the videos."""
    detector = open_detector(video=True)
    looks, mouths = [], defaultdict[int, MouthWatch](MouthWatch)
    try:
        for number, shot in enumerate(footage.shots()):
            progress(min(1.0, number / footage.count))
            for face in detector.detect(shot.frame, shot.time_s):
                # A video that lies on its side is refused before; here it is a mistake of the detector.
                if face.image_size_px == (shot.frame.shape[1], shot.frame.shape[0]):
                    looks.append(Look.of(shot.video, shot.time_s, shot.frame, face, mouths[face.person]))
    finally:
        detector.close()
    return looks


def of_one_person(looks: Sequence[Look], footage: Footage) -> list[Look]:
    """The looks of the person who is seen most, as one person to the tracker.

    Pictures of one person in one light are linked: each is like another one. So a person who was filmed in two lights
    counts as two.

    Raises:
        ConfigError: somebody else is seen for long.
    """
    ahead = [look for look in looks if look.likeness is not None]
    if not ahead:
        return []
    linked = ahead[:: math.ceil(len(ahead) / _COMPARED)]
    pictures = np.array([look.likeness for look in linked])
    _, labels = connected_components(pictures @ pictures.T >= MATCH)
    usual = int(np.bincount(labels).argmax())
    clocks = np.array([footage.clock_s(look.video, look.time_s) for look in ahead])
    whose = labels[(np.array([look.likeness for look in ahead]) @ pictures.T).argmax(axis=1)]
    kept, others = list[Look](), list[Look]()
    for look in looks:
        # A turned head is the one that was seen ahead at about that time.
        near = np.abs(clocks - footage.clock_s(look.video, look.time_s)).argmin()
        (kept if whose[near] == usual else others).append(look)
    if len(others) > OTHERS_SHARE * len(looks):
        raise ConfigError(_two_people(kept, others, footage))
    return [replace(look, landmarks=replace(look.landmarks, person=0)) for look in kept]


def _two_people(kept: Sequence[Look], others: Sequence[Look], footage: Footage) -> str:
    seen, strange = {look.video for look in kept}, {look.video for look in others}
    if strange - seen:
        one, other = (footage.paths[min(videos)].name for videos in (seen, strange - seen))
        return (
            f"{other} and {one} show two people, or one in two lights; give videos of one person in one light"
        )
    name = footage.paths[min(strange)].name
    first_s = min(look.time_s for look in others if look.video == min(strange))
    return f"{name} shows two people (another from {first_s:.0f} s on); give a video in which one person is seen alone"


def usable(looks: Sequence[Look]) -> list[Look]:
    """Those that are sharp and well lit, without a hand before the mouth, one that comes or one that goes."""
    if not looks:
        return []
    least = BLURRED * float(np.median([look.sharpness for look in looks]))
    hidden = [look for look in looks if look.hidden]
    return [
        look
        for look in looks
        if look.sharpness >= least
        and DARK <= look.brightness <= _BRIGHT
        and not any(look.video == hand.video and abs(look.time_s - hand.time_s) < _HAND_S for hand in hidden)
    ]


def brightness(frame: Frame, face: Landmarks) -> float:
    """Mean grey level of a face, 0 to 255; 0 where it is outside of the frame."""
    part = _part(frame, face.points_px[:, :2])
    return float(part.mean()) if part.size else 0.0


def _sharpness(frame: Frame, face: Landmarks) -> float:
    grey = _part(frame, face.points_px[_EYES, :2])
    apart_px = float(np.linalg.norm(face.points_px[33, :2] - face.points_px[263, :2]))
    if grey.size == 0 or apart_px < 1:
        return 0.0
    scale = _EYE_PX / apart_px
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    detail = cv2.Laplacian(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=how), cv2.CV_32F)
    return float(detail.std() / max(1.0, float(grey.mean())))


def _part(frame: Frame, points: np.ndarray) -> Frame:
    """The grey part of a frame around some points."""
    left, top = np.maximum(np.floor(points.min(0)).astype(int), 0)
    right, bottom = np.maximum(np.ceil(points.max(0)).astype(int), 0)
    part = frame[top:bottom, left:right]
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8) if part.size else part[..., 0]


def faces_around(footage: Footage, count: int) -> Iterator[tuple[Frame, list[Landmarks]]]:
    """A few frames of the videos and all faces in each, largest first."""
    detector = open_detector(video=False, refined=True, max_faces=4)
    try:
        for shot in footage.samples(count):
            yield shot.frame, detector.detect(shot.frame)
    finally:
        detector.close()
