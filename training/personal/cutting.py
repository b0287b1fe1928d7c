"""Cuts a person out of a frame: the head to learn from, and the wide picture that becomes the source."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from icface.face.suitability import face_extent_px
from icface.files import write_file
from training.personal.frames import ChosenFrame

HEAD: Final = 2.3
"""A picture is so many times as large as the face: hair and chin have room."""
LARGEST_PX: Final = 640
WIDE: Final = 5.0
"""The same of the picture that becomes the source: shoulders and room are shown in a call."""
SOURCE_PX: Final = 1280
SOURCE: Final = "source.png"


def chosen_frame(
    frame: Frame, face: Landmarks, attributes: FloatArray, *, video: int, time_s: float, held: bool
) -> ChosenFrame:
    """Cut the head out of a frame."""
    picture, points = _around(frame, face, HEAD, LARGEST_PX)
    return ChosenFrame(
        picture=picture,
        points_px=points,
        blendshapes=np.asarray(face.blendshapes, dtype=np.float32),
        attributes=np.asarray(attributes, dtype=np.float32),
        video=video,
        time_s=time_s,
        held=held,
    )


def _around(frame: Frame, face: Landmarks, times: float, most_px: int) -> tuple[Frame, FloatArray]:
    """The part of a frame around a face, so many times as large and no larger than `most_px`, and its landmarks."""
    height, width = frame.shape[:2]
    low, high = face.points_px[:, :2].min(0), face.points_px[:, :2].max(0)
    centre, half = (low + high) / 2, times / 2 * face_extent_px(face)
    left, top = np.maximum(np.floor(centre - half), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + half), [width, height]).astype(int)
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    points = face.points_px.astype(np.float32) - np.array([left, top, 0], dtype=np.float32)
    scale = most_px / max(part.shape[:2])
    if scale < 1:
        size = round(part.shape[1] * scale), round(part.shape[0] * scale)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        middle = np.array([0.5, 0.5, 0], dtype=np.float32)  # a pixel's middle is at a whole number
        points = (points + middle) * np.float32(scale) - middle
    return part, points


def write_source(frame: Frame, face: Landmarks, work: Path) -> None:
    picture, _ = _around(frame, face, WIDE, SOURCE_PX)
    _, png = cv2.imencode(".png", picture[..., ::-1])
    write_file(work / SOURCE, png.tobytes())
