"""Faces in pictures and videos: landmarks and blendshapes, and how those of a video are smoothed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.face.landmarker import MODEL_SHA256, Networks, Points, Region, region_around

__all__ = ["MODEL_SHA256", "LandmarkDetector", "Landmarks", "open_detector"]

SEARCH_SHARES: Final = (0.6, 0.35)
"""Parts of a still that are looked at one by one where no face was found, as shares of its shorter side."""
SEARCH_MIN_PX: Final = 64


@dataclass(frozen=True)
class Landmarks:
    """One face in one picture."""

    points_px: Points
    image_size_px: tuple[int, int]
    """(width, height) of the picture, which the camera model of the head pose needs."""
    blendshapes: NDArray[np.float32]
    """(52,) in MediaPipe's order, `_neutral` first."""

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all points."""
        low, high = self.points_px[:, :2].min(0), self.points_px[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def area_px(self) -> float:
        left, top, right, bottom = self.box_px
        return (right - left) * (bottom - top)


class LandmarkDetector(Protocol):
    """Finds faces; one thread at a time."""

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        """Faces of a picture (H, W, 3) RGB, largest first. A frame of a video has a time."""
        ...

    def close(self) -> None: ...


def open_detector(*, video: bool, max_faces: int = 1) -> LandmarkDetector:
    """Open the face tracker that ships with this package.

    Args:
        video: frames of one video, in which a face is followed from one to the next; else unrelated stills.
        max_faces: how many faces to look for. A single face of a video is smoothed.

    Raises:
        ConfigError: the model file is missing or damaged.
    """
    return _Detector(video, max_faces)


class _Detector:
    def __init__(self, video: bool, max_faces: int) -> None:
        self._networks = Networks()
        self._video = video
        self._max_faces = max_faces
        self._regions: list[Region] = []
        """Where the followed faces of a video are."""
        self._smoothing: PointSmoothing | None = None
        self._last_s = -math.inf

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        found = (
            self._follow(frame, time_s or 0.0) if self._video else self._look(frame) or self._search(frame)
        )
        return sorted(found, key=lambda face: face.area_px, reverse=True)

    def close(self) -> None:
        self._networks.close()

    def _look(self, frame: Frame) -> list[Landmarks]:
        return self._faces(frame, self._read(frame, self._find(frame)))

    def _find(self, frame: Frame) -> list[Region]:
        return self._networks.find(frame)[: self._max_faces]

    def _read(self, frame: Frame, regions: list[Region]) -> list[Points]:
        """The landmarks in each region that shows a face."""
        seen = (self._networks.landmarks(frame, region) for region in regions)
        return [points for points in seen if points is not None]

    def _faces(self, frame: Frame, found: list[Points]) -> list[Landmarks]:
        size_px = frame.shape[1], frame.shape[0]
        return [Landmarks(points, size_px, self._networks.blendshapes(points)) for points in found]

    def _search(self, frame: Frame) -> list[Landmarks]:
        """Look again with a wide margin, then at overlapping parts of the picture, ever smaller ones."""
        # The network that finds faces misses some that fill the picture, and small ones.
        height, width = frame.shape[:2]
        pad = max(height, width) // 2
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        found = [_shifted(face, -pad, -pad, (width, height)) for face in self._look(padded)]
        for share in SEARCH_SHARES:
            side = int(min(height, width) * share)
            if found or side < SEARCH_MIN_PX:
                break
            for top in _overlapping(height, side):
                for left in _overlapping(width, side):
                    tile = np.ascontiguousarray(frame[top : top + side, left : left + side])
                    for face in self._look(tile):
                        moved = _shifted(face, left, top, (width, height))
                        if not any(_same_face(moved, other) for other in found):
                            found.append(moved)
        return found

    def _follow(self, frame: Frame, now_s: float) -> list[Landmarks]:
        if now_s < self._last_s:  # a file that begins again
            self._regions, self._smoothing = [], None
        self._last_s = now_s
        if len(self._regions) < self._max_faces:
            followed = list(self._regions)
            new = [r for r in self._networks.find(frame) if not any(map(r.is_near, followed))]
            self._regions = (followed + new)[: self._max_faces]
        found = self._read(frame, self._regions)
        if self._regions and not found:  # the face has moved out of its region: look for it in the same frame
            found = self._read(frame, self._find(frame))
        self._regions = [region_around(points) for points in found]
        if not found:
            self._smoothing = None
        elif self._max_faces == 1 and self._smoothing is not None:
            found = [self._smoothing.update(found[0], now_s)]
        elif self._max_faces == 1:
            self._smoothing = PointSmoothing(found[0], now_s)
        return self._faces(frame, found)


class PointSmoothing:
    """One-Euro filter over landmarks: a still face stands still, and a moving one is followed at once.

    Speeds are in face sizes per second. MediaPipe filters likewise, with 80 and 1 Hz, which is half a frame later and
    takes a third of a short blink away. So the lids pass unfiltered here: docs/tracking.md has the figures.

    Source: Casiez, Roussel, Vogel, "1 € filter", CHI 2012.
    """

    CUTOFF_HZ: ClassVar[float] = 0.05
    SPEED_WEIGHT: ClassVar[float] = 60.0
    SPEED_CUTOFF_HZ: ClassVar[float] = 6.0
    UNFILTERED: ClassVar[tuple[int, ...]] = (
        246, 161, 160, 159, 158, 157, 173, 155, 154, 153, 145, 144, 163, 7,
        466, 388, 387, 386, 385, 384, 398, 382, 381, 380, 374, 373, 390, 249,
    )  # fmt: skip

    def __init__(self, points: Points, time_s: float) -> None:
        self._raw = points.astype(np.float64)
        self._shown = self._raw
        self._speed = np.zeros_like(self._raw)
        self._time_s = time_s

    def update(self, points: Points, time_s: float) -> Points:
        """Smoothed (478, 3) landmarks, a new array; a time that stands still counts as a millisecond."""
        elapsed_s = max(time_s - self._time_s, 0.001)
        self._time_s = time_s
        raw = points.astype(np.float64)
        size_px = float(np.ptp(raw[:, :2], axis=0).mean())
        speed = (raw - self._raw) / (size_px * elapsed_s)
        self._speed = self._speed + _share(self.SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed)
        cutoff_hz = self.CUTOFF_HZ + self.SPEED_WEIGHT * np.abs(self._speed)
        self._shown = self._shown + _share(cutoff_hz, elapsed_s) * (raw - self._shown)
        self._raw = raw
        result = self._shown.astype(np.float32)
        result[list(self.UNFILTERED)] = points[list(self.UNFILTERED)]
        return result


def _share(cutoff_hz: Any, elapsed_s: float) -> Any:
    ratio = 2 * math.pi * cutoff_hz * elapsed_s
    return ratio / (1.0 + ratio)


def _overlapping(length: int, side: int) -> list[int]:
    """Starts of parts of `side` that cover `length` and overlap by at least half."""
    count = math.ceil((length - side) / (side / 2)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _shifted(face: Landmarks, dx: float, dy: float, image_size_px: tuple[int, int]) -> Landmarks:
    """A face found in a part of the picture, in the whole picture."""
    offset = np.array([dx, dy, 0], dtype=np.float32)
    return replace(face, points_px=face.points_px + offset, image_size_px=image_size_px)


def _same_face(a: Landmarks, b: Landmarks) -> bool:
    distance = np.linalg.norm(a.points_px[:, :2].mean(0) - b.points_px[:, :2].mean(0))
    return bool(distance < 0.25 * np.sqrt(max(a.area_px, b.area_px)))
