"""Action Units: each movement of the face table, with the blendshapes that go with it, raises its own AU."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.attributes import AU_NAMES
from icface.face import features
from icface.face.action_units import (
    BLENDSHAPE_NAMES,
    FROWN_INNER_IOD,
    FROWN_OUTSIDE_IOD,
    SORROW_INNER_IOD,
    Baseline,
    measure_action_units,
    population,
)
from icface.face.features import INDEX, measure_features
from icface.face.landmarks import Landmarks
from icface.face.pose import rotation_from_pose
from icface.geometry.movement import OBLIQUE
from icface.geometry.rig import AU_GAIN
from icface.geometry.topology import face_tables

# What MediaPipe's blendshapes answer to a movement; both sides where there are two.
ANSWERS = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU26": ("jawOpen",),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}


def scores(**movements: float) -> NDArray[np.float32]:
    """(52,) blendshapes of Action Units: a whole one scores .65."""
    result = np.zeros(52, dtype=np.float32)
    for name, level in movements.items():
        for answer in ANSWERS.get(name, ()):
            result[BLENDSHAPE_NAMES.index(answer)] = min(1.0, 0.65 * level)
    return result


def face(**movements: float) -> Landmarks:
    """The canonical face with Action Units of the displacement table, frontal, 200 px per IOD."""
    shape = face_tables().canonical.astype(np.float64)
    for name, level in movements.items():
        shape = shape + level * face_tables().displacements[AU_NAMES.index(name)]
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = shape * [200, -200, -200] + [320, 240, 0]
    return Landmarks(points_px=points, image_size_px=(640, 480), blendshapes=scores(**movements))


def measured(baseline: Baseline, **movements: float) -> dict[str, float]:
    seen = face(**movements)
    units = measure_action_units(measure_features(seen), seen.blendshapes, baseline)
    return dict(zip(AU_NAMES, units.tolist(), strict=True))


@pytest.fixture(scope="module")
def own() -> Baseline:
    values = measure_features(face())
    return Baseline(features=values, blendshapes=np.zeros(52))


def test_a_neutral_face_measures_nothing(own: Baseline) -> None:
    assert max(measured(own).values()) == pytest.approx(0.0, abs=1e-6)


def test_oblique_brows_are_raised_and_drawn_together(own: Baseline) -> None:
    values = own.features.copy()

    def brows(inner: float, middle: float, outer: float) -> list[float]:
        for name, height in (("brow_inner", inner), ("brow_middle", middle), ("brow_outer", outer)):
            values[INDEX[name]] = own.features[INDEX[name]] + height
        units = measure_action_units(values, np.zeros(52, dtype=np.float32), own)
        return [float(units[AU_NAMES.index(name)]) for name in ("AU01", "AU04")]

    # The outer parts are half of a whole frown lower. The inner ends, which that lowers by .0445, are .01 higher.
    assert brows(0.01, -0.0335, -0.0335) == pytest.approx([(0.01 + 0.0445) / 0.240, 0.5], abs=0.002)
    # Half sure of sorrow.
    assert brows(-0.01, -0.035, -0.035)[1] == pytest.approx(0.5 * 0.035 / 0.067, abs=0.002)
    # Raised outer ends, and brows that come down as they are, tell what they told.
    assert brows(0.03, 0.0, 0.0)[1] == 0.0
    assert brows(-0.03, -0.045, -0.045)[1] == pytest.approx((0.6 * 0.03 + 0.4 * 0.045) / 0.056 / 2, abs=0.002)


def test_sorrow_is_read_as_it_is_drawn(own: Baseline) -> None:
    gain = dict(zip(AU_NAMES, AU_GAIN.tolist(), strict=True))
    rise = measure_features(face(AU01=gain["AU01"] * (1 + OBLIQUE))) - own.features
    frown = own.features - measure_features(face(AU04=gain["AU04"]))
    outside = (frown[INDEX["brow_middle"]] + frown[INDEX["brow_outer"]]) / 2
    assert outside == pytest.approx(FROWN_OUTSIDE_IOD, abs=0.002)
    assert frown[INDEX["brow_inner"]] == pytest.approx(FROWN_INNER_IOD, abs=0.003)
    assert rise[INDEX["brow_inner"]] == pytest.approx(SORROW_INNER_IOD, abs=0.005)


def test_closed_eyes_do_not_raise_the_brows(own: Baseline) -> None:
    values = own.features.copy()
    values[INDEX["brow_outer"]] += 0.024  # a raised brow of about .1
    opened = measure_action_units(values, scores(), own)
    values[[INDEX["ear_right"], INDEX["ear_left"]]] = 0.0
    closed = measure_action_units(values, scores(AU45=1.0), own)
    outer = AU_NAMES.index("AU02")
    assert opened[outer] > 0.08 and closed[outer] == 0.0


def test_the_outer_end_of_a_brow_stays_where_the_inner_one_rises_by_itself(own: Baseline) -> None:
    """The blendshapes of real brows tell both ends apart less well than those of the canonical face."""
    seen = face(AU01=1.0)
    outer = [BLENDSHAPE_NAMES.index(f"browOuterUp{side}") for side in ("Left", "Right")]
    seen.blendshapes[outer] = 0.2
    units = measure_action_units(measure_features(seen), seen.blendshapes, own)
    # As much as (.2 / .65 + .03) / 2, less .12 of what the inner end rises beyond that.
    assert units[AU_NAMES.index("AU02")] == pytest.approx(0.170 - 0.12 * (0.945 - 0.170), abs=0.005)
    assert min(measured(own, AU01=1.0, AU02=1.0)[name] for name in ("AU01", "AU02")) > 0.8


def test_features_by_hand() -> None:
    values = measure_features(face())
    canonical = face_tables().canonical
    assert values[INDEX["corner_width"]] == pytest.approx(
        np.linalg.norm(canonical[61] - canonical[291]), rel=0.01
    )
    assert values[INDEX["chin_drop"]] == pytest.approx(
        np.linalg.norm(canonical[168] - canonical[152]), rel=0.01
    )


def test_features_do_not_change_with_size_and_place() -> None:
    near = face()
    far = replace(near, points_px=(near.points_px * 0.37 + [50, -20, 3]).astype(np.float32))
    np.testing.assert_allclose(measure_features(near), measure_features(far), atol=1e-4)


@pytest.mark.parametrize("angles", [(0.3, 0.0, 0.0), (0.0, -0.4, 0.0), (0.0, 0.0, 0.5), (-0.2, 0.3, 0.2)])
def test_features_do_not_change_with_pose(angles: tuple[float, float, float]) -> None:
    ahead = face(AU12=0.5)
    points = (ahead.points_px.astype(np.float64) - [320, 240, 0]) @ rotation_from_pose(*angles).T + [
        320,
        240,
        0,
    ]
    turned = replace(ahead, points_px=points.astype(np.float32))
    # The smile moves a little of what is taken for rigid, so that the fit is not exact.
    np.testing.assert_allclose(measure_features(turned), measure_features(ahead), atol=1e-4)


def test_eye_aspect_ratio_by_hand(own: Baseline) -> None:
    """Lids 30, 40 and 50 px apart in an eye of 200 px: 120 / 600."""
    points = face().points_px.copy()
    for (top, bottom), apart_px in zip(((159, 145), (158, 153), (160, 144)), (30, 40, 50), strict=True):
        points[top] = points[33] + [80, -apart_px / 2, 0]
        points[bottom] = points[33] + [80, apart_px / 2, 0]
    points[133] = points[33] + [200, 0, 0]
    values = measure_features(replace(face(), points_px=points))
    assert values[INDEX["ear_right"]] == pytest.approx(0.2, rel=1e-5)
    assert values[INDEX["ear_left"]] == pytest.approx(own.features[INDEX["ear_left"]], rel=0.02)


def test_poorly_seen_units_have_a_dead_zone(own: Baseline) -> None:
    """AU23 of .5 less .08, stretched so that a whole movement stays whole."""
    pressed = scores()
    pressed[[BLENDSHAPE_NAMES.index("mouthPressLeft"), BLENDSHAPE_NAMES.index("mouthPressRight")]] = 1.0
    units = measure_action_units(own.features, pressed, own)
    assert units[AU_NAMES.index("AU23")] == pytest.approx((0.5 - 0.08) / 0.92, abs=1e-6)
    pressed *= 0.15
    assert measure_action_units(own.features, pressed, own)[AU_NAMES.index("AU23")] == 0.0


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
    assert measure_action_units(closed, scores(), own)[AU_NAMES.index("AU26")] == 0.0


def test_a_jaw_that_drops_behind_nearly_closed_lips_is_seen(own: Baseline) -> None:
    """As rendered avatars show it: lips .027 apart, the chin .146 lower, hardly any jawOpen."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] = 0.027
    values[INDEX["chin_drop"]] += 0.146
    assert measure_action_units(values, scores(AU26=0.2), own)[AU_NAMES.index("AU26")] > 0.4


