"""What is known of one person's face beside the photo: a part of a bundle that was made for that person."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import AU_NAMES, SHAPE_NAMES, FloatArray
from icface.geometry import topology as mesh
from icface.geometry.topology import FACE_VERTICES, face_tables

MOST_MOVED_IOD: Final = 1.0
"""No vertex moves farther than this for a whole movement."""
MOST_AWAY_IOD: Final = 3.0
CALM: Final = 0.1
EXPRESSIVE: Final = 0.4
"""Between these amounts of the strongest Action Unit a photo gives up its own shape for the person's."""
MOVES_IOD: Final = 0.06
SIDES: Final = "left", "right"
"""Of the head: at positive x, and at negative x."""
_EYE_CORNERS: Final = [33, 263]
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "displacements": (len(AU_NAMES), FACE_VERTICES, 3),
    "extensions": (len(SHAPE_NAMES), FACE_VERTICES, 3),
    "neutral_shape": (FACE_VERTICES, 3),
    "mouth": (0, 0, 4),
    "mouth_edge": (1,),
    "mouth_light": (3,),
    **{f"{name}_side": (0, 0, 4) for name in SIDES},
    **{f"{name}_side_shape": (FACE_VERTICES, 3) for name in SIDES},
    **{f"{name}_side_view": (12,) for name in SIDES},
}
_PICTURES: Final = "mouth", "left_side", "right_side"
"""They have any height and width."""
_BOUNDS: Final = {
    "displacements": (-MOST_MOVED_IOD, MOST_MOVED_IOD),
    "extensions": (-MOST_MOVED_IOD, MOST_MOVED_IOD),
    "neutral_shape": (-MOST_AWAY_IOD, MOST_AWAY_IOD),
    "mouth": (0, 255),
    "mouth_edge": (-0.2, 0.15),
    "mouth_light": (0, 255),
    **{f"{name}_side": (0, 255) for name in SIDES},
    **{f"{name}_side_shape": (-MOST_AWAY_IOD, MOST_AWAY_IOD) for name in SIDES},
    **{f"{name}_side_view": (-4096, 4096) for name in SIDES},
}
LEAST_TURNED: Final = 0.2
"""Sine of the turn of a picture that shows a side."""
SIDE_IOD_PX: Final = 16, 1024


class KnownMouth(NamedTuple):
    """The inside of the mouth as one picture of the person showed it, laid out as `teeth.paint_mouth` does."""

    picture: Frame
    """(h, w, 4) RGB, and how much of it was seen."""
    edge: float
    """Height of the upper teeth's lower end over the line of the closed lips (IOD)."""
    light: FloatArray
    """(3,) RGB of the cheeks in that picture."""


class KnownSide(NamedTuple):
    """One side of the head in a picture in which it is turned to the camera."""

    picture: Frame
    """(h, w, 4) RGB, and how much of it shall be shown."""
    shape: FloatArray
    """(468, 3) head space of the face in that picture."""
    rotation: FloatArray
    """(3, 3) of the head there."""
    base_px: FloatArray
    """(2,) where in the picture the head's pivot lies."""
    iod_px: float


class Person(NamedTuple):
    """One person's face, in head space (IOD)."""

    displacements: FloatArray
    """(17, 468, 3) motion of each vertex for a whole movement of each Action Unit: the person's own, or the table's."""
    extensions: FloatArray
    """(20, 468, 3) the same for the extensions that move skin."""
    neutral_shape: FloatArray | None = None
    """(468, 3) the face without expression, lips closed; None: it is not known."""
    mouth: KnownMouth | None = None
    """None: no picture showed the teeth well."""
    sides: tuple[KnownSide | None, KnownSide | None] = (None, None)
    """The head's left side, at positive x, and the right one. None: it was not seen."""


def rest_of(person: Person, guess: FloatArray, moved: float) -> FloatArray:
    """The neutral shape of a photo of the person.

    Args:
        person: whose face it is.
        guess: (468, 3) what is left of the photo's shape once the measured expression is taken out.
        moved: how much expression that was, 0 to 1. A calm photo keeps its own shape.
    """
    if person.neutral_shape is None or moved <= CALM:
        return guess
    share = min(1.0, (moved - CALM) / (EXPRESSIVE - CALM))
    weight = share * _moving()
    laid = laid_on(person.neutral_shape, guess)
    return np.asarray(guess + weight[:, None] * (laid - guess), dtype=np.float32)


@cache
def _moving() -> FloatArray:
    """(468,) 1 for what an expression moves far, 0 for what it does not. Lids stay as photographed."""
    tables = face_tables()
    named = [name for name in AU_NAMES if name not in ("AU05", "AU07", "AU45")]
    rows = tables.displacements[[AU_NAMES.index(name) for name in named]]
    weight = np.clip(np.linalg.norm(rows, axis=2).max(axis=0) / MOVES_IOD, 0, 1)
    weight[[vertex for lids in (*mesh.RIGHT_LIDS, *mesh.LEFT_LIDS) for vertex in lids]] = 0
    return np.asarray(weight, dtype=np.float32)


