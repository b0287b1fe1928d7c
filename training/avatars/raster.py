"""The renderer's compiled loop: perspective-correct z-buffer with an alpha test."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(cache=True, nogil=True, error_model="numpy")
def raster(
    screen: NDArray[np.float64],
    triangles: NDArray[np.int32],
    uv: NDArray[np.float64],
    opacity: NDArray[np.uint8],
    first: int,
    depth: NDArray[np.float32],
    owner: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """Draw one mesh, both sides.

    Args:
        screen: (n, 3) x, y in pixels and distance from the camera (> 0).
        triangles: (m, 3).
        uv: (n, 2), for the alpha test.
        opacity: (h, w) of the texture; a texel under 128 is a hole.
        first: number of the mesh's first triangle in `owner`.
        depth: (H, W) inverse distance so far, larger = nearer; updated.
        owner: (H, W) number of the visible triangle, −1 for none; updated.
        weights: (H, W, 2) perspective-correct weights of its first two corners; updated.
    """
    height, width = depth.shape
    rows, cols = opacity.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if screen[a, 2] <= 1e-6 or screen[b, 2] <= 1e-6 or screen[c, 2] <= 1e-6:
            continue
        ax, ay, bx, by = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-12:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        ia, ib, ic = 1 / screen[a, 2], 1 / screen[b, 2], 1 / screen[c, 2]
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wa = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                wb = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                inverse = wa * ia + wb * ib + wc * ic
                if inverse <= depth[y, x]:
                    continue
                pa, pb = wa * ia / inverse, wb * ib / inverse
                pc = 1 - pa - pb
                u = pa * uv[a, 0] + pb * uv[b, 0] + pc * uv[c, 0]
                v = pa * uv[a, 1] + pb * uv[b, 1] + pc * uv[c, 1]
                column = min(cols - 1, max(0, int(u * cols)))
                row = min(rows - 1, max(0, int(v * rows)))
                if opacity[row, column] < 128:
                    continue
                depth[y, x] = inverse
                owner[y, x] = first + t
                weights[y, x, 0] = pa
                weights[y, x, 1] = pb
