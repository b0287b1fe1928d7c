"""Who drives: who is chosen, who is kept, who comes back, who takes over. Frames are cut from the examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.face.driver import STEPS, Driver, upright
from icface.face.landmarker import Landmarks, Networks, Region
from icface.face.likeness import MATCH, MOST, OTHER, Likeness, picture_of
from icface.face.pose import head_pose
from icface.face.search import looks, parts, quarter_turns
from icface.images import load_photo
from tests.conftest import REPOSITORY
from tests.e2e.measuring import frames

FPS = 10
Placed = tuple[Frame, int, int, float]
"""A picture, where its upper left corner is, and its scale."""


@pytest.fixture(scope="module")
def acted() -> list[Frame]:
    """Every third frame of the first four seconds of the performance."""
    return list(islice(frames(REPOSITORY / "examples/driver.mp4"), 0, 120, 3))


@pytest.fixture(scope="module")
def portrait() -> Frame:
    return load_photo(REPOSITORY / "examples/source.jpg").frame


def scene(width: int, height: int, *placed: Placed | None) -> Frame:
    """Pictures before a grey wall, the later ones before the others."""
    frame = np.full((height, width, 3), (122, 128, 135), dtype=np.uint8)
    for picture, x, y, scale in filter(None, placed):
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        part = frame[y : y + small.shape[0], x : x + small.shape[1]]
        part[:] = small[: part.shape[0], : part.shape[1]]
    return frame


def follow(pictures: Iterable[Frame], prefer: str | int = "largest") -> list[Landmarks | None]:
    with closing(Driver(prefer)) as driver:
        return [next(iter(driver.detect(frame, i / FPS)), None) for i, frame in enumerate(pictures)]


def x_of(face: Landmarks | None) -> float | None:
    return None if face is None else float(face.points_px[:, 0].mean())


def test_a_portrait_on_the_wall_gives_way_to_the_driver_who_comes(
    acted: list[Frame], portrait: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    """As another person, so that nothing that was learned of the portrait is used; said once."""
    caplog.set_level(logging.INFO)

    def pictures() -> Iterator[Frame]:
        for i, picture in enumerate(acted[:30]):
            comes = (picture, 260, 60, 0.8) if i >= 8 else None
            yield scene(800, 450, (portrait, 20, 40, 0.15), comes)

    found = follow(pictures())
    assert [face and face.person for face in found[:8]] == [1] * 8
    since = next(i for i, face in enumerate(found) if face is not None and face.person == 2)
    assert 8 < since <= 8 + 1.5 * FPS
    assert all(face is not None and face.person == 2 for face in found[since:])
    assert caplog.text.count("2 faces are in the driver's picture") == 1


@pytest.mark.slow
def test_a_larger_picture_on_the_wall_gives_way_to_a_face_that_lives(
    acted: list[Frame], portrait: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    """The picture is there from the first frame on, and larger. It does not come back when the driver leaves."""
    beside = [scene(1280, 720, (portrait, 20, 20, 0.6), (acted[i % 40], 840, 300, 0.6)) for i in range(70)]
    alone = [scene(1280, 720, (portrait, 20, 20, 0.6))] * 14
    with caplog.at_level(logging.INFO, logger="icface.face.driver"):
        faces = follow([*beside, *alone])
    assert (x_of(faces[20]) or 0) < 640 < (x_of(faces[69]) or 0)
    assert caplog.text.count("the face that drove is a picture") == 1
    assert not any(faces[71:])


def test_a_picture_alone_drives_for_as_long_as_it_is_shown(portrait: Frame) -> None:
    faces = follow([scene(640, 480, (portrait, 100, 20, 0.4))] * 75)
    assert all(faces)


def test_a_bystander_never_drives_while_the_driver_is_away(
    acted: list[Frame], portrait: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver comes back elsewhere, a little smaller, and is the same person."""
    caplog.set_level(logging.INFO)

    def pictures() -> Iterator[Frame]:
        for i, picture in enumerate(acted):
            there = (picture, 400, 60, 0.7) if i < 5 else (picture, 250, 20, 0.5) if i >= 30 else None
            yield scene(960, 450, (portrait, 20, 150, 0.2), there)

    found = follow(pictures())
    assert [face and face.person for face in found[:5]] == [1] * 5
    assert found[5:30] == [None] * 25
    assert all(face is not None and face.person == 1 for face in found[31:])
    assert "the driver is away" in caplog.text


def test_a_passer_by_who_covers_the_driver_does_not_drive(acted: list[Frame], portrait: Frame) -> None:
    def pictures() -> Iterator[Frame]:
        for i, picture in enumerate(acted[:24]):
            before = (portrait, 100 * i - 600, 0, 0.6) if 7 <= i <= 16 else None
            yield scene(1200, 640, (picture, 300, 60, 1.0), before)

    found = follow(pictures())
    assert {face.person for face in found if face is not None} == {1}
    assert all(face is not None for face in found[19:])
    assert any(face is None for face in found[7:17])


@pytest.mark.parametrize(("prefer", "on_the_left"), [("left", True), ("right", False), (1, True), (2, False)])
def test_the_driver_can_be_chosen(
    acted: list[Frame], portrait: Frame, prefer: str | int, on_the_left: bool
) -> None:
    both = scene(960, 450, (portrait, 20, 60, 0.3), (acted[0], 400, 60, 0.8))
    (face,) = follow([both], prefer)
    x = x_of(face)
    assert x is not None and (x < 330) == on_the_left


