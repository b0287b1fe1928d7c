"""The shipped displacement table against what ICT-FaceKit's shapes do to named points."""

import numpy as np
import pytest

from icface.attributes import AU_NAMES, FloatArray
from icface.geometry.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, face_tables


def displacement(au: str, vertex: int) -> FloatArray:
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


@pytest.mark.parametrize(("au", "gap"), [("AU25", 0.10), ("AU26", 0.165)])
def test_whole_movement_opens_the_lips_by_its_gap(au: str, gap: float) -> None:
    middle = displacement(au, 13)[1] - displacement(au, 14)[1]
    assert middle == pytest.approx(gap, abs=0.01)
    corner = displacement(au, INNER_UPPER_LIP[0])[1] - displacement(au, INNER_LOWER_LIP[0])[1]
    assert corner == 0.0


def test_openings_are_left_out_of_the_skin() -> None:
    tables = face_tables()
    assert len(tables.skin_triangles) + len(tables.opening_triangles) == 898
    inner_lips = {*INNER_UPPER_LIP, *INNER_LOWER_LIP}
    assert not any(set(triangle) <= inner_lips for triangle in tables.skin_triangles.tolist())
