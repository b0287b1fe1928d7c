"""A photo as the camera of a video call would show it: wide, the head centred, shoulders down to the lower border.

Where the photo is narrower than the picture, the room goes on to both sides, more and more blurred, and shoulders that
the photo's edge cuts are rounded off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from icface.geometry import plate
from icface.geometry.cutout import LEAST_SEEN, MOST_UNSURE
from icface.geometry.topology import FACE_VERTICES, OVAL
from icface.images import cut_crop
from icface.segmentation.matte import grown, person_matte
from icface.segmentation.segmenters import Mask, hair_mask, person_mask

FACE_SHARE: Final = 0.33
"""Height of the face (brows to chin and a little more) as a share of the picture's. The head is half as high again."""
LARGEST_FACE: Final = 0.52
"""Where the photo ends soon below the chin, the face is shown up to so large, so that no lower edge is seen."""
EYES: Final = 1 / 3
"""Where the eyes are, from the top."""
LITTLE_MISSING: Final = 0.12
"""Where the photo ends so little below the picture's top, as a share of its height, the eyes are a little higher."""
CUT: Final = 0.3
"""The photo's edge cuts the person where it shows more than this of them."""
_EYE_CORNERS: Final = (33, 263)

# Lengths in IOD.
BLUR_FROM: Final = 0.6
"""The room begins to blur so far inside of the photo's edge."""
BLUR_GROWTH: Final = 0.30
MOST_BLUR: Final = 0.9
SHOULDER_REACH: Final = 1.6
"""A shoulder ends at most so far beyond the photo's edge."""
SHOULDER_ROUNDING: Final = 0.7
"""How fast a shoulder's outline bends downwards beyond the edge, in 1 / IOD."""
SLOPE_OVER: Final = 0.25
"""The outline's slope at the edge is measured over this width."""
LEAST_SLOPE: Final = 0.25
HAIR_REACH: Final = 0.35


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
    return _continued(seen, points, pads), view_to_photo


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
    return bool(head.size and head.mean() > CUT)


def _continued(seen: Frame, points: FloatArray, pads: tuple[int, int, int, int]) -> Frame:
    """The picture that goes on beyond the photo by `pads` (top, bottom, left, right)."""
    iod_px = float(np.linalg.norm(points[_EYE_CORNERS[0]] - points[_EYE_CORNERS[1]]))
    matte = person_matte(seen, points[list(OVAL)], iod_px)
    if matte.seen < LEAST_SEEN or matte.unsure > MOST_UNSURE:
        return _before_itself(seen, pads, iod_px)
    alpha = matte.alpha
    near = grown(alpha > 0.02, 0.02 * iod_px)
    plain = plate.is_plain(seen, near, iod_px)
    room = plate.fill(seen, grown(near, 0.12 * iod_px) if plain else near, iod_px, plain=plain)
    height, width = seen.shape[:2]
    top, _, left, right = pads
    whole = _mirrored(room, pads)
    inside = np.zeros(whole.shape[:2], dtype=np.uint8)
    inside[top : top + height, left : left + width] = 1
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    # The border of the picture is no edge of the photo.
    framed = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    distance = (away - np.where(inside > 0, depth, 0)) / iod_px
    blurred = _blurred(whole, np.clip((distance + BLUR_FROM) * BLUR_GROWTH, 0, MOST_BLUR) * iod_px)
    # A plain wall has nothing to blur but its grain.
    behind = whole.astype(np.float32) if plain else blurred

    person = np.zeros(whole.shape[:2], dtype=np.float32)
    person[top : top + height, left : left + width] = alpha
    picture = np.zeros(whole.shape, dtype=np.float32)
    picture[top : top + height, left : left + width] = seen
    face = float(points[:, 0].min()), float(points[:, 0].max())
    for side, pad in ((0, left), (1, right)):
        if pad:
            _round_off(person, picture, (left, left + width), side, face, top, iod_px)
    share = person[..., None]
    composed = picture * share + behind * (1 - share)
    if plain:  # the photo itself, where there is one
        composed[top : top + height, left : left + width] = seen
    else:
        # Hair keeps the photo's own edge as long as the room behind is sharp.
        sharp = np.clip(-distance / BLUR_FROM, 0, 1)[top : top + height, left : left + width, None]
        sharp = np.clip(2 * sharp - 0.8, 0, 1)
        part = composed[top : top + height, left : left + width]
        part += sharp * (seen - part)
    return np.clip(np.round(composed), 0, 255).astype(np.uint8)


