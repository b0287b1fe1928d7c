"""Neutralising a photo: from a face in a picture to everything that the rig and the warp need. Once per source."""

from __future__ import annotations

import hashlib
import logging
import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, POSE, FloatArray, neutral, pose_from_unit
from icface.errors import SourceError
from icface.face.action_units import POPULATION_PATH, measure_attributes, population
from icface.face.extensions import gaze_rad, measure, measure_sides
from icface.face.features import face_shape
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.pose import Pose, head_pose
from icface.face.suitability import MAX_TURN_RAD, check_suitable, face_extent_px
from icface.geometry import layers
from icface.geometry.completion import frontal, upright
from icface.geometry.cutout import Room, cut_out
from icface.geometry.eyes import IRIS_TRAVEL_IOD, seen_gaze
from icface.geometry.rig import FaceRig
from icface.geometry.shape import fit_source, ring_around, rotation_matrix
from icface.geometry.topology import (
    FACE_VERTICES,
    LEFT_EYE_OPENING,
    OVAL,
    RIGHT_EYE_OPENING,
    TABLES_PATH,
)
from icface.geometry.warp import HostWarp
from icface.images import cut_crop

logger = logging.getLogger(__name__)

_CODE_VERSION: Final = 6
"""Raise it when this code gives other tensors than before."""


def _table_digest() -> str:
    content = TABLES_PATH.read_bytes() + POPULATION_PATH.read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


GEOMETRY_VERSION: Final = f"{_CODE_VERSION}-{_table_digest()}"
"""Part of the source cache's key, so that a source prepared by older code is never shown."""

CROP_SCALE: Final = 1.75
TIGHT_CROP_SCALE: Final = 1.4
WIDER: Final = 1.25
"""A crop that has to fit into its photo is so much wider: where it ends, nothing moves, and hair needs room before."""
CROP_RAISE: Final = 0.06
WIDE_CROP_SCALE: Final = 2.5
"""Of the crop in which a turned photo is made frontal."""
MAX_YAW_RAD: Final = np.radians(45.5)
"""A photo turned further shows no whole eye or half of a mouth to complete the face from."""
FINEST: Final = 0.75
"""Pixels of the photo to a pixel of that crop, at least: a little finer than the photo, so that it stays sharp."""
COMPLETE_FROM_RAD: Final = 0.175
"""A photo that is turned further shows too little of its far side. That side is completed."""
NATIVE_LIMITS_PX: Final = (256, 1024)
UNCERTAIN: Final = 0.15
"""The Action Units of a stranger are known no better than this: neutral people differ by as much."""
LOOPS: Final = 2
MOST_SINE: Final = 0.52
"""Sine of the largest gaze that is taken out of a turned photo. Its eyes looked into the camera."""
GAZE_UNCERTAIN_RAD: Final = 0.12
"""How far the gaze of people who look into the camera seems to be from it."""
MAX_GAZE_RAD: Final = 0.30
MAX_GAZE_CLOSURE: Final = 0.35
LEAST_GAZE_RAD: Final = 0.10
"""A photo's gaze below this is left as it is, with all its pixels."""
MAX_POSE_OFFSET_RAD: Final = 0.15
MAX_SMILE_OFFSET: Final = 0.4


def crop_affine(
    points_px: FloatArray, photo_size_px: tuple[int, int], size_px: int, of_face: float = CROP_SCALE
) -> Array:
    """(2, 3) affine from crop to photo pixels: the face box × `of_face`, raised by CROP_RAISE of its side.

    Where that square leaves the photo it is moved inside and shrunk, but not below the face box × TIGHT_CROP_SCALE.
    `cut_crop` mirrors the photo into what still lies outside. `points_px` (478, 3) and `photo_size_px` (width, height)
    are of the photo, `size_px` is the side of the crop.
    """
    low, high = points_px[:FACE_VERTICES, :2].min(0), points_px[:FACE_VERTICES, :2].max(0)
    extent = float((high - low).max())
    side = float(np.clip(min(photo_size_px), extent * TIGHT_CROP_SCALE, extent * of_face))
    centre = (low + high) / 2 - [0, CROP_RAISE * side]
    corner, room = centre - side / 2, np.subtract(photo_size_px, side)
    corner = np.where(room < 0, corner, np.clip(corner, 0, np.maximum(room, 0)))
    scale = side / size_px
    # Pixel centres are integers: crop pixel 0 covers the first `scale` photo pixels.
    offset = scale / 2 - 0.5
    return np.array([[scale, 0, corner[0] + offset], [0, scale, corner[1] + offset]], dtype=np.float64)


