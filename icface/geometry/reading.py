"""Reading a photo: from a face in a picture, as it is, to the layers and the shape that the rig moves."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, FloatArray
from icface.face.action_units import measure_attributes, population
from icface.face.extensions import gaze_rad, measure, measure_sides
from icface.face.features import face_shape
from icface.face.landmarks import Landmarks
from icface.face.pose import Pose, head_pose
from icface.geometry import layers, side
from icface.geometry.completion import COMPLETE_FROM_RAD, upright
from icface.geometry.cutout import MARGIN, Cutout, Room, cut_out
from icface.geometry.eyes import seen_gaze
from icface.geometry.person import Person
from icface.geometry.shape import fit_source, ring_around, rotation_matrix
from icface.geometry.teeth import paint_mouth
from icface.geometry.topology import OVAL
from icface.images import cut_crop

logger = logging.getLogger(__name__)

UNCERTAIN: Final = 0.15
"""The Action Units of a stranger are known no better than this: neutral people differ by as much."""
GAZE_UNCERTAIN_RAD: Final = 0.12
"""How far the gaze of people who look into the camera seems to be from it."""
MAX_GAZE_RAD: Final = 0.30
MAX_GAZE_CLOSURE: Final = 0.35
MOST_CUT_PX: Final = 1024
"""Side of the largest crop whose person is cut out at its full size."""
LEAST_GAZE_RAD: Final = 0.10
"""A photo's gaze below this is left as it is, with all its pixels."""


def read_photo(
    frame: Frame,
    landmarks: Landmarks,
    affine: Array,
    size_px: int,
    free_layer: bool = False,
    room: Room | None = None,
    margin: float = MARGIN,
    person: Person | None = None,
    turned: bool = False,
) -> dict[str, NDArray[Any]]:
    """The cache tensors of a face of a photo as it is, without `neutral`.

    Args:
        frame: (H, W, 3) RGB, the photo.
        landmarks: the face in it.
        affine: (2, 3) from crop pixels to photo pixels; upright.
        size_px: side T of the crop.
        free_layer: make the layer that stands before other backgrounds too.
        room: where the background is taken from, if not from `frame`.
        margin: what the layers have more than the crop on each side, as a share of its side.
        person: whose face it is, where that is known.
        turned: it will be made frontal. So the pose has to be exact.
    """
    points = landmarks.points_px.copy()
    points[:, :2] = (points[:, :2] - affine[:, 2]) / affine[0, 0]
    points[:, 2] /= affine[0, 0]
    pose = head_pose(landmarks)
    # The tracker sees a few degrees of pitch in faces that look straight ahead.
    rotation = rotation_matrix(pose.pitch_rad - population().pitch_rad, pose.yaw_rad, pose.roll_rad)
    if turned or abs(pose.yaw_rad) > COMPLETE_FROM_RAD:
        rotation = upright(points, rotation)
    attributes = certain(measure_attributes(landmarks))
    shape = fit_source(points, rotation, attributes, measure_sides(landmarks, attributes), person)

    cut = _cut(frame, affine, size_px, points[list(OVAL), :2], shape.iod_px, free_layer, room, margin)
    crop = _continued(cut_crop(frame, affine, size_px), cut)
    right, right_origin, right_white = layers.paint_eye(crop, points, shape.iod_px, left=False)
    left, left_origin, left_white = layers.paint_eye(crop, points, shape.iod_px, left=True)
    known = None if person is None else person.mouth
    white = np.maximum(right_white, left_white)
    mouth, mouth_rows = paint_mouth(crop, shape, points, white, known)
    sides = side.known_sides(person)
    lit = [side.lit_as(each, crop, shape.texture_px) for _, each in sides]
    inner, patches = _stack([*right, *left, mouth, *lit])
    skin = layers.fill_skin(crop, points, shape.iod_px)
    cache: dict[str, NDArray[Any]] = {
        **_layered(cut, skin),
        "inner": inner,
        "crop_to_photo": affine,
        **shape._asdict(),
        "iod_px": np.array(shape.iod_px, dtype=np.float32),
        "ring_shape": ring_around(shape.neutral_shape),
        "right_eye_origin": right_origin,
        "left_eye_origin": left_origin,
        "right_iris": layers.iris_circle(points, left=False),
        "left_iris": layers.iris_circle(points, left=True),
        "gaze_rad": own_gaze(landmarks, pose),
        "right_eye_patches": np.stack(patches[:3]),
        "left_eye_patches": np.stack(patches[3:6]),
        "mouth_patch": patches[6],
        "mouth_rows": mouth_rows,
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(len(AU_NAMES), dtype=np.float32),
    }
    for (name, each), patch in zip(sides, patches[7:], strict=True):
        cache |= side.sheet_tensors(name, each, patch, cache)
    if person is not None:
        cache |= {"displacements": person.displacements, "extensions": person.extensions}
    return cache


