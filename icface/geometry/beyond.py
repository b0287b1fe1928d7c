"""What lies beyond a photo's edges, made up: the room goes on as a mirror image, and cut shoulders are rounded off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.geometry import plate
from icface.geometry.cutout import LEAST_SEEN, MOST_UNSURE
from icface.geometry.follow import smooth
from icface.geometry.skull import continue_side, cut_sides
from icface.geometry.topology import OVAL
from icface.pyramid import Colours, push_pull
from icface.segmentation.matte import Matte, grown, person_matte
from icface.segmentation.segmenters import Mask

Pads = tuple[int, int, int, int]
"""Pixels above, below, to the left and to the right of a photo."""

CUT: Final = 0.3
"""The photo's edge cuts the person where it shows more than this of them."""
_EYE_CORNERS: Final = (33, 263)

# Lengths in IOD.
BLUR_FROM: Final = 1.2
"""The room begins to blur so far inside of the photo's edge."""
BLUR_OVER: Final = 2.6
"""So far from there it is blurred most."""
MOST_BLUR: Final = 0.8
SHOULDER_REACH: Final = 1.6
"""A shoulder ends at most so far beyond the photo's edge."""
SHOULDER_ROUNDING: Final = 0.7
"""How fast a shoulder's outline bends downwards beyond the edge, in 1 / IOD."""
SLOPE_OVER: Final = 0.25
"""The outline's slope at the edge is measured over this width."""
LEAST_SLOPE: Final = 0.25
MIRROR_SHARP: Final = 0.4
"""So far beyond the edge the mirror image of cloth has detail, less and less: folds meet there like arrows."""
MIRROR_BLUR: Final = 0.25
HAIR_REACH: Final = 0.35


def continued(
    photo: Frame,
    points: FloatArray,
    pads: Pads,
    *,
    matte: Matte | None = None,
    blur: tuple[float, float] = (BLUR_FROM, BLUR_OVER),
) -> Frame:
    """The photo and what could lie around it.

    Args:
        photo: (H, W, 3) RGB.
        points: (468, 2) the face.
        pads: pixels to add.
        matte: of the person, where it is known.
        blur: how far inside of the photo's edge a structured room begins to blur, and how far from there it is blurred
            most, in IOD. The photo stays as it is where the first is 0.

    Returns:
        The larger picture.
    """
    iod_px = float(np.linalg.norm(points[_EYE_CORNERS[0]] - points[_EYE_CORNERS[1]]))
    oval_px = points[list(OVAL)]
    matte = matte or person_matte(photo, oval_px, iod_px)
    if matte.seen < LEAST_SEEN or matte.unsure > MOST_UNSURE:
        return _before_itself(photo, pads, iod_px)
    alpha = matte.alpha
    near = grown(alpha > 0.02, 0.02 * iod_px)
    if near.all():
        return _before_itself(photo, pads, iod_px)
    room, plain = plate.emptied(photo, near, iod_px)
    height, width = photo.shape[:2]
    top, _, left, right = pads
    whole = _mirrored(room, pads)
    inside = np.zeros(whole.shape[:2], dtype=np.uint8)
    inside[top : top + height, left : left + width] = 1
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    # The border of the picture is no edge of the photo.
    framed = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    distance: Any = (away - np.where(inside > 0, depth, 0)) / iod_px
    behind: Any = whole.astype(np.float32)
    if not plain:  # which has nothing to blur but its grain
        behind = blurred(whole, MOST_BLUR * iod_px * smooth((distance + blur[0]) / blur[1]))

    person = np.zeros(whole.shape[:2], dtype=np.float32)
    person[top : top + height, left : left + width] = alpha
    picture = np.zeros(whole.shape, dtype=np.float32)
    picture[top : top + height, left : left + width] = photo
    face = float(points[:, 0].min()), float(points[:, 0].max())
    span = left, left + width
    others = cut_sides(0, width, oval_px)
    for side, pad in ((0, left), (1, right)):
        if pad and not others[side]:
            _round_off(person, picture, span, side, face, iod_px)
    for side, pad in ((0, left), (1, right)):
        if pad and others[side]:
            _other_side(person, picture, span, side, oval_px + np.array([left, top], dtype=np.float32))
    share = person[..., None]
    composed = picture * share + behind * (1 - share)
    if plain or not blur[0]:  # the photo itself, where there is one
        composed[top : top + height, left : left + width] = photo
    else:
        # Hair keeps the photo's own edge as long as the room behind is sharp.
        sharp = np.clip(-distance / BLUR_FROM, 0, 1)[top : top + height, left : left + width, None]
        sharp = np.clip(2 * sharp - 0.8, 0, 1)
        part = composed[top : top + height, left : left + width]
        part += sharp * (photo - part)
    return np.asarray(np.clip(np.round(composed), 0, 255), dtype=np.uint8)


def _before_itself(photo: Frame, pads: Pads, iod_px: float) -> Frame:
    """The photo before itself, large and blurred: where nobody knows what is person and what is room."""
    top, bottom, left, right = pads
    height, width = photo.shape[:2]
    whole = height + top + bottom, width + left + right
    scale = max(whole[0] / height, whole[1] / width)
    large: Any = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    y, x = (large.shape[0] - whole[0]) // 2, (large.shape[1] - whole[1]) // 2
    large = large[y : y + whole[0], x : x + whole[1]]
    behind: Any = blurred(np.ascontiguousarray(large), np.full(whole, MOST_BLUR * iod_px))
    inside = np.zeros(whole, dtype=np.uint8)
    inside[top : top + height, left : left + width] = 1
    framed = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    share = np.clip(depth / (BLUR_FROM * iod_px), 0, 1)[..., None]
    picture: Any = cv2.copyMakeBorder(photo, *pads, cv2.BORDER_REPLICATE)
    mixed = behind + share * (picture - behind)
    return np.asarray(np.clip(np.round(mixed), 0, 255), dtype=np.uint8)


