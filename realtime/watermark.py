"""The invisible watermark: a fixed pattern of faint, soft blotches that is added to every picture.

The same tile is repeated over the whole picture, so that any part of it is enough to find it. The blotches are 6 to 16
pixels wide: finer ones would not survive compression or scaling, and coarser ones would be seen. Where the picture is
busy the eye sees less, and the pattern is stronger there. `realtime/watermark_search.py` finds it again.

The pattern is public, as this code is. It tells honest people and platforms what a picture is. It cannot stop somebody
who wants to take it out.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

TILE_PX: Final = 128
BAND: Final = (8, 21)
"""Lowest and highest frequency of the pattern, in periods per tile."""
BLOCK_PX: Final = 8
STRENGTHS: Final = (0.5, 0.9, 1.4, 2.2)
"""Standard deviation of the pattern in levels of 255, in blocks from smooth to busy."""
_BUSY: Final = (2, 5, 10)
"""Mean difference of neighbouring pixels, in levels, from which on the next strength is used."""
_SEED: Final = 1904_01909


def in_band(size: int = TILE_PX) -> NDArray[np.bool_]:
    """Which frequencies of a tile's `rfft2` the pattern has, (size, size // 2 + 1)."""
    periods = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None])
    return np.asarray((periods >= BAND[0]) & (periods <= BAND[1]), dtype=np.bool_)


@cache
def pattern() -> NDArray[np.float64]:
    """One tile, (TILE_PX, TILE_PX), of mean 0 and standard deviation 1. Its borders fit together."""
    band = in_band()
    # Only the raw bits of a generator are promised to stay the same in later versions of numpy.
    bits = np.random.PCG64(_SEED).random_raw(band.size)
    phases = (bits >> 11).astype(np.float64).reshape(band.shape) * (2 * np.pi / 2**53)
    tile = np.fft.irfft2(band * np.exp(1j * phases), s=(TILE_PX, TILE_PX))
    return np.asarray((tile - tile.mean()) / tile.std())


class Watermark:
    """Adds the pattern to frames. What it needs is made once; a frame costs no memory."""

    def __init__(self) -> None:
        from realtime.watermark_loop import add  # see realtime/engine.py: loaded beside the tracker

        self._add = add
        steps = np.rint(np.array(STRENGTHS)[:, None, None] * pattern()).astype(np.int8)
        # One table for RGB and one for RGBA: the same step for all colours, so that only the brightness changes.
        self._tables = {
            channels: np.ascontiguousarray(
                np.repeat(steps[..., None], channels, axis=3) * (np.arange(channels) < 3)
            )
            .astype(np.int8)
            .reshape(len(STRENGTHS), TILE_PX, TILE_PX * channels)
            for channels in (3, 4)
        }
        self._busy = np.array([*_BUSY, 256], dtype=np.int64)

    def apply(self, frame: NDArray[np.uint8]) -> None:
        """Add the pattern to `frame`, in place: (H, W, 3) RGB, C-contiguous.

        With a fourth channel, the colours are multiplied by alpha. Pixels that are not opaque stay as they are.
        """
        height_px, width_px, channels = frame.shape
        self._add(frame.reshape(height_px, width_px * channels), self._tables[channels], self._busy, channels)
