"""The three networks of MediaPipe's FaceLandmarker task, run by OpenVINO.

The first finds faces in the whole picture. The second reads 478 landmarks in an upright square around a face. The third
reads 52 blendshapes from the landmarks. While a face is followed, its square comes from the landmarks of the frame
before, and the first network rests.

MediaPipe's own package reports every use to a server and takes half again the time. The steps between the networks are
MediaPipe's published ones (Apache-2.0). A test compares the results with those of that package.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import tempfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.errors import ConfigError
from icface.files import write_file
from icface.openvino_core import the_core
from icface.source_cache import cache_folder

logger = logging.getLogger(__name__)

Points = NDArray[np.float32]
"""(478, 3): x right and y down in pixels of the picture; z in the same scale, smaller is nearer to the camera."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, pixels; it may reach beyond the picture."""

MODEL_PATH: Final = Path(__file__).parent / "data" / "face_landmarker.task"
MODEL_SHA256: Final = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

_MIN_SCORE: Final = 0.5
"""MediaPipe's default, for finding a face and for believing its landmarks."""
_MIN_LOGIT: Final = math.log(_MIN_SCORE / (1 - _MIN_SCORE))
GROWN: Final = 1.5
"""The square that the landmarks are read in is this many times as large as the face."""

_FINDER_PX: Final = 128
_SAME_FACE: Final = 0.3
"""Boxes that overlap by more of their union are one face."""
_LANDMARKS_PX: Final = 256
_RIGHT_EYE, _LEFT_EYE = 33, 263
# The points that the blendshapes are read from: brows, eyes, irises, lips and the outline.
_EXPRESSIVE: Final = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249,
    251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314,
    317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
    384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473,
    474, 475, 476, 477,
])  # fmt: skip

# File, shape of its input, and two numbers: the first is subtracted from each byte of a picture, the second divides it.
_NETWORKS: Final[tuple[tuple[str, list[int], tuple[float, float] | None], ...]] = (
    ("face_detector.tflite", [1, _FINDER_PX, _FINDER_PX, 3], (127.5, 127.5)),
    ("face_landmarks_detector.tflite", [1, _LANDMARKS_PX, _LANDMARKS_PX, 3], (0.0, 255.0)),
    ("face_blendshapes.tflite", [1, len(_EXPRESSIVE), 2], None),
)


