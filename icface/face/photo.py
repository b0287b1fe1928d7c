"""The faces of a photo: all of them, from left to right, and the photo turned so that one is upright."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.face.landmarker import Landmarks, Networks, Points, Region, region_around
from icface.face.search import MUCH_LARGER, distinct, oriented, parts, with_margin

MOST: Final = 32
"""More faces of a photo are not read."""
LEAST_SIDE_PX: Final = 32
"""A narrower photo shows no face."""
SMALLER: Final = 3.0
"""Faces are looked for down to this part of the largest one."""
SEEN: Final = 0.15
"""A face is found that takes this share of the side of a part."""
UPRIGHT_RAD: Final = math.radians(25)
"""A photo is turned where the face tilts by more. Less is the head's own tilt, which the rig takes out."""
PANORAMA: Final = 2.5
"""A photo is one whose longer side is more than so many shorter ones."""
WINDOW: Final = 2.0
"""Of a panorama so many shorter sides are taken."""
_REDUCED: Final = 16
_EYES: Final = (33, 263)


def faces_of(frame: Frame) -> list[Landmarks]:
    """The faces of a photo (H, W, 3) RGB, whatever way they lie, from left to right."""
    height, width = frame.shape[:2]
    if min(height, width) < LEAST_SIDE_PX:  # a line of pixels would be searched in hundreds of parts
        return []
    networks = Networks()
    size_px = width, height
    regions: list[Region] = []
    for turns in (0, 2, 1, 3):
        regions = _found(networks, frame, turns)
        found: list[Points] = []
        for region in regions:
            points = networks.refined(frame, oriented(networks, frame, region))
            if points is not None and not any(_same(points, other) for other in found):
                found = [other for other in found if not _same(other, points)] + [points]
        if found:
            faces = [Landmarks(points, size_px, networks.blendshapes(points)) for points in found]
            return sorted(faces, key=lambda face: float(face.points_px[:, 0].mean()))
    return []


def _found(networks: Networks, frame: Frame, turns: int) -> list[Region]:
    height, width = frame.shape[:2]
    regions = networks.find(frame, turns=turns)
    regions += networks.find(frame, with_margin(width, height), turns)
    side = math.inf
    for box in parts(width, height):
        if box[2] - box[0] != side:
            if regions and SEEN * side < max(region.width for region in regions) / SMALLER:
                break
            side = box[2] - box[0]
        regions += networks.find(frame, box, turns)
    return distinct(regions)[:MOST]


def _same(one: Points, other: Points) -> bool:
    """Whether `one` is the face `other`, or a face that the finder sees in its nose or eye."""
    apart = float(np.linalg.norm(one[:, :2].mean(0) - other[:, :2].mean(0)))
    size, other_size = (float(np.ptp(points[:, :2], axis=0).max()) for points in (one, other))
    return apart < 0.4 * max(size, other_size) and size < MUCH_LARGER * other_size


def is_panorama(frame: Frame) -> bool:
    """Whether a photo is much longer than high, or higher than long."""
    height, width = frame.shape[:2]
    longer, shorter = max(height, width), min(height, width)
    return bool(longer > PANORAMA * shorter)


def without_far(frame: Frame, face: Landmarks) -> tuple[Frame, Landmarks]:
    """The part of a panorama that shows a face, and the face in it; both as they are of other photos.

    The pose of a head counts on a camera that looks at the middle of its picture, and no camera takes in a panorama.
    """
    if not is_panorama(frame):
        return frame, face
    height, width = frame.shape[:2]
    side = round(WINDOW * min(height, width))
    x, y = face.points_px[:, :2].mean(0).tolist()
    left = round(min(max(x - side / 2, 0), max(width - side, 0)))
    top = round(min(max(y - side / 2, 0), max(height - side, 0)))
    part = np.ascontiguousarray(frame[top : top + side, left : left + side])
    points = face.points_px - np.array([left, top, 0], dtype=np.float32)
    return part, replace(face, points_px=points, image_size_px=(part.shape[1], part.shape[0]))


def tilt_rad(face: Landmarks) -> float:
    """How far a face is turned in the picture, clockwise, from the line of its eyes."""
    dx, dy = (face.points_px[_EYES[1], :2] - face.points_px[_EYES[0], :2]).tolist()
    return math.atan2(dy, dx)


def put_upright(frame: Frame, face: Landmarks) -> tuple[Frame, Landmarks]:
    """The photo turned so that a face is upright, and the face in it; both as they are where it tilts little.

    By quarters nothing is lost. In between, the picture grows, and its corners are filled with blurred colours.
    """
    angle_rad = tilt_rad(face)
    if abs(angle_rad) <= UPRIGHT_RAD:
        return frame, face
    quarters = round(angle_rad / (math.pi / 2))
    rest_rad = angle_rad - quarters * math.pi / 2
    if abs(rest_rad) <= UPRIGHT_RAD:
        angle_rad = quarters * math.pi / 2
    to_upright, size_px = _turning(frame.shape[1::-1], angle_rad)
    if abs(rest_rad) <= UPRIGHT_RAD:
        turned = np.ascontiguousarray(np.rot90(frame, quarters))
    else:
        turned = _turned(frame, to_upright, size_px)
    points = face.points_px.copy()
    points[:, :2] = points[:, :2] @ to_upright[:, :2].T + to_upright[:, 2]
    networks = Networks()
    # Read anew: a network sees an upright face as it was taught.
    seen = networks.landmarks(turned, region_around(points))
    points = points if seen is None else seen
    return turned, Landmarks(points, size_px, networks.blendshapes(points))


def _turning(size_px: tuple[int, int], angle_rad: float) -> tuple[Array, tuple[int, int]]:
    """(2, 3) affine that turns a picture counterclockwise into one that holds all of it, and that one's size."""
    width, height = size_px
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    wide = round(abs(width * cos) + abs(height * sin) - 1e-6)
    high = round(abs(width * sin) + abs(height * cos) - 1e-6)
    linear = np.array([[cos, sin], [-sin, cos]])
    shift = (np.array([wide, high]) - 1) / 2 - linear @ (np.array([width, height]) - 1) / 2
    return np.column_stack([linear, shift]), (wide, high)


def _turned(frame: Frame, affine: Array, size_px: tuple[int, int]) -> Frame:
    whole: Any = cv2.warpAffine(
        frame, affine, size_px, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    ones = np.full(frame.shape[:2], 255, dtype=np.uint8)
    inside: Any = cv2.warpAffine(ones, affine, size_px, flags=cv2.INTER_LINEAR)
    # Beyond the photo its border goes on, blurred, so that no stripes are seen.
    small_px = max(2, size_px[0] // _REDUCED), max(2, size_px[1] // _REDUCED)
    small = cv2.resize(whole, small_px, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(1.0, 0.06 * max(small_px)), borderType=cv2.BORDER_REPLICATE)
    soft: Any = cv2.resize(small, size_px, interpolation=cv2.INTER_CUBIC)
    share = (inside.astype(np.float32) / 255)[..., None]
    return np.asarray(np.round(soft + share * (whole.astype(np.float32) - soft)), dtype=np.uint8)
