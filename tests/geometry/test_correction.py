"""The patch is cut and laid back where it belongs, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from icface.arrays import Tensors
from icface.geometry.correction import Patch, usable
from icface.geometry.patch import PATCH_PX, cut_patch
from icface.geometry.raster import NO_OPENING

SIZE_PX = (160, 120)
PERSON = np.full((SIZE_PX[1], SIZE_PX[0], 4), 255, dtype=np.uint8)
AFFINES = {
    "inside": [[0.5, 0.05, 20.0], [-0.05, 0.5, 25.0]],
    "larger than the frame": [[1.4, 0.1, -40.0], [-0.1, 1.4, -50.0]],
    "half outside": [[0.6, 0.0, 100.0], [0.0, 0.6, 70.0]],
    "outside": [[0.5, 0.0, 900.0], [0.0, 0.5, -700.0]],
}


def corrections(keep: float, add: float) -> np.ndarray:
    made = np.full((1, PATCH_PX, PATCH_PX, 4), add, dtype=np.float32)
    made[..., 0] = keep
    return made


def shown_over(inner_alpha: np.ndarray, affine: np.ndarray) -> Tensors:
    """The motion tensors from which the patch is cut."""
    shade = np.full_like(inner_alpha, 255)
    return {"inner_alpha": inner_alpha, "inner_shade": shade, "patch_to_frame": affine}


@pytest.fixture
def frame(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (*SIZE_PX[::-1], 3), dtype=np.uint8)


@pytest.mark.parametrize("where", AFFINES)
def test_it_cuts_what_the_training_cuts(frame: np.ndarray, rng: np.random.Generator, where: str) -> None:
    inner_alpha = rng.integers(0, 256, frame.shape[:2], dtype=np.uint8)
    affine = np.array(AFFINES[where], dtype=np.float64)
    shade = rng.choice(np.array([0, NO_OPENING, 255], dtype=np.uint8), frame.shape[:2])
    found = Patch(SIZE_PX).cut(frame, {**shown_over(inner_alpha, affine), "inner_shade": shade})
    assert found.shape == (1, PATCH_PX, PATCH_PX, 4)
    expected = cut_patch(np.dstack([frame, np.where(shade == NO_OPENING, 0, inner_alpha)]), affine)
    assert np.abs(found[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("where", AFFINES)
def test_a_correction_of_nothing_leaves_every_pixel(frame: np.ndarray, where: str) -> None:
    made = frame.copy()
    Patch(SIZE_PX).lay_back(corrections(1.0, 0.0), np.array(AFFINES[where]), PERSON, made)
    np.testing.assert_array_equal(made, frame)


def test_by_hand() -> None:
    """Half of 100 and 20.7 are 70.7, rounded to 71; what leaves 0 … 255 ends there."""
    affine = np.array([[0.25, 0.0, 40.0], [0.0, 0.25, 30.0]])  # to (87.75, 77.75)
    for keep, add, expected in ((0.5, 20.7, 71), (0.5, 20.4, 70), (1.0, 300.0, 255), (1.0, -300.0, 0)):
        made = np.full((*SIZE_PX[::-1], 3), 100, dtype=np.uint8)
        Patch(SIZE_PX).lay_back(corrections(keep, add), affine, PERSON, made)
        assert (made[30:78, 40:88] == expected).all()
        outside = np.ones(made.shape[:2], dtype=bool)
        outside[29:79, 39:89] = False
        assert (made[outside] == 100).all()


def test_only_the_person_is_corrected() -> None:
    """Half of 100 and 20 are 70: 30 less where all is person, 15.06 where 128 of 255 are, none behind the person."""
    affine = np.array([[0.25, 0.0, 40.0], [0.0, 0.25, 30.0]])
    person = PERSON.copy()
    person[..., 3] = 0
    person[40:50, :, 3] = 128
    person[50:60, :, 3] = 255
    made = np.full((*SIZE_PX[::-1], 3), 100, dtype=np.uint8)
    Patch(SIZE_PX).lay_back(corrections(0.5, 20.0), affine, person, made)
    assert [made[y, 60].tolist() for y in (35, 45, 55)] == [[100] * 3, [85] * 3, [70] * 3]


def test_each_channel_goes_to_its_own_place() -> None:
    """A single corrected pixel of the patch, at one pixel of the frame."""
    made = np.full((*SIZE_PX[::-1], 3), 100, dtype=np.uint8)
    correction = corrections(1.0, 0.0)
    correction[0, 30, 20] = (1.0, 10.0, 20.0, 30.0)
    affine = np.array([[0.5, 0.0, 40.0], [0.0, 0.5, 30.0]])
    Patch(SIZE_PX).lay_back(correction, affine, PERSON, made)
    np.testing.assert_array_equal(made[45, 50], [110, 120, 130])
    assert (made != 100).any(axis=2).sum() == 1


def test_boxes_of_all_sizes_share_the_buffers(frame: np.ndarray) -> None:
    patch = Patch(SIZE_PX)
    for where in (*AFFINES, *AFFINES):
        affine = np.array(AFFINES[where])
        np.testing.assert_array_equal(
            patch.cut(frame, shown_over(frame[..., 0].copy(), affine)),
            Patch(SIZE_PX).cut(frame, shown_over(frame[..., 0].copy(), affine)),
        )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_no_numbers_are_seen(wrong: float) -> None:
    correction = corrections(1.0, -255.0)
    assert usable(correction)
    correction[0, 100, 7, 2] = wrong
    assert not usable(correction)


def test_a_correction_of_another_shape_or_type_is_seen() -> None:
    correction = corrections(1.0, 0.0)
    assert not usable(correction[:, :-4]) and not usable(correction.astype(np.float64))
