"""The flow around the face: the head keeps its outline, the body hardly moves, and the map is the motion's inverse."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from icface.geometry.flow import hold_edge, invert_flow

STEP = 8.0


def identity(rows: int, cols: int) -> np.ndarray:
    y, x = np.mgrid[:rows, :cols]
    return np.stack([x, y], axis=-1).astype(np.float32) * STEP


def test_a_shift_is_undone() -> None:
    motion = np.empty((13, 15, 2), dtype=np.float32)
    motion[:] = 5, -3
    grid = np.empty((9, 11, 2), dtype=np.float32)
    invert_flow(motion, STEP, 2, grid)
    assert np.abs(grid - (identity(9, 11) - [5, -3])).max() < 0.02


def test_the_map_leads_back_to_where_a_pixel_came_from() -> None:
    y, x = np.mgrid[-4:25, -4:25].astype(np.float32)
    motion = np.stack([12 * np.sin(y / 6), 9 * np.cos(x / 7)], axis=-1).astype(np.float32)
    grid = np.empty((21, 21, 2), dtype=np.float32)
    invert_flow(motion, STEP, 4, grid)
    where = grid / STEP + 4
    moved = cv2.remap(motion, where[..., 0], where[..., 1], cv2.INTER_LINEAR)
    assert np.abs(grid + moved - identity(21, 21)).max() < 0.05


@pytest.mark.parametrize(("axis", "sign"), [(0, -1.0), (0, 1.0), (1, 1.0)])
def test_nothing_is_read_beyond_an_edge_that_cuts_the_person(axis: int, sign: float) -> None:
    rest = identity(9, 9)
    edge = 4.0 if sign < 0 else 60.0
    grid = rest.copy()
    grid[..., axis] += 40 * sign
    cover = np.ones(9, dtype=np.float32)
    hold_edge(grid, STEP, axis, edge, sign, cover)
    inside = sign * (edge - rest[..., axis]) > 0
    assert (sign * (edge - grid[..., axis])[inside] >= -1e-3).all()
    # The other axis stays, and so does an edge where nobody is cut.
    assert np.array_equal(grid[..., 1 - axis], rest[..., 1 - axis])
    free = rest.copy()
    free[..., axis] += 40 * sign
    before = free.copy()
    hold_edge(free, STEP, axis, edge, sign, 0 * cover)
    assert np.array_equal(free, before)
