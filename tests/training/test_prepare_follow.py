"""Which face is followed, where a track ends, and squares that do not tremble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icface.face.alignment import face_square
from icface.face.landmarks import Landmarks, open_detector
from tests.training.footage import portrait
from training.preparation.follow import Follower, overlap, smooth

FRAME = np.full((600, 800, 3), 90, dtype=np.uint8)


@pytest.fixture(scope="module")
def face() -> Landmarks:
    detector = open_detector(video=False)
    found = detector.detect(portrait())[0]
    detector.close()
    return found


def placed(face: Landmarks, x: float, y: float, scale: float = 1.0) -> Landmarks:
    """The face with its box's centre elsewhere."""
    left, top, right, bottom = face.box_px
    points = (face.points_px - np.array([(left + right) / 2, (top + bottom) / 2, 0])) * scale
    return replace(face, points_px=(points + np.array([x, y, 0])).astype(np.float32))


def test_overlap_of_boxes() -> None:
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def follow(faces: list[list[Landmarks]], step_s: float = 0.1) -> list[int | None]:
    follower = Follower()
    return [
        None if follower.update(FRAME, found, i * step_s) is None else follower.track
        for i, found in enumerate(faces)
    ]


def test_a_moving_face_is_one_track(face: Landmarks) -> None:
    assert follow([[placed(face, 200 + 20 * i, 300)] for i in range(8)]) == [0] * 8


def test_a_jump_begins_a_new_track(face: Landmarks) -> None:
    there, here = [placed(face, 200, 300)], [placed(face, 600, 300)]
    assert follow([there, there, here, here, there]) == [0, 0, 1, 1, 2]


def test_a_short_gap_is_bridged_and_a_long_one_is_not(face: Landmarks) -> None:
    there: list[Landmarks] = [placed(face, 200, 300)]
    assert follow([there, [], [], there]) == [0, None, None, 0]
    assert follow([there, [], [], [], there]) == [0, None, None, None, 1]


def test_the_largest_is_chosen_and_then_kept(face: Landmarks) -> None:
    large, small = placed(face, 200, 300, 1.0), placed(face, 600, 300, 0.7)
    grown = placed(face, 600, 300, 1.3)
    follower = Follower()
    seen = [
        follower.update(FRAME, faces, i / 10)
        for i, faces in enumerate([[large, small], [grown, large], [grown, large]])
    ]
    assert all(face is large for face in seen) and follower.track == 0


def test_a_far_larger_face_takes_over(face: Landmarks) -> None:
    small, large = placed(face, 150, 150, 0.4), placed(face, 500, 300, 1.5)
    follower = Follower()
    assert follower.update(FRAME, [small], 0.0) is small and follower.track == 0
    assert follower.update(FRAME, [large, small], 0.1) is large and follower.track == 1


def test_a_cut_to_another_face_in_the_same_place_begins_a_new_track(face: Landmarks) -> None:
    follower = Follower()
    there = placed(face, 300, 300)
    tracks = []
    for i, level in enumerate((60, 70, 180, 175)):
        assert follower.update(np.full_like(FRAME, level), [there], i / 10) is there
        tracks.append(follower.track)
    assert tracks == [0, 0, 1, 1]


def test_a_square_is_that_of_the_alignment(face: Landmarks) -> None:
    x, y, side = face_square(placed(face, 300, 200))
    assert abs(x - 300) < 40 and abs(y - 200) < 60 and 100 < side < 300


def test_smoothing_keeps_straight_movement_as_it_is_even_at_the_ends() -> None:
    times_s = np.sort(np.random.default_rng(3).uniform(0, 3, 60))
    squares = np.stack([100 + 40 * times_s, 50 - 10 * times_s, 4 + 0.1 * times_s], axis=1)
    np.testing.assert_allclose(smooth(squares, times_s), squares, atol=1e-8)


def test_smoothing_takes_the_tremble_out(rng: np.random.Generator) -> None:
    times_s = np.arange(100) / 25
    path = np.stack([100 + 20 * np.sin(times_s), 50 + 0 * times_s, 4 + 0 * times_s], axis=1)
    found = smooth(path + rng.normal(0, 1.0, (100, 3)), times_s)
    tremble = np.diff(found - path, axis=0).std()
    assert tremble < 0.25 * np.sqrt(2)  # the noise's own differences: √2
    assert np.abs(found - path)[:, 0].mean() < 0.6


def test_smoothing_looks_no_further_than_a_moment() -> None:
    times_s = np.array([0.0, 10.0, 20.0])
    squares = np.array([[0.0, 0, 0], [5, 5, 5], [-3, 0, 1]])
    np.testing.assert_allclose(smooth(squares, times_s), squares)
    assert smooth(squares[:1], times_s[:1]).tolist() == [[0, 0, 0]]


def test_pictures_of_a_folder_are_one_track_however_far_apart(face: Landmarks) -> None:
    follower = Follower(whole=True)
    there, here = placed(face, 200, 300), placed(face, 600, 300)
    other = placed(face, 200, 300, 0.5)
    found = [follower.update(FRAME, faces, i * 10.0) for i, faces in enumerate([[there], [], [here, other]])]
    assert found == [there, None, here] and follower.track == 0
