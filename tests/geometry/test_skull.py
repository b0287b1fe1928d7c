"""Heads that the photo's edges cut: what is made up is the head itself, where the head is round or symmetric."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.geometry import skull
from icface.geometry.skull import continue_chin, continue_side, continue_skull

SIDE = 160
CENTRE = np.array([80.0, 84.0])


def oval(tilt_rad: float = 0.0, centre: NDArray[np.float64] = CENTRE) -> FloatArray:
    """(36, 2) outline of a face 60 wide and 80 high, from the forehead's middle clockwise, its eyes at `centre`."""
    angle = np.arange(36) / 36 * 2 * np.pi
    points = np.stack([30 * np.sin(angle), 40 * (np.cos(angle[7]) - np.cos(angle))], axis=1)
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
    continue_skull(cut, top, oval(), np.ones((SIDE, SIDE), np.float32))
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
    continue_skull(layer, top, oval(), np.ones((SIDE, SIDE), np.float32))
    np.testing.assert_array_equal(layer, before)


def test_a_cut_forehead_is_skin_under_hair_and_shows_no_second_eyes() -> None:
    """Skin with dark brows and eyes, hair around it, cut just above the brows."""
    whole = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    hair = np.zeros((SIDE, SIDE), dtype=np.float32)
    skin, brown = (200, 150, 120), (60, 40, 30)
    face = oval()
    cv2.ellipse(whole, (80, 84), (42, 48), 0, 0, 360, (*brown, 255), -1)
    cv2.ellipse(hair, (80, 84), (42, 48), 0, 0, 360, 1.0, -1)
    cv2.fillPoly(whole, [np.round(face).astype(np.int32)], (*skin, 255))
    cv2.fillPoly(hair, [np.round(face).astype(np.int32)], 0.0)
    for x in (66, 94):
        cv2.ellipse(whole, (x, 84), (6, 3), 0, 0, 360, (10, 200, 10, 255), -1)
        cv2.ellipse(whole, (x, 76), (8, 2), 0, 0, 360, (10, 10, 200, 255), -1)
    top = 72
    cut = whole.copy()
    cut[:top] = whole[top : 2 * top][::-1]  # mirrored about the edge: second eyes
    assert (cut[:top] == (10, 200, 10, 255)).all(axis=2).any()
    continue_skull(cut, top, face, hair)
    np.testing.assert_array_equal(cut[top:], whole[top:])
    made = cut[:top].astype(int)
    assert (made[..., 1] - made[..., 0]).max() < 20 and (made[..., 2] - made[..., 0]).max() < 20
    np.testing.assert_allclose(made[66, 75:85], np.tile((*skin, 255), (10, 1)), atol=12)
    np.testing.assert_allclose(made[44, 75:85], np.tile((*brown, 255), (10, 1)), atol=12)
    assert made[20, :, 3].max() == 0


def test_a_cut_chin_goes_on_without_second_lips() -> None:
    """The rows count upwards. The edge lies 5 below the lips; beyond it the five rows come back and forth."""
    rows = np.arange(SIDE, dtype=np.float64)[:, None] + np.zeros(SIDE)
    layer = person(rows)
    layer[..., 3] = 255
    face = oval()
    lips = int(face[0, 1] + skull.LIPS * (face[18, 1] - face[0, 1]))
    end = lips + 6
    continue_chin(layer, end, face)
    assert layer[end - 1 : end + 12, 80, 0].tolist() == [
        end - 1 - away for away in (0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2)
    ]  # fmt: skip
    far = person(rows)
    before = far.copy()
    continue_chin(far, 150, face)  # here the mirror image ends before the lips
    np.testing.assert_array_equal(far, before)


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
