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
from icface.face.action_units import Baseline, baseline_of, measure_attributes
from icface.face.landmarks import Landmarks, open_detector

LEAST_PX: Final = 256
"""Frames with a smaller side are enlarged to this."""


class Viewer:
    """Finds the face of frames. Close it after use, or open it with `with`."""

    def __init__(self) -> None:
        # In a video the detector smooths, which would mix frames. As stills it sees each frame by itself.
        self._detector = open_detector(video=False, refined=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._detector.close()

    def look(self, frame: Frame) -> Landmarks | None:
        """The face of a frame (H, W, 3), in pixels of the enlarged and bordered frame; None where none is seen.

        Its pose belongs to the camera of that frame. `in_frame` brings its points back into the frame that was given.
        """
        large = enlarged(frame)
        y, x = large.shape[0] // 2, large.shape[1] // 2
        framed = cv2.copyMakeBorder(large, y, y, x, x, cv2.BORDER_REPLICATE)
        faces = self._detector.detect(np.asarray(framed, dtype=np.uint8))
        return faces[0] if faces else None

    def baseline(self, neutral: Frame) -> Baseline | None:
        """How the face of a neutral frame looks; None where none is seen."""
        face = self.look(neutral)
        return None if face is None else baseline_of(face)

    def measure(self, frames: Iterable[Frame], baseline: Baseline | None = None) -> FloatArray:
        """(n, 20) full-shape attributes of frames (H, W, 3); NaN where no face is seen.

        They are relative to `baseline`, how this face looks without expression; None takes the population's.
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


def in_frame(face: Landmarks, size_px: int) -> Landmarks:
    """A face that `Viewer.look` saw, in pixels of the square frame of that size. Its pose means nothing any more."""
    side = max(size_px, LEAST_PX)
    scale = side / size_px
    points = face.points_px.copy()
    # Pixel centres are integers.
    points[:, :2] = (points[:, :2] - side // 2 + 0.5) / scale - 0.5
    points[:, 2] /= scale
    return replace(face, points_px=points, image_size_px=(size_px, size_px))
