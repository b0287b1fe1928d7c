"""Photos that a face fills: room is made beside a cut head, and no second face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icface.arrays import Frame
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of
from icface.geometry.prepare import crop_affine
from icface.geometry.tight import with_room
from icface.images import cut_crop, load_photo
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
    wide, moved, (added, above) = with_room(photo, face)
    assert added > 0 and above == 0
    np.testing.assert_array_equal(wide[: len(photo), added : added + photo.shape[1]], photo)
    np.testing.assert_allclose(moved.points_px - face.points_px, np.tile([added, 0, 0], (478, 1)), atol=0.01)
    size_px = wide.shape[1], wide.shape[0]
    shown = cut_crop(wide, crop_affine(moved.points_px, size_px, 512), 512)
    assert len(faces_of(shown)) == 1


def test_a_photo_with_room_stays(portrait: tuple[Frame, Landmarks]) -> None:
    photo, face = cropped(portrait, 1.0, 1.0)
    same, still, added = with_room(photo, face)
    assert same is photo and still is face and added == (0, 0)


def test_below_a_chin_at_the_border_there_are_no_second_lips(portrait: tuple[Frame, Landmarks]) -> None:
    """What is added becomes smooth: it has the border's colours, and less and less detail."""
    photo, face = cropped(portrait, 1.0, 1.0, below=-0.05)
    long, _, added = with_room(photo, face)
    assert added == (0, 0)
    made = long[len(photo) :].astype(int)
    assert len(made) >= 0.2 * np.ptp(face.points_px[:468, 1])
    np.testing.assert_allclose(made[0], photo[-1], atol=12)
    assert np.abs(np.diff(made[len(made) // 2 :], axis=0)).max() <= 4