def test_a_chin_that_wanders_drops_no_further_than_the_lips_are_open(own: Baseline) -> None:
    """As people talk: lips .04 apart, and the chin's landmark .08 lower. A jaw that opens so far parts them by .095."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] += 0.04
    values[INDEX["chin_drop"]] += 0.08
    units = dict(zip(AU_NAMES, measure_action_units(values, scores(AU26=0.2), own), strict=True))
    assert units["AU26"] == pytest.approx((0.04 + 0.027) / 0.19, abs=1e-6)
    assert units["AU25"] == 0.0  # nothing is left of the gap


def test_what_the_jaw_does_not_open_the_lips_do(own: Baseline) -> None:
    """A gap of .10 beside a jaw of .35, which opens .0665 of it."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] += 0.10
    values[INDEX["chin_drop"]] += 0.35 * 0.16 + 0.02
    units = dict(zip(AU_NAMES, measure_action_units(values, scores(), own), strict=True))
    assert units["AU26"] == pytest.approx(0.35, abs=1e-6)
    assert units["AU25"] == pytest.approx((0.10 - 0.35 * 0.19 - 0.006) / 0.094, abs=1e-6)


def test_an_open_mouth_is_as_wide_as_it_is_seen(own: Baseline) -> None:
    """A jaw of .35 draws the corners in by .0385. Where they stay .01 further apart than at rest, they are stretched."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] += 0.10
    values[INDEX["chin_drop"]] += 0.35 * 0.16 + 0.02
    values[INDEX["corner_width"]] += 0.01
    units = dict(zip(AU_NAMES, measure_action_units(values, scores(), own), strict=True))
    assert units["AU26"] == pytest.approx(0.35, abs=0.02)
    wide = 0.6 * (0.01 + units["AU26"] * 0.11) / 0.12
    assert units["AU20"] == pytest.approx((wide - 0.08) / 0.92, abs=1e-6)
    values[INDEX["corner_width"]] -= 0.01 + 0.35 * 0.11
    assert measure_action_units(values, scores(), own)[AU_NAMES.index("AU20")] == 0.0


def test_a_jaw_that_opens_by_a_third_is_seen(own: Baseline) -> None:
    """As in examples/driver.mp4: lips .06 apart, the chin .033 lower, no jawOpen yet."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] += 0.06
    values[INDEX["chin_drop"]] += 0.033
    assert 0.15 < measure_action_units(values, scores(), own)[AU_NAMES.index("AU26")] < 0.4


