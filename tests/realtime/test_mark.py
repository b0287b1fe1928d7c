"""The visible mark: there, readable on light and dark, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.disclosure import Mark


@pytest.mark.parametrize("size_px", [(512, 512), (256, 256), (1280, 720), (333, 517), (61, 45)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_mark_contrasts_with_any_background_and_stays_in_its_corner(
    size_px: tuple[int, int], level: int
) -> None:
    width_px, height_px = size_px
    mark = Mark(width_px, height_px)
    frame = np.full((height_px, width_px, 3), level, np.uint8)
    mark.apply(frame)

    left, top, right, bottom = mark.box_px
    badge = frame[top:bottom, left:right].astype(int)
    outside = frame.copy()
    outside[top:bottom, left:right] = level
    assert (outside == level).all()
    assert left > width_px / 2 and top > height_px / 2 and right < width_px and bottom < height_px
    assert bottom - top == max(14, round(0.06 * min(size_px)))
    # Letters and pill differ by enough to be read: WCAG asks 4.5:1, which white on grey 118 just has.
    assert badge.max() - badge.min() > 110
    assert np.abs(badge - level).max() > 60


def test_the_mark_is_blended_by_hand_computed_weights() -> None:
    mark = Mark(256, 256)
    dark, light = (np.full((256, 256, 3), level, np.uint8) for level in (0, 200))
    mark.apply(dark)
    mark.apply(light)
    left, top, _, bottom = mark.box_px
    inside = (
        slice(top + 3, bottom - 3),
        left + 4,
    )  # the pill between its rim and the A: opacity 0.62, grey 24
    assert dark[inside].min() == pytest.approx(0.62 * 24, abs=1)
    assert light[inside].min() == pytest.approx(0.62 * 24 + 0.38 * 200, abs=2)


def test_applying_twice_to_the_same_picture_reads_only_that_picture() -> None:
    mark = Mark(64, 64)
    first, second = np.full((2, 64, 64, 3), 90, np.uint8)
    mark.apply(first)
    mark.apply(second)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size_px", [(16, 16), (8, 40), (40, 8), (1, 1)])
def test_frames_smaller_than_the_mark_get_what_fits(size_px: tuple[int, int]) -> None:
    frame = np.full((size_px[1], size_px[0], 3), 255, np.uint8)
    Mark(*size_px).apply(frame)
    assert frame.min() < 255 or size_px == (1, 1)


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the mark is for"):
        Mark(64, 64).apply(np.zeros((64, 32, 3), np.uint8))
