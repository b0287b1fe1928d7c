"""One record: two patches at the same place, the numbers beside them, and a row of words."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import NAMES, FloatArray
from icface.geometry import patch as patches
from icface.geometry import topology as mesh
from icface.geometry.shape import Projection
from training.pairs.seen import Seen
from training.pairs.source import Shown, Source, cut_once, then

STORED_PX: Final = 216
"""Side of a stored patch: 12 pixels of room on each side, for jitter."""
ROOM_PX: Final = (STORED_PX - patches.PATCH_PX) // 2
CHANNELS: Final = 7
"""RGB of the target, RGB of the geometry's frame, inner alpha."""
LEAST_GAIN, MOST_GAIN = 0.75, 1.33
FLOW_PX: Final = 9.0
"""Sigma over which landmarks are laid on each other."""
MOST_FLOW_PX: Final = 12.0
_FLOW_CELL_PX: Final = 4
_FLOW_FAINT: Final = 0.01
"""Where so little of a landmark is near, the flow fades."""
OUTSIDE: Final = 0.04
"""Share of a patch that may lie beyond its photo."""
COLUMNS: Final = ("target", "source", "identity", "kind", "error", "iod_px", "own_teeth", *NAMES, "noise")


class Record(NamedTuple):
    """One pair."""

    pixels: NDArray[np.uint8]
    """(STORED_PX, STORED_PX, CHANNELS)."""
    conditions: FloatArray
    row: dict[str, Any]
    """A value for each of COLUMNS."""


def record(
    source: Source,
    shown: Shown,
    target: Seen,
    to_picture: Array,
    words: dict[str, Any],
    *,
    match_colour: bool,
    lay: bool = False,
) -> Record | str:
    """Cut both patches; the reason, where there is no pair.

    Args:
        source: what was driven.
        shown: its frame.
        target: what it shall look like.
        to_picture: (2, 3) from pixels of the frame to those of the target's picture.
        words: what the row says of files and person.
        lay: lay the target's landmarks on those of the frame, broadly (`laid`).
        match_colour: bring the target's mean colour to that of the frame. Photos taken apart differ in light.
    """
    neutral = source.cache["neutral_shape"]
    place = patches.patch_affine(neutral, shown.rotation, source.project, STORED_PX)
    in_picture = then(place, to_picture)
    if _outside(in_picture, target.picture.shape) > OUTSIDE:
        return "the patch leaves its picture"
    warped = patches.cut_patch(shown.frame, place, STORED_PX)
    opening = patches.cut_patch(shown.opening, place, STORED_PX)
    wanted = cut_once(target.picture, in_picture, STORED_PX)
    if lay:
        drawn = _in_patch(source.project(shown.shape, shown.rotation)[:, :2], place)
        wanted = laid(
            wanted, drawn, _in_patch(target.landmarks.points_px[: mesh.FACE_VERTICES, :2], in_picture)
        )
    if match_colour:
        wanted = matched(wanted, warped, skin_of(shown, source.project, place) & (opening == 0))
    inner = np.s_[ROOM_PX:-ROOM_PX, ROOM_PX:-ROOM_PX]
    numbers = {
        "error": float(np.abs(wanted[inner].astype(np.int16) - warped[inner]).mean()),
        "iod_px": float(target.project.iod_px),
        "own_teeth": int(source.own_teeth),
    }
    told = patches.conditions(
        patches.measures(shown.shape), patches.measures(source.cache["photo_shape"]), shown.rotation
    )
    measured = dict(zip(NAMES, target.attributes.tolist(), strict=True))
    pixels = np.concatenate([wanted, warped, opening[..., None]], axis=2)
    return Record(pixels, told, words | numbers | measured)


def skin_of(shown: Shown, project: Projection, place: Array) -> NDArray[np.bool_]:
    """(STORED_PX, STORED_PX) which pixels of the patch are the face, openings included."""
    oval = project(shown.shape[list(mesh.OVAL)], shown.rotation)[:, :2]
    mask = np.zeros((STORED_PX, STORED_PX), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(_in_patch(oval, place)).astype(np.int32)], (1,))
    return np.asarray(mask > 0)


def laid(
    picture: NDArray[np.uint8], drawn_px: NDArray[np.floating[Any]], seen_px: NDArray[np.floating[Any]]
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) moved so that its landmarks (n, 2) come to lie near those that were drawn.

    The flow is smooth: a mouth comes to its place as a whole, and stays as far open as it is. It is bounded, too.
    """
    side = picture.shape[0] // _FLOW_CELL_PX
    cells = (drawn_px / _FLOW_CELL_PX).astype(int)
    inside = ((cells >= 0) & (cells < side)).all(axis=1)
    total = np.zeros((side, side, 3), dtype=np.float32)
    apart = np.column_stack([seen_px - drawn_px, np.ones(len(drawn_px))]).astype(np.float32)
    np.add.at(total, (cells[inside, 1], cells[inside, 0]), apart[inside])
    near = cv2.GaussianBlur(total, (0, 0), FLOW_PX / _FLOW_CELL_PX, borderType=cv2.BORDER_CONSTANT)
    flow = near[..., :2] / (near[..., 2:] + _FLOW_FAINT)
    flow = cv2.resize(
        flow.clip(-MOST_FLOW_PX, MOST_FLOW_PX), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    moved = cv2.remap(
        picture, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.uint8)


def _in_patch(places: NDArray[np.floating[Any]], affine: Array) -> NDArray[np.floating[Any]]:
    """Places (n, 2) of a picture in the patch that `affine` (2, 3) leads from."""
    return np.asarray((places - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T)


def matched(
    picture: NDArray[np.uint8], like: NDArray[np.uint8], where: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) whose mean colour at `where` (h, w) is that of another one, by a gain a channel."""
    if not where.any():
        return picture
    gains = like[where].mean(axis=0) / np.maximum(picture[where].mean(axis=0), 1)
    levels = np.round(picture * np.clip(gains, LEAST_GAIN, MOST_GAIN))
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8)


def _outside(to_picture: Array, shape: tuple[int, ...]) -> float:
    """Share of the patch, without its room, that lies beyond a picture."""
    at = np.linspace(ROOM_PX, STORED_PX - 1 - ROOM_PX, 25)
    x, y = np.meshgrid(at, at)
    places = np.stack([x.ravel(), y.ravel()]).T @ to_picture[:, :2].T + to_picture[:, 2]
    beyond = (places < -1).any(axis=1) | (places > np.array([shape[1], shape[0]])).any(axis=1)
    return float(beyond.mean())