def prepare_source(
    frame: Frame,
    landmarks: Landmarks,
    detector: LandmarkDetector,
    size_px: int | None,
    *,
    free_layer: bool = False,
    wide: bool = False,
) -> Tensors:
    """Neutralise one face of a photo (H, W, 3).

    Args:
        frame: the photo.
        landmarks: the face in it.
        detector: looks at the neutral image that was made, so that the rest of the expression is taken out too.
        size_px: side T of the crop and of the output; None keeps the photo's own resolution within 256–1024.
        free_layer: make the layer that stands before other backgrounds too.
        wide: cut the crop up to WIDER times as wide, where the photo has so much, and make it as much larger.

    Returns:
        Cache tensors: `skin` (S, S, 4), `plate` (T, T, 3), `inner` (h, w, 3), `neutral` (T, T, 3) RGB(A) uint8,
        `crop_to_photo` (2, 3), and what `FaceRig` reads. `free` (S, S, 4) where it was asked for and the person could
        be cut out.

    Raises:
        SourceError: the face is too small, or turned too far away.
    """
    check_suitable(landmarks, MAX_YAW_RAD)
    if size_px is None:
        own = round(face_extent_px(landmarks) * CROP_SCALE / 32) * 32
        size_px = int(np.clip(own, *NATIVE_LIMITS_PX))
    completed = _completed(frame, landmarks, detector, size_px)
    front, face = completed or (frame, landmarks)
    photo_px = frame.shape[1], frame.shape[0]
    of_face = CROP_SCALE * (WIDER if wide else 1)
    affine = crop_affine(face.points_px, photo_px, size_px, of_face)
    if wide:
        side = affine[0, 0] * size_px / (face_extent_px(face) * CROP_SCALE)
        size_px = min(2 * round(size_px * max(1.0, side) / 2), NATIVE_LIMITS_PX[1])
        affine = crop_affine(face.points_px, photo_px, size_px, of_face)
    room = Room(frame, landmarks.points_px[list(OVAL), :2]) if completed else None
    cache = _read(front, face, affine, size_px, free_layer, room)
    if completed:
        _copy_the_near_eye(cache, head_pose(landmarks).yaw_rad)
    for _ in range(LOOPS):
        _take_out_the_rest(cache, detector)
    return cache | {"neutral": render(cache, neutral())}


def _completed(
    frame: Frame, landmarks: Landmarks, detector: LandmarkDetector, size_px: int
) -> tuple[Frame, Landmarks] | None:
    """A turned photo with its face made frontal, and the landmarks of that face; None where it need not or cannot be.

    Raises:
        SourceError: it cannot be, and the photo is turned too far to do without.
    """
    turned_rad = head_pose(landmarks).yaw_rad
    if abs(turned_rad) < COMPLETE_FROM_RAD:
        return None
    photo_size_px = frame.shape[1], frame.shape[0]
    wide_px = round(size_px * WIDE_CROP_SCALE / CROP_SCALE)
    affine = crop_affine(landmarks.points_px, photo_size_px, wide_px, WIDE_CROP_SCALE)
    if affine[0, 0] < FINEST:  # finer than the photo is a waste
        wide_px = max(NATIVE_LIMITS_PX[0], round(wide_px * affine[0, 0] / FINEST))
        affine = crop_affine(landmarks.points_px, photo_size_px, wide_px, WIDE_CROP_SCALE)
    completed = _pasted(frame, frontal(_read(frame, landmarks, affine, wide_px), turned_rad), affine)
    found = detector.detect(completed)
    if found:
        middle = landmarks.points_px[:, :2].mean(0)
        return completed, min(
            found, key=lambda face: float(np.hypot(*(face.points_px[:, :2].mean(0) - middle)))
        )
    if abs(turned_rad) > MAX_TURN_RAD:
        raise SourceError(
            f"the face in the photo is turned by {np.degrees(abs(turned_rad)):.0f}°, and its hidden side cannot be "
            "made up; use a photo that looks at the camera (within 20° is best)"
        )
    return None


