"""Measuring the face of small, tight frames, as generators make them: each frame by itself.

The detector does not like such frames. They are enlarged and get a wide border.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Self

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, FloatArray
from icface.face.action_units import Baseline
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.face.measure import baseline_of, measure_attributes

LEAST_PX: Final = 256
"""Frames with a smaller side are enlarged to this."""


class Viewer:
    """Finds the face of frames. Close it after use, or open it with `with`.

    Args:
        detector: for still pictures; it is closed with the viewer. By default the tracker's own.
    """

    def __init__(self, detector: LandmarkDetector | None = None) -> None:
        # In a video the detector smooths, which would mix frames. As stills it sees each frame by itself.
        self._detector = detector or open_detector(video=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._detector.close()

    def look(self, frame: Frame) -> Landmarks | None:
        """The face of a frame (H, W, 3); None where none is seen.

        It is in pixels of the enlarged and bordered frame, whose camera its pose belongs to; `in_frame` brings it back.
        """
        faces = self._detector.detect(_framed(frame))
        return faces[0] if faces else None

    def baseline(self, neutral: Frame) -> Baseline | None:
        """How the face of a neutral frame looks; None where none is seen."""
        face = self.look(neutral)
        return None if face is None else baseline_of(face)

    def measure(self, frames: Iterable[Frame], baseline: Baseline | None = None) -> FloatArray:
        """(n, 20) full-shape attributes; NaN where no face is seen.

        Args:
            frames: (H, W, 3) each.
            baseline: how this face looks without expression; None takes the population's.
        """
        nothing = np.full(COUNT, np.nan, dtype=np.float32)
        faces = (self.look(frame) for frame in frames)
        rows = [nothing if face is None else measure_attributes(face, baseline) for face in faces]
        return np.stack(rows) if rows else np.empty((0, COUNT), dtype=np.float32)


def enlarged(frame: Frame) -> Frame:
    """A frame whose sides have LEAST_PX or more."""
    scale = LEAST_PX / min(frame.shape[:2])
    if scale <= 1:
        return frame
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _framed(frame: Frame) -> Frame:
    """The enlarged frame with a border of half its sides."""
    large = enlarged(frame)
    y, x = large.shape[0] // 2, large.shape[1] // 2
    return np.asarray(cv2.copyMakeBorder(large, y, y, x, x, cv2.BORDER_REPLICATE), dtype=np.uint8)


def in_frame(face: Landmarks, size_px: int) -> Landmarks:
    """What `Viewer.look` saw in a square frame of that size, in its pixels; the pose of the result means nothing."""
    side = max(size_px, LEAST_PX)
    scale = side / size_px
    points = face.points_px.copy()
    # Pixel centres are integers.
    points[:, :2] = (points[:, :2] - side // 2 + 0.5) / scale - 0.5
    points[:, 2] /= scale
    return replace(face, points_px=points, image_size_px=(size_px, size_px))
