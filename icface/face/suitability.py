"""Which faces of photos can be made into sources. It is the same for every model family."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from icface.errors import ConfigError, SourceError
from icface.face.landmarks import Landmarks
from icface.face.pose import head_pose

MAX_FACES: Final = 10
"""How many faces are looked at in what is made of a photo."""
MIN_FACE_PX: Final = 48
TURNED_RAD: Final = 0.45
"""Of a photo turned further than this one cheek, or forehead or chin, is hardly seen. It is taken with a warning."""
MAX_TURN_RAD: Final = float(np.radians(45.5))
"""A photo turned further shows no whole eye or half of a mouth to make a face of."""

_FACE_POINTS: Final = 468
"""Without those of the irises."""


def choose_face(found: list[Landmarks], path: Path, face: int | None, when_reduced: str = "") -> Landmarks:
    """The face to animate: number `face` of those `found`, counted from 1; the largest if None.

    `when_reduced` is the photo's, for the message.

    Raises:
        SourceError: there is no face.
        ConfigError: there are fewer faces than `face`.
    """
    if not found:
        raise SourceError(
            f"no face found in {path}{when_reduced}; use a photo where the face is seen from the front"
        )
    if face is None:
        return max(found, key=lambda face: face.area_px)
    if not 1 <= face <= len(found):
        raise ConfigError(
            f"there is no face {face} in {path}: {len(found)} found, counted from 1 on from left to right"
        )
    return found[face - 1]


def face_extent_px(landmarks: Landmarks) -> float:
    """Width or height of the face, whichever is larger."""
    return float(np.ptp(landmarks.points_px[:_FACE_POINTS, :2], axis=0).max())


def check_suitable(landmarks: Landmarks, when_reduced: str = "") -> None:
    """Refuse a face that is too small, or turned too far away, by a SourceError with the size or the angle.

    `when_reduced` is the photo's, for the message.
    """
    extent_px = face_extent_px(landmarks)
    if extent_px < MIN_FACE_PX:
        raise SourceError(
            f"the face is only {extent_px:.0f} pixels tall{when_reduced}; "
            f"use a photo where it is at least {MIN_FACE_PX}"
        )
    pose = head_pose(landmarks)
    turned_rad = max(abs(pose.yaw_rad), abs(pose.pitch_rad))
    if turned_rad > MAX_TURN_RAD:
        raise SourceError(
            f"the face in the photo is turned by {np.degrees(turned_rad):.0f}°; "
            "use a photo that looks at the camera (within 20° is best)"
        )