def test_parted_lips_are_no_dropped_jaw(own: Baseline) -> None:
    """A smile that shows the teeth, as people do it: lips .14 apart, which draws the chin's landmark down by .05."""
    values = own.features.copy()
    values[INDEX["lip_gap"]] += 0.14
    values[INDEX["chin_drop"]] += 0.05
    units = dict(zip(AU_NAMES, measure_action_units(values, scores(AU26=0.05), own), strict=True))
    assert units["AU26"] < 0.15 and units["AU25"] > 0.9


@pytest.mark.parametrize(("corner_width", "lip_gap"), [(0.06, 0.0), (0.0, 0.08)])
def test_a_wide_or_open_mouth_is_not_sad(own: Baseline, corner_width: float, lip_gap: float) -> None:
    """Both lower the corners by .03 against the upper lip, which by itself is much of an AU15."""
    values = own.features.copy()
    values[INDEX["corner_height"]] -= 0.03
    sad = measure_action_units(values, scores(), own)[AU_NAMES.index("AU15")]
    values[INDEX["corner_width"]] += corner_width
    values[INDEX["lip_gap"]] += lip_gap
    assert sad > 0.2 and measure_action_units(values, scores(), own)[AU_NAMES.index("AU15")] == 0.0


def test_a_smile_needs_both_witnesses(own: Baseline) -> None:
    """A nod raises the blendshape a little while the lips rest: a twentieth of it counts."""
    nodding = measure_action_units(own.features, scores(AU12=0.2), own)
    assert nodding[AU_NAMES.index("AU12")] == pytest.approx(0.3 * 0.05, abs=1e-6)
    smiling = measure_action_units(measure_features(face(AU12=1.0)), scores(AU12=0.2), own)
    assert smiling[AU_NAMES.index("AU12")] == pytest.approx(0.3, abs=1e-6)