def _pasted(photo: Frame, made: Frame, affine: Array) -> Frame:
    """The photo with a crop laid over it, which fades in over its outermost pixels."""
    side = len(made)
    fade = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.03 * side)
    inside = np.clip(np.minimum(fade[:, None], fade[None, :]), 0, 1).astype(np.float32)
    size = photo.shape[1::-1]
    drawn = cv2.warpAffine(made, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(inside, affine, size, flags=cv2.INTER_LINEAR)[..., None]
    return np.round(photo + (drawn - photo.astype(np.float32)) * weight).astype(np.uint8)


def _copy_the_near_eye(cache: dict[str, NDArray[Any]], turned_rad: float) -> None:
    """Give the far eye the eyeball of the near one, and let both look ahead.

    The mirror image of an eye that looks aside would squint.
    """
    near, far = ("left", "right") if turned_rad > 0 else ("right", "left")
    openings = {"right": RIGHT_EYE_OPENING, "left": LEFT_EYE_OPENING}
    middle = {side: cache["texture_px"][[c[0], c[8]]].mean(0) for side, c in openings.items()}
    away = middle[far] - middle[near]
    cache[f"{far}_eye_origin"] = cache[f"{near}_eye_origin"] + away
    cache[f"{far}_eye_patches"] = cache[f"{near}_eye_patches"]
    cache[f"{far}_iris"] = cache[f"{near}_iris"] + np.append(away, 0).astype(np.float32)
    aside = float(cache[f"{near}_iris"][0] - middle[near][0]) / float(cache["iod_px"])
    gaze = -math.asin(np.clip(aside / IRIS_TRAVEL_IOD[0], -MOST_SINE, MOST_SINE))
    cache["gaze_rad"] = np.array([0, gaze if abs(gaze) >= LEAST_GAZE_RAD else 0], dtype=np.float32)


def _read(
    frame: Frame,
    landmarks: Landmarks,
    affine: Array,
    size_px: int,
    free_layer: bool = False,
    room: Room | None = None,
) -> dict[str, NDArray[Any]]:
    """Cache tensors of a photo as it is, without `neutral`."""
    crop = cut_crop(frame, affine, size_px)
    points = landmarks.points_px.copy()
    points[:, :2] = (points[:, :2] - affine[:, 2]) / affine[0, 0]
    points[:, 2] /= affine[0, 0]
    pose = head_pose(landmarks)
    # The tracker sees a few degrees of pitch in faces that look straight ahead.
    rotation = rotation_matrix(pose.pitch_rad - population().pitch_rad, pose.yaw_rad, pose.roll_rad)
    if abs(pose.yaw_rad) > COMPLETE_FROM_RAD:
        rotation = upright(points, rotation)
    certain = _certain(measure_attributes(landmarks))
    shape = fit_source(points, rotation, certain, measure_sides(landmarks, certain))

    right, right_origin, right_white = layers.paint_eye(crop, points, shape.iod_px, left=False)
    left, left_origin, left_white = layers.paint_eye(crop, points, shape.iod_px, left=True)
    mouth, mouth_rows = layers.paint_mouth(crop, shape, points, np.maximum(right_white, left_white))
    inner, patches = _stack([*right, *left, mouth])
    skin = layers.fill_skin(crop, points, shape.iod_px)
    cache: dict[str, NDArray[Any]] = {
        **_layered(frame, affine, size_px, points, shape.iod_px, skin, free_layer, room),
        "inner": inner,
        "crop_to_photo": affine,
        **shape._asdict(),
        "iod_px": np.array(shape.iod_px, dtype=np.float32),
        "ring_shape": ring_around(shape.neutral_shape),
        "right_eye_origin": right_origin,
        "left_eye_origin": left_origin,
        "right_iris": layers.iris_circle(points, left=False),
        "left_iris": layers.iris_circle(points, left=True),
        "gaze_rad": _own_gaze(landmarks, pose),
        "right_eye_patches": np.stack(patches[:3]),
        "left_eye_patches": np.stack(patches[3:6]),
        "mouth_patch": patches[6],
        "mouth_rows": mouth_rows,
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(len(AU_NAMES), dtype=np.float32),
    }
    return cache


def _own_gaze(landmarks: Landmarks, pose: Pose) -> FloatArray:
    """(2,) where the eyes look in the photo's head, down and to the image's left.

    People look into the camera. So what is close to that is taken for it; the irises alone do not tell so exactly. Up and
    down they tell too little, and closed eyes nothing.
    """
    result = np.zeros(2, dtype=np.float32)
    if measure_attributes(landmarks)[INDEX["AU45"]] > MAX_GAZE_CLOSURE:
        return result
    _, seen = gaze_rad(measure(face_shape(landmarks), landmarks.blendshapes))
    aside = seen + pose.yaw_rad
    gaze = -pose.yaw_rad + math.copysign(max(0.0, abs(aside) - GAZE_UNCERTAIN_RAD), aside)
    gaze = seen_gaze(gaze, pose.yaw_rad)
    if abs(gaze) >= LEAST_GAZE_RAD:
        result[1] = np.clip(gaze, -MAX_GAZE_RAD, MAX_GAZE_RAD)
    return result


def _layered(
    frame: Frame,
    affine: Array,
    size_px: int,
    points: FloatArray,
    iod_px: float,
    skin: Frame,
    free: bool,
    room: Room | None,
) -> dict[str, NDArray[Any]]:
    """The layers of a source; one layer that hides its plate where the person cannot be cut out."""
    cut = cut_out(frame, affine, size_px, points[list(OVAL), :2], iod_px, free=free, room=room)
    if isinstance(cut, str):
        logger.info("the photo moves as one layer: %s", cut)
        opaque = np.dstack([skin, np.full(skin.shape[:2], 255, dtype=np.uint8)])
        edges = np.array([0, 0, size_px - 1, size_px - 1], dtype=np.float32)
        return {
            "skin": opaque,
            "plate": skin,
            "margin": np.array(0, dtype=np.int32),
            "edges": edges,
            "edge_cover": np.zeros((4, size_px), dtype=np.float32),
            "hair": np.zeros((4, 4), dtype=np.float32),
        }
    m = cut.margin
    layers_of = {"skin": cut.layer} if cut.free is None else {"skin": cut.layer, "free": cut.free}
    for layer in layers_of.values():
        inside = layer[m : m + size_px, m : m + size_px]
        inside[..., :3] = np.where(inside[..., 3:] == 255, skin, inside[..., :3])
    return {
        **layers_of,
        "plate": cut.plate,
        "margin": np.array(m, dtype=np.int32),
        "edges": cut.edges,
        "edge_cover": cut.edge_cover,
        "hair": cut.hair,
    }


def _take_out_the_rest(cache: dict[str, NDArray[Any]], detector: LandmarkDetector) -> None:
    """Measure the neutral image and correct the offsets of pose and smile, within bounds."""
    # Framed as by a webcam, because MediaPipe's pose is biased where a face fills the picture.
    pad = len(cache["plate"]) // 2
    found = detector.detect(np.pad(render(cache, neutral()), ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    if not found:
        return
    measured = measure_attributes(found[0])
    pose_rad = cache["pose_offset_rad"] - pose_from_unit(measured[POSE])
    cache["pose_offset_rad"] = np.clip(pose_rad, -MAX_POSE_OFFSET_RAD, MAX_POSE_OFFSET_RAD)
    smile = AU_NAMES.index("AU12")
    left = _certain(measured)[ACTION_UNITS][smile]
    cache["au_offset"][smile] = np.clip(cache["au_offset"][smile] - 0.5 * left, -MAX_SMILE_OFFSET, 0.0)


def _certain(attributes: FloatArray) -> FloatArray:
    """Attributes of a stranger (20,): an Action Unit up to UNCERTAIN counts as nothing."""
    result = attributes.copy()
    result[ACTION_UNITS] = np.maximum(result[ACTION_UNITS] - UNCERTAIN, 0.0) / (1 - UNCERTAIN)
    return result


def render(cache: Tensors, attributes: FloatArray) -> Frame:
    """One frame of a prepared source, (T, T, 3), a new array."""
    height, width = cache["plate"].shape[:2]
    return HostWarp(cache, (width, height)).frame(FaceRig(cache).motion(attributes))


def _stack(images: list[Frame]) -> tuple[Frame, list[NDArray[np.int32]]]:
    """Images one below another, and each one's (x, y, width, height)."""
    tops = np.cumsum([0, *(image.shape[0] + 2 for image in images)])
    atlas = np.zeros((tops[-1], max(image.shape[1] for image in images), 3), dtype=np.uint8)
    places = []
    for top, image in zip(tops[:-1], images, strict=True):
        height, width = image.shape[:2]
        atlas[top : top + height, :width] = image
        places.append(np.array([0, top, width, height], dtype=np.int32))
    return atlas, places
