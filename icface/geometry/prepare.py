"""Neutralising a photo: from a face in a picture to everything the motion and the warp need. Once per source."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, neutral, pose_from_unit
from icface.face.action_units import POPULATION_PATH, population
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.measure import measure_attributes
from icface.face.pose import head_pose
from icface.face.suitability import check_suitable, face_extent_px
from icface.geometry import layers
from icface.geometry.motion import Motion
from icface.geometry.shape import fit_source, rings, rotation_matrix
from icface.geometry.tables import TABLES_PATH
from icface.geometry.topology import FACE_VERTICES
from icface.geometry.warp import HostWarp
from icface.images import cut_crop

Cache = dict[str, NDArray[np.generic]]

_CODE_VERSION: Final = 2
"""Raise it when this code gives other tensors than before."""


def _table_digest() -> str:
    """The tables that a prepared source depends on, in a few letters."""
    digest = hashlib.sha256()
    for path in (TABLES_PATH, POPULATION_PATH):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


GEOMETRY_VERSION: Final = f"{_CODE_VERSION}-{_table_digest()}"
"""Goes into the key of the source cache, so that no source is shown that older code prepared."""

CROP_SCALE: Final = 1.75
TIGHT_CROP_SCALE: Final = 1.4
CROP_RAISE: Final = 0.06
NATIVE_LIMITS_PX: Final = (256, 1024)
UNCERTAIN: Final = 0.15
LOOPS: Final = 2
MAX_POSE_OFFSET_RAD: Final = 0.15
MAX_SMILE_OFFSET: Final = 0.4


def crop_affine(
    points_px: NDArray[np.float32], photo_size_px: tuple[int, int], size_px: int
) -> NDArray[np.float64]:
    """(2, 3) affine from crop to photo pixels: the face box × CROP_SCALE, raised by CROP_RAISE of its side.

    Where that leaves the photo the square moves inside it, and shrinks to no less than the face box
    × TIGHT_CROP_SCALE; what still lies outside is mirrored by `cut_crop`.
    """
    low, high = points_px[:FACE_VERTICES, :2].min(0), points_px[:FACE_VERTICES, :2].max(0)
    extent = float((high - low).max())
    side = float(np.clip(min(photo_size_px), extent * TIGHT_CROP_SCALE, extent * CROP_SCALE))
    centre = (low + high) / 2 - [0, CROP_RAISE * side]
    corner = []
    for axis in (0, 1):
        start, room = float(centre[axis]) - side / 2, photo_size_px[axis] - side
        corner.append(min(max(start, 0.0), room) if room >= 0 else start)
    scale = side / size_px
    # Pixel centres are integers: crop pixel 0 covers the first `scale` photo pixels.
    offset = scale / 2 - 0.5
    return np.array([[scale, 0, corner[0] + offset], [0, scale, corner[1] + offset]], dtype=np.float64)


def prepare_source(
    frame: Frame, landmarks: Landmarks, detector: LandmarkDetector, size_px: int | None
) -> Cache:
    """Neutralise one face of a photo.

    Args:
        frame: (H, W, 3) the photo.
        landmarks: the face in it.
        detector: measures our own neutral again, so that what is left of the expression is taken out too.
        size_px: side of the crop and of the output; None keeps the photo's own resolution within 256–1024.

    Returns:
        Cache tensors: `skin` (T, T, 3), `inner` (h, w, 3), `neutral` (T, T, 3) RGB uint8, `crop_to_photo` (2, 3),
        and the shape tensors that `Motion` reads.

    Raises:
        SourceError: the face is too small, or turned too far away.
    """
    check_suitable(landmarks)
    if size_px is None:
        own = round(face_extent_px(landmarks) * CROP_SCALE / 32) * 32
        size_px = int(np.clip(own, *NATIVE_LIMITS_PX))
    pose = head_pose(landmarks)
    affine = crop_affine(landmarks.points_px, (frame.shape[1], frame.shape[0]), size_px)
    crop = cut_crop(frame, affine, size_px)
    points = landmarks.points_px.copy()
    points[:, :2] = (points[:, :2] - affine[:, 2]) / affine[0, 0]
    points[:, 2] /= affine[0, 0]
    # The tracker sees a few degrees of pitch in faces that look straight ahead.
    level_rad = pose.pitch_rad - population().pitch_rad
    rotation = rotation_matrix(level_rad, pose.yaw_rad, pose.roll_rad)
    attributes = _certain(measure_attributes(landmarks))
    shape = fit_source(points, rotation, attributes)
    ring_shape, ring_weight = rings(shape.neutral)

    eyes = [layers.paint_eye(crop, points, shape.iod_px, left=left) for left in (False, True)]
    sclera = np.maximum(eyes[0].sclera, eyes[1].sclera)
    mouth = layers.paint_mouth(crop, shape, points, sclera)
    atlas, places = _stack([*(eye.image for eye in eyes), mouth.image])
    cache: Cache = {
        "skin": layers.fill_skin(crop, points, shape.iod_px),
        "inner": atlas,
        "crop_to_photo": affine,
        "neutral_shape": shape.neutral,
        "rotation": shape.rotation,
        "base_px": shape.base_px,
        "iod_px": np.array(shape.iod_px, dtype=np.float32),
        "texture_px": shape.texture_px,
        "ring_shape": ring_shape,
        "ring_weight": ring_weight,
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(len(AU_NAMES), dtype=np.float32),
        "right_eye_origin": eyes[0].origin_px,
        "left_eye_origin": eyes[1].origin_px,
        "right_eye_patch": places[0],
        "left_eye_patch": places[1],
        "mouth_patch": places[2],
        "mouth_rows": np.array(
            [mouth.scale, mouth.upper_row, mouth.lower_row, mouth.upper_edge, mouth.own], dtype=np.float32
        ),
    }
    _close_the_loop(cache, detector)
    cache["neutral"] = render(cache, neutral())
    return cache


def _close_the_loop(cache: Cache, detector: LandmarkDetector) -> None:
    """Measure our own neutral and take out what is left of pose and smile; small steps, bounded."""
    side = cache["skin"].shape[0]
    for _ in range(LOOPS):
        # A webcam's framing: MediaPipe's pose is biased where a face fills the picture.
        pad = side // 2
        picture = np.pad(render(cache, neutral()), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        found = detector.detect(picture)
        if not found:
            return
        measured = measure_attributes(found[0])
        pose = np.asarray(cache["pose_offset_rad"], dtype=np.float32) - pose_from_unit(measured[POSE])
        cache["pose_offset_rad"] = np.clip(pose, -MAX_POSE_OFFSET_RAD, MAX_POSE_OFFSET_RAD).astype(np.float32)
        smile = AU_NAMES.index("AU12")
        left = _certain(measured)[ACTION_UNITS][smile]
        offset = cache["au_offset"].copy()
        offset[smile] = np.clip(offset[smile] - 0.5 * left, -MAX_SMILE_OFFSET, 0.0)
        cache["au_offset"] = offset


def _certain(attributes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attributes of a stranger: what lies within the spread between neutral people counts as nothing."""
    result = attributes.copy()
    result[ACTION_UNITS] = np.maximum(result[ACTION_UNITS] - UNCERTAIN, 0.0) / (1 - UNCERTAIN)
    return result


def render(cache: Cache, attributes: NDArray[np.float32]) -> Frame:
    """One frame of a prepared source, (T, T, 3), a new array."""
    side = cache["skin"].shape[0]
    return HostWarp(cache, (side, side)).frame(Motion(cache, (side, side)).step(attributes)).copy()


def _stack(images: list[Frame]) -> tuple[Frame, list[NDArray[np.int32]]]:
    """Images one under another, and each one's (x, y, width, height)."""
    width = max(image.shape[1] for image in images)
    rows = np.cumsum([0, *(image.shape[0] + 2 for image in images)])
    atlas = np.zeros((rows[-1], width, 3), dtype=np.uint8)
    places = []
    for top, image in zip(rows[:-1], images, strict=True):
        height, w = image.shape[:2]
        atlas[top : top + height, :w] = image
        places.append(np.array([0, top, w, height], dtype=np.int32))
    return atlas, places