def test_half_a_smile_is_half_an_au12(own: Baseline) -> None:
    """The blendshape is nearly whole at half a smile. The lips tell the rest."""
    seen = face(AU12=0.5)
    units = measure_action_units(measure_features(seen), scores(AU12=0.9), own)
    assert units[AU_NAMES.index("AU12")] == pytest.approx(0.5, abs=0.1)


def test_narrow_eyes_are_told_by_the_mouth(own: Baseline) -> None:
    """Raised lower lids are AU07, and AU06 where the corners of the mouth are drawn out a little."""
    values = own.features.copy()
    values[INDEX["lower_lid"]] += 0.013
    alone = dict(zip(AU_NAMES, measure_action_units(values, scores(AU07=0.3), own), strict=True))
    values[INDEX["corner_width"]] += 0.04
    drawn = dict(zip(AU_NAMES, measure_action_units(values, scores(AU07=0.3, AU12=0.12), own), strict=True))
    assert alone["AU07"] > 0.9 and alone["AU06"] == 0.0
    assert drawn["AU06"] > 0.9 and drawn["AU07"] == pytest.approx(0.0, abs=1e-6)


def test_lids_that_follow_the_eyes_up_are_no_wide_eyes(own: Baseline) -> None:
    values = own.features.copy()
    values[INDEX["upper_lid"]] += 0.012
    values[[INDEX["ear_right"], INDEX["ear_left"]]] *= 1.15
    seen = scores()
    assert measure_action_units(values, seen, own)[AU_NAMES.index("AU05")] > 0.9
    seen[[BLENDSHAPE_NAMES.index(f"eyeLookUp{side}") for side in ("Left", "Right")]] = 0.15
    assert measure_action_units(values, seen, own)[AU_NAMES.index("AU05")] == 0.0


def test_a_turned_head_does_not_raise_its_far_brow(own: Baseline) -> None:
    """At 25° the far brow's blendshape is .15 and both brows' landmarks are .01 higher, as rendered sweeps show it."""
    values, seen = own.features.copy(), scores()
    values[[INDEX[name] for name in ("brow_inner", "brow_outer", "brow_middle")]] += 0.01
    seen[BLENDSHAPE_NAMES.index("browOuterUpRight")] = 0.15
    raised = [AU_NAMES.index(name) for name in ("AU01", "AU02")]
    assert measure_action_units(values, seen, own)[raised].max() > 0.1
    assert measure_action_units(values, seen, own, yaw_rad=math.radians(25))[raised].max() < 0.04


def test_who_looks_down_does_not_close_the_eyes(own: Baseline) -> None:
    """The lids have come down by two fifths. The blendshapes say for the one gaze, for the other a blink."""

    def closure(opening: float, blink: float, down: float) -> float:
        values = own.features.copy()
        values[[INDEX["ear_right"], INDEX["ear_left"]]] *= opening
        seen = np.zeros(52, dtype=np.float32)
        for side in ("Left", "Right"):
            seen[BLENDSHAPE_NAMES.index(f"eyeBlink{side}")] = blink
            seen[BLENDSHAPE_NAMES.index(f"eyeLookDown{side}")] = down
        return float(measure_action_units(values, seen, own)[AU_NAMES.index("AU45")])

    assert closure(0.6, 0.38, 0.70) < 0.12
    assert closure(0.6, 0.38, 0.45) == pytest.approx((0.38 / 0.42 + 0.30 / 0.53) / 2, abs=1e-5)
    assert closure(0.18, 0.70, 0.95) == pytest.approx(1.0, abs=1e-5)  # closed, and looking down


def test_crying_is_no_smile(own: Baseline) -> None:
    """The mouth is as wide as that of a smile, but eyes and lips are closed and the brows are knitted."""
    smile = measure_features(face(AU12=0.8))
    smile[INDEX["lip_gap"]] = own.features[INDEX["lip_gap"]]
    closed = smile.copy()
    closed[[INDEX["ear_right"], INDEX["ear_left"]]] *= 0.18
    knitted = smile.copy()
    knitted[INDEX["brow_gap"]] = own.features[INDEX["brow_gap"]] - 0.02
    crying = closed.copy()
    crying[INDEX["brow_gap"]] = knitted[INDEX["brow_gap"]]
    bare = measure_action_units(smile, scores(AU12=0.8), own)[AU_NAMES.index("AU12")]
    for values, blink, share in ((closed, 1.0, 1.0), (knitted, 0.0, 1.0), (crying, 1.0, 0.2)):
        units = measure_action_units(values, scores(AU12=0.8, AU45=blink), own)
        assert units[AU_NAMES.index("AU12")] == pytest.approx(share * bare, abs=1e-5)


