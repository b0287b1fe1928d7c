"""The compiled inner loops: a z-buffered mesh raster that writes a backward map, upsampling of a grid, and blending.

numba compiles them when this module is imported, because their signatures are given; the live loop never compiles.
The compiled code is cached on disk, so only the first start pays.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.compiled import compiled

_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")
_I2 = nb.types.Array(nb.int32, 2, "C", readonly=True)
_U2 = nb.types.Array(nb.uint8, 2, "C")
_U3 = nb.types.Array(nb.uint8, 3, "C")

COVERED: Final = 180
"""Less than this much of a pixel (255 = all) hides nothing behind it."""
NO_OPENING: Final = 254
"""A shade that says: what lies over the skin here is no opening of eyes or mouth. It is as bright as it is."""
EDGE_FROM_PX: Final = 6.0
"""Neighbours whose sources lie farther apart, along x or y, are an edge; from EDGE_PX on it is smoothed altogether."""
EDGE_PX: Final = 10.0
_PROBES: Final = np.array(
    [[a, b, 4 - a - b] for a in range(5) for b in range(5 - a)], dtype=np.float32
) / np.float32(4)
"""Points of a triangle, as shares of its corners."""
_FROM_PX: Final = np.float32(EDGE_FROM_PX)
_SLOPE: Final = np.float32(255 / (EDGE_PX - EDGE_FROM_PX))


@nb.njit(inline="always")
def write_line(line: FloatArray, count: int, u: float, v: float, du: float, dv: float) -> None:
    """Write `count` pairs u, v that grow by du, dv from the start of a flat line on."""
    # Unsigned indices, so that the compiler makes vectors of it.
    two, one = np.uint64(2), np.uint64(1)
    for k in range(np.uint64(count)):
        line[two * k] = u + du * np.float32(k)
        line[two * k + one] = v + dv * np.float32(k)


@nb.njit(inline="always")
def triangle(vertices: FloatArray, a: int, b: int, c: int) -> tuple[Any, ...]:
    """The corners of a triangle, and how its barycentric coordinates grow; no growth where it is seen from behind.

    Returns:
        ax, ay, bx, by, cx, cy, and e0x, e0y, e1x, e1y: the coordinates of the first two corners are affine in the pixel.
        One step right adds (e0x, e1x), one step down (e0y, e1y).
    """
    ax, ay = vertices[a, 0], vertices[a, 1]
    bx, by = vertices[b, 0], vertices[b, 1]
    cx, cy = vertices[c, 0], vertices[c, 1]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    inverse = np.float32(1.0) / area if area < np.float32(-1e-6) else np.float32(0)
    e0x, e0y = -(cy - by) * inverse, (cx - bx) * inverse
    return ax, ay, bx, by, cx, cy, e0x, e0y, -(ay - cy) * inverse, (ax - cx) * inverse


@nb.njit(inline="always")
def row_span(w0: float, w1: float, e0: float, e1: float, count: int) -> tuple[int, int]:
    """Of a row's pixels 0 to count − 1, the first inside of a triangle, and the one after the last.

    Args:
        w0: barycentric coordinate of the first corner at pixel 0.
        w1: of the second.
        e0: how much w0 grows from pixel to pixel.
        e1: how much w1 grows.
        count: of pixels.
    """
    slack = np.float32(-1e-4)
    first, last = np.float32(0), np.float32(count - 1)
    for w, e in ((w0, e0), (w1, e1), (np.float32(1.0) - w0 - w1, -e0 - e1)):
        if e > 0:
            first = max(first, (slack - w) / e)
        elif e < 0:
            last = min(last, (slack - w) / e)
        elif w < slack:
            last = np.float32(-1)
    # Where an edge is nearly level these lie so far out that no whole number holds them.
    first, last = min(first, np.float32(count)), max(last, np.float32(-1))
    return int(np.ceil(first)), int(np.floor(last)) + 1


@compiled(_F3, nb.int32, _F3)
def upsample_grid(grid: FloatArray, step: int, out: FloatArray) -> None:
    """Bilinear upsampling of node values to pixels `out` (H, W, 2), which are overwritten.

    `grid` (rows + 1, cols + 1, 2) has the values at pixels (col · step, row · step), which cover all of `out`.
    """
    height, width = out.shape[0], out.shape[1]
    inverse = np.float32(1.0) / np.float32(step)
    flat = out.reshape(height, 2 * width)
    for y in range(height):
        row = y // step
        fy = np.float32(y - row * step) * inverse
        gy = np.float32(1.0) - fy
        line = flat[y]
        for col in range((width + step - 1) // step):
            u = grid[row, col, 0] * gy + grid[row + 1, col, 0] * fy
            v = grid[row, col, 1] * gy + grid[row + 1, col, 1] * fy
            du = (grid[row, col + 1, 0] * gy + grid[row + 1, col + 1, 0] * fy - u) * inverse
            dv = (grid[row, col + 1, 1] * gy + grid[row + 1, col + 1, 1] * fy - v) * inverse
            start = col * step
            write_line(line[2 * start :], min(step, width - start), u, v, du, dv)


@compiled(_F2, _I2, _F2, _F2, _F3)
def raster_map(
    vertices: FloatArray, triangles: NDArray[np.int32], values: FloatArray, depth: FloatArray, out: FloatArray
) -> None:
    """Draw a mesh into a backward map. Its vertices carry a source position and a weight.

    Where the mesh covers a pixel centre, `out` becomes `out + w · (position − out)`. The triangle nearest to the
    camera wins. Triangles seen from behind are skipped.

    Args:
        vertices: (n, 3) x, y in pixels of `out`, z larger = nearer.
        triangles: (m, 3) counter-clockwise seen from the camera with y up (clockwise on screen).
        values: (n, 3) source x, source y, weight in [0, 1].
        depth: (H, W) scratch; overwritten.
        out: (H, W, 2) the map so far, changed in place. A nearer triangle blends over a farther one. Weights below 1
            lie only along the face's outline, where at most two layers meet.
    """
    height, width = out.shape[0], out.shape[1]
    depth[:] = np.float32(-1e30)
    flat = out.reshape(height, 2 * width)
    two, one = np.uint64(2), np.uint64(1)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy, e0x, e0y, e1x, e1y = triangle(vertices, a, b, c)
        if e0x == 0 and e0y == 0:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy))))
        if x0 > x1 or y0 > y1:
            continue
        zc, uc, vc, wc = vertices[c, 2], values[c, 0], values[c, 1], values[c, 2]
        za, ua, va, wa = vertices[a, 2] - zc, values[a, 0] - uc, values[a, 1] - vc, values[a, 2] - wc
        zb, ub, vb, wb = vertices[b, 2] - zc, values[b, 0] - uc, values[b, 1] - vc, values[b, 2] - wc
        dz, du, dv, dw = e0x * za + e1x * zb, e0x * ua + e1x * ub, e0x * va + e1x * vb, e0x * wa + e1x * wb
        for y in range(y0, y1 + 1):
            w0 = e0x * (np.float32(x0) - bx) + e0y * (np.float32(y) - by)
            w1 = e1x * (np.float32(x0) - cx) + e1y * (np.float32(y) - cy)
            begin, end = row_span(w0, w1, e0x, e1x, x1 + 1 - x0)
            if begin >= end:
                continue
            w0 += e0x * np.float32(begin)
            w1 += e1x * np.float32(begin)
            z, u, v, w = (
                zc + w0 * za + w1 * zb,
                uc + w0 * ua + w1 * ub,
                vc + w0 * va + w1 * vb,
                wc + w0 * wa + w1 * wb,
            )
            # Without branches and with unsigned indices, so that the compiler makes vectors of it.
            nearest, line = depth[y, x0 + begin :], flat[y, 2 * (x0 + begin) :]
            for k in range(np.uint64(end - begin)):
                step = np.float32(k)
                own = z + dz * step
                before = nearest[k]
                weight = w + dw * step if own > before else np.float32(0)
                nearest[k] = max(own, before)
                line[two * k] += weight * (u + du * step - line[two * k])
                line[two * k + one] += weight * (v + dv * step - line[two * k + one])


@compiled(_F2, _I2, _F2, _U2, _F3)
def fill_behind(
    vertices: FloatArray,
    triangles: NDArray[np.int32],
    values: FloatArray,
    cover: NDArray[np.uint8],
    out: FloatArray,
) -> None:
    """Draw round meshes into a backward map where it shows nothing so far. The ones that come first hide the others.

    Args:
        vertices: (n, 3) x, y in pixels of `out`, and depth, which is not used.
        triangles: (m, 3) as in `raster_map`. Those seen from behind are skipped.
        values: (n, 2) places in the layer.
        cover: (S, S) of the layer: COVERED and more where it shows something.
        out: (H, W, 2) changed in place.
    """
    height, width = out.shape[0], out.shape[1]
    last_x, last_y = np.float32(cover.shape[1] - 1), np.float32(cover.shape[0] - 1)
    half, zero, slack = np.float32(0.5), np.float32(0), np.float32(-1e-4)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy, e0x, e0y, e1x, e1y = triangle(vertices, a, b, c)
        if e0x == 0 and e0y == 0:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        # Most triangles are hidden altogether. A few points tell.
        hidden = True
        for probe in range(_PROBES.shape[0]):
            w0, w1, w2 = _PROBES[probe, 0], _PROBES[probe, 1], _PROBES[probe, 2]
            x = int(w0 * ax + w1 * bx + w2 * cx + half)
            y = int(w0 * ay + w1 * by + w2 * cy + half)
            if 0 <= x < width and 0 <= y < height:
                u = int(min(max(out[y, x, 0] + half, zero), last_x))
                v = int(min(max(out[y, x, 1] + half, zero), last_y))
                if cover[v, u] < COVERED:
                    hidden = False
                    break
        if hidden:
            continue
        for y in range(y0, y1 + 1):
            w0 = e0x * (np.float32(x0) - bx) + e0y * (np.float32(y) - by)
            w1 = e1x * (np.float32(x0) - cx) + e1y * (np.float32(y) - cy)
            for x in range(x0, x1 + 1):
                w2 = np.float32(1.0) - w0 - w1
                if w0 >= slack and w1 >= slack and w2 >= slack:
                    u = int(min(max(out[y, x, 0] + half, zero), last_x))
                    v = int(min(max(out[y, x, 1] + half, zero), last_y))
                    if cover[v, u] < COVERED:
                        out[y, x, 0] = w0 * values[a, 0] + w1 * values[b, 0] + w2 * values[c, 0]
                        out[y, x, 1] = w0 * values[a, 1] + w1 * values[b, 1] + w2 * values[c, 1]
                w0 += e0x
                w1 += e1x


@compiled(_U3, _U3, _U2, _U2, nb.int64, nb.int64)
def blend(
    frame: Frame, behind: Frame, alpha: NDArray[np.uint8], shade: NDArray[np.uint8], left: int, top: int
) -> None:
    """Lay a shaded rectangle over a frame (H, W, 3) in place: `frame · (1 − a) + behind · s · a`, rounded to nearest.

    The pixel (0, 0) of `behind` (h, w, 3) lies at (left, top) of the frame. `alpha` (H, W) is its weight (255 = all),
    `shade` (H, W) its brightness (255 and NO_OPENING = as it is).
    """
    scale = np.float32(1.0 / 255.0)
    for y in range(behind.shape[0]):
        for x in range(behind.shape[1]):
            weight, brightness = alpha[top + y, left + x], shade[top + y, left + x]
            if weight == 255 and brightness >= NO_OPENING:
                for c in range(3):
                    frame[top + y, left + x, c] = behind[y, x, c]
            elif weight > 0:
                a = np.float32(weight) * scale
                s = np.float32(brightness) * scale * a
                for c in range(3):
                    value = np.float32(frame[top + y, left + x, c]) * (np.float32(1.0) - a)
                    value += np.float32(behind[y, x, c]) * s
                    frame[top + y, left + x, c] = np.uint8(value + np.float32(0.5))


BLOCK_PX: Final = 32


def over(layer: Frame, plate: Frame, out: Frame) -> None:
    """Lay a layer (H, W, 4), colours multiplied by alpha, over a picture (H, W, 3): `layer + plate · (1 − a)`."""
    cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB, dst=out)
    lay_under(layer, plate, out)


@compiled(_U3, _U3, _U3)
def lay_under(layer: Frame, plate: Frame, out: Frame) -> None:
    """Add `plate · (1 − a)` to a layer's colours `out` (H, W, 3), rounded to nearest. Its alpha is that of `layer`."""
    height, width = out.shape[0], out.shape[1]
    three, eight, half, whole = np.uint64(3), np.uint32(8), np.uint32(128), np.uint32(255)
    for y in range(height):
        words = layer[y].reshape(-1).view(np.uint32)  # alpha is in the upper eight bits
        behind, made = plate[y].reshape(-1), out[y].reshape(-1)
        for start in range(0, width, BLOCK_PX):
            end = min(start + BLOCK_PX, width)
            # Most blocks are all of one kind.
            some, every = np.uint32(0), np.uint32(0xFFFFFFFF)
            for x in range(np.uint64(start), np.uint64(end)):
                some |= words[x]
                every &= words[x]
            if every >> np.uint32(24) == whole:
                continue
            if some >> np.uint32(24) == 0:
                made[3 * start : 3 * end] = behind[3 * start : 3 * end]
                continue
            for x in range(np.uint64(start), np.uint64(end)):
                rest = whole - (words[x] >> np.uint32(24))
                for c in range(three):
                    product = np.uint32(behind[three * x + c]) * rest + half
                    hidden = (product + (product >> eight)) >> eight  # a rounded division by 255
                    made[three * x + c] = np.uint8(min(np.uint32(made[three * x + c]) + hidden, whole))


