"""The background behind the person is filled: untouched where it is known, plausible where it is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.geometry.plate import fill, is_plain
from icface.pyramid import push_pull

SIDE = 200


@pytest.fixture
def hole() -> NDArray[np.uint8]:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    cv2.circle(mask, (100, 110), 50, 1, -1)
    return mask


def wall() -> Frame:
    """A wall that gets lighter from left to right."""
    return (
        np.repeat(np.linspace(90, 150, SIDE)[None, :, None], SIDE, axis=0).repeat(3, axis=2).astype(np.uint8)
    )


def leaves() -> Frame:
    noise = np.random.default_rng(5).integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def test_known_colours_stay_and_the_rest_is_told_from_them(hole: NDArray[np.uint8]) -> None:
    colours = wall().astype(np.float32)
    broken = np.where(hole[..., None] > 0, 0, colours)
    found = push_pull(broken, (1 - hole).astype(np.float32))
    assert np.array_equal(found[hole == 0], colours[hole == 0])
    assert np.abs(found - colours).max() < 10


@pytest.mark.parametrize("plain", [True, False])
def test_a_fill_changes_the_hole_alone(hole: NDArray[np.uint8], plain: bool) -> None:
    frame = leaves()
    found = fill(frame, hole, 60.0, plain=plain)
    assert np.array_equal(found[hole == 0], frame[hole == 0])
    again = fill(np.where(hole[..., None] > 0, 7, frame).astype(np.uint8), hole, 60.0, plain=plain)
    # Nothing of what was there shines through, but for the last level of rounding.
    assert np.abs(found.astype(int) - again).max() <= 1


def test_a_wall_is_plain_and_leaves_are_not(hole: NDArray[np.uint8]) -> None:
    assert is_plain(wall(), hole, 60.0)
    assert not is_plain(leaves(), hole, 60.0)


def test_without_background_nothing_is_plain() -> None:
    assert not is_plain(wall(), np.ones((SIDE, SIDE), dtype=np.uint8), 60.0)


def test_what_a_head_uncovers_is_as_detailed_as_what_is_beside_it(hole: NDArray[np.uint8]) -> None:
    frame = leaves()
    found = fill(frame, hole, 60.0, plain=False).astype(np.float64)
    inside = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
    band = (inside > 3) & (inside < 20)
    assert found[band].std() > 0.6 * frame[hole == 0].std()


def test_grain_is_that_of_the_wall(hole: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(2).normal(0, 3, (SIDE, SIDE, 1))
    frame = np.clip(wall() + noise, 0, 255).astype(np.uint8)
    found = fill(frame, hole, 60.0, plain=True)

    def grain(where: NDArray[np.bool_]) -> float:
        fine = found - cv2.GaussianBlur(found, (0, 0), 1.5).astype(np.float64)
        return float(fine[where].std())

    deep = cv2.erode(hole, np.ones((21, 21), np.uint8)) > 0
    assert 0.4 < grain(deep) / grain(hole == 0) < 1.3