def test_corners_that_hang_below_the_seam_are_sad(own: Baseline) -> None:
    """As drawn on people whose blendshapes say nothing: .035 lower against the nose, .03 against the seam."""
    values = own.features.copy()
    values[INDEX["corner_height"]] -= 0.035
    values[INDEX["corner_lift"]] -= 0.03
    sad = measure_action_units(values, scores(), own)[AU_NAMES.index("AU15")]
    assert sad == pytest.approx((0.95 * 0.035 / 0.05 - 0.08) / 0.92, abs=1e-6)
    # Lips that come down with them leave the seam where it was between the corners.
    values[INDEX["corner_lift"]] = own.features[INDEX["corner_lift"]] - 0.01
    low = measure_action_units(values, scores(), own)[AU_NAMES.index("AU15")]
    assert low == pytest.approx((0.5 * 0.035 / 0.05 - 0.08) / 0.92, abs=1e-6)


def test_raised_cheeks_need_no_blendshape_of_a_smile(own: Baseline) -> None:
    """As drawn on a man of sixty: narrow eyes, and corners .04 further apart. Those of a spoken vowel are .02 apart."""
    narrow = np.zeros(52, dtype=np.float32)
    for side in ("Left", "Right"):
        narrow[BLENDSHAPE_NAMES.index(f"eyeSquint{side}")] = 0.2
    values = own.features.copy()
    values[INDEX["lower_lid"]] += 0.014
    values[INDEX["corner_width"]] += 0.04
    units = dict(zip(AU_NAMES, measure_action_units(values, narrow, own), strict=True))
    assert units["AU06"] == pytest.approx((0.6 * 0.04 / 0.15 - 0.08) / 0.10, abs=1e-6)
    assert units["AU07"] == pytest.approx(1 - units["AU06"], abs=1e-6)
    values[INDEX["corner_width"]] -= 0.02
    spoken = dict(zip(AU_NAMES, measure_action_units(values, narrow, own), strict=True))
    assert spoken["AU06"] == pytest.approx(0.0, abs=1e-6)
    assert spoken["AU07"] == pytest.approx(1.0, abs=1e-6)


def test_what_closed_lids_seem_to_move_stays(own: Baseline) -> None:
    """Of a woman who blinks while she speaks: a lip .05 higher, nose wings .04 lower, cheeks .037 higher, a chin .03."""
    values = own.features.copy()
    for name, change in {"upper_lip": 0.05, "nose_wing": -0.040, "cheek": 0.037, "chin_drop": -0.03}.items():
        values[INDEX[name]] += change
    values[INDEX["lip_gap"]] += 0.08
    values[INDEX["corner_width"]] += 0.02
    open_eyes = dict(zip(AU_NAMES, measure_action_units(values, scores(AU12=0.1), own), strict=True))
    assert open_eyes["AU09"] > 0.5
    values[[INDEX["ear_right"], INDEX["ear_left"]]] *= 0.18
    closed = dict(zip(AU_NAMES, measure_action_units(values, scores(AU12=0.1, AU45=1.0), own), strict=True))
    assert closed["AU45"] == pytest.approx(1.0, abs=1e-6)
    assert closed["AU09"] == pytest.approx((0.040 - 0.022 - 0.012 - 0.015 * 0.08) / 0.046, abs=0.005)
    assert closed["AU10"] == pytest.approx((0.05 - 0.006 - 0.008 - 0.035 * 0.08) / 0.055, abs=0.005)
    assert closed["AU06"] == pytest.approx(0.0, abs=0.02)
    # The chin would be .03 lower, were the eyes open.
    values[INDEX["chin_drop"]] += 0.03
    values[INDEX["corner_width"]] -= 0.02
    assert measure_action_units(values, scores(AU45=1.0), own)[AU_NAMES.index("AU26")] == pytest.approx(
        (0.03 - 0.01) / 0.16, abs=1e-6
    )


