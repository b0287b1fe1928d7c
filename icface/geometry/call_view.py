"""A photo as the camera of a video call would show it: wide, the head centred, shoulders down to the lower border.

Where the photo is narrower than the picture, the room goes on to both sides, more and more blurred, and shoulders that
the photo's edge cuts are rounded off.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from icface.geometry.beyond import continued
from icface.geometry.topology import FACE_VERTICES
from icface.images import cut_crop
from icface.segmentation.segmenters import hair_mask, person_mask

VIEW_VERSION: Final = 6
"""Part of the source cache's key. Raise it when the same photo gives another picture."""
FACE_SHARE: Final = 0.33
"""Height of the face (brows to chin and a little more) as a share of the picture's. The head is half as high again."""
LARGEST_FACE: Final = 0.52
"""Where the photo ends soon below the chin, the face is shown up to so large, so that no lower edge is seen."""
EYES: Final = 1 / 3
"""Where the eyes are, from the top."""
LITTLE_MISSING: Final = 0.12
"""Where the photo ends so little below the picture's top, as a share of its height, the eyes are a little higher."""
CUT_ABOVE: Final = 0.1
"""The photo's upper edge cuts the head where it shows more than this of it, as a share of the face's width."""
_EYE_CORNERS: Final = (33, 263)


def call_view(photo: Frame, face: Landmarks, size_px: tuple[int, int]) -> tuple[Frame, Array]:
    """Show a photo as in a call.

    Args:
        photo: (H, W, 3) RGB.
        face: whose.
        size_px: (width, height) of the picture.

    Returns:
        The picture, and the (2, 3) affine from its pixels to the photo's, one scale and a shift.
    """
    view_to_photo = _placed(photo, face, size_px)
    width, height = size_px
    scale = float(view_to_photo[0, 0])
    low = np.ceil((-0.5 - view_to_photo[:, 2]) / scale - 1e-6).astype(int)
    high = np.floor((np.array(photo.shape[1::-1]) - 0.5 - view_to_photo[:, 2]) / scale + 1e-6).astype(int) + 1
    x0, y0 = (max(0, int(start)) for start in low)
    x1, y1 = min(width, int(high[0])), min(height, int(high[1]))
    shown = cut_crop(photo, view_to_photo, size_px)
    if (x0, y0, x1, y1) == (0, 0, width, height):
        return shown, view_to_photo
    seen = np.ascontiguousarray(shown[y0:y1, x0:x1])
    points = ((face.points_px[:FACE_VERTICES, :2] - view_to_photo[:, 2]) / scale - [x0, y0]).astype(
        np.float32
    )
    pads = y0, height - y1, x0, width - x1
    return continued(seen, points, pads), view_to_photo


def _placed(photo: Frame, face: Landmarks, size_px: tuple[int, int]) -> Array:
    """(2, 3) from the picture's pixels to the photo's."""
    width, height = size_px
    photo_height, photo_width = photo.shape[:2]
    points = face.points_px[:FACE_VERTICES, :2]
    extent = float(np.ptp(points, axis=0).max())
    eyes_y = float(points[list(_EYE_CORNERS), 1].mean())
    centre_x = float((points[:, 0].min() + points[:, 0].max()) / 2)
    below = photo_height - eyes_y
    # Picture pixels for one of the photo.
    zoom = max(FACE_SHARE * height / extent, min((1 - EYES) * height / below, LARGEST_FACE * height / extent))
    # Nothing below the photo is ever shown.
    top = max(EYES * height, height - below * zoom)
    missing = top - eyes_y * zoom
    if missing > 0 and (missing < LITTLE_MISSING * height or _cut_above(photo, points)):
        zoom = max(zoom, height / photo_height)  # a head that is cut has to be cut by the picture
        top = max(min(eyes_y * zoom, EYES * height), height - below * zoom)
    corner = np.array([centre_x - width / 2 / zoom, eyes_y - top / zoom])
    # A head a little beside the middle is better than a room that is made up.
    spare = photo_width - width / zoom
    moved = float(np.clip(corner[0], 0, spare)) if spare >= 0 else corner[0]
    if abs(moved - corner[0]) < 0.08 * width / zoom:
        corner[0] = moved
    scale = 1 / zoom
    return np.column_stack([np.eye(2) * scale, corner + scale / 2 - 0.5])


def _cut_above(photo: Frame, points: FloatArray) -> bool:
    """Whether the photo's upper edge cuts the head."""
    left, right = points[:, 0].min(), points[:, 0].max()
    small = 256 / max(photo.shape[:2])
    size = max(1, round(photo.shape[1] * small)), max(1, round(photo.shape[0] * small))
    frame = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    head = np.maximum(person_mask(frame), hair_mask(frame))[
        :2, max(0, int(left * small)) : int(right * small) + 1
    ]
    return bool(head.size and head.mean() > CUT_ABOVE)
