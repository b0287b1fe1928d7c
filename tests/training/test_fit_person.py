"""A person's own movements, from hand-made people; and what is told of people of whom little was seen."""

from __future__ import annotations

import numpy as np
import pytest

from icface.attributes import AU_NAMES, INDEX, SIZE, FloatArray, neutral
from icface.face.landmarks import Landmarks
from icface.geometry import teeth
from icface.geometry.rig import AU_GAIN, JAW_SHARE
from icface.geometry.shape import PIVOT, Projection, close_lips, rotation_matrix
from icface.geometry.topology import face_tables
from training.pairs.seen import Seen
from training.personal import movements as module
from training.personal.fit import fit_person
from training.personal.mouth import _end_of_teeth, _laid_out, _placed
from training.personal.movements import Movements, drawn, errors, fit_movements, of_everybody

SEEN = ("AU01", "AU12", "AU26", "AU12_side")
AU12 = AU_NAMES.index("AU12")


@pytest.fixture(scope="module")
def somebody() -> Movements:
    """Smiles half as far as others and more to the left, and drops the jaw to the side."""
    face = of_everybody(close_lips(face_tables().canonical * np.array([1.0, 0.95, 1.0], dtype=np.float32)))
    own = face.displacements.copy()
    left = face.neutral_shape[:, :1] > 0
    own[AU12] *= np.where(left, 0.8, 0.4)
    own[AU_NAMES.index("AU26"), :, 0] *= 1.3
    return face._replace(displacements=own)


@pytest.fixture(scope="module")
def attributes() -> FloatArray:
    rng = np.random.default_rng(1)
    result = np.repeat(neutral()[None], 80, axis=0)
    for name in SEEN:
        result[15:, INDEX[name]] = rng.uniform(0, 1, 65) * rng.integers(0, 2, 65)
    result[:, INDEX["AU02"]] = rng.uniform(0, 0.14, 80)  # hardly seen
    assert result.shape == (80, SIZE)
    return rng.permutation(result)


@pytest.fixture(scope="module")
def fitted(somebody: Movements, attributes: FloatArray) -> Movements:
    # The pose that a tracker tells is off by some degrees, from frame to frame.
    rng = np.random.default_rng(2)
    turned = [shape @ rotation_matrix(*rng.normal(0, 0.03, 3)) for shape in drawn(somebody, attributes)]
    found = fit_movements(np.stack(turned).astype(np.float32), attributes, attributes)
    assert found is not None
    return found


def test_own_movements_are_recovered(somebody: Movements, attributes: FloatArray, fitted: Movements) -> None:
    shapes = drawn(somebody, attributes)
    everybody = of_everybody(somebody.neutral_shape)
    assert errors(fitted, shapes, attributes)["mouth"] < 0.3 * errors(everybody, shapes, attributes)["mouth"]
    corners = [61, 291]
    true, found, table = (
        np.linalg.norm(face.displacements[AU12, corners], axis=1) for face in (somebody, fitted, everybody)
    )
    assert (np.abs(found - true) < 0.35 * np.abs(table - true)).all()
    assert found[1] > 1.4 * found[0]  # the smile stays crooked
    np.testing.assert_allclose(fitted.neutral_shape, somebody.neutral_shape, atol=0.02)


def test_what_was_not_seen_stays_the_tables(fitted: Movements) -> None:
    tables = face_tables()
    for name in set(AU_NAMES) - set(SEEN):
        row = AU_NAMES.index(name)
        np.testing.assert_array_equal(fitted.displacements[row], tables.displacements[row])
    np.testing.assert_array_equal(fitted.extensions[-1], tables.extensions[-1])