def test_a_head_that_tips_up_does_not_raise_its_brows(own: Baseline) -> None:
    """As on real heads at 20°: brow blendshapes of .1 to .2 that no brow has moved for."""
    seen = scores(AU01=0.25, AU02=0.2)
    ahead = measure_action_units(own.features, seen, own)
    tipped = measure_action_units(own.features, seen, own, pitch_rad=-0.35)
    for name in ("AU01", "AU02"):
        assert ahead[AU_NAMES.index(name)] > 0.09 and tipped[AU_NAMES.index(name)] == 0.0


def test_a_head_that_looks_down_does_not_raise_its_outer_brows(own: Baseline) -> None:
    """At 25° their landmarks are .019 and .010 higher, as rendered sweeps show it."""
    values = own.features.copy()
    values[[INDEX["brow_outer"], INDEX["brow_middle"]]] += (0.019, 0.010)
    ahead, down = (measure_action_units(values, scores(), own, pitch_rad=pitch) for pitch in (0.0, 0.43))
    assert ahead[AU_NAMES.index("AU02")] > 0.1 and down[AU_NAMES.index("AU02")] < 0.03


def test_a_wrinkled_nose_is_no_frown(own: Baseline) -> None:
    """Drawn whole it lowers the landmarks of the brows by .019 to .032, and browDown rises by .12."""
    values, seen = own.features.copy(), scores()
    values[[INDEX[name] for name in ("brow_outer", "brow_middle", "brow_inner")]] -= (0.019, 0.027, 0.032)
    for side in ("Left", "Right"):
        seen[BLENDSHAPE_NAMES.index(f"browDown{side}")] = 0.12
    frown = AU_NAMES.index("AU04")
    assert measure_action_units(values, seen, own)[frown] > 0.3
    values[INDEX["nose_wing"]] -= 0.053
    units = measure_action_units(values, seen, own)
    assert units[frown] < 0.15 and units[AU_NAMES.index("AU09")] > 0.6


def test_closed_eyes_by_hand(own: Baseline) -> None:
    """The mean of what the lids say and what the blendshapes say."""
    values = own.features.copy()
    for share, lids in ((1.0, 0.0), (0.90, 0.0), (0.635, 0.5), (0.37, 1.0), (0.0, 1.0)):
        values[INDEX["ear_right"]] = share * own.features[INDEX["ear_right"]]
        values[INDEX["ear_left"]] = share * own.features[INDEX["ear_left"]]
        # `scores` makes a blendshape of .65 at 1; .42 is a closed eye.
        for asked, blendshape in ((0.0, 0.0), (0.3, 0.195 / 0.42), (1.0, 1.0)):
            units = measure_action_units(values, scores(AU45=asked), own)
            assert units[AU_NAMES.index("AU45")] == pytest.approx((lids + blendshape) / 2, abs=1e-6)


def test_the_nearer_eye_decides_when_the_head_is_turned(own: Baseline) -> None:
    values, seen = own.features.copy(), scores()
    values[INDEX["ear_right"]] = 0.0  # the subject's right eye closed
    seen[BLENDSHAPE_NAMES.index("eyeBlinkRight")] = 0.65
    closed = [
        float(measure_action_units(values, seen, own, yaw_rad=yaw)[AU_NAMES.index("AU45")])
        for yaw in (-0.5, 0.0, 0.5)
    ]
    # +yaw turns the nose to image-left, where the right eye is: it is hidden.
    assert closed == pytest.approx([0.95, 0.5, 0.05], abs=1e-6)


def test_brows_by_hand(own: Baseline) -> None:
    """The mean of both witnesses: half a browInnerUp, and inner brows that rose by a whole movement's .065."""
    values = own.features.copy()
    values[INDEX["brow_inner"]] += 0.065
    units = measure_action_units(values, scores(AU01=0.5), own)
    assert units[AU_NAMES.index("AU01")] == pytest.approx(0.75, abs=1e-6)
    assert units[AU_NAMES.index("AU04")] == 0.0


def test_the_population_is_complete_and_plausible() -> None:
    usual = population()
    assert usual.features.shape == (len(features.NAMES),) and usual.blendshapes.shape == (52,)
    assert 0.25 < usual.features[INDEX["ear_left"]] < 0.45
    assert abs(usual.features[INDEX["lip_gap"]]) < 0.03
