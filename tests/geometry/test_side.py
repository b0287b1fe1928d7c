"""The side of a head from a turned picture, on a drawn person: where its sheet lies, its light, when it is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray, neutral, pose_to_unit
from icface.geometry import sheet, side
from icface.geometry.correction import Patch
from icface.geometry.person import KnownSide, read_person, side_tensors
from icface.geometry.rig import FaceRig
from icface.geometry.shape import Projection, close_lips, rotation_matrix
from icface.geometry.topology import face_tables
from icface.geometry.warp import HostWarp, PersonAlpha
from tests.geometry.test_back import SIDE, source

HEIGHT, WIDTH, IOD_PX = 200, 160, 70.0
GREEN = (20, 200, 40)
TURN_RAD = 0.5


def known(colour: tuple[int, int, int] = GREEN) -> KnownSide:
    """The head's right side, turned by TURN_RAD, in one colour. Columns 20 to 60 are shown."""
    picture = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    picture[:, :, :3] = colour
    picture[10:190, 20:60, 3] = 255
    rotation = rotation_matrix(0, -TURN_RAD, 0)
    assert rotation[2, 0] < 0  # the right side, at negative x, has come nearer
    base_px = np.array([110.0, 120.0], dtype=np.float32)
    return KnownSide(picture, close_lips(face_tables().canonical), rotation, base_px, IOD_PX)


def with_side(known_side: KnownSide, half_width: float = 0.85) -> dict[str, NDArray[Any]]:
    """A source that knows it, the picture in an atlas of its own."""
    cache = source(half_width)
    patch = np.array([0, 80, WIDTH, HEIGHT], dtype=np.int32)
    atlas = np.zeros((80 + HEIGHT, WIDTH, 3), dtype=np.uint8)
    atlas[80:] = known_side.picture[..., :3]
    return cache | {"inner": atlas} | side.sheet_tensors("right", known_side, patch, cache)


def turned(yaw_rad: float) -> FloatArray:
    attributes = neutral()
    attributes[:3] = pose_to_unit(np.array([0.0, yaw_rad, 0.0]))
    return attributes


def test_in_its_own_picture_the_sheet_lies_where_it_is() -> None:
    seen = known()
    nodes = side.nodes_of(seen, source()).reshape(side.ROWS, side.COLS, 3)
    px = Projection(seen.base_px, np.float32(seen.iod_px))(nodes, seen.rotation)
    x, y = np.meshgrid(np.linspace(0, WIDTH - 1, side.COLS), np.linspace(0, HEIGHT - 1, side.ROWS))
    low = nodes[..., 1] < side.BROWS  # above, the head is made as high as the photo's
    assert low.sum() > 100
    np.testing.assert_allclose(px[..., 0][low], x[low], atol=0.01)
    np.testing.assert_allclose(px[..., 1][low], y[low], atol=0.01)


@pytest.mark.parametrize("half_width", [0.8, 0.95])
def test_from_the_front_the_sheet_ends_at_the_photos_outline(half_width: float) -> None:
    seen = known()
    nodes = side.nodes_of(seen, source(half_width)).reshape(side.ROWS, side.COLS, 3)
    shown = seen.picture[np.linspace(0, HEIGHT - 1, side.ROWS).astype(int)][:, ::13][:, : side.COLS, 3] > 0
    level = np.abs(nodes[..., 1] - 0.1) < 0.15  # where the drawn head is as wide as it is anywhere
    assert -nodes[..., 0][shown & level].min() == pytest.approx(half_width, abs=0.08)


def test_a_side_takes_the_light_of_the_photo() -> None:
    seen = known((100, 100, 100))
    crop = np.full((SIDE, SIDE, 3), 140, dtype=np.uint8)
    crop[..., 2] = 100
    lit = side.lit_as(seen, crop, source()["texture_px"])
    # (140 + 8) / (100 + 8) of 100; black has a share, so that dark pixels have no wild ratio.
    np.testing.assert_allclose(lit.reshape(-1, 3).mean(axis=0), [137, 137, 100], atol=1)
    assert np.ptp(lit.reshape(-1, 3), axis=0).max() <= 1  # also where no cheek is
    bright = side.lit_as(seen, np.full_like(crop, 255), source()["texture_px"])
    np.testing.assert_allclose(bright, 100 * np.exp(side.MOST_LIGHT), atol=1)


def test_it_fades_in_with_the_turn_and_the_other_side_stays() -> None:
    rig = FaceRig(with_side(known()))
    most = []
    middle = float(np.arcsin((sheet.BEGINS + sheet.WHOLE) / 2))
    for yaw_rad in (0.0, 0.9 * sheet.BEGINS, middle, 1.1 * np.arcsin(sheet.WHOLE)):
        motion = rig.motion(turned(-yaw_rad))
        boxes = motion["regions"][-sheet.REGIONS :]
        most.append(max((int(_box(motion["inner_alpha"], box).max(initial=0)) for box in boxes), default=0))
    assert most == [0, 0, 128, 255]
    assert not rig.motion(turned(0.5))["regions"][-sheet.REGIONS :].any()


def test_all_of_it_lies_in_boxes_that_eyes_and_mouth_leave_free() -> None:
    rig = FaceRig(with_side(known()))
    motion = rig.motion(turned(-0.5))
    boxes = motion["regions"]
    assert boxes[-1].any()
    covered = np.zeros((SIDE, SIDE), dtype=int)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] += 1
    openings = np.zeros_like(covered, dtype=bool)
    for x0, y0, x1, y1 in boxes[: -sheet.REGIONS]:
        openings[y0:y1, x0:x1] = True
    assert not (motion["inner_alpha"][covered == 0]).any()
    for x0, y0, x1, y1 in boxes[-sheet.REGIONS :]:
        assert not openings[y0:y1, x0:x1].any()
    # And the next frame forgets it.
    rest = rig.motion(turned(0.0))["inner_alpha"].copy()
    np.testing.assert_array_equal(rest, FaceRig(source()).motion(turned(0.0))["inner_alpha"])


