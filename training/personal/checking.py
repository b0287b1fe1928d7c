"""What is wrong with videos, said in seconds: from a few of their frames, before any of the work."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.errors import ConfigError
from icface.face.landmarks import Landmarks
from icface.face.photo import tilt_rad
from icface.face.suitability import face_extent_px
from training.personal.footage import Footage
from training.personal.looks import DARK, brightness, faces_around

SAMPLES: Final = 20
LEAST_FACE_PX: Final = 90.0
"""A smaller face has no teeth and lashes to learn."""
_SEEN: Final = 0.3
"""A face has to be in so many of the frames, and a second one may be in so many."""
_AS_LARGE: Final = 0.5
"""A second face counts that is this large against the first."""
_BLACK: Final = 30.0
"""The median brightness of frames in which a face may have been missed for want of light."""
_LIES_RAD: Final = math.radians(60)


def check_footage(footage: Footage) -> None:
    """Look at a few frames of the videos.

    Raises:
        ConfigError: nobody is there, or two people are, or it is too dark, too small, or lies on its side.
    """
    faces, light, sizes, tilts = [], [], [], []
    frames_light = []
    for frame, found in faces_around(footage, SAMPLES):
        frames_light.append(float(frame.mean()))
        faces.append(len([each for each in found if _counts(found[0], each)]))
        if found:
            light.append(brightness(frame, found[0]))
            sizes.append(face_extent_px(found[0]))
            tilts.append(abs(tilt_rad(found[0])))
    count = np.array(faces)
    name = footage.name
    if np.mean(count > 0) < _SEEN:
        if np.median(frames_light) < _BLACK:
            raise ConfigError(
                f"{name} is too dark to see a face; film by a window or a lamp that lights the face"
            )
        raise ConfigError(f"no face is seen in {name}; film a face that looks at the camera")
    if np.mean(count > 1) >= _SEEN:
        raise ConfigError(f"{name} shows two people; give a video in which one person is seen alone")
    if np.median(tilts) > _LIES_RAD:
        raise ConfigError(f"the face in {name} lies on its side; turn the video upright")
    if np.median(light) < DARK:
        raise ConfigError(
            f"the face in {name} is too dark (brightness {np.median(light):.0f} of 255); film by a window or a lamp that "
            "lights the face"
        )
    if np.median(sizes) < LEAST_FACE_PX:
        raise ConfigError(
            f"the face in {name} is only {np.median(sizes):.0f} pixels tall; go nearer to the camera: "
            f"{LEAST_FACE_PX:.0f} are needed, 200 are good"
        )


def _counts(first: Landmarks, other: Landmarks) -> bool:
    return face_extent_px(other) >= _AS_LARGE * face_extent_px(first)