def test_a_number_waits_for_so_many_faces(acted: list[Frame], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert follow([acted[0]] * 2, 3) == [None, None]
    assert caplog.text.count("there is no face 3 yet: 1 in the picture") == 1


def test_the_key_goes_round_and_then_nobody_takes_over(acted: list[Frame], portrait: Frame) -> None:
    seen = []
    with closing(Driver()) as driver:
        for i, picture in enumerate(acted[:30]):
            if i in (3, 25):
                driver.choose_next()
            both = scene(960, 450, (portrait, 20, 60, 0.2), (picture, 400, 60, 0.8))
            seen.append(x_of(next(iter(driver.detect(both, i / FPS)), None)))
    assert seen[2] is not None and seen[2] > 330 and seen[3] is None
    assert all(x is not None and x < 330 for x in seen[4:25])  # two seconds, beside a larger face
    assert seen[29] is not None and seen[29] > 330


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080)])
def test_a_face_of_48_pixels_is_found_in_the_first_frame(acted: list[Frame], width: int, height: int) -> None:
    scale = 48 / 205  # of its height in the performance
    pictures = (scene(width, height, (p, width // 5, height // 2, scale)) for p in acted[:3])
    for face in follow(pictures):
        x = x_of(face)
        assert x is not None and abs(x - width // 5 - 320 * scale) < 10


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_driver_who_lies_is_read_upright(
    acted: list[Frame], turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    as_it_is = follow(acted[:2])
    lying = follow(np.ascontiguousarray(np.rot90(picture, turns)) for picture in acted[:2])
    for one, other in zip(as_it_is, lying, strict=True):
        assert one is not None and other is not None
        assert other.image_size_px == one.image_size_px
        np.testing.assert_allclose(head_pose(other), head_pose(one), atol=0.06)
        np.testing.assert_allclose(other.points_px[:, :2], one.points_px[:, :2], atol=10)
    assert caplog.text.count("it is read turned by") == 1


def test_a_camera_that_is_turned_meanwhile(acted: list[Frame]) -> None:
    found = follow([*acted[:4], *(np.ascontiguousarray(p[::-1, ::-1]) for p in acted[4:14])])
    assert all(face is not None and face.person == 1 for face in [*found[:4], *found[10:]])
    assert all(abs(head_pose(face).roll_rad) < 0.2 for face in found[10:] if face is not None)


def test_nobody_is_nobody_and_costs_a_bounded_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large picture all is looked at once; then a few parts in each frame."""
    wall, count = scene(2560, 1440), 0
    find = Networks.find

    def counted(*arguments: Any, **named: Any) -> list[Region]:
        nonlocal count
        count += 1
        return find(*arguments, **named)

    monkeypatch.setattr(Networks, "find", counted)
    counts = []
    with closing(Driver()) as driver:
        for i in range(3):
            assert driver.detect(wall, i / FPS) == []
            counts.append(count)
            count = 0
    least, most = STEPS
    assert counts[0] == 2 + len(looks(2560, 1440))
    assert all(2 + least <= count <= 2 + most for count in counts[1:])


def test_parts_cover_the_picture_and_show_48_pixels() -> None:
    for width, height in ((3840, 2160), (1080, 1920), (6000, 400), (640, 480)):
        boxes = parts(width, height)
        finest = min(box[2] - box[0] for box in boxes)
        assert finest * 0.15 <= 48
        covered = np.zeros((height // 10, width // 10), dtype=bool)
        for left, top, right, bottom in boxes:
            if right - left == finest:
                covered[int(top) // 10 : int(bottom) // 10, int(left) // 10 : int(right) // 10] = True
            assert left >= 0 and top >= 0 and right <= width and bottom <= height
        assert covered.all()
    assert parts(200, 200) == ()


def test_points_turn_as_pictures_do() -> None:
    """A point of a 7 × 5 picture, against numpy's turned picture."""
    picture = np.zeros((5, 7))
    picture[1, 4] = 1
    for turns in range(4):
        points, size_px = upright(np.array([[4.0, 1.0, 9.0]], dtype=np.float32), (7, 5), turns)
        (row,), (column,) = np.nonzero(np.rot90(picture, turns))
        assert points.tolist() == [[column, row, 9.0]] and size_px == np.rot90(picture, turns).shape[::-1]


def test_a_tilted_head_is_not_a_turned_picture() -> None:
    angles = [0, 50, -55, 80, -90, 130, 180, -175]
    assert [quarter_turns(math.radians(angle)) for angle in angles] == [0, 0, 0, 1, 3, 1, 2, 2]


def test_the_same_face_is_known_and_another_is_not(acted: list[Frame], portrait: Frame) -> None:
    """Also in another light, size and roll."""
    likeness = Likeness()
    with closing(Driver()) as driver:
        for picture in acted[:3]:
            (face,) = driver.detect(picture, 0.0)
            likeness.learn(picture_of(picture, face.points_px))
    for changed in (
        (acted[30] * 0.4 + 30).astype(np.uint8),
        cv2.resize(acted[30], (320, 240), interpolation=cv2.INTER_AREA).astype(np.uint8),
        np.ascontiguousarray(np.rot90(acted[30])),
    ):
        with closing(Driver()) as driver:
            (face,) = driver.detect(changed, 0.0)
            points, _ = upright(face.points_px, face.image_size_px, -driver._person.turns % 4)  # type: ignore[union-attr]
        assert likeness.match(picture_of(changed, points)) > MATCH
    (stranger,) = follow([portrait])
    assert stranger is not None and likeness.match(picture_of(portrait, stranger.points_px)) < OTHER


def test_a_likeness_does_not_grow(rng: np.random.Generator) -> None:
    likeness = Likeness()
    pictures = rng.normal(size=(MOST + 5, 1024)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    for picture in pictures:
        likeness.learn(picture)
    assert likeness.match(pictures[0]) == pytest.approx(1) and likeness.match(pictures[-1]) == pytest.approx(
        1
    )
    assert likeness.match(pictures[1]) < 0.5
