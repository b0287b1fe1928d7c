"""The attributes: their order, their ranges and scales. `icface/tables.py` reads and writes them.

`attributes` is a (SIZE,) float32 vector. First come the 20 numbers FA of ICface: pitch, yaw, roll, then 17 facial Action
Units (AUs), each in [0, 1]. The *extensions* follow: gaze, left and right, and more, each 0 when nothing happens.
A model that was trained as in the paper reads the first COUNT of them.

Pose is `(radians + 0.70) / 1.4`, so 0.5 is frontal and the range is about ±40°. Action Units have two scales:

* *full-shape*: 1 is the whole movement. Used everywhere inside, on sliders and in our models.
* *OpenFace*: `intensity / 5` as OpenFace's `AUxx_r` columns give it; compressed (a full blink is about .28).

`FULL_SHAPE_GAIN` leads from the second to the first (docs/attributes.md). Source: ICface (arXiv:1904.01909).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

POSE_NAMES: Final = ("pitch", "yaw", "roll")
AU_NAMES: Final = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12",
    "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26", "AU45",
)  # fmt: skip
NAMES: Final[tuple[str, ...]] = POSE_NAMES + AU_NAMES
"""The paper's 20."""
COUNT: Final = len(NAMES)
POSE: Final = slice(0, 3)
ACTION_UNITS: Final = slice(3, COUNT)

SIDED: Final = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14", "AU15", "AU20", "AU45",
)  # fmt: skip
"""Action Units that one side of the face can do alone."""
GAZE_NAMES: Final = ("gaze_pitch", "gaze_yaw")
SIDE_NAMES: Final = tuple(f"{name}_side" for name in SIDED)
PLACE_NAMES: Final = ("place_x", "place_y", "place_scale")
_SIGNED: Final = (*GAZE_NAMES, *SIDE_NAMES, "jaw_side", "mouth_side", *PLACE_NAMES)
EXTENSIONS: Final[tuple[str, ...]] = (
    *GAZE_NAMES, *SIDE_NAMES, "AU18", "AU22", "AU24", "AU29", "AU34", "jaw_side", "mouth_side", *PLACE_NAMES,
)  # fmt: skip
"""What the paper does not have. docs/attributes.md says what each means. The `_side` names, gaze and place are in
[-1, 1], the others in [0, 1]. `AUxx_side` is left minus right, by the person's own left: the left side of AUxx moves
by `AUxx + AUxx_side / 2`, the right side by `AUxx - AUxx_side / 2`."""

ALL_NAMES: Final = NAMES + EXTENSIONS
SIZE: Final = len(ALL_NAMES)
INDEX: Final = {name: i for i, name in enumerate(ALL_NAMES)}
GAZE: Final = slice(COUNT, COUNT + len(GAZE_NAMES))
SIDES: Final = slice(GAZE.stop, GAZE.stop + len(SIDED))
SHAPES: Final = slice(GAZE.stop, SIZE - len(PLACE_NAMES))
"""The extensions that move skin."""
SHAPE_NAMES: Final = ALL_NAMES[SHAPES]
PLACE: Final = slice(SIZE - len(PLACE_NAMES), SIZE)
LOWEST: Final = np.array([-1.0 if name in _SIGNED else 0.0 for name in ALL_NAMES], dtype=np.float32)
"""(SIZE,) the lowest value of each; the highest is 1."""