def _before_itself(seen: Frame, pads: tuple[int, int, int, int], iod_px: float) -> Frame:
    """The photo before itself, large and blurred: where nobody knows what is person and what is room."""
    top, bottom, left, right = pads
    height, width = seen.shape[:2]
    whole = height + top + bottom, width + left + right
    scale = max(whole[0] / height, whole[1] / width)
    large: Any = cv2.resize(seen, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    y, x = (large.shape[0] - whole[0]) // 2, (large.shape[1] - whole[1]) // 2
    large = large[y : y + whole[0], x : x + whole[1]]
    behind: Any = _blurred(np.ascontiguousarray(large), np.full(whole, MOST_BLUR * iod_px, dtype=np.float32))
    inside = np.zeros(whole, dtype=np.uint8)
    inside[top : top + height, left : left + width] = 1
    framed = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    share = np.clip(depth / (BLUR_FROM * iod_px), 0, 1)[..., None]
    picture: Any = cv2.copyMakeBorder(seen, *pads, cv2.BORDER_REPLICATE)
    mixed = behind + share * (picture - behind)
    return np.asarray(np.clip(np.round(mixed), 0, 255), dtype=np.uint8)


def _mirrored(room: Frame, pads: tuple[int, int, int, int]) -> Frame:
    """The room, continued by its mirror image, as often as needed."""
    rest = np.array(pads)
    while rest.any():
        height, width = room.shape[:2]
        step = np.minimum(rest, [height - 1, height - 1, width - 1, width - 1])
        top, bottom, left, right = (int(pad) for pad in step)
        room = np.asarray(
            cv2.copyMakeBorder(room, top, bottom, left, right, cv2.BORDER_REFLECT_101), dtype=np.uint8
        )
        rest = rest - step
    return room


def _blurred(picture: Frame, sigma_px: NDArray[np.float32]) -> plate.Colours:
    """A picture with a blur of its own at each pixel: between five that are blurred evenly."""
    most = float(sigma_px.max())
    out: Any = picture.astype(np.float32)
    small, scale, before = out, 1.0, 0.0
    for level in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0):
        sigma = max(level * most, 0.5)
        while sigma * scale > 8:  # wide blurs are made small
            small, scale = cv2.pyrDown(small), scale / 2
        even = cv2.GaussianBlur(small, (0, 0), sigma * scale, borderType=cv2.BORDER_REFLECT_101)
        even = cv2.resize(even, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip((sigma_px - before) / (sigma - before), 0, 1)[..., None]
        out = out + share * (even - out)
        before = sigma
    return np.asarray(out, dtype=np.float32)


def _round_off(
    person: Mask,
    picture: plate.Colours,
    span: tuple[int, int],
    side: int,
    face: tuple[float, float],
    top: int,
    iod_px: float,
) -> None:
    """Continue the person beyond an edge of the photo that cuts them, in place, by a mirror image under a round outline.

    Args:
        person: (H, W) alpha of the picture, 0 beyond the photo.
        picture: (H, W, 3).
        span: first column of the photo, and the one after its last.
        side: 0 left, 1 right.
        face: left and right of the face, in columns of the photo. It is never mirrored.
        top: the photo's first row in the picture.
        iod_px: distance of the outer eye corners.
    """
    height, width = person.shape
    if side:  # seen in a mirror, so that the edge is always the left one
        person, picture = person[:, ::-1], picture[:, ::-1]
        span = width - span[1], width - span[0]
        face = span[1] - span[0] - face[1], span[1] - span[0] - face[0]
    edge = span[0]
    column = person[:, edge : edge + max(2, round(0.04 * iod_px))].mean(axis=1)
    cut = column > CUT
    if not cut.any():
        return
    room = int(min(edge, 0.9 * max(face[0], 1.0)))
    # Rows that hang together, each with an outline of its own.
    starts = np.flatnonzero(np.diff(np.concatenate([[0], cut.astype(np.int8), [0]])))
    outline = np.zeros((height, edge), dtype=np.float32)
    away = (edge - np.arange(edge)).astype(np.float32)[None, :]
    rows = np.arange(height, dtype=np.float32)[:, None]
    for first, last in zip(starts[::2], starts[1::2], strict=True):
        if last - first < 0.1 * iod_px:
            continue
        tall = float(last - first)
        if last >= height - 2:  # a shoulder or an arm: down to the lower border
            inside = rows - _shoulder(person, edge, int(first), tall, room, iod_px)(away)
        else:  # hair, an elbow
            reach = min(HAIR_REACH * iod_px, 0.5 * tall, room)
            middle = (first + last) / 2
            round_ = np.hypot(np.abs(rows - middle) / (tall / 2), away / max(reach, 1.0))
            inside = (1 - round_) * min(reach, tall / 2)
        soft = np.clip(inside / max(1.5, 0.02 * iod_px) + 0.5, 0, 1)
        outline = np.maximum(outline, soft)
    mirror = np.minimum(2 * edge - np.arange(edge), width - 1)
    colours = plate.push_pull(picture[:, edge : edge + room + 2], person[:, edge : edge + room + 2] * 1.0)
    take = np.clip(mirror - edge, 0, colours.shape[1] - 1)
    picture[:, :edge] = colours[:, take]
    person[:, :edge] = outline


def _shoulder(
    person: Mask, edge: int, first: int, tall: float, room: int, iod_px: float
) -> Callable[[FloatArray], FloatArray]:
    """Where a shoulder's outline is (row) at a distance beyond the edge: it goes on as it falls there, ever steeper."""
    over = max(3, round(SLOPE_OVER * iod_px))
    body = person[:, edge : edge + over] > CUT
    # The upper end of what reaches the lower border, column by column.
    lengths = np.argmin(np.vstack([body[::-1], np.zeros((1, body.shape[1]), dtype=bool)]), axis=0)
    tops = body.shape[0] - lengths
    slope = -float(np.polyfit(np.arange(body.shape[1]), tops, 1)[0])
    slope = float(np.clip(slope, LEAST_SLOPE, 4.0))
    bend = SHOULDER_ROUNDING / iod_px
    reach = max(2.0, min(SHOULDER_REACH * iod_px, room))
    bend = max(bend, (tall - slope * reach) / reach**2)
    return lambda away: np.asarray(first + slope * away + bend * away * away, dtype=np.float32)
