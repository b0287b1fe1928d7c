"""The photo's own pose and expression as attributes, so that the rig shows the photo again as it was. Once a photo.

The rig's own movements are fitted to the face as it was photographed. What a tracker measures would not do: the rig adds
to a neutral shape of which only a part of the measured expression was taken out.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.arrays import Array, Tensors
from icface.attributes import (
    ACTION_UNITS,
    AU_NAMES,
    GAZE,
    GAZE_LIMIT_RAD,
    LOWEST,
    POSE,
    SHAPE_NAMES,
    SHAPES,
    FloatArray,
    neutral,
    pose_from_unit,
    pose_to_unit,
)
from icface.face.pose import FLIP, pose_from_rotation
from icface.geometry.eyes import PARALLAX
from icface.geometry.rig import AU_GAIN, POSE_GAIN, SHAPE_GAIN, FaceRig

ROUNDS: Final = 4
STEP: Final = 0.05
RIDGE: Final = 0.02
"""Keeps small what the shape does not tell (IOD per unit of an attribute, over all vertices)."""
# A photo's lids are the neutral face's lids too, and half a blink would be fitted to any squint.
_LEFT_OUT: Final = ("AU45", "AU45_side")
_NAMES: Final = (*AU_NAMES, *SHAPE_NAMES)
_FITTED: Final = np.array([name not in _LEFT_OUT for name in _NAMES])
_LOW: Final = np.concatenate([LOWEST[ACTION_UNITS], LOWEST[SHAPES]])
_GAIN: Final = np.concatenate([AU_GAIN, SHAPE_GAIN])
_AUS: Final = len(AU_NAMES)


def own_attributes(reading: Tensors, cache: Tensors) -> FloatArray:
    """(SIZE,) attributes with which the rig shows the photo's own pose and expression.

    Args:
        reading: the tensors of the photo as it is, from `read_photo`.
        cache: the tensors that are shown. The same, or made from a frontal or neutral picture of that photo.
    """
    own = neutral()
    pose = pose_from_rotation(FLIP @ reading["rotation"].astype(np.float64) @ FLIP)
    own[POSE] = pose_to_unit((np.array(pose) - cache["pose_offset_rad"]) / POSE_GAIN)
    amounts = _fitted(FaceRig(reading), reading["photo_shape"])
    amounts[:_AUS] -= cache["au_offset"]
    amounts = np.clip(amounts / _GAIN, _LOW, 1.0)
    own[ACTION_UNITS], own[SHAPES] = amounts[:_AUS], amounts[_AUS:]
    turn_rad = pose_from_unit(own[POSE]).tolist()
    for i, (seen_rad, turned_rad) in enumerate(zip(reading["gaze_rad"].tolist(), turn_rad, strict=False)):
        own[GAZE.start + i] = np.clip(_gaze(seen_rad, turned_rad) / GAZE_LIMIT_RAD, -1.0, 1.0)
    return own


def _gaze(seen_rad: float, turned_rad: float) -> float:
    """The gaze that shows as `seen_rad`: the inverse of `seen_gaze`."""
    if seen_rad == 0.0 or seen_rad * turned_rad >= 0.0:
        return seen_rad
    return seen_rad + math.copysign(PARALLAX * abs(turned_rad), seen_rad)


def _fitted(rig: FaceRig, photo_shape: FloatArray) -> FloatArray:
    """Amounts (37,) of the rig's movements, gains included, whose shape is nearest to the photo's (468, 3)."""
    amounts = np.zeros(len(_NAMES), dtype=np.float32)
    low, high = _LOW * _GAIN, _GAIN

    def shape(of: FloatArray) -> FloatArray:
        return rig.moved(of[:_AUS], of[_AUS:], 0.0).ravel()

    fitted = np.flatnonzero(_FITTED)
    for _ in range(ROUNDS):
        at = shape(amounts)
        slopes = np.empty((len(at), len(fitted)), dtype=np.float64)
        for column, i in enumerate(fitted):
            beside = amounts.copy()
            beside[i] += STEP
            slopes[:, column] = (shape(beside) - at) / STEP
        left = photo_shape.ravel() - at
        normal = slopes.T @ slopes + RIDGE**2 * np.eye(len(fitted))
        wanted = slopes.T @ left - RIDGE**2 * amounts[fitted]
        amounts[fitted] += _bounded_step(
            normal, wanted, low[fitted] - amounts[fitted], high[fitted] - amounts[fitted]
        )
    return amounts


def _bounded_step(normal: Array, wanted: Array, low: FloatArray, high: FloatArray) -> Array:
    """The least-squares step (n,) from its normal equations, within bounds: what runs out of them stays there."""
    step, free = np.zeros(len(wanted)), np.ones(len(wanted), dtype=bool)
    while free.any():
        rest = wanted[free] - normal[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(normal[np.ix_(free, free)], rest)
        outside = free & ((step < low) | (step > high))
        if not outside.any():
            break
        step[outside] = np.clip(step, low, high)[outside]
        free &= ~outside
    return step
