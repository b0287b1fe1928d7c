"""The loop that adds the watermark, compiled by numba."""

from __future__ import annotations

from typing import Any

import numba as nb

from icface.compiled import compiled
from realtime.watermark import BLOCK_PX, TILE_PX


@compiled(nb.uint8[:, ::1], nb.int8[:, :, ::1], nb.int64[::1], nb.int64)
def add(frame: Any, tables: Any, busy: Any, channels: int) -> None:
    """Add a table's step to each value of a frame, in place.

    Args:
        frame: (H, W * channels) uint8.
        tables: (strengths, TILE_PX, TILE_PX * channels) int8, from the weakest on.
        busy: mean difference of neighbouring greens up to which each table is used.
        channels: 3, or 4 with colours multiplied by alpha.
    """
    height, width = frame.shape
    step = BLOCK_PX * channels
    for top in range(0, height, BLOCK_PX):
        rows = min(BLOCK_PX, height - top)
        tile_y = top % TILE_PX
        for left in range(0, width, step):
            columns = min(step, width - left)
            opaque, clear = nb.uint8(255), nb.uint8(0)
            if channels == 4:
                for y in range(top, top + rows):
                    for x in range(left + 3, left + columns, 4):
                        opaque &= frame[y, x]
                        clear |= frame[y, x]
                if clear == 0:  # nothing is seen here
                    continue
            differences = count = 0
            for y in range(top, top + rows - 1, 2):
                for x in range(left + 1, left + columns - channels, 2 * channels):
                    green = nb.int64(frame[y, x])
                    differences += abs(green - nb.int64(frame[y, x + channels]))
                    differences += abs(green - nb.int64(frame[y + 1, x]))
                    count += 2
            strength = 0
            while differences >= busy[strength] * count and count:
                strength += 1
            tile_x = left % (TILE_PX * channels)
            for row in range(rows):
                into = frame[top + row, left : left + columns]
                steps = tables[strength, tile_y + row, tile_x : tile_x + columns]
                if opaque == 255:  # a table's step is 0 for alpha
                    for i in range(columns):
                        into[i] = min(max(nb.int16(into[i]) + nb.int16(steps[i]), 0), 255)
                else:
                    for i in range(columns):
                        if into[i | 3] == 255:
                            into[i] = min(max(nb.int16(into[i]) + nb.int16(steps[i]), 0), 255)
