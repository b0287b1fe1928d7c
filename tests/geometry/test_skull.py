"""Heads that the photo's edges cut: what is made up is the head itself, where the head is round or symmetric."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.geometry import skull
from icface.geometry.skull import continue_side, continue_skull

SIDE = 160
CENTRE = np.array([80.0, 84.0])


def oval(tilt_rad: float = 0.0, centre: NDArray[np.float64] = CENTRE) -> FloatArray:
    """(36, 2) outline of a face 60 wide and 80 high, from the forehead's middle clockwise, its eyes at `centre`."""
    angle = np.arange(36) / 36 * 2 * np.pi
    points = np.stack([30 * np.sin(angle), 40 - skull.EYE_LINE * 80 - 40 * np.cos(angle)], axis=1)
    cos, sin = np.cos(tilt_rad), np.sin(tilt_rad)
    turned = points @ np.array([[cos, sin], [-sin, cos]]) + centre
    return np.asarray(turned, dtype=np.float32)


def person(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(np.repeat(values[..., None], 4, axis=2)).astype(np.uint8)


def test_a_cut_skull_goes_on_round() -> None:
    """A head of rings around the eyes, as high as skulls are, cut above the forehead."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    radius = np.hypot(x - CENTRE[0], (y - CENTRE[1]) / skull.HEIGHT)
    whole = person(np.clip(60 - radius, 0, 1) * (150 + 60 * np.cos(radius / 6)))
    top = 46
    cut = whole.copy()
    cut[:top] = 255
    continue_skull(cut, top, oval())
    np.testing.assert_array_equal(cut[top:], whole[top:])
    hair = (radius < 57)[:top]  # without its outline, of one pixel
    assert hair.sum() > 1000
    assert np.abs(cut[:top].astype(int) - whole[:top])[hair].max() < 6
    assert cut[:top][(radius > 64)[:top]].max() == 0


@pytest.mark.parametrize("top", [0, 120])
def test_a_head_that_is_not_cut_at_the_top_stays(top: int) -> None:
    """The photo reaches the layer's border; or its edge lies below the eyes, where there is no skull to go on."""
    layer = person(np.random.default_rng(5).uniform(0, 255, (SIDE, SIDE)))
    before = layer.copy()
    continue_skull(layer, top, oval())
    np.testing.assert_array_equal(layer, before)


@pytest.mark.parametrize("tilt_rad", [0.0, 0.3])
@pytest.mark.parametrize("left", [True, False])
def test_a_cut_side_is_the_other_side(left: bool, tilt_rad: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64) - 80
    across, down = x * np.cos(tilt_rad) + y * np.sin(tilt_rad), y * np.cos(tilt_rad) - x * np.sin(tilt_rad)
    whole = person(
        np.clip(55 - np.hypot(across, down), 0, 1) * (140 + 50 * np.cos(across / 5) + 20 * np.sin(down / 6))
    )
    cut = whole.copy()
    first, end = (50, SIDE) if left else (0, 110)
    cut[:, :first], cut[:, end:] = 255, 255
    face = oval(tilt_rad, np.array([80.0, 80.0]))
    assert continue_side(cut, first, end, face) == (left, not left)
    width = np.ptp(face[:, 0]) * skull.MEETING + 2
    made = np.s_[:, : int(first - width)] if left else np.s_[:, int(end + width) :]
    inside = np.hypot(across, down)[made] < 52
    assert inside.sum() > 200
    assert np.abs(cut[made].astype(int) - whole[made])[inside].max() < 8
    np.testing.assert_array_equal(cut[:, first:end], whole[:, first:end])


def test_where_both_sides_are_cut_there_is_nothing_to_take() -> None:
    layer = person(np.random.default_rng(6).uniform(0, 255, (SIDE, SIDE)))
    before = layer.copy()
    assert continue_side(layer, 50, 110, oval()) == (False, False)
    np.testing.assert_array_equal(layer, before)
