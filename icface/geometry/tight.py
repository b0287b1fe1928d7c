"""Photos that a face fills: a head that the photo's borders cut gets room around it before anything else is done.

Elsewhere what lies beyond a photo is its mirror image. Beside a cut head that would be half a second face.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from icface.face.suitability import face_extent_px
from icface.geometry.beyond import CUT, Pads, blurred, continued
from icface.geometry.cutout import LEAST_SEEN, MOST_PERSON, MOST_UNSURE
from icface.geometry.topology import FACE_VERTICES, OVAL
from icface.segmentation.matte import person_matte

TIGHT_VERSION: Final = 3
"""Part of the source cache's key. Raise it when the same photo gives another picture."""

LARGEST_PX: Final = 1024
"""The photo is reduced to a face of this size before: no crop shows a larger one, and room takes time and memory."""

# Lengths in the longer side of the face's box.
NEAR: Final = 0.24
"""A border so near to the face may cut the head."""
NEAR_CHIN: Final = 0.06
ROOM: Final = 1.7
"""So far from the face's middle the photo goes on afterwards."""
CROP: Final = 1.4
"""What is shown of such a photo."""
CROWN: Final = 0.25
"""The head reaches so far above the face's box."""
LEAST_CUT: Final = 0.2
"""Share of the head's height at which the border has to cut it."""
LEAST_BELOW: Final = 0.25
"""So much is added below a chin, or more where the crop needs it."""
ROOM_BLUR: Final = 0.4
"""The room beside the photo is blurred most from here on (IOD)."""
BLUR: Final = 0.35
"""How fast a repeated border gets blurred, of the distance from it."""


def with_room(photo: Frame, face: Landmarks) -> tuple[Frame, Landmarks, Array]:
    """A photo with room beside a head that its borders cut, and below a chin.

    Args:
        photo: (H, W, 3) RGB, upright.
        face: the face in it.

    Returns:
        The photo with room, the face in it, and the (2, 3) affine from its pixels to those of the photo that was given,
        one scale and a shift. Where the borders cut nothing, both are as they were.
    """
    scale = min(1.0, LARGEST_PX / face_extent_px(face))
    small = photo
    if scale < 1:
        reduced = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small = np.asarray(reduced, dtype=np.uint8)
    points = scale * face.points_px
    points[:, :2] += scale / 2 - 0.5  # pixel centres are integers
    wide, left = _widened(small, points[:FACE_VERTICES, :2])
    if wide is small:
        return photo, face, np.eye(2, 3)
    points[:, 0] += left
    offset = np.array([0.5 - left, 0.5]) / scale - 0.5
    seen = replace(face, points_px=points, image_size_px=(wide.shape[1], wide.shape[0]))
    return wide, seen, np.column_stack([np.eye(2) / scale, offset])


def _widened(photo: Frame, points: FloatArray) -> tuple[Frame, int]:
    """The photo with room around a face (468, 2), and how many columns were added to the left; itself where none is."""
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    height, width = photo.shape[:2]
    reach = np.ceil(ROOM * extent - np.array([(low + high)[0] / 2, width - (low + high)[0] / 2])).astype(int)
    gaps = low[0] / extent, (width - 1 - high[0]) / extent
    left, right = (int(max(0, far)) if gap < NEAR else 0 for far, gap in zip(reach, gaps, strict=True))
    under = (height - 1 - high[1]) / extent < NEAR_CHIN
    bottom = round(max(LEAST_BELOW * extent, CROP * extent - height)) if under else 0
    if not (left or right or bottom):
        return photo, 0
    iod_px = float(np.linalg.norm(points[33] - points[263]))
    matte = person_matte(photo, points[list(OVAL)], iod_px)
    rows = slice(max(0, int(low[1] - CROWN * extent)), max(1, int(high[1])))
    edge = max(2, round(0.04 * iod_px))
    cut = [float((part.mean(1) > CUT).mean()) > LEAST_CUT for part in
           (matte.alpha[rows, :edge], matte.alpha[rows, -edge:])]  # fmt: skip
    left, right = left * cut[0], right * cut[1]
    if left or right:
        pads: Pads = 0, 0, left, right
        doubtful = matte.seen < LEAST_SEEN or matte.unsure > MOST_UNSURE
        if doubtful or (matte.alpha > 0.02).mean() > MOST_PERSON:  # no room is seen that could go on
            photo = _repeated(photo, pads)
        else:
            photo = continued(photo, points, pads, matte=matte, blur=(0.0, ROOM_BLUR))
    if bottom:
        photo = _repeated(photo, (0, bottom, 0, 0))
    return photo, left


def _repeated(photo: Frame, pads: Pads) -> Frame:
    """The photo, and around it its border, more and more blurred."""
    top, _, left, _ = pads
    wide: Any = cv2.copyMakeBorder(photo, *pads, cv2.BORDER_REPLICATE)
    outside = np.ones(wide.shape[:2], dtype=np.uint8)
    outside[top : top + photo.shape[0], left : left + photo.shape[1]] = 0
    away: Any = cv2.distanceTransform(outside, cv2.DIST_L2, 5)
    soft = blurred(wide, BLUR * away)
    soft[outside == 0] = photo.reshape(-1, 3)
    return np.asarray(np.clip(np.round(soft), 0, 255), dtype=np.uint8)
