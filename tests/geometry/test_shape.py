"""Head space, neutral shapes and rings on the canonical face."""

import numpy as np
import pytest

from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, SHAPE_NAMES, SIDED, neutral
from icface.geometry import shape as geometry
from icface.geometry.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, OVAL, face_tables


def test_rotation_signs_follow_openface() -> None:
    nose = np.array([0, 0, 1.0])  # towards the camera
    assert (geometry.rotation_matrix(0.2, 0, 0) @ nose)[1] < 0  # +pitch looks down
    assert (geometry.rotation_matrix(0, 0.2, 0) @ nose)[0] < 0  # +yaw turns the nose to image-left
    right_ear = np.array([-1.0, 0, 0])
    assert (geometry.rotation_matrix(0, 0, 0.2) @ right_ear)[1] > 0  # +roll: eye line clockwise on screen


def test_head_space_undoes_a_rotated_picture() -> None:
    canonical = face_tables().canonical
    rotation = geometry.rotation_matrix(0.15, -0.3, 0.1)
    turned = canonical @ rotation.T
    points_px = (turned * [1, -1, -1] * 120 + [300, 200, 0]).astype(np.float32)
    shape, eyes_px, iod_px = geometry.head_space(points_px, rotation)
    np.testing.assert_allclose(shape, canonical, atol=1e-4)
    np.testing.assert_allclose(eyes_px, [300, 200], atol=1e-3)
    assert iod_px == pytest.approx(120, rel=1e-5)


def test_lips_are_closed_exactly_and_the_rest_stays() -> None:
    opened = face_tables().canonical.copy()
    opened += 0.8 * face_tables().displacements[AU_NAMES.index("AU26")]
    closed = geometry.close_lips(opened)
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP[1:-1])
    np.testing.assert_allclose(closed[upper], closed[lower], atol=1e-6)
    far = [10, 33, 263, 168, 234, 454]
    np.testing.assert_allclose(closed[far], opened[far], atol=5e-3)
    assert closed[17, 1] > opened[17, 1]  # the lower lip came up


def test_a_smile_is_taken_out() -> None:
    tables = face_tables()
    attributes = neutral()
    attributes[INDEX["AU12"]] = 0.8
    smiling = tables.canonical + 0.8 * tables.displacements[AU_NAMES.index("AU12")]
    closed = geometry.close_lips(tables.canonical)
    result = geometry.neutral_shape(
        smiling.astype(np.float32), attributes[ACTION_UNITS], np.zeros(13, np.float32)
    )
    before = abs(smiling[61, 1] - closed[61, 1])
    assert abs(result[61, 1] - closed[61, 1]) < 0.2 * before


def test_each_side_is_an_expression_beyond_doubt_from_35_hundredths_on() -> None:
    action_units, sides = np.zeros(17, np.float32), np.zeros(13, np.float32)
    for name, value in (("AU01", 0.35), ("AU04", 1.0), ("AU17", 0.675), ("AU45", 0.5)):
        action_units[AU_NAMES.index(name)] = value
    sides[SIDED.index("AU45")] = 0.8  # the left eye at .9, the right one at .1
    both, aside = geometry.beyond_doubt(action_units, sides)
    found = {name: round(float(value), 4) for name, value in zip(AU_NAMES, both, strict=True) if value}
    left = (0.9 - 0.35) / 0.65
    assert found == {"AU04": 1.0, "AU17": 0.5, "AU45": round(left / 2, 4)}
    assert float(aside[SIDED.index("AU45")]) == pytest.approx(left)
    assert np.count_nonzero(aside) == 1


def test_a_calmed_shape_has_open_eyes_and_brows_at_rest() -> None:
    """A face that frowns with shut eyes, as far as a whole Action Unit was found to move photos."""
    tables = face_tables()
    rest = geometry.close_lips(tables.canonical)
    au04, au45 = (tables.displacements[AU_NAMES.index(name)] for name in ("AU04", "AU45"))
    expression = np.zeros(17, np.float32)
    expression[[AU_NAMES.index("AU04"), AU_NAMES.index("AU45")]] = 1
    # `neutral_shape` has taken .6 of AU04 out, and nothing of AU45.
    left = (rest + (1.4 - 0.6) * au04 + au45).astype(np.float32)
    calmed = geometry.calmed_shape(left, expression, np.zeros(13, np.float32))
    np.testing.assert_allclose(calmed, rest, atol=2e-3)
    assert calmed[159, 1] - left[159, 1] > 0.08  # the upper lid
    still = geometry.calmed_shape(left, np.zeros(17, np.float32), np.zeros(13, np.float32))
    np.testing.assert_allclose(still, left, atol=2e-3)


def test_the_ring_lies_outside_of_the_face_and_behind_it() -> None:
    canonical = face_tables().canonical
    points = geometry.ring_around(canonical)
    oval = canonical[list(OVAL), :2] - [0, -0.35]
    reach = np.linalg.norm(points[:, :2] - [0, -0.35], axis=1)
    assert (reach > 1.1 * np.linalg.norm(oval, axis=1)).all()
    assert (points[:, 2] < canonical[list(OVAL), 2]).all()


def test_a_smirk_is_taken_out_on_its_side() -> None:
    tables = face_tables()
    whole, side = (
        tables.displacements[AU_NAMES.index("AU12")],
        tables.extensions[SHAPE_NAMES.index("AU12_side")],
    )
    smirk = (tables.canonical + 0.3 * whole + 0.6 * side).astype(np.float32)
    units, sides = np.zeros(17, dtype=np.float32), np.zeros(13, dtype=np.float32)
    units[AU_NAMES.index("AU12")], sides[SIDED.index("AU12")] = 0.3, 0.6
    rest = geometry.neutral_shape(smirk, units, sides)
    calm = geometry.neutral_shape(tables.canonical, np.zeros_like(units), np.zeros_like(sides))
    for corner in (61, 291):
        moved = np.linalg.norm(smirk[corner] - tables.canonical[corner])
        # Nine tenths of a measured smile are taken out.
        assert np.linalg.norm(rest[corner] - calm[corner]) < 0.1 * moved + 0.005
