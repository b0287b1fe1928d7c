"""The source in layers: the person, with soft hair, in front of the background. Made once per source.

The recipe: a matte from two networks; the background filled behind the person; and colours of the person's soft edge such
that the layers together are the photo again.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.geometry import plate
from icface.geometry.curls import with_curls
from icface.geometry.free_layer import free_layer
from icface.geometry.skull import continue_chin, continue_side, continue_skull
from icface.images import cut_crop
from icface.pyramid import highest, push_pull
from icface.segmentation.matte import grown, person_matte
from icface.segmentation.segmenters import Mask

MARGIN: Final = 0.25
"""What the layer has more than the crop, on each side: it moves into view."""
HAIR_DRAG: Final = 0.6
"""So far beside hair (IOD) clothes are drawn along."""
LEAST_SEEN: Final = 0.9
"""Share of the face that has to look like a person's."""
MOST_PERSON: Final = 0.95
"""Share of the picture. Where more is the person, hardly any background moves."""
MOST_UNSURE: Final = 0.35
MOST_MISSED: Final = 0.15
MOST_HAIR_LEFT: Final = 0.06


class Cutout(NamedTuple):
    """Person and background of one crop of side T."""

    layer: NDArray[np.uint8]
    """(S, S, 4) RGBA, colours multiplied by alpha; the crop and a margin of `margin` pixels."""
    plate: Frame
    """(T, T, 3) RGB."""
    margin: int
    edges: FloatArray
    """(4,) left, top, right, bottom of the photo, in crop pixels."""
    edge_cover: Mask
    """(4, T) how far the person is cut by each of these edges, at each row or column of the crop."""
    hair: Mask
    """(h, w) how much of the person is hair there, over the whole layer, smooth, and continued beyond the person."""
    free: NDArray[np.uint8] | None
    """As `layer`, to stand before any background (`free_layer`); None where nobody asked for it."""

    def doubled(self) -> Cutout:
        """The same for a crop of twice the side."""
        return Cutout(
            layer=_doubled(self.layer),
            plate=_doubled(self.plate, cv2.INTER_CUBIC),
            margin=2 * self.margin,
            edges=2 * self.edges + np.float32(0.5),
            edge_cover=np.repeat(self.edge_cover, 2, axis=1),
            hair=self.hair,
            free=None if self.free is None else _doubled(self.free),
        )


def _doubled(picture: Frame, how: int = cv2.INTER_LINEAR) -> Frame:
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=how)
    return np.asarray(large, dtype=np.uint8)


class Room(NamedTuple):
    """The photo as it was taken, where a person is cut out of a completed one: its background is the true one."""

    photo: Frame
    """(H, W, 3) RGB."""
    oval_px: FloatArray
    """(n, 2) outline of its face in pixels of the photo."""
    alpha: NDArray[np.uint8] | None = None
    """(S, S) where the person is, if that is known already."""
    alpha_affine: Array | None = None
    """(2, 3) from its pixels to those of the photo."""


