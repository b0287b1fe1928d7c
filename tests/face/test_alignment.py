"""The crop of the paper family: still under expression and turn, the same picture at any scale."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.face.alignment import SCALE, align, face_square, square_affine
from icface.face.landmarks import Landmarks
from icface.face.pose import _VERTICES, rotation_from_pose
from icface.images import cut_crop


def face(
    iod_px: float = 60.0,
    centre: tuple[float, float] = (200.0, 150.0),
    pose_rad: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """(478, 3) landmarks of the canonical face in parallel projection; `centre` is between the eye corners."""
    points = np.zeros((478, 3))
    rotation = rotation_from_pose(*pose_rad)
    for pair, place in _VERTICES.items():
        for side, vertex in enumerate(pair):
            # y down and z away from the camera, as landmarks have them.
            canonical = np.array([place[0] if side else -place[0], -place[1], -place[2]])
            points[vertex] = rotation @ canonical * iod_px + [*centre, 0.0]
    return points.astype(np.float32)


def landmarks(points: NDArray[np.float32]) -> Landmarks:
    return Landmarks(points_px=points, image_size_px=(400, 300), blendshapes=np.zeros(52, np.float32))


def test_square_of_a_frontal_face() -> None:
    """The canonical face reaches from .63 IOD above the eyes to 1.36 below."""
    x, y, side = face_square(landmarks(face()))
    assert (x, y) == pytest.approx((200.0, 150.0 + 0.364 * 60), abs=0.05)
    assert side == pytest.approx(1.99 * 60, abs=0.1)


def test_open_mouth_does_not_move_the_square() -> None:
    opened = face()
    opened[[132, 361, 136, 365], 1] += 25  # the jaw's corners drop by .4 IOD
    assert face_square(landmarks(opened)) == pytest.approx(face_square(landmarks(face())), abs=1e-3)


@pytest.mark.parametrize("pose_rad", [(0.0, 0.5, 0.0), (0.3, 0.0, 0.0), (0.1, -0.4, 0.3)])
def test_turned_head_keeps_its_size_and_its_centre(pose_rad: tuple[float, float, float]) -> None:
    """The centre lies in the plane of the eye corners, .364 IOD below them in the face's own frame."""
    x, y, side = face_square(landmarks(face(pose_rad=pose_rad)))
    expected = rotation_from_pose(*pose_rad) @ [0, 0.364 * 60, 0] + [200, 150, 0]
    assert (x, y) == pytest.approx(tuple(expected[:2]), abs=0.05)
    assert side == pytest.approx(1.99 * 60, abs=0.1)


def test_affine_by_hand() -> None:
    """A box of 10 pixels about (20, 30), doubled to 20 and seen in 4 pixels: each covers 5, the first from 10 to 15."""
    affine = square_affine((20.0, 30.0, 10.0), size_px=4, scale=2.0)
    assert affine @ [0, 0, 1] == pytest.approx([20 - 10 + 2.5, 30 - 10 + 2.5])
    assert affine @ [3, 3, 1] == pytest.approx([20 + 10 - 2.5, 30 + 10 - 2.5])
    assert affine @ [1.5, 1.5, 1] == pytest.approx([20, 30])


def test_crop_shows_the_box_grown() -> None:
    found = landmarks(face())
    size_px = 96
    affine = align(found, size_px)
    x, y, side = face_square(found)
    assert affine @ [(size_px - 1) / 2, (size_px - 1) / 2, 1] == pytest.approx([x, y])
    assert affine[0, 0] * size_px == pytest.approx(SCALE * side)
    # A picture that is its own coordinates: what the crop shows tells where it was cut.
    rows, columns = np.mgrid[:300, :400]
    frame = np.stack([columns // 2, rows // 2, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    crop = cut_crop(frame, affine, size_px)
    middle = crop[size_px // 2 - 1 : size_px // 2 + 1, size_px // 2 - 1 : size_px // 2 + 1].mean((0, 1))
    assert middle[:2] * 2 == pytest.approx([x, y], abs=2.0)
