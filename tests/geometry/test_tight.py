"""Photos that a face fills: room is made beside a cut head, and no second face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icface.arrays import Frame
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of
from icface.face.suitability import face_extent_px
from icface.geometry import tight
from icface.geometry.beyond import continued
from icface.geometry.prepare import crop_affine
from icface.geometry.tight import with_room
from icface.images import cut_crop, load_photo
from icface.segmentation.matte import Matte
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def portrait() -> tuple[Frame, Landmarks]:
    photo = load_photo(REPOSITORY / "examples/source.jpg").frame
    (face,) = faces_of(photo)
    return photo, face


def cropped(
    portrait: tuple[Frame, Landmarks], left: float, right: float, below: float = 1
) -> tuple[Frame, Landmarks]:
    """The part of a portrait that reaches so many face widths beyond the face, left, right and below."""
    photo, face = portrait
    x0, _, x1, y1 = face.box_px
    wide = x1 - x0
    first, last = max(0, round(x0 - left * wide)), min(photo.shape[1], round(x1 + right * wide))
    part = np.ascontiguousarray(photo[: min(len(photo), round(y1 + below * wide)), first:last])
    points = face.points_px - np.array([first, 0, 0], dtype=np.float32)
    return part, replace(face, points_px=points, image_size_px=(part.shape[1], part.shape[0]))


@pytest.mark.parametrize(("left", "right"), [(0.02, 0.02), (-0.12, 1.0)])
def test_beside_a_cut_head_there_is_no_second_face(
    portrait: tuple[Frame, Landmarks], left: float, right: float
) -> None:
    photo, face = cropped(portrait, left, right)
    wide, moved, room_to_photo = with_room(photo, face)
    added = -round(room_to_photo[0, 2])
    assert added > 0
    np.testing.assert_array_equal(room_to_photo, [[1, 0, -added], [0, 1, 0]])
    np.testing.assert_array_equal(wide[: len(photo), added : added + photo.shape[1]], photo)
    np.testing.assert_allclose(moved.points_px - face.points_px, np.tile([added, 0, 0], (478, 1)), atol=0.01)
    size_px = wide.shape[1], wide.shape[0]
    shown = cut_crop(wide, crop_affine(moved.points_px, size_px, 512), 512)
    assert len(faces_of(shown)) == 1


def test_a_photo_with_room_stays(portrait: tuple[Frame, Landmarks]) -> None:
    photo, face = cropped(portrait, 1.0, 1.0)
    same, still, room_to_photo = with_room(photo, face)
    assert same is photo and still is face
    np.testing.assert_array_equal(room_to_photo, np.eye(2, 3))


def test_below_a_chin_at_the_border_there_are_no_second_lips(portrait: tuple[Frame, Landmarks]) -> None:
    """What is added becomes smooth: it has the border's colours, and less and less detail."""
    photo, face = cropped(portrait, 1.0, 1.0, below=-0.05)
    long, _, room_to_photo = with_room(photo, face)
    np.testing.assert_array_equal(room_to_photo, np.eye(2, 3))
    made = long[len(photo) :].astype(int)
    assert len(made) >= 0.2 * np.ptp(face.points_px[:468, 1])
    np.testing.assert_allclose(made[0], photo[-1], atol=12)
    assert np.abs(np.diff(made[len(made) // 2 :], axis=0)).max() <= 4


def test_a_large_photo_is_reduced_to_what_a_crop_can_show(
    portrait: tuple[Frame, Landmarks], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, face = cropped(portrait, 0.02, 0.02)
    large, _, _ = with_room(photo, face)
    monkeypatch.setattr(tight, "LARGEST_PX", face_extent_px(face) / 2)
    wide, moved, room_to_photo = with_room(photo, face)
    assert face_extent_px(moved) == pytest.approx(face_extent_px(face) / 2)
    assert wide.shape[1] == pytest.approx(large.shape[1] / 2, abs=2)
    back = moved.points_px[:, :2] @ room_to_photo[:, :2].T + room_to_photo[:, 2]
    np.testing.assert_allclose(back, face.points_px[:, :2], atol=0.01)
    # Where a pixel lies is where the photo shows the same.
    place = np.round(
        np.linalg.inv(room_to_photo[:, :2]) @ (np.array([0, 0]) - room_to_photo[:, 2]) + 0.25
    ).astype(int)
    half = wide[place[1] : place[1] + len(photo) // 2, place[0] : place[0] + photo.shape[1] // 2]
    whole = photo[: 2 * len(half), : 2 * half.shape[1]].astype(float)
    mean = whole.reshape(len(half), 2, half.shape[1], 2, 3).mean((1, 3))
    assert np.abs(half - mean).mean() < 1


def test_hair_at_a_border_that_the_face_touches_ends_there(portrait: tuple[Frame, Landmarks]) -> None:
    """There is nothing to mirror, and nothing half transparent either."""
    face = portrait[1].points_px[:468, :2]
    points = (face - face.min(axis=0)) * (198 / np.ptp(face[:, 0])) + np.array([1, 40], dtype=np.float32)
    alpha = np.zeros((320, 200), dtype=np.float32)
    alpha[80:240] = 1
    matte = Matte(alpha, alpha, unsure=0.0, seen=1.0, missed=0.0, hair_left=0.0)
    photo = np.full((320, 200, 3), 200, dtype=np.uint8)
    photo[80:240] = 20
    wide = continued(photo, points, (0, 0, 100, 100), matte=matte)
    np.testing.assert_allclose(wide[80:240, :90], 200, atol=2)
    np.testing.assert_allclose(wide[80:240, -90:], 200, atol=2)
