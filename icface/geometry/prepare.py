"""Neutralising a photo: from a face in a picture to everything that the rig and the warp need. Once per source."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, FloatArray, neutral, pose_from_unit
from icface.face.action_units import POPULATION_PATH, measure_attributes
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.pose import head_pose
from icface.face.suitability import check_suitable, face_extent_px
from icface.geometry.completion import COMPLETE_FROM_RAD, frontal
from icface.geometry.cutout import Room
from icface.geometry.eyes import IRIS_TRAVEL_IOD
from icface.geometry.own import own_attributes
from icface.geometry.person import Person
from icface.geometry.reading import LEAST_GAZE_RAD, certain, read_photo
from icface.geometry.rig import FaceRig
from icface.geometry.topology import (
    FACE_VERTICES,
    LEFT_EYE_OPENING,
    OVAL,
    RIGHT_EYE_OPENING,
    TABLES_PATH,
)
from icface.geometry.warp import HostWarp

_CODE_VERSION: Final = 18
"""Raise it when this code gives other tensors than before."""


def _table_digest() -> str:
    content = TABLES_PATH.read_bytes() + POPULATION_PATH.read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


GEOMETRY_VERSION: Final = f"{_CODE_VERSION}-{_table_digest()}"
"""Part of the source cache's key, so that a source prepared by older code is never shown."""

CROP_SCALE: Final = 1.75
TIGHT_CROP_SCALE: Final = 1.4
CUT_CROP_SCALE: Final = 1.15
CUT_ABOVE: Final = 0.08
"""The photo's upper edge cuts the head where the forehead ends so near to it, of the face box."""
WIDER: Final = 1.25
"""A crop that has to fit into its photo is so much wider: where it ends, nothing moves, and hair needs room before."""
CROP_RAISE: Final = 0.06
WIDE_CROP_SCALE: Final = 2.5
"""Of the crop in which a turned photo is made frontal."""
WIDE_MARGIN: Final = 0.08
"""Of that crop's layers: nothing moves far at its border."""
FINEST: Final = 0.75
"""Pixels of the photo to a pixel of that crop, at least: a little finer than the photo, so that it stays sharp."""
NATIVE_LIMITS_PX: Final = (256, 1024)
LOOPS: Final = 2
MOST_SINE: Final = 0.52
"""Sine of the largest gaze that is taken out of a turned photo. Its eyes looked into the camera."""
MAX_POSE_OFFSET_RAD: Final = 0.15
MAX_SMILE_OFFSET: Final = 0.4


def crop_affine(
    points_px: FloatArray, photo_size_px: tuple[int, int], size_px: int, of_face: float = CROP_SCALE
) -> Array:
    """(2, 3) affine from crop to photo pixels: the face box × `of_face`, raised by CROP_RAISE of its side.

    Where that square leaves the photo it is moved inside and shrunk, but not below the face box × TIGHT_CROP_SCALE, or
    CUT_CROP_SCALE where the photo's upper edge cuts the head: the crop's own edge cuts it there.
    `cut_crop` mirrors the photo into what still lies outside. `points_px` (478, 3) and `photo_size_px` (width, height)
    are of the photo, `size_px` is the side of the crop.
    """
    low, high = points_px[:FACE_VERTICES, :2].min(0), points_px[:FACE_VERTICES, :2].max(0)
    extent = float((high - low).max())
    cut_above = low[1] < CUT_ABOVE * extent
    tight = CUT_CROP_SCALE if cut_above else TIGHT_CROP_SCALE
    side = float(np.clip(min(photo_size_px), extent * tight, extent * of_face))
    centre = (low + high) / 2 - [0, CROP_RAISE * side]
    corner, room = centre - side / 2, np.subtract(photo_size_px, side)
    inside = np.clip(corner, 0, np.maximum(room, 0))
    corner = np.where((room < 0) & [True, not cut_above], corner, inside)
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
    person: Person | None = None,
    turned_rad: float | None = None,
) -> Tensors:
    """Neutralise one face of a photo (H, W, 3).

    Args:
        frame: the photo.
        landmarks: the face in it.
        detector: looks at the neutral image that was made, so that the rest of the expression is taken out too.
        size_px: side T of the crop and of the output; None keeps the photo's own resolution within 256–1024.
        free_layer: make the layer that stands before other backgrounds too.
        wide: cut the crop up to WIDER times as wide, where the photo has so much, and make it as much larger.
        person: whose face it is, where that is known.
        turned_rad: its far side is completed as of a photo that is turned so far; 0 leaves it as it is. None: as it is
            seen to be turned, from COMPLETE_FROM_RAD on.

    Returns:
        Cache tensors: `skin` (S, S, 4), `plate` (T, T, 3), `inner` (h, w, 3), `neutral` (T, T, 3) RGB(A) uint8,
        `crop_to_photo` (2, 3), `own` (SIZE,) the photo's own pose and expression, and what `FaceRig` reads.
        `free` (S, S, 4) where it was asked for and the person could be cut out.

    Raises:
        SourceError: the face is too small, or turned too far away.
    """
    check_suitable(landmarks)
    if size_px is None:
        own = round(face_extent_px(landmarks) * CROP_SCALE / 32) * 32
        size_px = int(np.clip(own, *NATIVE_LIMITS_PX))
    if turned_rad is None:
        yaw_rad = head_pose(landmarks).yaw_rad
        turned_rad = yaw_rad if abs(yaw_rad) >= COMPLETE_FROM_RAD else 0.0
    completed = _completed(frame, landmarks, turned_rad, detector, size_px, person) if turned_rad else None
    front, face, room, as_it_is = completed or (frame, landmarks, None, None)
    photo_px = frame.shape[1], frame.shape[0]
    of_face = CROP_SCALE * (WIDER if wide else 1)
    affine = crop_affine(face.points_px, photo_px, size_px, of_face)
    if wide:
        side = affine[0, 0] * size_px / (face_extent_px(face) * CROP_SCALE)
        size_px = min(2 * round(size_px * max(1.0, side) / 2), max(size_px, NATIVE_LIMITS_PX[1]))
        affine = crop_affine(face.points_px, photo_px, size_px, of_face)
    cache = read_photo(front, face, affine, size_px, free_layer, room, person=person)
    if completed and abs(turned_rad) >= COMPLETE_FROM_RAD:
        _copy_the_near_eye(cache, turned_rad)
    rig, warp = FaceRig(cache), HostWarp(cache, (size_px, size_px))
    # The rig reads the offsets from the cache, frame by frame.
    for _ in range(LOOPS):
        take_out_the_rest(cache, warp.frame(rig.motion(neutral())), detector, person)
    made: dict[str, NDArray[Any]] = {
        "neutral": warp.frame(rig.motion(neutral())).copy(),
        "own": own_attributes(as_it_is or cache, cache),
    }
    return cache | made