def test_a_network_takes_eyes_and_mouth_alone_for_openings() -> None:
    rig = FaceRig(with_side(known()))
    motion = dict(rig.motion(turned(-0.15)))  # both are in the patch
    frame = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    found = Patch((SIDE, SIDE)).cut(frame, motion)[0, ..., 3].copy()
    whole = Patch((SIDE, SIDE)).cut(frame, motion | {"inner_shade": 0 * motion["inner_shade"]})[0, ..., 3]
    for x0, y0, x1, y1 in motion["regions"][-sheet.REGIONS :]:
        motion["inner_alpha"][y0:y1, x0:x1] = 0
    np.testing.assert_array_equal(found, Patch((SIDE, SIDE)).cut(frame, motion)[0, ..., 3])
    assert (whole != found).sum() > 100


def test_a_turned_head_shows_the_pictures_colour_and_covers_what_is_behind() -> None:
    cache = with_side(known())
    rig, warp = FaceRig(cache), HostWarp(cache, (SIDE, SIDE))
    front = warp.frame(rig.motion(turned(0.0))).copy()
    motion = rig.motion(turned(-0.5))
    frame = warp.frame(motion).copy()
    green = (np.abs(frame.astype(int) - GREEN) <= 2).all(axis=2)
    assert not (np.abs(front.astype(int) - GREEN) <= 2).all(axis=2).any()
    assert green.sum() > 1500
    assert (
        PersonAlpha(cache).frame(motion)[green].min() >= 253
    )  # a colour within two levels is not yet all of it
    face = rig.vertices
    assert np.flatnonzero(green.any(axis=0)).max() < face[168, 0]  # on the turned side of the nose alone


def _box(picture: Frame, box: NDArray[np.int32]) -> Frame:
    x0, y0, x1, y1 = box
    return picture[y0:y1, x0:x1]


def test_a_square_is_drawn_by_hand() -> None:
    vertices = np.array([[2, 2], [6, 2], [2, 6], [6, 6]], dtype=np.float32)
    triangles = np.array([[0, 2, 1], [1, 2, 3]], dtype=np.int32)
    places = np.array([[10, 20], [14, 20], [10, 24], [14, 24]], dtype=np.float32)
    drawn = np.full((9, 9, 2), -1, np.float32)
    boxes = np.array([[0, 0, 9, 4], [0, 4, 6, 9]], dtype=np.int32)
    sheet.draw_sheet(vertices, triangles, places, boxes, drawn)
    y, x = np.mgrid[:9, :9]
    square = (x >= 2) & (x <= 6) & (y >= 2) & (y <= 6) & ((y < 4) | (x < 6))  # the lower box ends there
    np.testing.assert_allclose(drawn[square], np.stack([x + 8, y + 18], axis=-1)[square], atol=0.01)
    assert (drawn[~square & ((y < 4) | (x < 6))] == sheet.NOWHERE).all()
    assert (drawn[4:, 6:] == -1).all()


def test_boxes_lie_above_the_eyes_and_beside_them_by_hand() -> None:
    vertices = np.array([[20.5, -3], [39.2, 50]], dtype=np.float32)
    openings = np.array([[10, 22], [26, 30]], dtype=np.float32)
    boxes = np.zeros((2, 4), dtype=np.int32)
    sheet.lay_boxes(vertices, openings, True, 60, 40, boxes)
    assert boxes.tolist() == [[20, 0, 41, 19], [30, 19, 41, 40]]
    boxes[:] = 0
    sheet.lay_boxes(vertices, openings, False, 60, 40, boxes)  # nothing of it lies left of the openings
    assert boxes.tolist() == [[20, 0, 41, 19], [0, 0, 0, 0]]


def test_a_bundle_tells_the_same_side() -> None:
    seen = known()
    left, right = read_person(side_tensors("right", seen)).sides
    assert left is None and right is not None
    np.testing.assert_array_equal(right.picture, seen.picture)
    np.testing.assert_allclose(right.shape, seen.shape, atol=2e-3)
    np.testing.assert_array_equal(right.rotation, seen.rotation)
    np.testing.assert_array_equal(right.base_px, seen.base_px)
    assert right.iod_px == seen.iod_px


def changed(name: str, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {**side_tensors("right", known()), name: value}


VIEW = side_tensors("right", known())["right_side_view"]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"right_side_view": VIEW}, "belong together"),
        (side_tensors("left", known()), "left_side_view is no turn that shows the head's left side"),
        (changed("right_side_view", np.zeros(12, np.float32)), "is no turn"),
        (changed("right_side_view", np.append(VIEW[:11], np.float32(2))), "eyes that are 2 pixels apart"),
        (changed("right_side", np.zeros((40, 2000, 4), np.uint8)), "of 16 to 1024 pixels"),
        (changed("right_side", np.zeros((40, 40, 4), np.uint8)), "right_side shows nothing"),
        (changed("right_side", np.zeros((40, 40, 4), np.float32)), "right_side should not be of float32"),
        (changed("right_side_shape", np.zeros((3, 3), np.float16)), "should be of shape"),
    ],
)
def test_a_side_that_is_none_is_refused(tensors: dict[str, NDArray[Any]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_person(tensors)
