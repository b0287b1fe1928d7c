"""Find the invisible watermark of `realtime/watermark.py` in pictures, whatever became of them on the way.

A picture may have been cropped, mirrored, compressed and scaled. For each of many scales, what is not pattern is
weakened, the picture is folded to one tile, and the tile is compared with the pattern at every shift. Only phases are
compared. Those of a picture that has no watermark are independent of the pattern's, which is random, so the score of such
a picture is the highest of many normally distributed numbers, whatever the picture shows. That gives the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from realtime.watermark import TILE_PX, in_band, pattern

THRESHOLD: Final = 8.0
"""In standard deviations. A picture without the watermark is compared at about a million places and scales, so its
highest score is near 5.5. A score of 8 then comes by chance once in some billion pictures."""
SURE: Final = 12.0
"""From this score on no further scales and frames are looked at."""
_HALF_PX: Final = TILE_PX // 2
"""Pictures are looked at in half the size in which the pattern was added. It has nothing finer."""
_STEPS_PER_OCTAVE: Final = 58
_SCALES: Final = tuple(
    sorted((2 ** (n / _STEPS_PER_OCTAVE) for n in range(-87, 67)), key=lambda s: (abs(np.log2(s)) % 1, s))
)
"""Sizes of the picture now by its size then, from .35 to 2.2, whole octaves first. At 640 pixels a step shifts the
pattern's edges by two pixels at most."""
_MOST_TILES: Final = 5
"""Along a side. More would ask for finer steps."""
_SMALLEST_PX: Final = 64
"""A side of a picture that is smaller in its original size has too little pattern."""


@dataclass(frozen=True)
class Found:
    """The best match in a picture, or in the frames of a video."""

    score: float
    """In standard deviations of what pictures without the watermark give."""
    scale: float
    """Size now by the size in which it was made."""

    @property
    def is_there(self) -> bool:
        """Whether it is the watermark."""
        return self.score >= THRESHOLD


def search(frames: Iterable[Frame]) -> Found:
    """Look for the watermark in a picture, or in several frames of one video, all of one size.

    Args:
        frames: (H, W, 3) RGB or (H, W) grey.
    """
    sums: dict[float, NDArray[np.float64]] = {}
    best = Found(0.0, 1.0)
    for number, frame in enumerate(frames, start=1):
        grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        grey = grey.astype(np.float32)
        for scale in _SCALES:
            tile = _folded(grey, scale)
            if tile is None:
                continue
            sums[scale] = tile if scale not in sums else sums[scale] + tile
            # Scores are taken when the number of frames has doubled, so that chance has few tries.
            if number & (number - 1) == 0:
                best = max(best, Found(_score(sums[scale]), scale), key=lambda found: found.score)
                if best.score >= SURE:
                    return best
    for scale, tile in sums.items():
        best = max(best, Found(_score(tile), scale), key=lambda found: found.score)
    return best


def _folded(grey: NDArray[np.float32], scale: float) -> NDArray[np.float64] | None:
    """What may be pattern, summed over all tiles: (_HALF_PX, _HALF_PX). None: too little is left at this scale."""
    most = _MOST_TILES * _HALF_PX
    # Cut before scaling: the middle of a large picture is enough.
    keep = int(np.ceil(most * 2 * scale))
    top, left = (max(0, (side - keep) // 2) for side in grey.shape)
    part = grey[top : top + keep, left : left + keep]
    size = tuple(min(most, round(side / (2 * scale))) for side in part.shape[::-1])
    if min(size) < _SMALLEST_PX // 2:
        return None
    shrinks = size[0] < part.shape[1]
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    fine = small - cv2.GaussianBlur(small, (0, 0), 2.5, borderType=cv2.BORDER_REFLECT)
    strength = cv2.blur(fine * fine, (9, 9), borderType=cv2.BORDER_REFLECT)
    fine /= np.sqrt(np.maximum(strength, 0)) + 0.5
    np.clip(fine, -2.0, 2.0, out=fine)
    tile = np.zeros((_HALF_PX, _HALF_PX), dtype=np.float64)
    for y in range(0, fine.shape[0], _HALF_PX):
        for x in range(0, fine.shape[1], _HALF_PX):
            piece = fine[y : y + _HALF_PX, x : x + _HALF_PX]
            tile[: piece.shape[0], : piece.shape[1]] += piece
    return tile


def _score(tile: NDArray[np.float64]) -> float:
    """The best agreement of a folded tile with the pattern, mirrored or not, at any shift."""
    spectrum = np.fft.rfft2(tile)
    size = np.abs(spectrum)
    phases = np.divide(spectrum, size, out=np.zeros_like(spectrum), where=size > 1e-9)
    wanted, deviation = _wanted()
    return max(float(np.fft.irfft2(phases * one).max()) for one in wanted) / deviation


@cache
def _wanted() -> tuple[tuple[NDArray[np.complex128], ...], float]:
    """The conjugate phases of the pattern and of its mirror image, and the standard deviation that chance gives."""
    half = pattern().reshape(_HALF_PX, 2, _HALF_PX, 2).mean(axis=(1, 3))
    band = in_band(_HALF_PX)
    spectra = (np.fft.rfft2(tile) for tile in (half, half[:, ::-1]))
    conjugates = tuple(np.where(band, np.exp(-1j * np.angle(spectrum)), 0) for spectrum in spectra)
    # `rfft2` leaves out the half that follows from the other half.
    count = 2 * np.count_nonzero(band[:, 1:]) + np.count_nonzero(band[:, 0])
    return conjugates, float(np.sqrt(count)) / _HALF_PX**2
