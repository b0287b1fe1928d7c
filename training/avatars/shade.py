"""The renderer's compiled light: what each visible point sends to the camera."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from training.avatars.light import OFFSETS, Lights

Floats = NDArray[np.float32]

SKIN, EYE, MOUTH, HAIR = 0, 1, 2, 3
WINDOW = (-0.22, 0.20, 0.95)
"""Eyes mirror a light that stands here."""


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def shade(
    owner: NDArray[np.int32],
    weights: Floats,
    first: int,
    triangles: NDArray[np.int32],
    screen: NDArray[np.float64],
    points: Floats,
    normals: Floats,
    uv: Floats,
    texels: Floats,
    levels: NDArray[np.int64],
    eye: Floats,
    lights: Lights,
    maps: Floats,
    to_maps: NDArray[np.float64],
    material: int,
    picture: Floats,
) -> None:
    """Light the pixels that one mesh owns.

    Args:
        owner, weights, first, triangles, screen: as `raster` left them.
        points, normals: (n, 3) world metres and unit normals.
        uv: (n, 2).
        texels: (t, 4) all levels of the texture, linear RGB and how much of it is skin, 0 to 1.
        levels: (k, 3) start, height and width of each level.
        eye: (3,) the camera.
        maps: (lights, S, S) inverse distance seen from each light.
        to_maps: (lights, 3, 4) world → column, row, distance.
        material: SKIN (and cloth), EYE, MOUTH or HAIR.
        picture: (H, W, 3) linear; updated.
    """
    height, width = owner.shape
    size = maps.shape[1]
    last = first + triangles.shape[0]
    colour = np.zeros(4, dtype=np.float32)
    for y in range(height):
        for x in range(width):
            t = owner[y, x]
            if t < first or t >= last:
                continue
            a, b, c = triangles[t - first, 0], triangles[t - first, 1], triangles[t - first, 2]
            pa, pb = weights[y, x, 0], weights[y, x, 1]
            pc = np.float32(1) - pa - pb
            px = pa * points[a, 0] + pb * points[b, 0] + pc * points[c, 0]
            py = pa * points[a, 1] + pb * points[b, 1] + pc * points[c, 1]
            pz = pa * points[a, 2] + pb * points[b, 2] + pc * points[c, 2]
            nx = pa * normals[a, 0] + pb * normals[b, 0] + pc * normals[c, 0]
            ny = pa * normals[a, 1] + pb * normals[b, 1] + pc * normals[c, 1]
            nz = pa * normals[a, 2] + pb * normals[b, 2] + pc * normals[c, 2]
            vx, vy, vz = eye[0] - px, eye[1] - py, eye[2] - pz
            length = np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx / length, vy / length, vz / length
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            if nx * vx + ny * vy + nz * vz < 0:  # hair cards and cloth are seen from both sides
                length = -length
            nx, ny, nz = nx / length, ny / length, nz / length
            facing = nx * vx + ny * vy + nz * vz
            fresnel = (1 - facing) ** 5

            # How many texels of the whole texture one sample covers, for this triangle.
            seen = abs(
                (screen[b, 0] - screen[a, 0]) * (screen[c, 1] - screen[a, 1])
                - (screen[c, 0] - screen[a, 0]) * (screen[b, 1] - screen[a, 1])
            )
            covered = abs(
                (uv[b, 0] - uv[a, 0]) * (uv[c, 1] - uv[a, 1]) - (uv[c, 0] - uv[a, 0]) * (uv[b, 1] - uv[a, 1])
            )
            ratio = covered * levels[0, 1] * levels[0, 2] / (seen + 1e-9)
            level = 0.5 * np.log2(ratio + 1e-9) - 0.35
            _texel(
                texels, levels, level,
                pa * uv[a, 0] + pb * uv[b, 0] + pc * uv[c, 0],
                pa * uv[a, 1] + pb * uv[b, 1] + pc * uv[c, 1],
                colour,
            )  # fmt: skip
            skin = colour[3] if material == SKIN else np.float32(0)

            # Light enters skin and comes out beside where it fell: red furthest (wrap), and shadows' edges
            # are red. A trace of light is everywhere: it bounces between the surfaces themselves.
            wrap_r, wrap_g, wrap_b = 0.08 + 0.34 * skin, 0.08 + 0.16 * skin, 0.08 + 0.10 * skin
            lr = lg = lb = 0.022
            if material == MOUTH:
                lr = 0.032
            gloss_r = gloss_g = gloss_b = 0.0
            # Interleaved gradient noise turns the taps from pixel to pixel; the reduction averages it out.
            turn = 52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1.0)
            turn = 2 * np.pi * (turn % 1.0)
            ct, st = np.cos(turn), np.sin(turn)
            for k in range(lights.directions.shape[0]):
                dx, dy, dz = lights.directions[k, 0], lights.directions[k, 1], lights.directions[k, 2]
                cosine = nx * dx + ny * dy + nz * dz
                if cosine < -wrap_r:
                    continue
                play = lights.bias_m[k]
                qx, qy, qz = px + nx * play, py + ny * play, pz + nz * play
                m = to_maps[k]
                column = m[0, 0] * qx + m[0, 1] * qy + m[0, 2] * qz + m[0, 3]
                row = m[1, 0] * qx + m[1, 1] * qy + m[1, 2] * qz + m[1, 3]
                distance = m[2, 0] * qx + m[2, 1] * qy + m[2, 2] * qz + m[2, 3]
                per_m = np.sqrt(m[0, 0] ** 2 + m[0, 1] ** 2 + m[0, 2] ** 2)
                limit = 1 / (distance - play)
                seen_taps = 0
                for i in range(lights.taps[k]):
                    ox, oy = OFFSETS[i, 0], OFFSETS[i, 1]
                    u = int(column + (ct * ox - st * oy) * lights.softness_m[k] * per_m + 0.5)
                    v = int(row + (st * ox + ct * oy) * lights.softness_m[k] * per_m + 0.5)
                    if u < 0 or v < 0 or u >= size or v >= size or maps[k, v, u] <= limit:
                        seen_taps += 1
                visible = seen_taps / lights.taps[k]
                if visible == 0:
                    continue
                red, green, blue = visible, visible, visible
                if skin > 0:
                    green = visible ** (1 + 0.25 * skin)
                    blue = visible ** (1 + 0.35 * skin)
                lr += lights.colours[k, 0] * red * max(0.0, (cosine + wrap_r) / (1 + wrap_r))
                lg += lights.colours[k, 1] * green * max(0.0, (cosine + wrap_g) / (1 + wrap_g))
                lb += lights.colours[k, 2] * blue * max(0.0, (cosine + wrap_b) / (1 + wrap_b))

                hx, hy, hz = dx + vx, dy + vy, dz + vz
                half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
                shine = max(0.0, (nx * hx + ny * hy + nz * hz) / half)
                grazing = (1 - max(0.0, (dx * hx + dy * hy + dz * hz) / half)) ** 5
                if cosine <= 0:
                    continue
                if material == SKIN:
                    # Two lobes, as skin's oil and its roughness give; cloth keeps a little of the broad one.
                    lobe = skin * (0.16 * shine**14 + 0.20 * shine**42) + (1 - skin) * 0.02 * shine**6
                    lobe *= 0.35 + 1.8 * grazing
                elif material == EYE:
                    lobe = 0.05 * shine**24
                elif material == MOUTH:
                    lobe = 0.22 * shine**60
                else:
                    lobe = 0.03 * shine**10
                lobe *= visible * cosine
                gloss_r += lights.colours[k, 0] * lobe
                gloss_g += lights.colours[k, 1] * lobe
                gloss_b += lights.colours[k, 2] * lobe
            if material == EYE:
                # Lashes keep a part of the light from the eye. These avatars wear them only as paint.
                lr, lg, lb = 0.80 * lr, 0.78 * lg, 0.78 * lb
                # The window's mirror image: the cornea bulges, so it lies nearer the middle than on a ball.
                hx, hy, hz = vx + WINDOW[0], vy + WINDOW[1], vz + WINDOW[2]
                shine = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
                edge = min(1.0, max(0.0, (shine - 0.9972) / 0.0016))
                gloss_r += 0.8 * edge * edge * (3 - 2 * edge) * min(1.0, 2 * lr)
                gloss_g += 0.8 * edge * edge * (3 - 2 * edge) * min(1.0, 2 * lg)
                gloss_b += 0.8 * edge * edge * (3 - 2 * edge) * min(1.0, 2 * lb)
            elif material == MOUTH:
                # The textures' teeth are a little green, and wet teeth are never as bright as paper.
                lr, lg, lb = 0.98 * lr, 0.80 * lg, 0.80 * lb
            sheen = 0.05 * fresnel * min(1.0, lg) if material == SKIN else 0.0
            picture[y, x, 0] = colour[0] * lr + gloss_r + sheen
            picture[y, x, 1] = colour[1] * lg + gloss_g + sheen
            picture[y, x, 2] = colour[2] * lb + gloss_b + sheen


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _texel(texels: Floats, levels: NDArray[np.int64], level: float, u: float, v: float, out: Floats) -> None:
    """Trilinear sample of the pyramid, into `out` (4,)."""
    level = min(max(level, 0.0), levels.shape[0] - 1.0)
    low = int(level)
    for channel in range(4):
        out[channel] = 0
    for step in range(2):
        k = min(low + step, levels.shape[0] - 1)
        share = level - low if step else 1 - (level - low)
        if share <= 0:
            continue
        start, rows, cols = levels[k, 0], levels[k, 1], levels[k, 2]
        x = min(max(u * cols - 0.5, 0.0), cols - 1.0)
        y = min(max(v * rows - 0.5, 0.0), rows - 1.0)
        x0, y0 = int(x), int(y)
        fx, fy = x - x0, y - y0
        x1, y1 = min(x0 + 1, cols - 1), min(y0 + 1, rows - 1)
        above, below = start + y0 * cols, start + y1 * cols
        for channel in range(4):
            top = texels[above + x0, channel] * (1 - fx) + texels[above + x1, channel] * fx
            bottom = texels[below + x0, channel] * (1 - fx) + texels[below + x1, channel] * fx
            out[channel] += share * (top * (1 - fy) + bottom * fy)
