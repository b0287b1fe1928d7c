"""Head pose: exact on a rotated canonical face. That it is MediaPipe's own pose: test_landmarker.py."""

import math

import numpy as np
import pytest

from icface.face.landmarks import Landmarks
from icface.face.pose import (
    FLIP,
    head_pose,
    pose_from_rotation,
    rotation_from_pose,
    weak_perspective,
)
from icface.geometry.topology import face_tables

ANGLES = [(0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (0.0, -0.3, 0.0), (0.0, 0.0, 0.25), (0.15, 0.3, -0.2)]


def seen_by_camera(angles: tuple[float, float, float], size_px: tuple[int, int] = (640, 480)) -> Landmarks:
    """The canonical face, turned, straight ahead in a camera of 63° at 6 IOD."""
    canonical = np.vstack([face_tables().canonical, np.zeros((10, 3), np.float32)]).astype(np.float64)
    turned = canonical @ (FLIP @ rotation_from_pose(*angles) @ FLIP).T
    focal = size_px[1] / 2 / math.tan(math.radians(63) / 2)
    away = 6.0 - turned[:, 2]
    points = np.empty((478, 3), dtype=np.float32)
    points[:, 0] = size_px[0] / 2 + focal * turned[:, 0] / away
    points[:, 1] = size_px[1] / 2 - focal * turned[:, 1] / away
    points[:, 2] = -focal * turned[:, 2] / 6.0
    return Landmarks(points_px=points, image_size_px=size_px, blendshapes=np.zeros(52, np.float32))


@pytest.mark.parametrize("angles", ANGLES)
def test_angles_survive_the_matrix(angles: tuple[float, float, float]) -> None:
    pose = pose_from_rotation(rotation_from_pose(*angles))
    assert (pose.pitch_rad, pose.yaw_rad, pose.roll_rad) == pytest.approx(angles, abs=1e-12)


@pytest.mark.parametrize("angles", ANGLES)
def test_a_turned_face_gives_its_angles(angles: tuple[float, float, float]) -> None:
    pose = head_pose(seen_by_camera(angles))
    assert (pose.pitch_rad, pose.yaw_rad, pose.roll_rad) == pytest.approx(angles, abs=0.03)


@pytest.mark.parametrize("angles", ANGLES)
def test_in_parallel_projection_the_rotation_is_exact(angles: tuple[float, float, float]) -> None:
    canonical = np.vstack([face_tables().canonical, np.zeros((10, 3), np.float32)]).astype(np.float64)
    upward = FLIP @ rotation_from_pose(*angles) @ FLIP
    points_px = 120 * canonical @ upward.T @ FLIP + [333, 222, 7]
    np.testing.assert_allclose(weak_perspective(points_px.astype(np.float32))[0], upward, atol=1e-4)
