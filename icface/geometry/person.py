"""What is known of one person's face beside the photo: a part of a bundle that was made for that person."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from icface.arrays import Tensors
from icface.attributes import AU_NAMES, SHAPE_NAMES, FloatArray
from icface.geometry.topology import FACE_VERTICES, face_tables

MOST_MOVED_IOD: Final = 1.0
"""No vertex moves farther than this for a whole movement."""
MOST_AWAY_IOD: Final = 3.0
_EYE_CORNERS: Final = [33, 263]
_SHAPES: Final = {
    "displacements": (len(AU_NAMES), FACE_VERTICES, 3),
    "extensions": (len(SHAPE_NAMES), FACE_VERTICES, 3),
    "neutral_shape": (FACE_VERTICES, 3),
}
_BOUNDS: Final = {
    "displacements": MOST_MOVED_IOD,
    "extensions": MOST_MOVED_IOD,
    "neutral_shape": MOST_AWAY_IOD,
}


class Person(NamedTuple):
    """One person's face, in head space (IOD)."""

    displacements: FloatArray
    """(17, 468, 3) motion of each vertex for a whole movement of each Action Unit: the person's own, or the table's."""
    extensions: FloatArray
    """(20, 468, 3) the same for the extensions that move skin."""
    neutral_shape: FloatArray | None = None
    """(468, 3) the face without expression, lips closed; None: it is not known."""


def read_person(tensors: Tensors) -> Person:
    """The person whom a bundle's tensors tell of (docs/bundle.md). What they leave out is the table's.

    Raises:
        ValueError: what is wrong with them, in a few words.
    """
    known = dict(tensors)
    for name, tensor in known.items():
        if name not in _SHAPES:
            raise ValueError(f"the tensor {name[:60]!r} is unknown; upgrade icface-live")
        if tensor.shape != _SHAPES[name] or tensor.dtype not in (np.float16, np.float32):
            raise ValueError(f"{name} should be {_SHAPES[name]} of float16 or float32")
        if not np.abs(tensor).max() <= _BOUNDS[name]:  # also where a number is none
            raise ValueError(f"{name} has numbers beyond {_BOUNDS[name]:g}, or none at all")
    if "neutral_shape" in known:
        right, left = known["neutral_shape"][_EYE_CORNERS].astype(np.float32)
        if not 0.9 < float(np.linalg.norm(left - right)) < 1.1:
            raise ValueError("neutral_shape is no face: its outer eye corners should be one IOD apart")
    tables = face_tables()
    whole = {"displacements": tables.displacements, "extensions": tables.extensions} | known
    return Person(**{name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in whole.items()})
