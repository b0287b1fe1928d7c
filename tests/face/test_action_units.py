"""Action Units from features: each movement of the face table raises its own AU."""

import json

import numpy as np
import pytest

from icface.attributes import AU_NAMES
from icface.face import features
from icface.face.action_units import (
    BLENDSHAPE_NAMES,
    Baseline,
    baseline_from_json,
    baseline_to_json,
    measure_action_units,
    population,
)
from icface.face.features import INDEX, measure_features
from icface.face.landmarks import Landmarks
from icface.face.pose import rotation_from_pose
from icface.geometry.tables import face_tables


def face(**movements: float) -> Landmarks:
    """The canonical face with Action Units of the displacement table, frontal, 200 px per IOD."""
    shape = face_tables().canonical.astype(np.float64)
    for name, level in movements.items():
        shape = shape + level * face_tables().displacements[AU_NAMES.index(name)]
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = shape * [200, -200, -200] + [320, 240, 0]
    return Landmarks(points_px=points, image_size_px=(640, 480))


def measured(baseline: Baseline, **movements: float) -> dict[str, float]:
    units = measure_action_units(measure_features(face(**movements)), None, baseline)
    return dict(zip(AU_NAMES, units.tolist(), strict=True))


@pytest.fixture(scope="module")
def own() -> Baseline:
    values = measure_features(face())
    return Baseline(features=values, blendshapes=np.zeros(52))


def test_a_neutral_face_measures_nothing(own: Baseline) -> None:
    assert max(measured(own).values()) == pytest.approx(0.0, abs=1e-6)


def test_features_by_hand() -> None:
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = face().points_px[:468]
    values = measure_features(Landmarks(points_px=points, image_size_px=(640, 480)))
    canonical = face_tables().canonical
    assert values[INDEX["corner_width"]] == pytest.approx(
        np.linalg.norm(canonical[61] - canonical[291]), rel=0.01
    )
    assert values[INDEX["chin_drop"]] == pytest.approx(
        np.linalg.norm(canonical[168] - canonical[152]), rel=0.01
    )


def test_features_do_not_change_with_size_and_place() -> None:
    near = face()
    far = Landmarks(points_px=near.points_px * 0.37 + [50, -20, 3], image_size_px=(640, 480))
    np.testing.assert_allclose(
        measure_features(near),
        measure_features(
            far.__class__(points_px=far.points_px.astype(np.float32), image_size_px=far.image_size_px)
        ),
        atol=1e-4,
    )


@pytest.mark.parametrize("angles", [(0.3, 0.0, 0.0), (0.0, -0.4, 0.0), (0.0, 0.0, 0.5), (-0.2, 0.3, 0.2)])
def test_features_do_not_change_with_pose(angles: tuple[float, float, float]) -> None:
    ahead = face(AU12=0.5)
    points = (ahead.points_px.astype(np.float64) - [320, 240, 0]) @ rotation_from_pose(*angles).T + [
        320,
        240,
        0,
    ]
    turned = Landmarks(points_px=points.astype(np.float32), image_size_px=(640, 480))
    # The smile moves a little of what is taken for rigid, so that the fit is not exact.
    np.testing.assert_allclose(measure_features(turned), measure_features(ahead), atol=1e-4)


def test_eye_aspect_ratio_by_hand(own: Baseline) -> None:
    """Lids 30, 40 and 50 px apart in an eye of 200 px: 120 / 600."""
    points = face().points_px.copy()
    for (top, bottom), apart_px in zip(((159, 145), (158, 153), (160, 144)), (30, 40, 50), strict=True):
        points[top] = points[33] + [80, -apart_px / 2, 0]
        points[bottom] = points[33] + [80, apart_px / 2, 0]
    points[133] = points[33] + [200, 0, 0]
    values = measure_features(Landmarks(points_px=points, image_size_px=(640, 480)))
    assert values[INDEX["ear_right"]] == pytest.approx(0.2, rel=1e-5)
    assert values[INDEX["ear_left"]] == pytest.approx(own.features[INDEX["ear_left"]], rel=0.02)


