"""Crops in pictures, by hand-computed places."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.framing import PHOTO_MAX_PX, CropFraming, PhotoFraming, even, photo_size


def solid(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def place(scale: float, left: float, top: float) -> np.ndarray:
    return np.array([[scale, 0, left], [0, scale, top]], dtype=np.float64)


RED, BLUE = (255, 0, 0), (0, 0, 255)
RIM = 1 / 24


def test_a_crop_of_the_pictures_size_is_the_picture_and_a_copy() -> None:
    framing = CropFraming((16, 16))
    crop = solid(16, 16, RED)
    picture = framing.compose(crop)
    picture[:] = 0
    assert (crop == RED).all()
    assert (framing.compose(crop) == RED).all()


def test_a_crop_of_another_size_is_fitted_in_with_black_beside_it() -> None:
    picture = CropFraming((20, 10)).compose(solid(40, 40, RED))
    assert picture.shape == (10, 20, 3)
    assert (picture[:, 5:15] == RED).all()
    assert (picture[:, :5] == 0).all() and (picture[:, 15:] == 0).all()


@pytest.mark.parametrize(("length", "expected"), [(3.0, 4), (5.1, 6), (6.9, 6), (7.2, 8), (0.4, 2)])
def test_even(length: float, expected: int) -> None:
    assert even(length) == expected


@pytest.mark.parametrize(
    ("photo_px", "crop_scale", "expected"),
    [
        ((301, 201), 1.0, (300, 200)),  # the crop's pixels one to one
        ((800, 600), 2.0, (400, 300)),  # a crop shrunk by two: the photo too
        ((400, 300), 0.5, (800, 600)),  # a crop enlarged: the photo too
        ((6000, 4000), 1.0, (PHOTO_MAX_PX, 854)),  # 853.3
    ],
)
def test_the_photo_is_so_large_that_the_crop_keeps_its_pixels_within_a_bound(
    photo_px: tuple[int, int], crop_scale: float, expected: tuple[int, int]
) -> None:
    photo = np.zeros((photo_px[1], photo_px[0], 3), dtype=np.uint8)
    assert photo_size(photo, place(crop_scale, 0, 0)) == expected


@pytest.mark.parametrize("rim", [RIM, 1 / 6])
def test_the_crop_lies_at_its_place_and_fades_into_the_photo(rim: float) -> None:
    side = 48
    framing = PhotoFraming(solid(120, 160, BLUE), place(1.0, 60, 30), side, rim=rim)
    assert framing.size_px == (160, 120)
    picture = framing.compose(solid(side, side, RED))
    assert (picture[30 + side // 2, 60 + side // 2] == RED).all()
    inside = round(rim * side) + 1
    assert (picture[30 + inside : 30 + side - inside, 60 + inside : 60 + side - inside] == RED).all()
    assert (picture[:30] == BLUE).all() and (picture[:, :60] == BLUE).all()
    assert (picture[30 + side :] == BLUE).all() and (picture[:, 60 + side :] == BLUE).all()
    edge = picture[30 + side // 2, 60 : 60 + inside + 1, 0].astype(int)
    assert edge[0] == 0 and edge[-1] == 255 and (np.diff(edge) >= 0).all()
    assert np.diff(edge).max() <= 1.6 * 255 / (rim * side), "no step"


def test_an_unmoved_crop_gives_the_photo_itself(rng: np.random.Generator) -> None:
    photo = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    framing = PhotoFraming(photo, place(1.0, 20, 10), 32, rim=RIM)
    crop = np.ascontiguousarray(photo[10:42, 20:52])
    assert np.abs(framing.compose(crop).astype(int) - photo).max() <= 1


def test_a_crop_over_the_photos_edge_is_cut_there() -> None:
    picture = PhotoFraming(solid(60, 80, BLUE), place(1.0, -16, 20), 32, rim=RIM).compose(solid(32, 32, RED))
    assert (picture[36, 0] == RED).all()
    assert (picture[36, 15] == BLUE).all() or picture[36, 15, 0] < 40
    assert (picture[36, 16:] == BLUE).all()


def test_a_half_size_crop_lands_on_the_same_place() -> None:
    ramp = np.repeat(np.linspace(0, 252, 64, dtype=np.uint8)[None, :], 64, axis=0)
    crop = np.ascontiguousarray(np.repeat(ramp[:, :, None], 3, axis=2))
    half = np.ascontiguousarray(crop.reshape(32, 2, 32, 2, 3).mean((1, 3)).astype(np.uint8))
    framing = PhotoFraming(solid(100, 120, BLUE), place(1.0, 20, 20), 64, rim=RIM)
    full = framing.compose(crop)[25:80, 26:78].astype(int)
    small = framing.compose(half)[25:80, 26:78].astype(int)
    assert np.abs(full - small).max() <= 4, "a slope of 4 a pixel: within a pixel"
    assert abs((full - small).mean()) <= 1


def test_what_the_caller_draws_is_gone_in_the_next_picture() -> None:
    framing = PhotoFraming(solid(60, 80, BLUE), place(1.0, 20, 10), 32, rim=RIM)
    crop = solid(32, 32, RED)
    first = framing.compose(crop).copy()
    framing.compose(crop)[:] = 77
    assert np.array_equal(framing.compose(crop), first)


def test_another_photo_is_fitted_into_the_first_ones_size() -> None:
    framing = PhotoFraming(solid(100, 100, BLUE), place(1.0, 30, 30), 40, size_px=(200, 100), rim=RIM)
    picture = framing.compose(solid(40, 40, RED))
    assert picture.shape == (100, 200, 3)
    assert (picture[:, :50] == 0).all() and (picture[:, 150:] == 0).all()
    assert (picture[50, 60] == BLUE).all() and (picture[50, 100] == RED).all()


def test_a_photo_of_odd_size_fills_its_even_picture_without_a_black_line() -> None:
    framing = PhotoFraming(solid(101, 151, (9, 200, 9)), place(1.0, 30, 30), 40, rim=RIM)
    assert framing.size_px == (152, 100)
    picture = framing.compose(solid(40, 40, (9, 200, 9)))
    assert (picture == (9, 200, 9)).all()
