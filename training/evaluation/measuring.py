"""Looking at outputs as a tracker does: the 20 attributes of every picture, each picture by itself.

Outputs are small and tight, which MediaPipe does not like: they are enlarged and get a wide border. Each is shown
several times after a black picture, so that its face is looked for once and then looked at where it is, which reads
lids and lips better, and nothing of an earlier picture is left over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, FloatArray
from icface.face.action_units import Baseline, population
from icface.face.features import measure_features
from icface.face.landmarks import Landmarks, open_detector
from icface.face.measure import baseline_of, measure_attributes
from icface.face.pose import head_pose
from training.preparation.calibrate import Measured, learn_baseline

LEAST_PX: Final = 256
"""Smaller pictures are enlarged to this."""


class Viewer:
    """Finds the face of small square pictures; use it with `with`."""

    def __init__(self) -> None:
        # The task smooths a video, which would mix pictures. As stills it sees each picture by itself.
        self._detector = open_detector(video=False)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._detector.close()

    def look(self, crop: Frame) -> Landmarks | None:
        """The face of a picture (S, S, 3), in pixels of the enlarged and bordered picture, whose camera its pose
        belongs to; None where none is seen. `in_crop` brings it back.
        """
        faces = self._detector.detect(_framed(crop))
        return faces[0] if faces else None

    def baseline(self, neutral: Frame) -> Baseline | None:
        """How the face of a neutral picture looks; None where none is seen."""
        face = self.look(neutral)
        return None if face is None else baseline_of(face)

    def clip_baseline(self, crops: Iterable[Frame]) -> Baseline:
        """How the real person of many pictures looks without expression, learned as the data's attributes were."""
        faces = [face for face in map(self.look, crops) if face is not None]
        if not faces:
            return population()
        poses = [head_pose(face) for face in faces]
        seen = Measured(
            features=np.stack([measure_features(face) for face in faces]),
            blendshapes=np.stack([face.blendshapes for face in faces]),
            pose_rad=np.array([(pose.pitch_rad, pose.yaw_rad, pose.roll_rad) for pose in poses]),
            times_s=np.zeros(len(faces)),  # they are no neighbours, so nothing is told by how they differ
        )
        return learn_baseline([seen], population())

    def measure(self, crops: Iterable[Frame], baseline: Baseline | None) -> FloatArray:
        """(n, 20) full-shape attributes; NaN where no face is seen.

        Args:
            crops: pictures (S, S, 3).
            baseline: how this face looks without expression; None takes the population's.
        """
        nothing = np.full(COUNT, np.nan, dtype=np.float32)
        faces = (self.look(crop) for crop in crops)
        rows = [nothing if face is None else measure_attributes(face, baseline) for face in faces]
        return np.stack(rows) if rows else np.empty((0, COUNT), dtype=np.float32)


def enlarged(crop: Frame) -> Frame:
    """A picture of LEAST_PX or more a side."""
    if crop.shape[0] >= LEAST_PX:
        return crop
    return np.asarray(cv2.resize(crop, (LEAST_PX, LEAST_PX), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _framed(crop: Frame) -> Frame:
    """The enlarged picture with a border of half its side."""
    picture = enlarged(crop)
    pad = picture.shape[0] // 2
    bordered = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    return np.asarray(bordered, dtype=np.uint8)


def in_crop(face: Landmarks, size_px: int) -> Landmarks:
    """What `Viewer.look` saw, in pixels of the crop of that size; its pose is not to be read any more."""
    side = max(size_px, LEAST_PX)
    scale = side / size_px
    points = face.points_px.copy()
    # Pixel centres are integers.
    points[:, :2] = (points[:, :2] - side // 2 + 0.5) / scale - 0.5
    points[:, 2] /= scale
    return replace(face, points_px=points, image_size_px=(size_px, size_px))
