"""The sides of a head from turned frames: cut out, compared with the frames that were seen, and left out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import neutral
from icface.face.landmarks import open_detector
from icface.geometry.person import read_person
from tests.conftest import shared_file
from tests.training.footage import driver_frames
from training.avatars.glb import load_avatar
from training.avatars.render import Performance, Studio, View
from training.pairs.seen import Seen, look
from training.personal import sides
from training.personal.movements import of_everybody
from training.personal.sides import cut_side, fit_sides, looks_better


def seen(frames: Sequence[Frame]) -> list[Seen]:
    with closing(open_detector(video=False)) as detector:
        return [look(frame, detector) for frame in frames]


@pytest.fixture(scope="module")
def driver() -> list[Seen]:
    """The repository's driver: ahead, and turned to the image's right by up to 16°."""
    return seen([driver_frames()[number] for number in (0, 27, 28, 29)])


def fitted(faces: Sequence[Seen]) -> dict[str, np.ndarray]:
    attributes = np.repeat(neutral()[None], len(faces), axis=0)
    return dict(fit_sides(faces, attributes, of_everybody(faces[0].shape), 0))


def test_a_head_that_hardly_turns_tells_no_side(driver: list[Seen]) -> None:
    assert fitted(driver) == {}


def test_a_side_is_cut_where_it_was_seen(driver: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TURNED_RAD", (0.22, 0.75))
    monkeypatch.setattr(sides, "looks_better", lambda *_: True)  # the next test's
    told = fitted(driver)
    assert set(told) == {"right_side", "right_side_shape", "right_side_view"}
    side = read_person(told).sides[1]
    assert side is not None
    best = min(driver[1:], key=lambda face: abs(sides._yaw(face) + sides.BEST_RAD))
    np.testing.assert_array_equal(side.rotation, best.rotation)
    # The face lies in the cut as it did in the frame, whatever its size was taken for.
    own = best.project(best.shape, best.rotation)[:, :2]
    again = (side.shape - [0, -0.55, -0.6]) @ side.rotation.T * side.iod_px * [1, -1, 1]
    again = again[:, :2] + side.base_px
    np.testing.assert_allclose(again - again[0], own - own[0], atol=0.3)
    corner = np.round(own[0] - again[0]).astype(int)
    height, width = side.picture.shape[:2]
    part = best.picture[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
    pure = side.picture[..., 3] == 255  # at soft edges the room's colours are taken out
    np.testing.assert_array_equal(part[pure], side.picture[..., :3][pure])
    # All of the cheek's rim is shown, and neither nose nor far cheek.
    alpha = side.picture[..., 3]
    x, y = np.round(again[234] + [-3, 0]).astype(int)
    assert alpha[y, x] > 200
    for vertex in (1, 454):
        x, y = np.round(again[vertex]).astype(int)
        assert not (0 <= x < width and 0 <= y < height and alpha[y, x] > 0)


@pytest.mark.slow
def test_a_side_has_to_look_better_than_without_it(
    driver: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = cut_side(driver[2], driver[0].shape)
    assert side is not None
    person = read_person({})._replace(sides=(None, side))
    assert looks_better(driver[0], person, driver[1:])
    wrong = side._replace(picture=side.picture ^ np.array([255, 255, 255, 0], dtype=np.uint8))
    assert not looks_better(driver[0], person._replace(sides=(None, wrong)), driver[1:])
    monkeypatch.setattr(sides, "TURNED_RAD", (0.22, 0.75))
    monkeypatch.setattr(sides, "cut_side", lambda *_: wrong)
    assert fitted(driver) == {}


@pytest.mark.slow
def test_at_thirty_degrees_a_rendered_side_is_nearer_to_what_was_seen() -> None:
    avatar = load_avatar(shared_file("data/valid_avatars/Asian_M_1_Casual.glb"))
    studio = Studio(avatar, View(width_px=256, height_px=256, head_px=105))
    angles = (0, 30)
    faces = seen([studio.frame(Performance(yaw_rad=float(np.radians(angle)))) for angle in angles])
    told = fitted(faces)
    assert {name for name in told if name.endswith("_side")} == {"left_side"}  # it is nearer to what was seen
