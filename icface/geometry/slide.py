"""Where the rim of the face takes its colours from, when it turns to the camera.

A photo shows the rim edge-on. Beyond it lies what is not of the face: neck, hair or wall. A turn that brings the rim
into view stretches few pixels far, and a wedge of the neck with them. So the places that the rim is read from slide as
the head turns.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray
from icface.geometry.follow import smooth
from icface.geometry.topology import OVAL

JAW: Final = 0.06
"""How far the rim of the jaw slides inwards (IOD) where it has turned to the camera by WHOLE."""
JAW_FROM: Final = 0.50, 0.75
"""From the midline outwards, where this begins and where it is all (IOD)."""
JAW_BELOW: Final = -0.20, -0.65
"""The same from the eyes downwards. The temple stays: it keeps its shading, and the brow its length."""
CHIN: Final = 0.08
"""How far the chin slides downwards when the head looks up: what comes into view is the shade below it, not its front."""
CHIN_BELOW: Final = -0.80, -1.15
CHIN_WITHIN: Final = 0.45, 0.80
"""From the midline outwards, where this is all and where it ends (IOD)."""
CHEEK: Final = 0.08
"""How far the cheek slides inwards (IOD) beside its rim, which stays: it spreads what lies beside the rim."""
CHEEK_FROM_RIM: Final = 0.05, 0.50
"""From the rim inwards (IOD): where most of this is reached, and where it ends."""
CHEEK_HEIGHTS: Final = 0.15, -0.15, -0.70, -1.0
"""From the eyes: where it begins, where it is all, up to where, and where it ends."""
WHOLE: Final = 0.65
"""The sine of a turn."""


class Slide:
    """The slide of one source.

    Args:
        cache: what `prepare_source` made.
        cheeks: whether cheeks slide too. Their colours then come from where no camera would see them.
    """

    def __init__(self, cache: Tensors, cheeks: bool) -> None:
        self._rest = cache["texture_px"] + np.float32(int(cache["margin"]))
        self._rotation = cache["rotation"]
        x, y, _ = cache["neutral_shape"].T
        axes = (cache["rotation"][:2, :2].T * [1, -1] * float(cache["iod_px"])).astype(np.float32)
        below = smooth((JAW_BELOW[0] - y) / (JAW_BELOW[0] - JAW_BELOW[1]))
        jaws = [smooth((side * x - JAW_FROM[0]) / (JAW_FROM[1] - JAW_FROM[0])) * below for side in (1, -1)]
        chin = smooth((CHIN_BELOW[0] - y) / (CHIN_BELOW[0] - CHIN_BELOW[1]))
        chin *= smooth((CHIN_WITHIN[1] - np.abs(x)) / (CHIN_WITHIN[1] - CHIN_WITHIN[0]))
        whole = -JAW * jaws[0], JAW * jaws[1], -CHIN * chin
        self._by_turn = [
            (share[:, None] * axis).astype(np.float32)
            for share, axis in zip(whole, (axes[0], axes[0], axes[1]), strict=True)
        ]
        most = CHEEK if cheeks else 0.0
        self._cheeks = [
            (-side * most * _cheek(cache["neutral_shape"], side)[:, None] * axes[0]).astype(np.float32)
            for side in (1, -1)
        ]

    def __call__(self, rotation: FloatArray, texture_px: FloatArray) -> None:
        """Write the places in the layer (468, 2) for a rotation (3, 3) of the head."""
        # How far to the camera the head's left side (at positive x) and its chin have turned since the photo, as sines.
        was = self._rotation
        left = float(was[0, 0] * rotation[2, 0] - was[2, 0] * rotation[0, 0])
        up = float(was[2, 1] * rotation[1, 1] - was[1, 1] * rotation[2, 1])
        texture_px[:] = self._rest
        for amount, slide in zip((left, -left, up), self._by_turn, strict=True):
            if amount > 0:
                texture_px += slide * np.float32(min(1.0, amount / WHOLE))
        # Small turns hardly stretch the cheek, so they leave it to the square.
        texture_px += self._cheeks[left < 0] * np.float32(min(1.0, abs(left) / WHOLE) ** 2)


def _cheek(shape: FloatArray, side: int) -> FloatArray:
    """(468,) how much each vertex of a shape slides with the cheek on one side (1 at positive x)."""
    x, y, _ = shape.T
    oval = shape[list(OVAL)]
    oval = oval[side * oval[:, 0] > 0]
    oval = oval[np.argsort(oval[:, 1])]
    inwards = np.maximum(np.interp(y, oval[:, 1], side * oval[:, 0]) - side * x, 0)
    upper, high, low, lower = CHEEK_HEIGHTS
    tall = smooth((upper - y) / (upper - high)) * smooth((y - lower) / (low - lower))
    steep, wide = CHEEK_FROM_RIM
    return np.asarray((1 - np.exp(-inwards / steep)) * smooth(1 - inwards / wide) * tall, dtype=np.float32)
