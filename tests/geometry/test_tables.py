"""The shipped displacement table against what ICT-FaceKit's shapes do to named points."""

import numpy as np
import pytest

from icface.attributes import AU_NAMES, SHAPE_NAMES, SIDED, FloatArray
from icface.geometry.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, face_tables


def displacement(au: str, vertex: int | slice) -> FloatArray:
    return np.asarray(face_tables().displacements[AU_NAMES.index(au), vertex])


@pytest.mark.parametrize(
    ("au", "vertex", "expected"),
    [
        ("AU01", 107, (None, 0.064, None)),  # inner brow up
        ("AU02", 70, (None, 0.068, -0.027)),  # outer brow up, and back around the skull
        ("AU12", 61, (-0.079, 0.118, -0.102)),  # corner of the mouth out, up, back
        ("AU15", 61, (None, -0.048, None)),
        ("AU17", 17, (0.0, 0.081, 0.055)),
        ("AU26", 17, (0.0, -0.17, -0.108)),  # .45 of a whole jaw drop
        ("AU45", 159, (None, -0.097, None)),
    ],
)
def test_points_move_as_measured_on_ict(au: str, vertex: int, expected: tuple[float | None, ...]) -> None:
    moved = displacement(au, vertex)
    for axis, value in enumerate(expected):
        if value is not None:
            assert moved[axis] == pytest.approx(value, abs=0.015)


def test_movements_are_mirror_symmetric() -> None:
    for au in AU_NAMES:
        for right, left in ((61, 291), (107, 336), (159, 386), (50, 280)):
            np.testing.assert_allclose(
                displacement(au, right), displacement(au, left) * [-1, 1, 1], atol=2e-3
            )


def shape(name: str, vertex: int | slice) -> FloatArray:
    return np.asarray(face_tables().extensions[SHAPE_NAMES.index(name), vertex])


@pytest.mark.parametrize(
    ("name", "vertex", "expected"),
    [
        ("AU12_side", 291, (0.039, 0.059, -0.051)),  # half of what AU12 does to the left corner
        ("AU12_side", 61, (0.039, -0.059, 0.051)),
        ("AU18", 291, (-0.052, 0.024, 0.111)),  # the corners come in and forward
        ("AU22", 14, (0.0, -0.093, 0.074)),  # the lower lip turns out
        ("AU24", 17, (0.0, 0.086, None)),  # the lower lip is pressed up
        ("AU29", 152, (0.0, -0.019, 0.122)),  # the chin comes forward
        ("AU34", 425, (0.013, 0.047, 0.076)),
        ("jaw_side", 152, (0.097, 0.0, 0.0)),  # to the person's left, which is the image's right
        ("mouth_side", 13, (0.154, 0.0, 0.0)),
    ],
)
def test_points_move_with_extensions_as_measured_on_ict(
    name: str, vertex: int, expected: tuple[float | None, ...]
) -> None:
    for moved, value in zip(shape(name, vertex), expected, strict=True):
        if value is not None:
            assert moved == pytest.approx(value, abs=0.015)


def test_sides_and_middle_are_a_basis() -> None:
    """Half of the whole plus the side leaves the right side of the face at rest."""
    for au in SIDED:
        left_alone = displacement(au, slice(None)) / 2 + shape(f"{au}_side", slice(None))
        right_alone = displacement(au, slice(None)) / 2 - shape(f"{au}_side", slice(None))
        x = face_tables().canonical[:, 0]
        moved = np.linalg.norm(displacement(au, slice(None)), axis=1).max()
        assert np.abs(left_alone[x < -0.25]).max() < 0.15 * moved
        assert np.abs(right_alone[x > 0.25]).max() < 0.15 * moved


def test_extensions_are_mirror_symmetric() -> None:
    for name in SHAPE_NAMES:
        sign = -1 if name.endswith("side") else 1
        for right, left in ((61, 291), (107, 336), (159, 386), (50, 280)):
            np.testing.assert_allclose(shape(name, right), sign * shape(name, left) * [-1, 1, 1], atol=2e-3)


@pytest.mark.parametrize(("au", "gap"), [("AU25", 0.10), ("AU26", 0.165)])
def test_whole_movement_opens_the_lips_by_its_gap(au: str, gap: float) -> None:
    middle = displacement(au, 13)[1] - displacement(au, 14)[1]
    assert middle == pytest.approx(gap, abs=0.01)
    corner = displacement(au, INNER_UPPER_LIP[0])[1] - displacement(au, INNER_LOWER_LIP[0])[1]
    assert corner == 0.0


@pytest.mark.parametrize("au", ["AU09", "AU10"])
def test_raised_lips_stay_closed(au: str) -> None:
    """The lower lip goes along with the upper, also where one side moves alone."""
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP[1:-1])
    for field in (displacement(au, slice(None)), shape(f"{au}_side", slice(None))):
        np.testing.assert_allclose(field[upper, 1], field[lower, 1], atol=1e-3)
    assert displacement(au, 0)[1] > 0.03


def test_openings_are_left_out_of_the_skin() -> None:
    tables = face_tables()
    assert len(tables.skin_triangles) + len(tables.opening_triangles) == 898
    inner_lips = {*INNER_UPPER_LIP, *INNER_LOWER_LIP}
    assert not any(set(triangle) <= inner_lips for triangle in tables.skin_triangles.tolist())
