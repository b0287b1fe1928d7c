"""The warp on the host: what a CPU does instead of the graph.

`out = skin(skin_map) · (1 − a) + inner(inner_map) · shade · a`, bilinear, borders repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.geometry import raster

_NO_MAP = cast(NDArray[np.float32], None)
"""cv2.remap's second map is part of the first here; its type stubs do not know that this is allowed."""


class HostWarp:
    """Turns maps into frames for one source; owns its output buffer.

    Args:
        cache: tensors made by `prepare_source` (`skin`, `inner`).
        size_px: (width, height) of the output.
    """

    def __init__(self, cache: Mapping[str, NDArray[np.generic]], size_px: tuple[int, int]) -> None:
        self._skin = np.ascontiguousarray(cache["skin"], dtype=np.uint8)
        self._inner = np.ascontiguousarray(cache["inner"], dtype=np.uint8)
        self._out = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)

    def frame(self, motion: Mapping[str, NDArray[np.generic]]) -> Frame:
        """(H, W, 3) RGB; valid until the next call."""
        skin_map = cast(NDArray[np.float32], motion["skin_map"])
        inner_map = cast(NDArray[np.float32], motion["inner_map"])
        cv2.remap(
            self._skin,
            skin_map,
            _NO_MAP,
            cv2.INTER_LINEAR,
            dst=self._out,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for x0, y0, x1, y1 in motion["regions"]:
            if x1 <= x0 or y1 <= y0:
                continue
            behind = cv2.remap(
                self._inner,
                inner_map[y0:y1, x0:x1],
                _NO_MAP,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            raster.blend(
                self._out,
                behind,
                cast(Frame, motion["inner_alpha"]),
                cast(Frame, motion["inner_shade"]),
                x0,
                y0,
            )
        return self._out