def test_an_endless_ridge_gives_the_table_back(
    somebody: Movements, attributes: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_strength", lambda *_: 1e15)
    found = fit_movements(drawn(somebody, attributes), attributes, attributes)
    assert found is not None
    for own, table in zip(found[1:], (face_tables().displacements, face_tables().extensions), strict=True):
        np.testing.assert_array_equal(own.astype(np.float16), table.astype(np.float16))


def test_a_reading_without_a_movement_does_not_take_it_away(
    somebody: Movements, attributes: FloatArray
) -> None:
    false = attributes.copy()
    false[:, INDEX["AU04"]] = np.random.default_rng(3).uniform(0, 1, len(false))
    found = fit_movements(drawn(somebody, attributes), false, false)
    assert found is not None
    row, table = AU_NAMES.index("AU04"), face_tables().displacements[AU_NAMES.index("AU04")]
    share = float((found.displacements[row] * table).sum() / (table**2).sum())
    assert share == pytest.approx(1 - module.SHRINKS, abs=0.02)


def test_too_few_frames_tell_nothing(somebody: Movements, attributes: FloatArray) -> None:
    few = attributes[: module.LEAST_FRAMES - 1]
    assert fit_movements(drawn(somebody, few), few, few) is None
    assert fit_person([]) == {}


@pytest.mark.parametrize(
    ("profile", "end"),
    [
        ([0.3, 0.8, 1.0, 1.0, 0.2, 0.1, 0.1, 0.3], 4),  # teeth, and the dark below
        ([0.3, 0.8, 0.8, 0.3, 0.2, 0.9, 1.0, 1.0], 3),  # lower teeth, too, and brighter
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], 0),  # nothing ends
    ],
)
def test_upper_teeth_end_where_it_gets_dark(profile: list[float], end: int) -> None:
    row, contrast = _end_of_teeth(np.array(profile, dtype=np.float32), np.arange(8))
    assert row == end
    assert contrast == pytest.approx(0.0 if end == 0 else 1.0)


def test_a_mouth_is_laid_out_where_skull_and_jaw_show_it() -> None:
    everybody = of_everybody(close_lips(face_tables().canonical))
    jaw = everybody.displacements[AU_NAMES.index("AU26")]
    attributes = neutral()
    attributes[INDEX["AU26"]] = 0.8
    shape = drawn(everybody, attributes[None])[0]
    rotation, project = (
        np.eye(3, dtype=np.float32),
        Projection(np.array([128, 40], np.float32), np.float32(100)),
    )
    picture = np.zeros((256, 256, 3), dtype=np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(256), np.arange(256)[:, None]  # each pixel tells its place
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = project(shape, rotation)
    landmarks = Landmarks(points, (256, 256), np.zeros(52, dtype=np.float32))
    face = Seen(picture, landmarks, np.zeros(20, dtype=np.float32), shape, rotation, project)
    placed = _placed(face, shape, everybody)
    np.testing.assert_allclose(
        placed.jaw, JAW_SHARE * 0.8 * AU_GAIN[AU_NAMES.index("AU26")] * jaw[152], atol=0.01
    )
    edge, scale = -0.04, 150
    laid = _laid_out(face, placed, edge)
    upper = round((teeth.UPPER_TOP - edge) * scale)
    anchor, middle = teeth.mouth_anchor(everybody.neutral_shape) - PIVOT, laid.shape[1] // 2
    for row, height in (
        (upper, edge),
        (upper + round(teeth.MIDDLE_HEIGHT * scale), teeth.LOWER_EDGE + placed.jaw[1]),
    ):
        x, y = laid[row, middle, :2].tolist()
        assert x == pytest.approx(128, abs=2) and y == pytest.approx(40 - 100 * (anchor[1] + height), abs=2)


def test_the_strongest_ridge_that_does_about_as_well_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict(zip(module.RIDGES, (1.0, 1.02, 1.08, 1.2), strict=True))
    count = 2 * module.TRIED_FROM
    face = of_everybody(face_tables().canonical)
    seen = module._Seen(
        np.zeros((count, 468, 3), np.float32),
        np.repeat(neutral()[None], count, axis=0),
        np.zeros(count),
        np.zeros((count, 37)),
        np.zeros(count),
    )
    monkeypatch.setattr(module, "_fit", lambda seen, first, ridge, rounds: ridge)
    monkeypatch.setattr(module, "errors", lambda ridge, shapes, attributes: {"mouth": found[ridge]})
    assert module._strength(seen, face) == module.RIDGES[2]