def _completed(
    frame: Frame,
    landmarks: Landmarks,
    turned_rad: float,
    detector: LandmarkDetector,
    size_px: int,
    person: Person | None,
) -> tuple[Frame, Landmarks, Room, Tensors] | None:
    """A turned photo with its face made frontal, the landmarks of that face, the room, and the photo's own tensors.

    None where no face is found in what was made.
    """
    photo_size_px = frame.shape[1], frame.shape[0]
    wide_px = 2 * round(
        size_px * WIDE_CROP_SCALE / CROP_SCALE / 2
    )  # even: a large one is cut out at half its size
    affine = crop_affine(landmarks.points_px, photo_size_px, wide_px, WIDE_CROP_SCALE)
    if affine[0, 0] < FINEST:  # finer than the photo is a waste
        wide_px = max(NATIVE_LIMITS_PX[0], 2 * round(wide_px * affine[0, 0] / FINEST / 2))
        affine = crop_affine(landmarks.points_px, photo_size_px, wide_px, WIDE_CROP_SCALE)
    as_it_is = read_photo(frame, landmarks, affine, wide_px, margin=WIDE_MARGIN, person=person, turned=True)
    completed = pasted(frame, frontal(as_it_is, turned_rad), affine)
    found = detector.detect(completed)
    if found:
        middle = landmarks.points_px[:, :2].mean(0)
        face = min(found, key=lambda face: float(np.hypot(*(face.points_px[:, :2].mean(0) - middle))))
        room = Room(frame, landmarks.points_px[list(OVAL), :2])
        if margin := int(as_it_is["margin"]):  # the person was found, and need not be looked for again
            affine[:, 2] -= margin * affine[0, 0]
            room = room._replace(alpha=np.ascontiguousarray(as_it_is["skin"][..., 3]), alpha_affine=affine)
        return completed, face, room, as_it_is
    return None


def pasted(photo: Frame, made: Frame, affine: Array) -> Frame:
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


def take_out_the_rest(
    cache: dict[str, NDArray[Any]], shown: Frame, detector: LandmarkDetector, person: Person | None
) -> None:
    """Measure the neutral image that is shown and correct the offsets of pose and smile, in place, within bounds.

    A person whose neutral shape is known has no smile left, whatever it looks like.
    """
    # Framed as by a webcam, because MediaPipe's pose is biased where a face fills the picture.
    pad = len(shown) // 2
    framed = cv2.copyMakeBorder(shown, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    found = detector.detect(np.asarray(framed, dtype=np.uint8))
    if not found:
        return
    measured = measure_attributes(found[0])
    pose_rad = cache["pose_offset_rad"] - pose_from_unit(measured[POSE])
    np.clip(pose_rad, -MAX_POSE_OFFSET_RAD, MAX_POSE_OFFSET_RAD, out=cache["pose_offset_rad"])
    if person is not None and person.neutral_shape is not None:
        return
    smile = AU_NAMES.index("AU12")
    left = certain(measured)[ACTION_UNITS][smile]
    cache["au_offset"][smile] = np.clip(cache["au_offset"][smile] - 0.5 * left, -MAX_SMILE_OFFSET, 0.0)


def render(cache: Tensors, attributes: FloatArray) -> Frame:
    """One frame of a prepared source, (T, T, 3), a new array."""
    height, width = cache["plate"].shape[:2]
    return HostWarp(cache, (width, height)).frame(FaceRig(cache).motion(attributes))
