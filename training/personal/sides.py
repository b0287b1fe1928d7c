"""The sides of the head: of each the frame that shows it best, cut out for the bundle's person."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Array, Tensors
from icface.attributes import ACTION_UNITS, FloatArray
from icface.errors import SourceError
from icface.face.landmarks import open_detector
from icface.geometry import topology as mesh
from icface.geometry.back import NOT_SKIN
from icface.geometry.cutout import LEAST_SEEN, MOST_UNSURE
from icface.geometry.follow import smooth
from icface.geometry.person import SIDES, KnownSide, Person, read_person, side_tensors, turn_onto
from icface.geometry.shape import PIVOT
from icface.geometry.teeth import cheek_colours
from icface.pyramid import push_pull
from icface.segmentation.matte import Matte, person_matte
from training.pairs.seen import Seen
from training.pairs.source import Source
from training.personal.movements import Movements

logger = logging.getLogger(__name__)

TURNED_RAD: Final = 0.30, 0.75
"""A head that is turned by less hides its side. One that is turned by more is measured badly."""
BEST_RAD: Final = 0.50
"""What is seen at this turn serves smaller and larger ones."""
TRIED_RAD: Final = 0.20, 0.60
TRIED: Final = 6
"""On so many frames, turned so far, a side is compared with what the geometry makes without it."""
IOD_PX: Final = 64.0
BLUR: Final = 0.05
"""Of the comparison (IOD): single hairs never lie where they were."""
BETTER: Final = 0.95
"""A side has to differ by so much less from what was seen."""

LEAST: Final = 0.2
"""A side is at least so large (square IOD)."""
LEAST_PX: Final = 16
"""Nor is it narrower than what a bundle's pictures have to be."""

# The part that is shown. Lengths in IOD, heights over the eyes.
BEGINS: Final = 0.30, 0.15
"""From the rim of the face inwards: where it begins, at the cheek and above the forehead."""
WHOLE: Final = 0.06, -0.25
"""And where nothing else is shown."""
FOREHEAD: Final = 0.2, 0.6
"""Heights between which one becomes the other."""
JAW: Final = -0.80, -1.10
"""The cheek fades out between these."""
NECK: Final = -0.50, -0.78
"""Beyond the face's rim only hair is shown below these: a neck does not turn with the head."""
EARS: Final = -0.4, -0.6
"""Below the ears only what has the hue of skin, or is hair."""
HAIR: Final = -1.3, -1.9
THIN: Final = 0.25
"""Below the ears, strands that are thinner are left out: beside them the neck would be missing."""
PURE: Final = 0.95
"""Alpha of the matte from which on a colour is the person's alone."""
BORDER: Final = 0.15
"""Where the picture ends the side fades out over so much."""


def fit_sides(faces: Sequence[Seen], attributes: FloatArray, movements: Movements, calm: int) -> Tensors:
    """`left_side` and so on of a bundle's person. A side that no frame shows, or that looks no better, is left out.

    Args:
        faces: of one person, in frames.
        attributes: (n, SIZE) theirs.
        movements: the person's.
        calm: which of the frames is calm and frontal.
    """
    tensors: dict[str, Any] = {}
    for name, sign in zip(SIDES, (1, -1), strict=True):
        turned = [sign * _yaw(face) for face in faces]
        scores = [_score(*each) for each in zip(faces, turned, attributes, strict=True)]
        best = int(np.argmax(scores))
        if scores[best] == -np.inf:
            continue
        side = cut_side(faces[best], movements.neutral_shape)
        if side is None:
            continue
        low, high = TRIED_RAD
        others = [i for i, turn_rad in enumerate(turned) if low <= turn_rad <= high and i != best] or [best]
        spread = sorted(others, key=lambda i: turned[i])
        tried = [faces[spread[i]] for i in np.unique(np.linspace(0, len(spread) - 1, TRIED).astype(int))]
        told = side_tensors(name, side)
        if looks_better(faces[calm], read_person(told), tried):
            tensors |= told
        else:
            logger.info(
                "the %s side of the head looks no better by what was seen of it; it stays as it was", name
            )
    return tensors


def looks_better(calm: Seen, person: Person, tried: Sequence[Seen]) -> bool:
    """Whether what the person's sides show is nearer to some turned faces than what the geometry makes of a calm one."""
    try:
        with closing(open_detector(video=False, refined=True)) as detector:
            plain, told = (
                Source(calm, detector, IOD_PX, person=each)
                for each in (person._replace(sides=(None, None)), person)
            )
    except SourceError:
        return False
    without, with_sides = 0.0, 0.0
    for face in tried:
        to_picture = told.onto(face)
        pictures = [source.driven_to(face, to_picture).frame for source in (plain, told)]
        size = pictures[0].shape[1::-1]
        real = cv2.warpAffine(face.picture, to_picture, size, flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP)
        inside = cv2.warpAffine(
            np.ones(face.picture.shape[:2], np.uint8), to_picture, size, flags=cv2.WARP_INVERSE_MAP
        )
        drawn = (np.abs(pictures[0].astype(np.int16) - pictures[1]).max(axis=2) > 0) & (inside > 0)
        blur = BLUR * float(told.project.iod_px)
        smooth_real, *smoothed = (
            cv2.GaussianBlur(each.astype(np.float32), (0, 0), blur) for each in (real, *pictures)
        )
        errors = [float(np.abs(each - smooth_real)[drawn].sum()) for each in smoothed]
        without, with_sides = without + errors[0], with_sides + errors[1]
    return with_sides < BETTER * without