def cut_out(
    photo: Frame,
    affine: Array,
    size_px: int,
    oval_px: FloatArray,
    iod_px: float,
    *,
    free: bool = False,
    room: Room | None = None,
    margin_share: float = MARGIN,
) -> Cutout | str:
    """Cut a person out of a photo.

    Args:
        photo: (H, W, 3) RGB.
        affine: (2, 3) from crop pixels to photo pixels; upright.
        size_px: side T of the crop.
        oval_px: (n, 2) outline of the face in crop pixels.
        iod_px: distance of the outer eye corners in crop pixels.
        free: make the layer for other backgrounds too.
        room: where the background is taken from, if not from `photo`.
        margin_share: what the layer has more than the crop on each side, as a share of its side.

    Returns:
        The layers; or, where the matte is not to be trusted, the reason.
    """
    margin = round(margin_share * size_px)
    wide = affine.copy()
    wide[:, 2] -= affine[0, 0] * margin
    side = size_px + 2 * margin
    frame = cut_crop(photo, wide, side)
    # The part that was photographed. `cut_crop` mirrors it into the rest.
    low = np.ceil((-0.5 - wide[:, 2]) / wide[0, 0]).astype(int)
    high = np.floor((np.array(photo.shape[1::-1]) - 0.5 - wide[:, 2]) / wide[0, 0]).astype(int)
    x0, y0 = (max(0, int(start)) for start in low)
    x1, y1 = (min(side, int(end)) for end in high)
    seen = np.s_[y0:y1, x0:x1]
    matte = person_matte(
        frame[seen], oval_px + np.array([margin - x0, margin - y0], dtype=np.float32), iod_px
    )
    if matte.seen < LEAST_SEEN:
        return "no person is seen around the face"
    if matte.unsure > MOST_UNSURE:
        return f"the outline of hair and head is not clear ({matte.unsure:.0%} of it)"
    if matte.missed > MOST_MISSED:
        return f"the top of the head is not clear ({matte.missed:.0%} of it)"
    if matte.hair_left > MOST_HAIR_LEFT:
        return f"there is hair that cannot be cut out ({matte.hair_left:.0%} of the head)"

    alpha = matte.alpha
    near = grown(alpha > 0.02, 0.02 * iod_px)
    if near.mean() > MOST_PERSON:
        return "hardly any background is seen"
    plain = room is None and plate.is_plain(frame[seen], near, iod_px)
    if plain:
        hole = plate.hole_in_wall(frame[seen], near, iod_px)
    else:
        chin = max(1, int(oval_px[:, 1].max()) + margin - y0)
        above = np.s_[:chin]
        alpha[above] = with_curls(frame[seen][above], alpha[above], matte.hair[above], iod_px)
        hole = grown(alpha > 0.02, 0.02 * iod_px)
    if room is None:
        background = plate.fill(frame[seen], hole, iod_px, plain=plain)
    else:
        background = _emptied(room, wide, side, seen, iod_px)
    pads = y0, side - y1, x0, side - x1
    oval = oval_px + np.float32(margin)
    free_rgba = None
    if free:
        free_rgba = _wide(
            *free_layer(frame[seen], alpha, background, iod_px, plain=plain), matte.hair, pads, oval
        )[0]
    layer, alpha_wide, sides = _wide(
        *_layer(frame[seen], alpha, background, hole, iod_px, plain), matte.hair, pads, oval
    )
    lines = alpha_wide[:, x0], alpha_wide[y0], alpha_wide[:, x1 - 1], alpha_wide[y1 - 1]
    cover = np.stack([_softened(line, iod_px)[margin : margin + size_px] for line in lines])
    cover[[0, 2]] *= 1 - np.array(sides, dtype=np.float32)[:, None]  # beyond these edges the head goes on
    cover[1] = 0
    inside = np.s_[margin : margin + size_px, margin : margin + size_px]
    return Cutout(
        layer=layer,
        plate=np.ascontiguousarray(_padded(background, pads)[inside]),
        margin=margin,
        edges=np.array([x0, y0, x1 - 1, y1 - 1], dtype=np.float32) - margin,
        edge_cover=cover,
        hair=_hair(_repeated(matte.hair, pads), alpha_wide, iod_px),
        free=free_rgba,
    )


