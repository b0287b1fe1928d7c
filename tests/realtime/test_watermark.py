"""The invisible watermark: not seen, found after what happens to pictures, and never where it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.images import load_photo
from realtime.watermark import BAND, TILE_PX, Watermark, pattern
from realtime.watermark_search import THRESHOLD, search


@pytest.fixture(scope="module")
def photo(repository: Path) -> Frame:
    """The example's photo, (512, 512, 3)."""
    frame = load_photo(repository / "examples/source.jpg").frame
    side = min(frame.shape[:2])
    square = np.ascontiguousarray(frame[:side, :side])
    return np.asarray(cv2.resize(square, (512, 512), interpolation=cv2.INTER_AREA), dtype=np.uint8)


@pytest.fixture(scope="module")
def marked(photo: Frame) -> Frame:
    frame = photo.copy()
    Watermark().apply(frame)
    return frame


def test_the_pattern_stays_the_same_for_ever_and_has_no_coarse_or_fine_parts() -> None:
    tile = pattern()
    assert tile.shape == (TILE_PX, TILE_PX)
    assert tile.mean() == pytest.approx(0, abs=1e-12) and tile.std() == pytest.approx(1)
    # Files that were made with an earlier version must be found.
    np.testing.assert_allclose(tile[0, :4], [-0.44407, 0.52794, 1.18076, 1.27859], atol=1e-4)
    periods = np.hypot(*np.meshgrid(*[np.fft.fftfreq(TILE_PX, 1 / TILE_PX)] * 2))
    outside = (periods < BAND[0] - 0.01) | (periods > BAND[1] + 0.01)
    assert np.abs(np.fft.fft2(tile))[outside].max() < 1e-6


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_smooth_area_changes_by_one_level_alike_in_all_colours(level: int) -> None:
    frame = np.full((300, 333, 3), level, np.uint8)
    Watermark().apply(frame)
    change = frame.astype(int) - level
    assert (change == change[..., :1]).all()
    assert 0.05 < np.abs(change).mean() <= 1 and np.abs(change).max() <= 2
    assert np.abs(change).min() == 0


def test_it_is_not_seen(photo: Frame, marked: Frame) -> None:
    assert cv2.PSNR(photo, marked) >= 42


def test_transparent_pixels_stay_as_they_are(photo: Frame) -> None:
    frame = np.dstack([photo, np.full((512, 512), 255, np.uint8)])
    frame[:256] = frame[:256] // 2  # colours multiplied by an alpha of a half
    before = frame.copy()
    Watermark().apply(frame)
    np.testing.assert_array_equal(frame[:256], before[:256])
    np.testing.assert_array_equal(frame[256:, :, 3], 255)
    opaque = photo[256:].copy()
    whole = photo.copy()
    Watermark().apply(whole)
    np.testing.assert_array_equal(frame[256:, :, :3], whole[256:])
    assert (opaque != whole[256:]).any()


def test_each_pixel_of_an_outline_is_looked_at(photo: Frame, marked: Frame) -> None:
    """Blocks that are opaque in part, wholly, and not at all."""
    alpha = np.random.default_rng(3).choice(np.array([254, 255], np.uint8), (512, 512))
    alpha[:128], alpha[128:256] = 255, 0
    frame = np.dstack([photo, alpha])
    Watermark().apply(frame)
    opaque = alpha == 255
    np.testing.assert_array_equal(frame[..., :3][opaque], marked[opaque])
    np.testing.assert_array_equal(frame[..., :3][~opaque], photo[~opaque])
    np.testing.assert_array_equal(frame[..., 3], alpha)


def _jpeg(frame: Frame, quality: int) -> Frame:
    coded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)


def _half(frame: Frame) -> Frame:
    return np.asarray(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)


CHANGES: dict[str, Callable[[Frame], Frame]] = {
    "nothing": lambda frame: frame,
    "half the size": _half,
    "three quarters of the size, JPEG 50": lambda frame: _jpeg(
        np.asarray(cv2.resize(frame, (384, 384), interpolation=cv2.INTER_AREA), np.uint8), 50
    ),
    "JPEG 50": lambda frame: _jpeg(frame, 50),
    "half the size, then JPEG 75": lambda frame: _jpeg(_half(frame), 75),
    "a part, mirrored": lambda frame: np.ascontiguousarray(frame[33:380, 90:410][:, ::-1]),
    "grey": lambda frame: np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_found_after(change: str, marked: Frame) -> None:
    found = search([CHANGES[change](marked)])
    assert found.is_there, found


def test_the_scale_is_told(marked: Frame) -> None:
    assert search([_half(marked)]).scale == pytest.approx(0.5, rel=0.013)


def test_several_frames_tell_more_than_one(photo: Frame) -> None:
    rng = np.random.default_rng(7)

    def noisy(number: int) -> Frame:
        frame = photo[:256, :256].copy()
        frame = np.roll(frame, 3 * number, axis=1)
        Watermark().apply(frame)
        return np.clip(frame + rng.normal(0, 24, frame.shape), 0, 255).astype(np.uint8)

    frames = [noisy(number) for number in range(8)]
    assert search(frames).score > 1.3 * search(frames[:1]).score


def _nothing(photo: Frame) -> Sequence[Frame]:
    rng = np.random.default_rng(5)
    lines = np.zeros((256, 256, 3), np.uint8)
    lines[::8] = lines[:, ::8] = 255
    return [
        photo,
        rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
        lines,
        np.zeros((256, 256, 3), np.uint8),
        np.full((200, 700, 3), 255, np.uint8),
    ]


@pytest.mark.parametrize("number", range(5))
def test_nothing_is_found_where_it_is_not(number: int, photo: Frame) -> None:
    assert search([_nothing(photo)[number]]).score < THRESHOLD - 1


@pytest.mark.parametrize("size_px", [(1, 1), (3, 90), (40, 40), (2000, 5)])
def test_pictures_that_are_too_small_have_none(size_px: tuple[int, int]) -> None:
    frame = np.full((size_px[1], size_px[0], 3), 100, np.uint8)
    Watermark().apply(frame)
    assert not search([frame]).is_there