def _yaw(face: Seen) -> float:
    """How far the head's left side is turned to the camera."""
    return float(np.arctan2(face.rotation[2, 0], face.rotation[2, 2]))


def _score(face: Seen, turned_rad: float, attributes: FloatArray) -> float:
    low, high = TURNED_RAD
    if not low <= turned_rad <= high:
        return -np.inf
    upright = abs(float(face.rotation[0, 1])) + abs(float(face.rotation[2, 1]))
    return -abs(turned_rad - BEST_RAD) - 0.5 * upright - 0.1 * float(attributes[ACTION_UNITS].max())


def cut_side(face: Seen, neutral_shape: FloatArray) -> KnownSide | None:
    """The side of a face that is turned to the camera; None where hardly anything of it, or no clear outline, is seen.

    Args:
        face: in a picture.
        neutral_shape: (468, 3) of the same face: of a turned one the distance of the eyes is measured badly.
    """
    turn, _ = turn_onto(face.shape, neutral_shape)
    heights, known = (face.shape @ turn)[:, 1], neutral_shape[:, 1]
    scale = float(np.std(heights) / np.std(known))
    shape, iod_px = face.shape / np.float32(scale), scale * float(face.project.iod_px)
    # The pivot belongs to the face's size.
    moved = face.rotation @ (PIVOT * np.float32(1 - 1 / scale))
    base_px = face.project.base_px + iod_px * moved[:2] * [1, -1]

    oval = face.landmarks.points_px[list(mesh.OVAL), :2]
    matte = person_matte(face.picture, oval, iod_px)
    shown = _shown(face, matte, shape, base_px, iod_px)
    unclear = matte.seen < LEAST_SEEN or matte.unsure > MOST_UNSURE
    if unclear or (shown > 0.5).sum() < LEAST * iod_px**2:
        return None
    used = shown > 0.02
    rows, cols = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    if min(bottom - top, right - left) < LEAST_PX:
        return None
    part = np.s_[top:bottom, left:right]
    # The room that shines through at the person's soft edge is not the photo's.
    own = (matte.alpha[part] > PURE).astype(np.float32)
    colours = np.where(
        own[..., None] > 0, face.picture[part], push_pull(face.picture[part].astype(np.float32), own)
    )
    picture = np.dstack([np.clip(np.round(colours), 0, 255), np.round(255 * shown[part])]).astype(np.uint8)
    base_px = (base_px - np.array([left, top])).astype(np.float32)
    return KnownSide(picture, shape, face.rotation, base_px, iod_px)


def _shown(face: Seen, matte: Matte, shape: FloatArray, base_px: Array, iod_px: float) -> Array:
    """(H, W) how much of each pixel of the face's picture is shown, 0 to 1."""
    height, width = matte.alpha.shape
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    level = (base_px[1] - y) / iod_px + PIVOT[1]
    side = float(np.sign(face.rotation[2, 0]))
    rim = face.project(face.shape, face.rotation)[[v for v in mesh.OVAL if side * shape[v, 0] > 0.25], :2]
    rim = rim[np.argsort(rim[:, 1])]
    # The head's left side lies to the image's right.
    inwards = side * (np.interp(y[:, 0], rim[:, 1], rim[:, 0])[:, None] - x) / iod_px
    high = _rise(level, *FOREHEAD)
    begins, whole = (cheek + (above - cheek) * high for cheek, above in (BEGINS, WHOLE))
    within = smooth((begins - inwards) / (begins - whole))
    skin = np.where(inwards > 0, _rise(level, *JAW[::-1]), _rise(level, *NECK[::-1]))
    skin = skin * np.maximum(_skin_like(face, iod_px), _rise(level, *EARS[::-1]))
    skin = cv2.GaussianBlur(skin.astype(np.float32), (0, 0), 0.04 * iod_px)
    whole_px = 2 * round(THIN * iod_px / 2) + 1
    thick: Any = cv2.morphologyEx(
        (matte.hair > 0.5).astype(np.float32),
        cv2.MORPH_OPEN,
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (whole_px, whole_px)),
    )
    thick = cv2.GaussianBlur(thick, (0, 0), 0.03 * iod_px)
    hair = matte.hair * np.maximum(thick, _rise(level, *NECK[::-1])) * _rise(level, *HAIR[::-1])
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) / (BORDER * iod_px)
    return np.asarray(matte.alpha * within * np.maximum(skin, hair) * smooth(border))


def _skin_like(face: Seen, iod_px: float) -> Array:
    """(H, W) how much each pixel has the hue of the cheeks, 0 to 1: a collar has not."""
    cheek = np.median(cheek_colours(face.picture, face.landmarks.points_px), axis=0) + 1
    colours: Any = cv2.GaussianBlur(face.picture.astype(np.float32), (0, 0), 0.03 * iod_px) + 1
    apart = np.abs(colours / colours.sum(axis=2, keepdims=True) - cheek / cheek.sum()).max(axis=2)
    return np.asarray(smooth((2 * NOT_SKIN - apart) / NOT_SKIN))


def _rise(value: Array, low: float, high: float) -> Array:
    return np.asarray(smooth((value - low) / (high - low)))
