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

THRESHOLD: Final = 7.5
"""In standard deviations. A picture without the watermark is compared at about a million places and scales, so its
highest score is near 5. A score of 7.5 then comes by chance once in some ten million pictures."""
SURE: Final = 12.0
"""From this score on no further frames are looked at."""
_HALF_PX: Final = TILE_PX // 2
"""Pictures are looked at in half the size in which the pattern was added. It has nothing finer."""
_STEP: Final = 2 ** (1 / 58)
_TOGETHER: Final = 7
"""Steps of scale that share one filtered picture."""
_SCALES: Final = np.array([_STEP ** np.arange(n - 3, n + 4) for n in range(-85, 67, _TOGETHER)])
"""Sizes of the picture now by its size then, from .35 to 2.2, among them nearly 1/2, 1 and 2. At 512 pixels a step moves
the pattern by three pixels at the picture's edges. Rows share a filtered picture."""
_MOST_TILES: Final = 4
"""Along a side. More would ask for finer steps."""
_LEAST_PX: Final = 128
"""A side of a picture that was smaller than this at first has too little pattern."""


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
    tiles = np.zeros((_SCALES.size, _HALF_PX, _HALF_PX), dtype=np.float32)
    found = Found(0.0, 1.0)
    for number, frame in enumerate(frames, start=1):
        grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        _fold(grey.astype(np.float32), tiles)
        # Scores are taken when the number of frames has doubled, so that chance has few tries.
        if number & (number - 1) == 0:
            scores = _scores(tiles)
            best = int(scores.argmax())
            found = max(found, Found(float(scores[best]), float(_SCALES.flat[best])), key=lambda f: f.score)
            if found.score >= SURE:
                break
    return found


def _fold(grey: NDArray[np.float32], tiles: NDArray[np.float32]) -> None:
    """Add what may be pattern to the (scales, _HALF_PX, _HALF_PX) tiles; nothing where too little would be left."""
    most_px = _MOST_TILES * _HALF_PX
    number = 0
    for scales in _SCALES:
        middle = scales[_TOGETHER // 2]
        # The middle of a large picture is enough. A little more, because steps may need it.
        keep = int(np.ceil(most_px * 2 * scales[-1]))
        top, left = (max(0, (side - keep) // 2) for side in grey.shape)
        part = grey[top : top + keep, left : left + keep]
        fine = _filtered(part, (part.shape[1] / (2 * middle), part.shape[0] / (2 * middle)))
        for scale in scales:
            width, height = (round(side / (2 * scale)) for side in part.shape[::-1])
            if fine is not None and min(width, height) >= _LEAST_PX // 2:
                small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)
                whole = np.zeros((most_px, most_px), dtype=np.float32)
                whole[:height, :width] = small[:most_px, :most_px]
                tiles[number] += whole.reshape(_MOST_TILES, _HALF_PX, _MOST_TILES, _HALF_PX).sum(axis=(0, 2))
            number += 1


def _filtered(part: NDArray[np.float32], size: tuple[float, float]) -> NDArray[np.float32] | None:
    """The picture at that size without its coarse parts, and everywhere of the same strength; None: it would be tiny."""
    width, height = map(round, size)
    if min(width, height) < _LEAST_PX // 3:
        return None
    shrinks = width < part.shape[1]
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    fine = small - cv2.GaussianBlur(small, (0, 0), 2.5, borderType=cv2.BORDER_REFLECT)
    strength = cv2.blur(fine * fine, (9, 9), borderType=cv2.BORDER_REFLECT)
    fine /= np.sqrt(np.maximum(strength, 0)) + 0.5
    return np.asarray(np.clip(fine, -2.0, 2.0), dtype=np.float32)


def _scores(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """The best agreement of each tile with the pattern, mirrored or not, at any shift."""
    spectra = np.fft.rfft2(tiles)
    size = np.abs(spectra)
    phases = np.divide(spectra, size, out=np.zeros_like(spectra), where=size > 1e-9)
    wanted, deviation = _wanted()
    best = np.max([np.fft.irfft2(phases * one).max(axis=(1, 2)) for one in wanted], axis=0)
    return np.asarray(best / deviation, dtype=np.float32)


@cache
def _wanted() -> tuple[tuple[NDArray[np.complex64], ...], float]:
    """The conjugate phases of the pattern and of its mirror image, and the standard deviation that chance gives."""
    half = pattern().reshape(_HALF_PX, 2, _HALF_PX, 2).mean(axis=(1, 3))
    band = in_band(_HALF_PX)
    spectra = (np.fft.rfft2(tile) for tile in (half, half[:, ::-1]))
    conjugates = tuple(
        np.where(band, np.exp(-1j * np.angle(spectrum)), 0).astype(np.complex64) for spectrum in spectra
    )
    # `rfft2` leaves out the half that follows from the other half.
    count = 2 * np.count_nonzero(band[:, 1:]) + np.count_nonzero(band[:, 0])
    return conjugates, float(np.sqrt(count)) / _HALF_PX**2