def _emptied(room: Room, affine: Array, side: int, seen: tuple[slice, slice], iod_px: float) -> Frame:
    """A room without its person: the part `seen` of the crop that `affine` and `side` tell."""
    frame = cut_crop(room.photo, affine, side)[seen]
    if room.alpha is None or room.alpha_affine is None:
        oval = (room.oval_px - affine[:, 2]) / affine[0, 0] - [seen[1].start, seen[0].start]
        person = person_matte(frame, oval.astype(np.float32), iod_px).alpha > 0.02
    else:
        known = room.alpha_affine
        onto = np.column_stack([affine[:, :2], affine[:, 2] - known[:, 2]]) / known[0, 0]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        alpha = cv2.warpAffine(room.alpha, onto, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        person = alpha[seen] > 0.02 * 255
    near = grown(person, 0.02 * iod_px)
    return plate.emptied(frame, near, iod_px)[0]


def _wide(
    alpha: Mask, colours: Frame, hair: Mask, pads: tuple[int, int, int, int], oval_px: FloatArray
) -> tuple[NDArray[np.uint8], Mask, tuple[bool, bool]]:
    """A layer (S, S, 4) of alpha, colours and hair of the part that was photographed, continued beyond it.

    Also its alpha (S, S), 0 to 1, before head and hair were continued; and whether the head goes on left and right.
    """
    top, bottom, left, right = pads
    wide = alpha
    if any(pads):
        # What the edge hardly cuts would come back into view as a speck.
        repeated = np.clip((_repeated(alpha, pads) - 0.6) / 0.35, 0, 1)
        wide = np.minimum(_padded(alpha, pads), repeated).astype(np.float32)
        wide[top : wide.shape[0] - bottom, left : wide.shape[1] - right] = alpha
    layer = np.empty((*wide.shape, 4), dtype=np.uint8)
    layer[..., 3] = 255 * wide + np.float32(0.5)
    for channel in range(3):
        layer[..., channel] = np.minimum(_padded(colours[..., channel], pads), layer[..., 3])
    sides = continue_side(layer, left, wide.shape[1] - right, oval_px)
    continue_skull(layer, top, oval_px, _repeated(hair, pads))
    continue_chin(layer, len(layer) - bottom, oval_px)
    return layer, wide, sides


def _hair(hair: Mask, alpha: Mask, iod_px: float) -> Mask:
    """1 on the person's hair, falling to 0 beside it, at an eighth of the size."""
    size = tuple(max(4, round(side / 8)) for side in alpha.shape[::-1])
    small = cv2.resize(hair * alpha, size, interpolation=cv2.INTER_AREA)
    away = np.minimum(cv2.distanceTransform((small < 0.5).astype(np.uint8), cv2.DIST_L2, 5), 1e4) * 8 / iod_px
    share = np.clip(1 - away / HAIR_DRAG, 0, 1)
    share = share * share * (3 - 2 * share)
    return np.asarray(cv2.GaussianBlur(share, (0, 0), 0.06 * iod_px / 8), dtype=np.float32)


def _softened(line: Mask, iod_px: float) -> Mask:
    """A row of alpha, grown and smoothed."""
    grown = cv2.dilate(line.reshape(1, -1), np.ones((1, 2 * int(0.15 * iod_px) + 1), np.uint8))
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), max(1.0, 0.12 * iod_px))[0], dtype=np.float32)


def _repeated(values: Mask, pads: tuple[int, int, int, int]) -> Mask:
    """The part that was photographed, continued by its edge."""
    return np.asarray(cv2.copyMakeBorder(values, *pads, cv2.BORDER_REPLICATE), dtype=np.float32)


def _padded(values: NDArray[Any], pads: tuple[int, int, int, int]) -> NDArray[Any]:
    """The part that was photographed, continued by its mirror image."""
    mirrored = max(pads) < min(values.shape[:2])
    mode = cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(values, *pads, mode))


def _layer(
    frame: Frame, alpha: Mask, background: Frame, hole: NDArray[np.uint8], iod_px: float, plain: bool
) -> tuple[Mask, Frame]:
    """Alpha and premultiplied colours (H, W, 3) of the person."""
    photo = frame.astype(np.float32)
    if plain:
        # The smallest alpha that gives the photo again in front of the plate: it takes up single hairs.
        band = (hole > 0) & (alpha < 1)
        seen, behind = photo[band], background[band].astype(np.float32)
        darker = highest(1 - seen / np.maximum(behind, 1))
        lighter = highest((seen - behind) / np.maximum(255 - behind, 1))
        least = np.clip((np.maximum(darker, lighter) - 0.05) / 0.95, 0, 1)
        far = cv2.distanceTransform((alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 3)[band] / iod_px
        least *= np.clip((plate.HAIRS_REACH - far) / 0.15, 0, 1)
        alpha = alpha.copy()
        alpha[band] = np.maximum(alpha[band], least)
        share = alpha[band][:, None]
        soft = seen - (1 - share) * behind
    else:
        band = (alpha > 0) & (alpha < 1)
        share = alpha[band][:, None]
        person = push_pull(photo, (alpha > 0.97).astype(np.float32))[band]
        around = push_pull(photo, (alpha < 0.02).astype(np.float32))[band]
        left = photo[band] - share * person - (1 - share) * around
        soft = (person + np.clip(left, -60, 60) * share) * share
    colours = frame * (alpha >= 1)[..., None]
    colours[band] = np.clip(soft, 0, 255 * share) + 0.5
    return alpha, colours