GAZE_LIMIT_RAD: Final = 0.60
"""A gaze of 1: how far the eyes turn in the head, downwards (gaze_pitch) or to the image's left (gaze_yaw)."""
PLACE_LIMIT_IOD: Final = 1.5
"""A place of 1: how far the head has moved in the picture, to the right (place_x) or down (place_y)."""
PLACE_LIMIT_OCTAVES: Final = 0.5
"""A place_scale of 1: how much nearer the head has come, as the logarithm to base 2 of its size."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "pose": POSE_NAMES,
    "brows": ("AU01", "AU02", "AU04"),
    "eyes": ("AU05", "AU06", "AU07", "AU45"),
    "nose": ("AU09", "AU10"),
    "mouth": ("AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26"),
}

MEANING: Final[dict[str, str]] = {
    "pitch": "head down", "yaw": "head to image-left", "roll": "head tilted clockwise",
    "AU01": "inner brows up", "AU02": "outer brows up", "AU04": "brows down", "AU05": "eyes wide",
    "AU06": "cheeks up", "AU07": "lids tight", "AU09": "nose wrinkled", "AU10": "upper lip up",
    "AU12": "lip corners up", "AU14": "dimples", "AU15": "lip corners down", "AU17": "chin up",
    "AU20": "lips stretched", "AU23": "lips tight", "AU25": "lips apart", "AU26": "jaw down", "AU45": "eyes closed",
    "gaze_pitch": "eyes down", "gaze_yaw": "eyes to image-left",
    "AU18": "lips puckered", "AU22": "lips funnelled", "AU24": "lips pressed", "AU29": "jaw forward",
    "AU34": "cheeks puffed", "jaw_side": "jaw to their left", "mouth_side": "mouth to their left",
    "place_x": "place right", "place_y": "place down", "place_scale": "place nearer",
}  # fmt: skip
"""What a high value of an attribute shows, in plain words; `AUxx_side` is the left side of AUxx."""

POSE_LIMIT_RAD: Final = 0.70

# 1 / (OpenFace value of the whole movement). AU45: a full blink averages AU45_r 1.4, which is .28. AU25: a unit is
# .066 IOD of lip gap, and the whole movement opens .10 IOD, which is .30. AU26: a unit is .035 IOD of chin drop, and
# the whole movement is .16 IOD, which is .91. But clips stay under .41, so half of it is taken. The others: a little
# above the largest value in clips.
FULL_SHAPE_GAIN: Final[FloatArray] = np.array(
    [1.5, 2.0, 4.0, 1.5, 2.0, 2.2, 2.5, 2.5, 2.2, 4.5, 4.5, 2.4, 4.5, 3.0, 3.3, 2.2, 3.6], dtype=np.float32
)


_TURNED = ("yaw", "roll", "gaze_yaw", *SIDE_NAMES, "jaw_side", "mouth_side", "place_x")
_MIRROR_SIGN: Final = np.array([-1 if name in _TURNED else 1 for name in ALL_NAMES], dtype=np.float32)
_MIRROR_SHIFT: Final = np.array([name in ("yaw", "roll") for name in ALL_NAMES], dtype=np.float32)


def neutral(size: int = SIZE) -> FloatArray:
    """FA_N: frontal pose (.5) and everything else 0; a new (size,) array. The paper's has COUNT numbers."""
    values = np.zeros(size, dtype=np.float32)
    values[POSE] = 0.5
    return values


def in_range(attributes: FloatArray) -> FloatArray:
    """Attributes (..., SIZE or COUNT) clamped to their ranges. New array."""
    return np.asarray(np.clip(attributes, LOWEST[: attributes.shape[-1]], 1.0))


def with_extensions(attributes: FloatArray) -> FloatArray:
    """The paper's (..., 20) with extensions that are 0: (..., SIZE). New array."""
    nothing = np.zeros((*attributes.shape[:-1], len(EXTENSIONS)), dtype=np.float32)
    return np.concatenate([attributes, nothing], axis=-1)


def pose_to_unit(pose_rad: ArrayLike) -> FloatArray:
    """Radians (..., 3) to the attribute range, clamped to [0, 1]."""
    values = (np.asarray(pose_rad, dtype=np.float32) + POSE_LIMIT_RAD) / (2 * POSE_LIMIT_RAD)
    return np.asarray(np.clip(values, 0.0, 1.0))


def pose_from_unit(pose: ArrayLike) -> FloatArray:
    """Attribute range (..., 3) to radians."""
    values: FloatArray = np.asarray(pose, dtype=np.float32)
    return values * (2 * POSE_LIMIT_RAD) - POSE_LIMIT_RAD


def mirror(attributes: FloatArray) -> FloatArray:
    """The same face (..., SIZE or COUNT) seen in a mirror: what has a left and a right changes sign. New array."""
    size = attributes.shape[-1]
    return attributes * _MIRROR_SIGN[:size] + _MIRROR_SHIFT[:size]


def to_openface(attributes: FloatArray) -> FloatArray:
    """Full-shape (..., SIZE or COUNT) to the OpenFace scale; only Action Units differ. New array."""
    values = attributes.copy()
    values[..., ACTION_UNITS] /= FULL_SHAPE_GAIN
    return values


def from_openface(attributes: FloatArray, *, clamp: bool = True) -> FloatArray:
    """OpenFace scale (..., SIZE or COUNT) to full-shape. New array.

    Action Units are clamped to [0, 1]. Without `clamp` they may exceed 1, and `to_openface` gives all of them back.
    """
    values = attributes.copy()
    values[..., ACTION_UNITS] *= FULL_SHAPE_GAIN
    if clamp:
        values[..., ACTION_UNITS] = np.clip(values[..., ACTION_UNITS], 0.0, 1.0)
    return values


@dataclass(frozen=True, kw_only=True)
class AttributeTrack:
    """The attributes that drove a clip, frame by frame."""

    times_s: NDArray[np.float64]
    """(N,) seconds from the first frame, never decreasing."""
    values: FloatArray
    """(N, SIZE) full-shape attributes."""
    present: NDArray[np.bool_]
    """(N,) whether a face was seen in the driver's frame."""
    filled: bool = True
    """Rows without a face hold what was shown then. False: they repeat the last row with a face, or are neutral."""
    people: int = 1
    """How many people the file had. Only one is in the track."""

    def __len__(self) -> int:
        return len(self.times_s)
