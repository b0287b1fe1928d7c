"""The warp on the host. A CPU runs it in place of the bundle's graph.

The person is read at `skin_map` and laid over the background, and smoothed where the map has an edge. Then
`out = front · (1 − a) + inner(inner_map) · shade · a`, bilinear, borders repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import FloatArray
from icface.geometry import raster

NO_MAP = cast(FloatArray, None)
"""The first map holds x and y, so cv2.remap needs no second one. Its type stubs do not know that."""


class HostWarp:
    """Turns maps into frames of (width, height) for one source that `prepare_source` made. It owns its output buffer."""

    def __init__(self, cache: Tensors, size_px: tuple[int, int]) -> None:
        self._skin = np.ascontiguousarray(cache["skin"], dtype=np.uint8)
        # OpenCV reads pictures of four channels in a third of the time.
        self._inner = cv2.cvtColor(np.ascontiguousarray(cache["inner"], dtype=np.uint8), cv2.COLOR_RGB2RGBA)
        self._plate = np.ascontiguousarray(cache["plate"], dtype=np.uint8)
        self.person = np.empty((size_px[1], size_px[0], 4), dtype=np.uint8)
        """The last frame's person without eyes and mouth, RGBA, colours multiplied by alpha."""
        self._softened = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)
        self._edges = np.zeros((size_px[1], size_px[0]), dtype=np.uint8)
        self._out = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)

    def frame(self, motion: Tensors) -> Frame:
        """(H, W, 3) RGB; valid until the next call."""
        border = cv2.BORDER_REPLICATE
        cv2.remap(
            self._skin, motion["skin_map"], NO_MAP, cv2.INTER_LINEAR, dst=self.person, borderMode=border
        )
        raster.over(self.person, self._plate, self._out)
        raster.soften_edges(motion["skin_map"], self._edges, self._softened, self._out)
        for x0, y0, x1, y1 in _inside(motion["regions"], self._edges.shape):
            inner_map = motion["inner_map"][y0:y1, x0:x1]
            behind = cv2.remap(self._inner, inner_map, NO_MAP, cv2.INTER_LINEAR, borderMode=border)
            raster.blend(
                self._out, np.asarray(behind, np.uint8), motion["inner_alpha"], motion["inner_shade"], x0, y0
            )
        return self._out


def _inside(regions: NDArray[np.int32], size: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """The boxes of `regions` cut to a frame of (height, width), without those that lie outside of it."""
    for region in regions:
        x0, y0, x1, y1 = region.tolist()
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, size[1]), min(y1, size[0])
        if x0 < x1 and y0 < y1:
            yield x0, y0, x1, y1


class PersonAlpha:
    """How much of each pixel of a frame is the person, for one source. It owns its output buffer."""

    def __init__(self, cache: Tensors) -> None:
        self._alpha = np.ascontiguousarray(cache["skin"][..., 3])
        size = cache["plate"].shape[:2]
        self._softened = np.empty((*size, 1), dtype=np.uint8)
        self._edges = np.zeros(size, dtype=np.uint8)
        self._out = np.empty(size, dtype=np.uint8)

    def frame(self, motion: Tensors) -> NDArray[np.uint8]:
        """(H, W), 255 where nothing of the background is seen; valid until the next call."""
        border = cv2.BORDER_REPLICATE
        cv2.remap(self._alpha, motion["skin_map"], NO_MAP, cv2.INTER_LINEAR, dst=self._out, borderMode=border)
        raster.soften_edges(motion["skin_map"], self._edges, self._softened, self._out[..., None])
        # Eyes and mouth hide what is behind them.
        for x0, y0, x1, y1 in _inside(motion["regions"], self._out.shape):
            box = np.s_[y0:y1, x0:x1]
            # a over b: 255 − (255 − a)(255 − b) / 255
            rest = cv2.multiply(255 - self._out[box], 255 - motion["inner_alpha"][box], scale=1 / 255)
            self._out[box] = 255 - rest
        return self._out