def test_poorly_seen_units_are_quiet_without_blendshapes(own: Baseline) -> None:
    """AU23 of .5: dead zone .08, then a gain of .6; with blendshapes as they say."""
    values = own.features.copy()
    values[INDEX["lips_thickness"]] -= 0.5 * 0.05  # AU23 .5
    units = measure_action_units(values, None, own)
    assert units[AU_NAMES.index("AU23")] == pytest.approx(0.6 * (0.5 - 0.08) / 0.92, abs=1e-6)
    scores = np.zeros(52, dtype=np.float32)
    scores[[BLENDSHAPE_NAMES.index("mouthPressLeft"), BLENDSHAPE_NAMES.index("mouthPressRight")]] = 1.0
    units = measure_action_units(own.features, scores, own)
    assert units[AU_NAMES.index("AU23")] == pytest.approx((0.5 - 0.08) / 0.92, abs=1e-6)


@pytest.mark.parametrize("name", ["AU01", "AU02", "AU04", "AU12", "AU25"])
def test_a_whole_movement_is_read_as_most_of_one(own: Baseline, name: str) -> None:
    assert measured(own, **{name: 1.0})[name] > 0.6
    half = measured(own, **{name: 0.5})[name]
    assert 0.1 < half < measured(own, **{name: 1.0})[name] + 1e-6


def test_a_dropped_jaw_needs_open_lips(own: Baseline) -> None:
    assert measured(own, AU26=1.0)["AU26"] > 0.7
    closed = own.features.copy()
    closed[INDEX["lip_gap"]] = 0.0
    closed[INDEX["chin_drop"]] += 0.3  # a much longer chin than the baseline's
    assert measure_action_units(closed, None, own)[AU_NAMES.index("AU26")] == pytest.approx(0.25)


def test_closed_eyes_by_hand(own: Baseline) -> None:
    values = own.features.copy()
    for share, expected in ((1.0, 0.0), (0.85, 0.0), (0.525, 0.5), (0.20, 1.0), (0.0, 1.0)):
        values[INDEX["ear_right"]] = share * own.features[INDEX["ear_right"]]
        values[INDEX["ear_left"]] = share * own.features[INDEX["ear_left"]]
        units = measure_action_units(values, None, own)
        assert units[AU_NAMES.index("AU45")] == pytest.approx(expected, abs=1e-6)


def test_the_nearer_eye_decides_when_the_head_is_turned(own: Baseline) -> None:
    values = own.features.copy()
    values[INDEX["ear_right"]] = 0.0  # the subject's right eye closed
    closed = [
        float(measure_action_units(values, None, own, yaw_rad=yaw)[AU_NAMES.index("AU45")])
        for yaw in (-0.5, 0.0, 0.5)
    ]
    # +yaw turns the nose to image-left, where the right eye is: it is hidden.
    assert closed == pytest.approx([0.95, 0.5, 0.05], abs=1e-6)


def test_blendshapes_by_hand(own: Baseline) -> None:
    scores = np.zeros(52, dtype=np.float32)
    for name, value in (("mouthSmileLeft", 0.65), ("mouthSmileRight", 0.65), ("browInnerUp", 0.325)):
        scores[BLENDSHAPE_NAMES.index(name)] = value
    units = measure_action_units(own.features, scores, own)
    assert units[AU_NAMES.index("AU12")] == pytest.approx(1.0)
    assert units[AU_NAMES.index("AU01")] == pytest.approx(0.5)
    assert units[AU_NAMES.index("AU04")] == 0.0


def test_the_population_is_complete_and_plausible() -> None:
    usual = population()
    assert usual.features.shape == (len(features.NAMES),) and usual.blendshapes.shape == (52,)
    assert 0.25 < usual.features[INDEX["ear_left"]] < 0.45
    assert abs(usual.features[INDEX["lip_gap"]]) < 0.03


def test_a_saved_neutral_comes_back_and_a_broken_one_is_refused() -> None:
    usual = population()
    raw = json.loads(json.dumps(baseline_to_json(usual)))
    np.testing.assert_allclose(baseline_from_json(raw).features, usual.features)
    for broken in (
        {},
        {name: value for name, value in raw.items() if name != "format"},
        raw | {"format": 1},
        raw | {"features": [1.0]},
        raw | {"features": [50.0] * 22},
        raw | {"blendshapes": [-0.5] * 52},
        raw | {"features": [[1.0]] * 22},
        raw | {"features": [float("nan")] * 22},
        raw | {"pitch_rad": "x"},
    ):
        with pytest.raises(ValueError):
            baseline_from_json(broken)
