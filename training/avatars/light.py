"""The studio's lights, and what each of them sees (its shadow map)."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Lights:
    """What `shade` wants to know of them, one row for each."""

    directions: NDArray[np.float32]
    colours: NDArray[np.float32]
    softness_m: NDArray[np.float32]
    taps: NDArray[np.int64]
    bias_m: NDArray[np.float32]


def studio_lights(key_direction: tuple[float, float, float], dome: int = 18) -> Lights:
    """A large key lamp, a fill opposite, a rim from behind, and a dome of `dome` dim ones for the room."""
    side = -np.sign(key_direction[0]) or 1.0
    lamps: list[tuple[NDArray[np.float64], NDArray[np.float64], float, int, float]] = [
        (np.array(key_direction), 0.78 * np.array([1.0, 0.965, 0.92]), 0.016, 16, 0.0010),
        (np.array([0.75 * side, 0.12, 0.72]), 0.20 * np.array([0.93, 0.97, 1.0]), 0.022, 8, 0.0015),
        (np.array([0.80 * side, 0.55, -0.60]), 0.55 * np.array([0.96, 0.98, 1.0]), 0.010, 4, 0.0020),
    ]
    for i in range(dome):
        up = 1 - 1.65 * (i + 0.5) / dome
        flat = np.sqrt(1 - up * up)
        where = np.array([flat * np.sin(i * _GOLDEN_RAD), up, flat * np.cos(i * _GOLDEN_RAD)])
        # The ceiling is brighter than the desk; 4 / dome makes the sum over all sides what one lamp would be.
        strength = (0.36 + 0.16 * up) * 4 / dome
        lamps.append((where, strength * np.array([0.98, 0.99, 1.0]), 0.010, 3, 0.0030))
    directions = np.stack([lamp[0] / np.linalg.norm(lamp[0]) for lamp in lamps])
    return Lights(
        directions=directions.astype(np.float32),
        colours=np.stack([lamp[1] for lamp in lamps]).astype(np.float32),
        softness_m=np.array([lamp[2] for lamp in lamps], dtype=np.float32),
        taps=np.array([lamp[3] for lamp in lamps], dtype=np.int64),
        bias_m=np.array([lamp[4] for lamp in lamps], dtype=np.float32),
    )


class ShadowMaps:
    """Depth as each light sees it."""

    def __init__(self, lights: Lights, centre: NDArray[np.float64], size_px: int = 512) -> None:
        self.maps = np.zeros((len(lights.directions), size_px, size_px), dtype=np.float32)
        self.to_maps = np.stack([_towards(d, centre, size_px) for d in lights.directions.astype(np.float64)])
        self._owner = np.zeros((size_px, size_px), dtype=np.int32)
        self._weights = np.zeros((size_px, size_px, 2), dtype=np.float32)

    def clear(self) -> None:
        self.maps[:] = 0

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
