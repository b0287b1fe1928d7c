"""The patch lies where it should, whatever the head does, and the measures say what a face does."""

from __future__ import annotations

import numpy as np
import pytest

from icface.attributes import AU_NAMES
from icface.geometry.patch import (
    CONDITIONS,
    MEASURE_NAMES,
    PATCH_IOD,
    PATCH_PX,
    conditions,
    cut_patch,
    finer,
    measures,
    patch_affine,
)
from icface.geometry.shape import Projection, rotation_matrix
from icface.geometry.topology import face_tables

PROJECT = Projection(np.array([250.0, 300.0], dtype=np.float32), np.float32(120))
FACE = face_tables().canonical


def at(affine: np.ndarray, x: float, y: float) -> np.ndarray:
    return affine @ [x, y, 1]


def test_frontal_patch_is_upright_and_has_its_size() -> None:
    affine = patch_affine(FACE, np.eye(3, dtype=np.float32), PROJECT)
    scale = PATCH_IOD * 120 / PATCH_PX
    np.testing.assert_allclose(affine[:, :2], [[scale, 0], [0, scale]], atol=1e-6)
    middle = at(affine, (PATCH_PX - 1) / 2, (PATCH_PX - 1) / 2)
    eyes, lips = (
        PROJECT(FACE[[33, 133, 263, 362]].mean(0), np.eye(3, dtype=np.float32)),
        PROJECT(FACE[[13, 14]].mean(0), np.eye(3, dtype=np.float32)),
    )
    np.testing.assert_allclose(middle, eyes[:2] + 0.43 * (lips[:2] - eyes[:2]), atol=1e-3)


def test_patch_turns_with_the_head() -> None:
    rotation = rotation_matrix(0.0, 0.0, 0.5)
    affine = patch_affine(FACE, rotation, PROJECT)
    right, left = PROJECT(FACE[33], rotation)[:2], PROJECT(FACE[263], rotation)[:2]
    across = (left - right) / np.linalg.norm(left - right)
    np.testing.assert_allclose(affine[:, 0] / np.linalg.norm(affine[:, 0]), across, atol=0.02)


def test_larger_patch_has_the_same_middle() -> None:
    rotation = rotation_matrix(0.1, -0.2, 0.3)
    small, large = patch_affine(FACE, rotation, PROJECT), patch_affine(FACE, rotation, PROJECT, 216)
    np.testing.assert_allclose(at(small, 10, 20), at(large, 22, 32), atol=1e-5)


def test_finer_patch_covers_the_same_square() -> None:
    affine = np.array([[1.5, 0.2, 3.0], [-0.2, 1.5, 4.0]])
    corner = at(affine, -0.5, -0.5)
    np.testing.assert_allclose(at(finer(affine, 3), -0.5, -0.5), corner, atol=1e-9)
    np.testing.assert_allclose(at(finer(affine, 3), 2.5, -0.5), at(affine, 0.5, -0.5), atol=1e-9)


def test_cut_patch_reads_where_the_affine_says() -> None:
    y, x = np.mgrid[:400, :400]
    picture = np.dstack([x // 2, y // 2, np.zeros_like(x)]).astype(np.uint8)
    affine = patch_affine(FACE, rotation_matrix(0.0, 0.0, -0.3), PROJECT)
    patch = cut_patch(picture, affine)
    assert patch.shape == (PATCH_PX, PATCH_PX, 3)
    for column, row in ((30, 60), (96, 96), (170, 120)):
        np.testing.assert_allclose(patch[row, column, :2], at(affine, column, row) / 2, atol=1)


@pytest.mark.parametrize(
    ("unit", "name", "sign"),
    [("AU26", "chin", 1), ("AU12", "mouth_width", 1), ("AU12", "mouth_lift", 1), ("AU15", "mouth_lift", -1),
     ("AU02", "right_brow", 1), ("AU04", "left_inner_brow", -1), ("AU25", "mouth_gap", 1)],
)  # fmt: skip
def test_measures_follow_action_units(unit: str, name: str, sign: int) -> None:
    moved = FACE + face_tables().displacements[AU_NAMES.index(unit)]
    change = (measures(moved) - measures(FACE))[MEASURE_NAMES.index(name)]
    assert sign * change > 0.02


def test_conditions_hold_measures_and_sines_of_the_pose() -> None:
    values = conditions(measures(FACE), -measures(FACE), rotation_matrix(0.0, 0.3, 0.0))
    assert values.shape == (CONDITIONS,) and values.dtype == np.float32
    np.testing.assert_allclose(abs(values[-1]), np.sin(0.3), atol=1e-6)
    np.testing.assert_allclose(values[-2], 0, atol=1e-6)