@dataclass(frozen=True)
class Region:
    """A rectangle in a picture, pixels; `angle_rad` turns it clockwise about its centre."""

    x: float
    y: float
    width: float
    height: float
    angle_rad: float
    certainty: float = 0.0
    """How sure the network was that a face is there, as a logit; more than 0."""

    def to_picture(self) -> Array:
        """(2, 3) affine from the unit square, origin at its top left, to the picture."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        axes = np.array([[cos * self.width, -sin * self.height], [sin * self.width, cos * self.height]])
        corner = [self.x, self.y] - axes @ [0.5, 0.5]
        return np.column_stack([axes, corner])

    def is_near(self, other: Region) -> bool:
        """Whether both can only be the same face."""
        return math.hypot(self.x - other.x, self.y - other.y) < 0.25 * max(self.width, other.width)


@dataclass(frozen=True)
class Landmarks:
    """One face in one picture."""

    points_px: Points
    image_size_px: tuple[int, int]
    """(width, height) of the picture, which the camera model of the head pose needs."""
    blendshapes: NDArray[np.float32]
    """(52,) in MediaPipe's order, `_neutral` first."""
    person: int = 0
    """Of a video's driver: another number is another person."""

    @property
    def box_px(self) -> Box:
        """Left, top, right, bottom of all points."""
        low, high = self.points_px[:, :2].min(0), self.points_px[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def area_px(self) -> float:
        left, top, right, bottom = self.box_px
        return (right - left) * (bottom - top)


def load_ahead() -> None:
    """Begin to load the networks on a thread of its own. Whoever opens them waits for it, and is told what is wrong."""

    def load() -> None:
        with _loading, suppress(Exception):
            _load()

    threading.Thread(target=load, name="loading").start()


class Networks:
    """The task's networks, ready to run; one thread at a time. ConfigError: the model file is missing or damaged."""

    def __init__(self) -> None:
        with _loading:
            models = _load()
        self._finder, self._landmarks, self._blendshapes = (model.create_infer_request() for model in models)

    def close(self) -> None:
        """Free the memory; the networks cannot be used afterwards."""
        vars(self).clear()

    def find(self, frame: Frame, box: Box | None = None, turns: int = 0) -> list[Region]:
        """Where faces are in a picture, most certain first.

        Args:
            frame: (H, W, 3) RGB.
            box: look at this part only, which is a square; None: at all of it.
            turns: look at it turned by so many quarters, counterclockwise. The network misses faces upside down.
        """
        height, width = frame.shape[:2]
        side = max(height, width) if box is None else box[2] - box[0]
        margin = np.array([side - width, side - height]) / 2 if box is None else -np.array(box[:2])
        square = np.rot90(_square(frame, side, margin, inside=box is not None), turns)
        raw, logits = _run(self._finder, square)
        certainty = np.clip(logits[0, :, 0].astype(np.float64), -100.0, 100.0)
        found = np.flatnonzero(certainty >= _MIN_LOGIT)
        # Centre, size and six points of a face, of which the first two are the eyes.
        faces = raw[0, found].astype(np.float64).reshape(-1, 8, 2) / _FINDER_PX
        faces[:, [0, 2, 3, 4, 5, 6, 7]] += _anchors()[found, np.newaxis]
        regions = []
        for face, certain in _merged(faces, certainty[found]):
            w, h = face[1] * side * GROWN
            centre, right_eye, left_eye = (
                _turned_back(point, turns) * side - margin for point in face[[0, 2, 3]]
            )
            dx, dy = left_eye - right_eye
            regions.append(Region(float(centre[0]), float(centre[1]), w, h, math.atan2(dy, dx), certain))
        return regions

    def landmarks(self, frame: Frame, region: Region) -> Points | None:
        """(478, 3) landmarks of the face in a region; None where there is no face."""
        to_picture = region.to_picture()
        from_pixels = to_picture.copy()
        from_pixels[:, :2] /= _LANDMARKS_PX
        size, how = (_LANDMARKS_PX, _LANDMARKS_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(frame, from_pixels, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
        raw, presence, *_ = _run(self._landmarks, crop)
        if presence.item() <= _MIN_LOGIT:
            return None
        points = raw.reshape(-1, 3).astype(np.float64) / _LANDMARKS_PX
        result = np.empty(points.shape, dtype=np.float32)
        result[:, :2] = points[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        result[:, 2] = points[:, 2] * region.width
        return result

    def refined(self, frame: Frame, region: Region) -> Points | None:
        """The landmarks in a region of the finder's, which is upright only by some degrees, read again where they lie.

        Else a tilted head seems to raise its brows and to wrinkle its nose. In a video the frame before tells.
        """
        points = self.landmarks(frame, region)
        again = None if points is None else self.landmarks(frame, region_around(points))
        return points if again is None else again

    def blendshapes(self, points: Points) -> NDArray[np.float32]:
        """(52,) blendshapes in MediaPipe's order, `_neutral` first."""
        (scores,) = _run(self._blendshapes, points[_EXPRESSIVE, :2])
        return scores.copy()


def _square(frame: Frame, side: float, margin: Array, *, inside: bool) -> Frame:
    """A square of a picture as the finder takes it; `margin` (x, y) is what it has more on the left and above."""
    scale = _FINDER_PX / side
    left, top = (round(-edge) for edge in margin.tolist())
    part = frame[max(top, 0) : top + round(side), max(left, 0) : left + round(side)]
    if inside and scale < 1 and part.shape[:2] == (round(side), round(side)):
        # In a part small faces count, so little may alias. Of a large one every so many pixels tell enough.
        step = max(1, round(side) // (4 * _FINDER_PX))
        small = cv2.resize(part[::step, ::step], (_FINDER_PX, _FINDER_PX), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)
    fitted = np.array([[scale, 0.0, margin[0] * scale], [0.0, scale, margin[1] * scale]])
    border = cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(frame, fitted, (_FINDER_PX, _FINDER_PX), borderMode=border), np.uint8)


def _turned_back(point: Array, turns: int) -> Array:
    """A point (x, y) of a unit square that was turned by quarters counterclockwise, in the square as it was."""
    x, y = point
    return np.array([(x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x)][turns % 4])


def _run(request: Any, content: NDArray[Any]) -> list[NDArray[np.float32]]:
    """A network's outputs, which it overwrites with the next run."""
    request.input_tensors[0].data[0] = content
    request.infer()
    return [output.data for output in request.output_tensors]


def region_around(points: Points) -> Region:
    """Where to read a face in the next frame, from its landmarks in this one."""
    low, high = points[:, :2].min(0).astype(np.float64), points[:, :2].max(0).astype(np.float64)
    x, y = (low + high) / 2
    side = float((high - low).max()) * GROWN
    dx, dy = (points[_LEFT_EYE, :2] - points[_RIGHT_EYE, :2]).tolist()
    return Region(float(x), float(y), side, side, math.atan2(dy, dx))


_loading = threading.Lock()


@cache
def _load() -> tuple[Any, ...]:
    """Finder, landmarks and blendshapes, compiled for this processor; the whole process shares them."""
    try:
        content = MODEL_PATH.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the face tracker's model {MODEL_PATH}: {error.strerror or error}; install icface-live again"
        ) from error
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise ConfigError(f"the face tracker's model {MODEL_PATH} is damaged; install icface-live again")
    try:
        return _compile(content, cache_folder() / "tracker", keep=True)
    except (OSError, RuntimeError) as error:  # OpenVINO's errors are RuntimeErrors
        logger.debug("the face tracker starts without a cache: %s", error)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return _compile(content, Path(folder), keep=False)


def _compile(content: bytes, folder: Path, *, keep: bool) -> tuple[Any, ...]:
    """OpenVINO reads this format from files only. With `keep` its cache beside them makes the next start quick."""
    import openvino
    import openvino.preprocess

    core = the_core()
    # One thread, because the networks are many small steps and the other processors have the picture to draw. It is the
    # caller's thread. Pinned to one processor it would wait for whatever is busy there.
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
        **({"CACHE_DIR": str(folder)} if keep else {}),
    }
    models = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name, shape, scaling in _NETWORKS:
            path, network = folder / name, archive.read(name)
            if not path.exists() or path.read_bytes() != network:
                write_file(path, network)
            model = core.read_model(path)
            model.reshape(shape)  # a free batch size would cost half again the time
            if scaling is not None:
                steps = openvino.preprocess.PrePostProcessor(model)
                steps.input().tensor().set_element_type(openvino.Type.u8)
                scaled = steps.input().preprocess().convert_element_type(openvino.Type.f32)
                scaled.mean(scaling[0]).scale(scaling[1])
                model = steps.build()
            models.append(core.compile_model(model, "CPU", settings))
    return tuple(models)


@cache
def _anchors() -> Array:
    """(896, 2) the places that the finder's outputs are relative to, in shares of its square."""
    anchors = []
    for cells, outputs in ((16, 2), (8, 6)):
        y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
        anchors.append(np.repeat(np.column_stack([x.ravel(), y.ravel()]), outputs, axis=0))
    return np.concatenate(anchors)


def _merged(faces: Array, certainty: Array) -> list[tuple[Array, float]]:
    """One answer for each face: the mean of those that overlap, weighted by their scores. Most certain first.

    With each comes the highest certainty, a logit.
    """
    low, high = faces[:, 0] - faces[:, 1] / 2, faces[:, 0] + faces[:, 1] / 2
    scores = 1.0 / (1.0 + np.exp(-certainty))
    left = np.argsort(-scores, kind="stable")
    result = []
    while left.size:
        first = left[0]
        shared = np.minimum(high[first], high[left]) - np.maximum(low[first], low[left])
        area = np.maximum(shared, 0.0).prod(axis=1)
        union = faces[first, 1].prod() + faces[left, 1].prod(axis=1) - area
        same = area > _SAME_FACE * union
        same[0] = True
        weights = scores[left[same]]
        mean = np.tensordot(weights, faces[left[same]], axes=1) / weights.sum()
        result.append((mean, float(certainty[first])))
        left = left[~same]
    return result