@nb.njit(inline="always")
def _mark(weight: NDArray[np.uint8], y: int, x: int, next_y: int, next_x: int, apart: float) -> None:
    """Give two neighbours whose sources lie `apart` their share of smoothing, if that is an edge."""
    if apart > _FROM_PX:
        share = np.uint8(min((apart - _FROM_PX) * _SLOPE, np.float32(255)))
        weight[y, x] = max(weight[y, x], share)
        weight[next_y, next_x] = max(weight[next_y, next_x], share)


@compiled(_F3, _U2, _U3, _U3)
def soften_edges(positions: FloatArray, weight: NDArray[np.uint8], scratch: Frame, frame: Frame) -> None:
    """Smooth a picture where it shows an edge that the mesh has made: there neighbours come from far apart.

    Args:
        positions: (H, W, 2) where each pixel came from.
        weight: (H, W) scratch; zero, and zero again at the end.
        scratch: (H, W, C).
        frame: (H, W, C) changed in place: edges become their average with weights 1, 2, 1 along both axes.
    """
    height, width, channels = frame.shape
    flat = positions.reshape(height, 2 * width)
    top, bottom, first, last = height, -1, width, -1
    for y in range(height):
        row, below = flat[y], flat[min(y + 1, height - 1)]
        for start in range(0, 2 * width - 2, 128):
            end = min(start + 128, 2 * width - 2)
            here, right, under = row[start:end], row[start + 2 : end + 2], below[start:end]
            # Edges are rare, and this count is quick: the compiler makes vectors of it.
            found = 0
            for i in range(np.uint64(end - start)):
                found += (abs(right[i] - here[i]) > _FROM_PX) | (abs(under[i] - here[i]) > _FROM_PX)
            if found == 0:
                continue
            top, bottom = min(top, y), y + 1
            first, last = min(first, start // 2), max(last, end // 2)
            for i in range(end - start):
                x = (start + i) // 2
                _mark(weight, y, x, y, x + 1, abs(right[i] - here[i]))
                _mark(weight, y, x, y + 1, x, abs(under[i] - here[i]))
        for i in range(2 * width - 2, 2 * width):  # the last pixel has no neighbour to its right
            apart = abs(below[i] - row[i])
            if apart > _FROM_PX:
                top, bottom, first, last = min(top, y), y + 1, min(first, width - 1), width - 1
                _mark(weight, y, width - 1, y + 1, width - 1, apart)
    bottom, last = min(bottom, height - 1), min(last, width - 1)
    for y in range(top, bottom + 1):
        above, under_y = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(first, last + 1):
            w = np.int32(weight[y, x])
            if w == 0:
                continue
            left, right_x = max(x - 1, 0), min(x + 1, width - 1)
            for c in range(channels):
                corners = np.int32(frame[above, left, c]) + frame[above, right_x, c]
                corners += np.int32(frame[under_y, left, c]) + frame[under_y, right_x, c]
                sides = np.int32(frame[above, x, c]) + frame[under_y, x, c]
                sides += np.int32(frame[y, left, c]) + frame[y, right_x, c]
                own = np.int32(frame[y, x, c])
                total = (corners + 2 * sides + 4 * own) * w + 16 * (255 - w) * own
                scratch[y, x, c] = np.uint8((total + 2040) // 4080)  # 16 · 255
    for y in range(top, bottom + 1):
        for x in range(first, last + 1):
            if weight[y, x] > 0:
                weight[y, x] = 0
                for c in range(channels):
                    frame[y, x, c] = scratch[y, x, c]
