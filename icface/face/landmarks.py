"""Face landmarks, blendshapes and pose matrix from MediaPipe's FaceLandmarker task.

The model file ships with this package. Everything MediaPipe is imported here, when a detector is opened.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.errors import ConfigError

POINTS: Final = 478
SEARCH_SHARES: Final = (0.6, 0.35)
"""Parts of a still that are looked at one by one where no face was found, as shares of its shorter side."""
SEARCH_MIN_PX: Final = 64
MODEL_PATH: Final = Path(__file__).parent / "data" / "face_landmarker.task"
MODEL_SHA256: Final = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"


@dataclass(frozen=True)
class Landmarks:
    """One face in one picture."""

    points_px: NDArray[np.float32]
    """(478, 3) x right, y down in picture pixels; z in the same scale, smaller = nearer to the camera."""
    image_size_px: tuple[int, int]
    """(width, height) of the picture, which the camera model of the head pose needs."""
    blendshapes: NDArray[np.float32] | None = None
    """(52,) in MediaPipe's order, `_neutral` first; None where they were not measured."""
    matrix: NDArray[np.float64] | None = None
    """(4, 4) pose of the canonical face, y up; None where it was not measured in this picture."""

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
        """Faces of a picture, largest first.

        Args:
            frame: (H, W, 3) RGB.
            time_s: time of a video's frame; None for a still.
        """
        ...

    def close(self) -> None: ...


def open_detector(*, video: bool, max_faces: int = 1) -> LandmarkDetector:
    """Open the FaceLandmarker that ships with this package.

    Args:
        video: frames of one video, followed from one to the next; else unrelated stills.
        max_faces: how many faces to look for.

    Raises:
        ConfigError: the model file is missing or damaged.
    """
    return _FaceLandmarker(video=video, max_faces=max_faces)


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_saved = -1


@contextmanager
def quiet_native() -> Iterator[None]:
    """Keep MediaPipe's start-up lines, written by native code, off the user's terminal.

    They go to file descriptor 2 directly; for this moment it leads nowhere. Several threads may be inside at once.
    A program whose own messages must not be lost meanwhile writes them to a duplicate of descriptor 2.
    """
    global _quiet_depth, _quiet_saved
    with _quiet_lock:
        if _quiet_depth == 0:
            try:
                _quiet_saved = os.dup(2)
            except OSError:  # no standard error at all, as under pythonw
                _quiet_saved = -1
            else:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_saved >= 0:
                os.dup2(_quiet_saved, 2)
                os.close(_quiet_saved)


def _largest_first(faces: list[Landmarks]) -> list[Landmarks]:
    return sorted(faces, key=lambda face: face.area_px, reverse=True)


def _search(frame: Frame, find: Callable[[Frame], list[Landmarks]]) -> list[Landmarks]:
    """Stills: MediaPipe's face finder misses faces that fill the picture and small ones.

    So look again with a wide margin, then at overlapping parts of the picture, ever smaller ones.
    """
    height, width = frame.shape[:2]
    pad = max(height, width) // 2
    padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    found = [_shifted(face, -pad, -pad, (width, height)) for face in find(padded)]
    for share in SEARCH_SHARES:
        side = int(min(height, width) * share)
        if found or side < SEARCH_MIN_PX:
            break
        for top in _overlapping(height, side):
            for left in _overlapping(width, side):
                tile = np.ascontiguousarray(frame[top : top + side, left : left + side])
                for face in find(tile):
                    moved = _shifted(face, left, top, (width, height))
                    if not any(_same_face(moved, other) for other in found):
                        found.append(moved)
    return found


def _overlapping(length: int, side: int) -> list[int]:
    """Starts of parts of `side` that cover `length` and overlap by at least half."""
    count = math.ceil((length - side) / (side / 2)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _shifted(face: Landmarks, dx: float, dy: float, image_size_px: tuple[int, int]) -> Landmarks:
    """A face found in a part of the picture; the part's pose matrix belongs to another camera."""
    offset = np.array([dx, dy, 0], dtype=np.float32)
    return replace(face, points_px=face.points_px + offset, image_size_px=image_size_px, matrix=None)


def _same_face(a: Landmarks, b: Landmarks) -> bool:
    distance = np.linalg.norm(a.points_px[:, :2].mean(0) - b.points_px[:, :2].mean(0))
    return bool(distance < 0.25 * np.sqrt(max(a.area_px, b.area_px)))


def _model_content() -> bytes:
    """The FaceLandmarker task file of this package, checked by its hash."""
    try:
        content = MODEL_PATH.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the face tracker's model {MODEL_PATH}: {error.strerror or error}; install icface-live again"
        ) from error
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise ConfigError(f"the face tracker's model {MODEL_PATH} is damaged; install icface-live again")
    return content


class _FaceLandmarker:
    """MediaPipe's FaceLandmarker task: landmarks, blendshapes and pose matrix."""

    def __init__(self, *, video: bool, max_faces: int) -> None:
        content = _model_content()
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with quiet_native():
            import mediapipe as mp
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=content),
                running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
                num_faces=max_faces,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
            # The graph starts its threads, and prints, with its first picture.
            blank = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.zeros((64, 64, 3), dtype=np.uint8))
            if video:
                self._landmarker.detect_for_video(blank, 0)
            else:
                self._landmarker.detect(blank)
        self._image = mp.Image
        self._format = mp.ImageFormat.SRGB
        self._video = video
        self._last_ms = 0
        self._start_s = 0.0
        self._last_s: float | None = None
        self._settled = False  # it prints once more with its first face

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        if self._settled:
            found = self._faces(frame, time_s)
        else:
            with quiet_native():
                found = self._faces(frame, time_s)
            self._settled = bool(found)
        if not found and not self._video:
            found = _search(frame, self._faces)
        return _largest_first(found)

    def _faces(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        height, width = frame.shape[:2]
        image = self._image(image_format=self._format, data=np.ascontiguousarray(frame))
        result = self._run(image, time_s)
        scale = np.array([width, height, width], dtype=np.float32)
        return [
            Landmarks(
                points_px=np.array([(p.x, p.y, p.z) for p in face], dtype=np.float32) * scale,
                image_size_px=(width, height),
                blendshapes=np.array([category.score for category in scores], dtype=np.float32),
                matrix=np.asarray(matrix, dtype=np.float64),
            )
            for face, scores, matrix in zip(
                result.face_landmarks,
                result.face_blendshapes,
                result.facial_transformation_matrixes,
                strict=True,
            )
        ]

    def _run(self, image: Any, time_s: float | None) -> Any:
        if not self._video:
            return self._landmarker.detect(image)
        now_s = time_s or 0.0
        if self._last_s is None or now_s < self._last_s:  # the start, or a file that begins again
            self._start_s = now_s - (self._last_ms + 1) / 1000
        self._last_s = now_s
        # The task insists on rising integer milliseconds.
        self._last_ms = max(self._last_ms + 1, round((now_s - self._start_s) * 1000))
        return self._landmarker.detect_for_video(image, self._last_ms)

    def close(self) -> None:
        self._landmarker.close()
