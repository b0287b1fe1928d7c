"""A person to stand before any background: alpha and colours against the truth of a picture made for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.geometry.free_layer import free_layer
from icface.segmentation.segmenters import Mask

SIDE = 200
IOD = 60.0
HAIR, WALL, GREEN = (30, 22, 18), (175, 178, 182), (0, 255, 0)


def scene() -> tuple[Frame, Mask, Frame]:
    """A dark head with single hairs before a plain wall: the photo, its true alpha, and the wall."""
    large = np.zeros((4 * SIDE, 4 * SIDE), dtype=np.uint8)
    cv2.circle(large, (400, 400), 200, (255,), -1)
    for degree in range(0, 360, 9):
        towards = np.array([np.cos(np.radians(degree)), np.sin(np.radians(degree))])
        a, b = (tuple(np.round(400 + r * towards).astype(int).tolist()) for r in (190, 250))
        cv2.line(large, a, b, (255,), 5)
    alpha = (cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 255).astype(np.float32)
    wall = np.full((SIDE, SIDE, 3), WALL, dtype=np.uint8)
    photo = alpha[..., None] * np.array(HAIR) + (1 - alpha[..., None]) * wall
    noise = np.random.default_rng(0).normal(0, 2, photo.shape)
    return np.clip(np.round(photo + noise), 0, 255).astype(np.uint8), alpha, wall


def before_green(alpha: Mask, colours: np.ndarray) -> np.ndarray:
    return np.asarray(colours + (1 - alpha[..., None]) * np.array(GREEN, dtype=np.float32))


@pytest.fixture(scope="module")
def made() -> tuple[Frame, Mask, Frame, Mask]:
    """And a matte as networks give it: soft, and blind to single hairs."""
    photo, truth, wall = scene()
    y, x = np.mgrid[:SIDE, :SIDE]
    matte = np.clip((58 - np.hypot(x - 100, y - 100)) / 14 + 0.5, 0, 1).astype(np.float32)
    matte[np.hypot(x - 100, y - 100) < 40] = 1
    return photo, truth, wall, matte


def test_before_a_plain_wall_single_hairs_come_along_without_it(
    made: tuple[Frame, Mask, Frame, Mask],
) -> None:
    photo, truth, wall, matte = made
    alpha, colours = free_layer(photo, matte, wall, IOD, plain=True)
    wanted = before_green(truth, truth[..., None] * np.array(HAIR, dtype=np.float32))
    error = np.abs(before_green(alpha, colours) - wanted).max(axis=2)
    by_matte = np.abs(before_green(matte, photo * matte[..., None]) - wanted).max(axis=2)
    band = (matte < 1) & ((matte > 0) | (truth > 0))
    assert error[band].mean() < 0.25 * by_matte[band].mean()
    assert np.abs(alpha - truth)[band].mean() < 0.06
    assert (colours <= 255 * alpha[..., None] + 1).all()


def test_inside_it_is_the_photo_and_outside_nothing(made: tuple[Frame, Mask, Frame, Mask]) -> None:
    photo, _, wall, matte = made
    for plain in (True, False):
        alpha, colours = free_layer(photo, matte, wall, IOD, plain=plain)
        np.testing.assert_array_equal(colours[matte == 1], photo[matte == 1])
        assert not alpha[:20].any() and not colours[:20].any()


def test_hair_like_the_wall_is_lost_at_its_outline_alone() -> None:
    """Grey hair, a little darker than the wall, of which the matte is nearly sure."""
    wall = np.full((SIDE, SIDE, 3), 170, dtype=np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = 50 - np.hypot(x - 100, y - 100)
    photo = np.where((inside > 0)[..., None], 140, wall).astype(np.uint8)
    photo[inside > 20] = 60  # the face
    matte = np.clip(inside / 4 + 0.5, 0, 0.95).astype(np.float32)
    matte[inside > 15] = 1
    alpha, _ = free_layer(photo, matte, wall, IOD, plain=True)
    assert alpha[inside > 5].min() > 0.9
    assert alpha[inside < -3].max() == 0


def test_without_a_known_wall_the_soft_edge_has_the_person_s_colours(
    made: tuple[Frame, Mask, Frame, Mask],
) -> None:
    photo, _, wall, _ = made
    y, x = np.mgrid[:SIDE, :SIDE]
    matte = np.clip((50 - np.hypot(x - 100, y - 100)) / 6 + 0.5, 0, 1).astype(np.float32)
    alpha, colours = free_layer(photo, matte, wall, IOD, plain=False)
    edge = (alpha > 0.2) & (alpha < 0.8)
    straight = colours[edge] / alpha[edge][:, None]
    assert edge.sum() > 200
    assert np.abs(straight - HAIR).mean() < 0.4 * np.abs(photo[edge].astype(float) - HAIR).mean()


def test_hair_as_bright_as_the_wall_is_left_to_the_matte() -> None:
    photo = np.full((SIDE, SIDE, 3), WALL, dtype=np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    matte = np.clip((50 - np.hypot(x - 100, y - 100)) / 6 + 0.5, 0, 1).astype(np.float32)
    alpha, _ = free_layer(photo, matte, photo, IOD, plain=True)
    np.testing.assert_allclose(alpha, matte, atol=1e-5)