@cache
def _still() -> FloatArray:
    """(468,) weights, of sum 1, that are large for what an expression moves little."""
    weight = 1 / (0.02 + np.linalg.norm(face_tables().displacements, axis=2).max(axis=0))
    return np.asarray(weight / weight.sum(), dtype=np.float32)


def laid_on(shape: FloatArray, other: FloatArray) -> FloatArray:
    """Shapes (..., 468, 3) turned and shifted onto others of the same face, by what moves least."""
    turn, shift = turn_onto(shape, other)
    return np.asarray(shape @ turn + shift[..., None, :], dtype=np.float32)


def turn_onto(shape: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotations (..., 3, 3) and shifts (..., 3) of `laid_on`, for points that are rows."""
    weight = _still()
    from_middle, to_middle = weight @ shape, weight @ other
    weighted = (shape - from_middle[..., None, :]) * weight[:, None]
    u, _, v = np.linalg.svd(np.swapaxes(weighted, -1, -2) @ (other - to_middle[..., None, :]))
    v[..., 2, :] *= np.sign(np.linalg.det(u @ v))[..., None]  # no mirror image
    turn = np.asarray(u @ v, dtype=np.float32)
    shift = to_middle - (from_middle[..., None, :] @ turn)[..., 0, :]
    return turn, np.asarray(shift, dtype=np.float32)


def read_person(tensors: Tensors) -> Person:
    """The person whom a bundle's tensors tell of (docs/bundle.md). What they leave out is the table's.

    Raises:
        ValueError: what is wrong with them, in a few words.
    """
    known = {}
    for name, tensor in tensors.items():
        if name not in _SHAPES:
            raise ValueError(f"the tensor {name[:60]!r} is unknown; upgrade icface-live")
        if tensor.shape != _SHAPES[name] and name not in _PICTURES:
            raise ValueError(f"{name} should be of shape {_SHAPES[name]}")
        if tensor.dtype not in ((np.uint8,) if name in _PICTURES else (np.float16, np.float32)):
            raise ValueError(f"{name} should not be of {tensor.dtype}")
        low, high = _BOUNDS[name]
        if not (tensor.min(initial=0) >= low and tensor.max(initial=0) <= high):  # nor where a number is none
            raise ValueError(f"{name} has numbers beyond {low:g} and {high:g}, or none at all")
        known[name] = tensor if name in _PICTURES else np.ascontiguousarray(tensor, dtype=np.float32)
    if "neutral_shape" in known:
        right, left = known["neutral_shape"][_EYE_CORNERS]
        if not 0.9 < float(np.linalg.norm(left - right)) < 1.1:
            raise ValueError("neutral_shape is no face: its outer eye corners should be one IOD apart")
    tables = face_tables()
    return Person(
        known.get("displacements", tables.displacements),
        known.get("extensions", tables.extensions),
        known.get("neutral_shape"),
        _mouth(known),
        (_side(known, "left"), _side(known, "right")),
    )


def side_tensors(name: str, side: KnownSide) -> dict[str, NDArray[Any]]:
    """One of the SIDES as `read_person` takes it."""
    view = np.concatenate([side.rotation.ravel(), side.base_px, [side.iod_px]])
    return {
        f"{name}_side": side.picture,
        f"{name}_side_shape": side.shape.astype(np.float16),
        f"{name}_side_view": view.astype(np.float32),
    }


def _mouth(known: Tensors) -> KnownMouth | None:
    parts = [known[name] for name in ("mouth", "mouth_edge", "mouth_light") if name in known]
    if not parts:
        return None
    if len(parts) < 3:
        raise ValueError("mouth, mouth_edge and mouth_light belong together")
    picture, edge, light = parts
    _check_picture(picture, "mouth")
    if not (picture[..., 3] > 127).any():
        raise ValueError("mouth shows nothing")
    return KnownMouth(picture, float(edge[0]), light)


def _side(known: Tensors, name: str) -> KnownSide | None:
    names = f"{name}_side", f"{name}_side_shape", f"{name}_side_view"
    parts = [known[each] for each in names if each in known]
    if not parts:
        return None
    if len(parts) < len(names):
        raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} belong together")
    picture, shape, view = parts
    _check_picture(picture, names[0])
    rotation, base_px, iod_px = view[:9].reshape(3, 3), view[9:11], float(view[11])
    turned = float(rotation[2, 0]) * (1 if name == "left" else -1)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or not turned > LEAST_TURNED:
        raise ValueError(f"{names[2]} is no turn that shows the head's {name} side")
    if not SIDE_IOD_PX[0] <= iod_px <= SIDE_IOD_PX[1]:
        raise ValueError(f"{names[2]} has eyes that are {iod_px:g} pixels apart")
    if not (picture[..., 3] > 127).any():
        raise ValueError(f"{names[0]} shows nothing")
    return KnownSide(picture, shape, rotation, base_px, iod_px)


def _check_picture(picture: NDArray[Any], name: str) -> None:
    if (
        picture.ndim != 3
        or picture.shape[2] != 4
        or not all(16 <= side <= 1024 for side in picture.shape[:2])
    ):
        raise ValueError(f"{name} should be a picture (h, w, 4) of 16 to 1024 pixels")
