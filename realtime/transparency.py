"""Pictures with an alpha channel: (H, W, 4) RGBA, colours multiplied by alpha. And what becomes of them in a sink."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from realtime.backgrounds import KEY_COLOUR

_CELL: Final = 8


class Key:
    """Lays pictures of one size over the key colour. It owns its output buffer."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._colour = np.full((height_px, width_px, 3), KEY_COLOUR, dtype=np.uint8)
        self._out = np.empty_like(self._colour)
        from icface.geometry.raster import over  # see realtime/engine.py: loaded beside the tracker

        self._over = over

    def lay(self, picture: NDArray[np.uint8]) -> Frame:
        """(H, W, 3) RGB; valid until the next call."""
        self._over(picture, self._colour, self._out)
        return self._out


def straight(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy whose colours are not multiplied by alpha, as files keep them.

    Where nothing is seen it has the colours nearby, so that no encoder mixes black into the outline.
    """
    out = cv2.cvtColor(picture, cv2.COLOR_mRGBA2RGBA)
    height, width = picture.shape[:2]
    cells = max(1, width // _CELL), max(1, height // _CELL)
    around = cv2.blur(cv2.resize(picture, cells, interpolation=cv2.INTER_AREA), (3, 3))
    around = cv2.resize(cv2.cvtColor(around, cv2.COLOR_mRGBA2RGBA), (width, height))
    around[..., 3] = 0
    cv2.copyTo(around, (picture[..., 3] == 0).astype(np.uint8), out)
    return np.asarray(out, dtype=np.uint8)
