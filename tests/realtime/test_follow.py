"""The person moves over the room: by how much, and that no edge of the photo comes into sight."""

from __future__ import annotations

import numpy as np
import pytest

from icface.arrays import Frame
from realtime.follow import MOST_HELP, REST_SCALE, Mover

SIDE = 400
HEAD = np.array([200.0, 180.0], dtype=np.float32)
IOD = 20.0
WINDOW = np.eye(2, 3)


def person(box: tuple[int, int, int, int]) -> Frame:
    """White within (left, top, right, bottom), and nothing elsewhere."""
    picture = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = 255
    return picture


FREE = person((180, 160, 220, 200))
BUST = person((150, 150, 250, SIDE))
ROOM = np.full((SIDE, SIDE, 3), 60, dtype=np.uint8)


def mover(picture: Frame, room: Frame | None = ROOM) -> Mover:
    return Mover(picture, room, WINDOW, (SIDE, SIDE), HEAD, IOD)


def place(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def white(picture: Frame) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what is white."""
    rows, columns = np.nonzero(picture.min(axis=2) > 150)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_at_rest_a_person_whom_nothing_cuts_is_where_they_were() -> None:
    picture = mover(FREE).lay(FREE, place(0, 0, 0))
    expected = np.where(FREE[..., 3:] == 255, 255, 60)
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_a_place_is_in_eye_distances_and_half_octaves() -> None:
    small = mover(FREE)
    # .2 of 1.5 eye distances of 20 pixels: 6 pixels, in a picture with room for much more.
    scale, shift = small.place(place(0.2, -0.2, 0))
    assert scale == 1 and shift == pytest.approx([6, -6], abs=0.02)
    assert white(small.lay(FREE, place(0.2, -0.2, 0))) == (186, 154, 226, 194)
    scale, _ = small.place(place(0, 0, 1))
    assert scale == pytest.approx(2**0.5)
    left, top, right, bottom = white(small.lay(FREE, place(0, 0, 1)))
    assert right - left == pytest.approx(40 * 2**0.5, abs=1.5)
    assert (left + right - 1) / 2 == pytest.approx(199.7, abs=1) and (top + bottom - 1) / 2 == pytest.approx(
        179.7, abs=1
    )


def test_numbers_out_of_range_move_no_farther_than_the_largest() -> None:
    small = mover(FREE)
    assert small.place(place(9, -9, 9))[0] == small.place(place(1, -1, 1))[0]
    np.testing.assert_array_equal(small.place(place(9, -9, 9))[1], small.place(place(1, -1, 1))[1])


@pytest.mark.parametrize("x", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("y", [-1.0, -0.3, 0.0, 1.0])
@pytest.mark.parametrize("near", [-1.0, 0.0, 1.0])
def test_the_lower_edge_that_cuts_the_person_is_never_seen(x: float, y: float, near: float) -> None:
    bust = mover(BUST)
    picture = bust.lay(BUST, place(x, y, near))
    assert white(picture)[3] == SIDE
    below = picture[-3:, int(white(picture)[0]) + 3 : int(white(picture)[2]) - 3]
    assert (below == 255).all()


def test_who_is_cut_below_leans_back_a_little_and_up_by_coming_nearer() -> None:
    bust = mover(BUST)
    assert bust.place(place(0, 0, 0))[0] == REST_SCALE
    assert bust.place(place(0, 0, -1))[0] == pytest.approx(1.0)
    scale, shift = bust.place(place(0, -0.8, 0))
    assert REST_SCALE < scale <= REST_SCALE * MOST_HELP
    assert -24 <= shift[1] < -15


def test_a_side_that_cuts_the_person_stays_out_of_sight() -> None:
    arm = person((0, 150, 250, SIDE))
    picture = mover(arm).lay(arm, place(1, 0, 0))
    assert white(picture)[0] == 0


def test_the_head_stays_in_a_small_picture() -> None:
    """The picture ends 30 pixels beside the head's middle; the head reaches 24 to each side."""
    window = np.array([[1.0, 0, 170], [0, 1.0, 140]])
    small = Mover(FREE, ROOM, window, (61, 90), HEAD, IOD)
    assert 0 < small.place(place(1, 0, 0))[1][0] < 6.6


def test_without_a_room_the_picture_has_alpha() -> None:
    picture = mover(FREE, None).lay(FREE, place(0.2, 0, 0))
    assert picture.shape == (SIDE, SIDE, 4)
    assert picture[180, 206].tolist() == [255] * 4 and not picture[100].any()


def test_a_window_shows_a_part_of_the_canvas_larger() -> None:
    window = np.array([[0.5, 0, 149.75], [0, 0.5, 129.75]])
    picture = Mover(FREE, ROOM, window, (200, 200), HEAD, IOD).lay(FREE, place(0, 0, 0))
    assert picture.shape == (200, 200, 3)
    assert white(picture) == pytest.approx((60, 60, 140, 140), abs=1)