def _mirrored(room: Frame, pads: Pads) -> Frame:
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


def blurred(picture: Frame, sigma_px: Array) -> Colours:
    """A picture with a blur of its own at each pixel: between five that are blurred evenly."""
    most = float(sigma_px.max())
    out: Any = picture.astype(np.float32)
    small, scale, before = out, 1.0, 0.0
    for level in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0):
        sigma = max(level * most, 0.5)
        while sigma * scale > 8:  # wide blurs are made small
            half: Any = small.shape[1] // 2, small.shape[0] // 2
            small, scale = cv2.resize(small, half, interpolation=cv2.INTER_AREA), scale / 2
        even = cv2.GaussianBlur(small, (0, 0), sigma * scale, borderType=cv2.BORDER_REFLECT_101)
        even = cv2.resize(even, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip((sigma_px - before) / (sigma - before), 0, 1)[..., None]
        out = out + share * (even - out)
        before = sigma
    return np.asarray(out, dtype=np.float32)


def _round_off(
    person: Mask,
    picture: Colours,
    span: tuple[int, int],
    side: int,
    face: tuple[float, float],
    iod_px: float,
) -> None:
    """Continue the person beyond an edge of the photo that cuts them, in place, by a mirror image under a round outline.

    Args:
        person: (H, W) alpha of the picture, 0 beyond the photo.
        picture: (H, W, 3).
        span: first column of the photo, and the one after its last.
        side: 0 left, 1 right.
        face: left and right of the face, in columns of the photo. It is never mirrored.
        iod_px: distance of the outer eye corners.
    """
    height, whole = person.shape
    if side:  # turned round, so that the edge is always the left one
        person, picture = person[:, ::-1], picture[:, ::-1]
        span = whole - span[1], whole - span[0]
        face = span[1] - span[0] - face[1], span[1] - span[0] - face[0]
    edge = span[0]
    column = person[:, edge : edge + max(2, round(0.04 * iod_px))].mean(axis=1)
    cut = column > CUT
    if not cut.any():
        return
    width = int(min(edge, 0.9 * max(face[0], 1.0)))  # of the mirror image
    # Rows that hang together, each with an outline of its own.
    starts = np.flatnonzero(np.diff(np.concatenate([[0], cut.astype(np.int8), [0]])))
    outline = np.zeros((height, edge), dtype=np.float32)
    away: Any = (edge - np.arange(edge)).astype(np.float32)[None, :]
    rows = np.arange(height, dtype=np.float32)[:, None]
    for first, last in zip(starts[::2], starts[1::2], strict=True):
        if last - first < 0.1 * iod_px:
            continue
        tall = float(last - first)
        if last >= height - 2:  # a shoulder or an arm: down to the lower border
            inside = rows - _shoulder(person, edge, int(first), tall, width, iod_px)(away)
        else:  # hair, an elbow
            reach = max(1.0, min(HAIR_REACH * iod_px, 0.5 * tall, width))
            middle = (first + last) / 2
            round_ = np.hypot(np.abs(rows - middle) / (tall / 2), away / reach)
            inside = (1 - round_) * min(reach, tall / 2)
        outline = np.maximum(outline, np.clip(inside / max(1.5, 0.02 * iod_px) + 0.5, 0, 1))
    # The person's colours alone, also where the outline beyond the edge is higher than the one that is mirrored.
    near = np.s_[:, edge : edge + width + 2]
    colours = push_pull(np.ascontiguousarray(picture[near]), np.ascontiguousarray(person[near]))
    mirrored = np.minimum(edge - np.arange(edge), colours.shape[1] - 1)
    soft: Any = cv2.GaussianBlur(colours, (0, 0), MIRROR_BLUR * iod_px)
    share = smooth(away / (MIRROR_SHARP * iod_px))[..., None]
    picture[:, :edge] = colours[:, mirrored] + share * (soft[:, mirrored] - colours[:, mirrored])
    person[:, :edge] = outline


def _other_side(
    person: Mask, picture: Colours, span: tuple[int, int], side: int, oval_px: FloatArray
) -> None:
    """Continue a head beyond an edge of the photo that cuts it, in place, by the mirror image of its other side.

    Args:
        person: (H, W) alpha of the picture, whole on the other side.
        picture: (H, W, 3).
        span: first column of the photo, and the one after its last.
        side: 0 left, 1 right.
        oval_px: (36, 2) outline of the face in the picture.
    """
    first, end = span
    columns = np.s_[:, :first] if side == 0 else np.s_[:, end:]
    edge = 2 * first if side == 0 else 2 * (end - 1)
    layer = np.dstack([picture * person[..., None], 255 * person]).round().astype(np.uint8)
    about = np.clip(edge - np.arange(layer.shape[1]), first, end - 1)
    layer[columns] = layer[:, about][columns]
    continue_side(layer, first, end, oval_px)
    made = layer[columns].astype(np.float32)
    person[columns] = made[..., 3] / 255
    picture[columns] = made[..., :3] * 255 / np.maximum(made[..., 3:], 1)


def _shoulder(
    person: Mask, edge: int, first: int, tall: float, width: int, iod_px: float
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
    reach = max(2.0, min(SHOULDER_REACH * iod_px, width))
    bend = max(bend, (tall - slope * reach) / reach**2)
    return lambda away: np.asarray(first + slope * away + bend * away * away, dtype=np.float32)
