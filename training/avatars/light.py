"""The studio's lights, and what each of them sees (its shadow map)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.avatars.raster import raster

DISTANCE_M = 12.0
"""Lamps stand so far off that their light is nearly parallel."""
REACH_M = 0.34
"""Half the side of the square around the head that a shadow map covers."""

_GOLDEN_RAD = np.pi * (3 - 5**0.5)
_turns = np.arange(16) * _GOLDEN_RAD
_radius = np.sqrt((np.arange(16) + 0.5) / 16)
OFFSETS = np.stack([_radius * np.cos(_turns), _radius * np.sin(_turns)], axis=1)[
    [0, 9, 5, 14, 2, 11, 7, 12, 4, 13, 1, 10, 6, 15, 3, 8]
]
"""(16, 2) points that fill the unit disc evenly, near and far taken in turn."""


class Lights(NamedTuple):
    """All lights, one row for each. Compiled code takes named tuples."""

    directions: NDArray[np.float32]
    """(n, 3) towards the light."""
    colours: NDArray[np.float32]
    """(n, 3) linear."""
    softness_m: NDArray[np.float32]
    """(n,) blur of the shadow's edge."""
    taps: NDArray[np.int64]
    """(n,) samples of the shadow."""
    bias_m: NDArray[np.float32]
    """(n,) play against self-shadow."""


def studio_lights(key_direction: tuple[float, float, float], dome: int = 18) -> Lights:
    """A large key lamp, a fill opposite, a rim from behind, and a dome of `dome` dim ones for the room."""
    side = -np.sign(key_direction[0]) or 1.0
    lamps: list[tuple[Sequence[float], NDArray[np.float64], float, int, float]] = [
        (key_direction, 0.78 * np.array([1.0, 0.965, 0.92]), 0.016, 16, 0.0010),
        ((0.75 * side, 0.12, 0.72), 0.20 * np.array([0.93, 0.97, 1.0]), 0.022, 8, 0.0015),
        ((0.80 * side, 0.55, -0.60), 0.55 * np.array([0.96, 0.98, 1.0]), 0.010, 4, 0.0020),
    ]
    for i in range(dome):
        up = 1 - 1.65 * (i + 0.5) / dome
        flat = np.sqrt(1 - up * up)
        where = (flat * np.sin(i * _GOLDEN_RAD), up, flat * np.cos(i * _GOLDEN_RAD))
        # The ceiling is brighter than the desk; 4 / dome makes the sum over all sides what one lamp would be.
        strength = (0.36 + 0.16 * up) * 4 / dome
        lamps.append((where, strength * np.array([0.98, 0.99, 1.0]), 0.010, 3, 0.0030))
    wheres, colours, softness_m, taps, bias_m = (np.array(column) for column in zip(*lamps, strict=True))
    directions = wheres / np.linalg.norm(wheres, axis=1, keepdims=True)
    directions, colours, softness_m, bias_m = (
        values.astype(np.float32) for values in (directions, colours, softness_m, bias_m)
    )
    return Lights(directions, colours, softness_m, taps, bias_m)


class ShadowMaps:
    """Depth as each light sees it."""

    def __init__(self, lights: Lights, centre: NDArray[np.float64], size_px: int = 512) -> None:
        self.maps = np.zeros((len(lights.directions), size_px, size_px), dtype=np.float32)
        self.to_maps = np.stack([_towards(d, centre, size_px) for d in lights.directions.astype(np.float64)])
        self._owner = np.zeros((size_px, size_px), dtype=np.int32)
        self._weights = np.zeros((size_px, size_px, 2), dtype=np.float32)

    def add(
        self,
        points: NDArray[np.float64],
        triangles: NDArray[np.int32],
        uv: NDArray[np.float64],
        opacity: NDArray[np.uint8],
    ) -> None:
        """Let one mesh throw its shadow."""
        for matrix, depth in zip(self.to_maps, self.maps, strict=True):
            screen = points @ matrix[:, :3].T + matrix[:, 3]
            raster(screen, triangles, uv, opacity, 0, depth, self._owner, self._weights)


def _towards(
    direction: NDArray[np.float64], centre: NDArray[np.float64], size_px: int
) -> NDArray[np.float64]:
    """(3, 4): world → column, row and distance, in parallel projection against `direction`."""
    right = np.cross([0, 1, 0] if abs(direction[1]) < 0.95 else [0, 0, 1], direction)
    right /= np.linalg.norm(right)
    down = np.cross(right, direction)
    scale = size_px / (2 * REACH_M)
    rows = np.stack([scale * right, scale * down, -direction])
    middle = np.array([size_px / 2, size_px / 2, DISTANCE_M])
    return np.concatenate([rows, (middle - rows @ centre)[:, None]], axis=1)
