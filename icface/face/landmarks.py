"""Faces in pictures and videos: landmarks and blendshapes."""

from __future__ import annotations

import math
from typing import Protocol

from icface.arrays import Frame
from icface.face.driver import LARGEST, Driver
from icface.face.landmarker import MODEL_SHA256, Landmarks, Networks, Points, Region, region_around
from icface.face.search import distinct, looks
from icface.face.smoothing import PointSmoothing

__all__ = ["MODEL_SHA256", "LandmarkDetector", "Landmarks", "PointSmoothing", "open_detector"]


class LandmarkDetector(Protocol):
    """Finds faces; one thread at a time."""

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        """Faces of a picture (H, W, 3) RGB, largest first. A frame of a video has a time."""
        ...

    def close(self) -> None: ...


def open_detector(
    *, video: bool, max_faces: int = 1, prefer: str | int = LARGEST, refined: bool = False
) -> LandmarkDetector:
    """Open the face tracker that ships with this package.

    Args:
        video: frames of one video, in which a face is followed from one to the next; else unrelated stills.
        max_faces: how many faces to look for. A single face of a video is the driver's.
        prefer: which face drives, as `Driver` has it.
        refined: read a still twice, as `Networks.refined` does. MediaPipe reads it once.

    Raises:
        ConfigError: the model file is missing or damaged.
    """
    return Driver(prefer) if video and max_faces == 1 else _Detector(video, max_faces, refined)


class _Detector:
    def __init__(self, video: bool, max_faces: int, refined: bool) -> None:
        self._networks = Networks()
        self._reads = self._networks.refined if refined else self._networks.landmarks
        self._video = video
        self._max_faces = max_faces
        self._regions: list[Region] = []
        """Where the followed faces of a video are."""
        self._last_s = -math.inf

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        found = (
            self._follow(frame, time_s or 0.0) if self._video else self._look(frame) or self._search(frame)
        )
        return sorted(found, key=lambda face: face.area_px, reverse=True)

    def close(self) -> None:
        self._networks.close()

    def _look(self, frame: Frame) -> list[Landmarks]:
        return self._faces(frame, self._found(frame, self._networks.find(frame)[: self._max_faces]))

    def _found(self, frame: Frame, regions: list[Region]) -> list[Points]:
        """The landmarks in each of the finder's regions that shows a face."""
        seen = (self._reads(frame, region) for region in regions)
        return [points for points in seen if points is not None]

    def _faces(self, frame: Frame, found: list[Points]) -> list[Landmarks]:
        size_px = frame.shape[1], frame.shape[0]
        return [Landmarks(points, size_px, self._networks.blendshapes(points)) for points in found]

    def _search(self, frame: Frame) -> list[Landmarks]:
        """Look again with a wide margin, then at parts of the picture, ever smaller ones, then at the picture turned."""
        regions: list[Region] = []
        side = 0.0
        for box, turns in looks(frame.shape[1], frame.shape[0]):
            found_side = math.inf if box is None else box[2] - box[0]
            if found_side != side and regions:
                break
            side = found_side
            regions = distinct(regions + self._networks.find(frame, box, turns))
        return self._faces(frame, self._found(frame, regions[: self._max_faces]))

    def _follow(self, frame: Frame, now_s: float) -> list[Landmarks]:
        if now_s < self._last_s:  # a file that begins again
            self._regions = []
        self._last_s = now_s
        if len(self._regions) < self._max_faces:
            followed = list(self._regions)
            new = [r for r in self._networks.find(frame) if not any(map(r.is_near, followed))]
            self._regions = (followed + new)[: self._max_faces]
        seen = (self._networks.landmarks(frame, region) for region in self._regions)
        found = [points for points in seen if points is not None]
        if self._regions and not found:  # the faces have moved out of their regions: look in the same frame
            found = self._found(frame, self._networks.find(frame)[: self._max_faces])
        self._regions = [region_around(points) for points in found]
        return self._faces(frame, found)