def own_gaze(landmarks: Landmarks, pose: Pose) -> FloatArray:
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


def _continued(crop: Frame, cut: Cutout | str) -> Frame:
    """A crop that shows the layers where it leaves the photo, because there the head goes on; elsewhere the photo."""
    if isinstance(cut, str):
        return crop
    m, size_px = cut.margin, len(crop)
    layer = cut.layer[m : m + size_px, m : m + size_px]
    left, top, right, bottom = np.clip(np.round(cut.edges).astype(int) + np.array([0, 0, 1, 1]), 0, size_px)
    shown = crop.copy()
    for part in (np.s_[:top], np.s_[bottom:], np.s_[top:bottom, :left], np.s_[top:bottom, right:]):
        behind = cut.plate[part] * ((255 - layer[part][..., 3:]) / np.float32(255))
        shown[part] = layer[part][..., :3] + behind + np.float32(0.5)
    return shown


def _layered(cut: Cutout | str, skin: Frame) -> dict[str, NDArray[Any]]:
    """The layers of a source; one layer (T, T, 3) that hides its plate where the person cannot be cut out."""
    size_px = len(skin)
    if isinstance(cut, str):
        logger.info("the photo moves as one layer: %s", cut)
        opaque = np.dstack([skin, np.full(skin.shape[:2], 255, dtype=np.uint8)])
        edges = np.array([0, 0, size_px - 1, size_px - 1], dtype=np.float32)
        return {
            "one_layer_because": np.frombuffer(cut.encode(), dtype=np.uint8),
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
        np.copyto(inside[..., :3], skin, where=inside[..., 3:] == 255)
    return {
        **layers_of,
        "plate": cut.plate,
        "margin": np.array(m, dtype=np.int32),
        "edges": cut.edges,
        "edge_cover": cut.edge_cover,
        "hair": cut.hair,
    }


def _cut(
    frame: Frame,
    affine: Array,
    size_px: int,
    oval_px: FloatArray,
    iod_px: float,
    free: bool,
    room: Room | None,
    margin: float,
) -> Cutout | str:
    """`cut_out`, at half the size where that shows as much: where the crop is much finer than the photo, or so large."""
    if size_px % 2 or (affine[0, 0] > 0.5 and size_px <= MOST_CUT_PX):
        return cut_out(frame, affine, size_px, oval_px, iod_px, free=free, room=room, margin_share=margin)
    half = affine * 2
    half[:, 2] = affine[:, 2] + affine[0, 0] / 2
    oval_px = (oval_px + 0.5) / np.float32(2) - np.float32(0.5)
    cut = cut_out(frame, half, size_px // 2, oval_px, iod_px / 2, free=free, room=room, margin_share=margin)
    return cut if isinstance(cut, str) else cut.doubled()


def certain(attributes: FloatArray) -> FloatArray:
    """Attributes of a stranger (20,): an Action Unit up to UNCERTAIN counts as nothing."""
    result = attributes.copy()
    result[ACTION_UNITS] = np.maximum(result[ACTION_UNITS] - UNCERTAIN, 0.0) / (1 - UNCERTAIN)
    return result


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
