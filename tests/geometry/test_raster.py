"""The compiled loops, by hand-computed values."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import FloatArray
from icface.geometry import raster

Rows = Sequence[Sequence[float]]


def draw(vertices: Rows, triangles: Rows, values: Rows, size: tuple[int, int] = (8, 8)) -> FloatArray:
    out = np.full((size[1], size[0], 2), -1.0, dtype=np.float32)
    depth = np.empty((size[1], size[0]), dtype=np.float32)
    raster.raster_map(
        np.array(vertices, dtype=np.float32),
        np.array(triangles, dtype=np.int32),
        np.array(values, dtype=np.float32),
        depth,
        out,
    )
    return out


# Clockwise on screen (y down) is the front side.
CORNER = [[0, 0, 0], [4, 0, 0], [0, 4, 0]]
VALUES = [[10, 20, 1], [50, 20, 1], [10, 60, 1]]


def test_affine_interpolation_and_coverage() -> None:
    front = draw(CORNER, [[0, 2, 1]], VALUES)
    assert front[1, 2] == pytest.approx((10 + 2 / 4 * 40, 20 + 1 / 4 * 40))
    assert front[0, 4] == pytest.approx((50, 20))  # a corner on a pixel centre is covered
    assert front[3, 3] == pytest.approx((-1, -1))  # beyond the slanted edge
    assert (front[5:] == -1).all()


def test_the_back_side_is_not_drawn() -> None:
    assert (draw(CORNER, [[0, 1, 2]], VALUES) == -1).all()


def test_the_nearer_triangle_wins_in_either_order() -> None:
    vertices = [*CORNER, [0, 0, 1], [4, 0, 1], [0, 4, 1]]
    values = [*VALUES, *([[7, 7, 1]] * 3)]
    for order in ([[0, 2, 1], [3, 5, 4]], [[3, 5, 4], [0, 2, 1]]):
        assert draw(vertices, order, values)[1, 1] == pytest.approx((7, 7))


def test_weight_blends_with_what_was_there() -> None:
    values = [[9, 9, 0.25]] * 3
    assert draw(CORNER, [[0, 2, 1]], values)[1, 1] == pytest.approx((-1 + 0.25 * 10, -1 + 0.25 * 10))


def test_parts_outside_the_picture_are_clipped() -> None:
    vertices = [[-4, -4, 0], [20, -4, 0], [-4, 20, 0]]
    out = draw(vertices, [[0, 2, 1]], [[-4, -4, 1], [20, -4, 1], [-4, 20, 1]], size=(5, 3))
    ys, xs = np.mgrid[:3, :5]
    np.testing.assert_allclose(out[..., 0], xs, atol=1e-4)
    np.testing.assert_allclose(out[..., 1], ys, atol=1e-4)


def test_upsampling_keeps_a_linear_field_exact_on_odd_sizes() -> None:
    nodes_y, nodes_x = np.mgrid[:3, :4].astype(np.float32) * 4
    grid = np.ascontiguousarray(np.stack([2 * nodes_x + nodes_y, nodes_x - nodes_y], axis=-1))
    out = np.empty((7, 11, 2), dtype=np.float32)
    raster.upsample_grid(grid, 4, out)
    ys, xs = np.mgrid[:7, :11]
    np.testing.assert_allclose(out[..., 0], 2 * xs + ys, atol=1e-4)
    np.testing.assert_allclose(out[..., 1], xs - ys, atol=1e-4)


def test_blend_by_hand() -> None:
    frame = np.full((3, 4, 3), 100, dtype=np.uint8)
    behind = np.full((1, 2, 3), 200, dtype=np.uint8)
    alpha = np.zeros((3, 4), dtype=np.uint8)
    shade = np.full((3, 4), 255, dtype=np.uint8)
    alpha[1, 2], alpha[1, 3] = 255, 51
    shade[1, 2] = 128
    raster.blend(frame, behind, alpha, shade, 2, 1)
    assert frame[1, 2, 0] == round(200 * 128 / 255)
    assert frame[1, 3, 0] == round(100 * 0.8 + 200 * 0.2)
    assert (frame[0] == 100).all() and (frame[1, :2] == 100).all() and (frame[2] == 100).all()


COMPILED = """
from icface.geometry import raster
loops = [raster.upsample_grid, raster.raster_map, raster.blend]
assert all(len(loop.signatures) == 1 and not loop._can_compile for loop in loops)
print(sum(sum(loop.stats.cache_misses.values()) for loop in loops), end=" ")
print(sum(sum(loop.stats.cache_hits.values()) for loop in loops))
"""


@pytest.mark.slow
def test_only_the_first_start_compiles(repository: Path, tmp_path: Path) -> None:
    """One signature for each loop, compiled when it is imported and never again, and kept on disk from then on."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(repository)}
    for expected in ("3 0\n", "0 3\n"):
        result = subprocess.run(
            [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == expected


def test_an_edge_is_softened_in_every_column() -> None:
    """Sources jump by 10 pixels and more between rows 2 and 3: there (1, 2, 1) / 4 of the rows is shown."""
    positions = np.zeros((5, 7, 2), dtype=np.float32)
    positions[3:] = 24
    frame = np.full((5, 7, 3), 40, dtype=np.uint8)
    frame[3:] = 200
    raster.soften_edges(positions, np.zeros((5, 7), dtype=np.uint8), np.empty_like(frame), frame)
    np.testing.assert_array_equal(frame[:, :, 0], np.repeat([[40], [40], [80], [160], [200]], 7, axis=1))


def test_a_row_beside_a_nearly_level_edge_has_no_pixels() -> None:
    """The edge meets the row 1e38 pixels away, which no whole number holds."""
    begin, end = raster.row_span(-1.0, 0.5, 1e-38, 0.0, 8)
    assert begin >= end
    begin, end = raster.row_span(-1.0, 0.5, -1e-38, 0.0, 8)
    assert begin >= end
    assert raster.row_span(0.5, 0.25, 1e-38, 0.0, 8) == (0, 8)
