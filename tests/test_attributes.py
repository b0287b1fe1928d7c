"""The attributes: order, both scales, mirroring, by values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from icface import attributes as fa


def test_order_is_the_papers() -> None:
    assert fa.COUNT == 20
    assert fa.NAMES[:3] == ("pitch", "yaw", "roll")
    assert fa.INDEX["AU01"] == 3
    assert fa.INDEX["AU12"] == 11
    assert fa.INDEX["AU25"] == 17
    assert fa.INDEX["AU45"] == 19


def test_groups_hold_every_attribute_once() -> None:
    grouped = [name for names in fa.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(fa.NAMES)


def test_neutral_is_frontal_and_at_rest() -> None:
    values = fa.neutral()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:3], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(values[3:], np.zeros(fa.SIZE - 3))
    np.testing.assert_array_equal(fa.neutral(fa.COUNT), values[:20])
    values[0] = 0.9
    assert fa.neutral()[0] == 0.5, "each call gives an array of its own"


def test_pose_scale() -> None:
    # (.35 + .70) / 1.4 = .75; (-.14 + .70) / 1.4 = .4
    np.testing.assert_allclose(fa.pose_to_unit([0.35, -0.14, 0.0]), [0.75, 0.4, 0.5], rtol=1e-6)
    np.testing.assert_allclose(fa.pose_from_unit([0.75, 0.4, 0.5]), [0.35, -0.14, 0.0], atol=1e-7)


def test_pose_is_clamped_beyond_forty_degrees() -> None:
    np.testing.assert_array_equal(fa.pose_to_unit([-2.0, 0.7, 2.0]), [0.0, 1.0, 1.0])


def test_mirror_of_the_papers_twenty_turns_yaw_and_roll_only() -> None:
    values = np.linspace(0.0, 0.95, 20, dtype=np.float32)
    mirrored = fa.mirror(values)
    assert mirrored[0] == values[0]
    np.testing.assert_allclose(mirrored[1:3], [0.95, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(mirrored[3:], values[3:])
    np.testing.assert_allclose(fa.mirror(mirrored), values, atol=1e-7)


def test_mirror_turns_what_has_a_side() -> None:
    values = fa.neutral()
    asked = {
        "gaze_pitch": 0.3,
        "gaze_yaw": 0.4,
        "AU45_side": -1.0,
        "jaw_side": 0.2,
        "AU18": 0.7,
        "place_x": 0.1,
    }
    for name, value in asked.items():
        values[fa.INDEX[name]] = value
    mirrored = dict(zip(fa.ALL_NAMES, fa.mirror(values).tolist(), strict=True))
    for name, sign in (
        ("gaze_yaw", -1),
        ("AU45_side", -1),
        ("jaw_side", -1),
        ("place_x", -1),
        ("gaze_pitch", 1),
        ("AU18", 1),
    ):
        assert mirrored[name] == pytest.approx(sign * asked[name]), name
    np.testing.assert_array_equal(fa.mirror(fa.neutral()), fa.neutral())


def test_each_attribute_has_its_range() -> None:
    assert fa.SIZE == len(set(fa.ALL_NAMES)) == fa.COUNT + len(fa.EXTENSIONS)
    clamped = dict(zip(fa.ALL_NAMES, fa.in_range(np.full(fa.SIZE, -3, np.float32)).tolist(), strict=True))
    assert {name for name, value in clamped.items() if value == -1} == {
        *fa.GAZE_NAMES, *fa.SIDE_NAMES, *fa.PLACE_NAMES, "jaw_side", "mouth_side"
    }  # fmt: skip
    assert {value for value in clamped.values()} == {0.0, -1.0}
    assert fa.in_range(np.full(fa.COUNT, 2, np.float32)).tolist() == [1.0] * 20


def test_the_slices_are_where_the_names_are() -> None:
    for part, names in ((fa.GAZE, fa.GAZE_NAMES), (fa.SIDES, fa.SIDE_NAMES), (fa.PLACE, fa.PLACE_NAMES)):
        assert fa.ALL_NAMES[part] == names


def test_a_full_blink_is_one_inside_and_about_a_quarter_in_openface() -> None:
    blink = fa.neutral()
    blink[fa.INDEX["AU45"]] = 1.0
    openface = fa.to_openface(blink)
    assert openface[fa.INDEX["AU45"]] == pytest.approx(1 / 3.6)
    assert openface[fa.INDEX["yaw"]] == 0.5
    np.testing.assert_allclose(fa.from_openface(openface), blink, rtol=1e-6)


def test_openface_scale_is_clamped_into_full_shape() -> None:
    strong = fa.neutral()
    strong[fa.INDEX["AU12"]] = 0.6  # × 2.2 = 1.32
    strong[fa.INDEX["AU04"]] = 0.1  # × 4 = .4
    values = fa.from_openface(strong)
    assert values[fa.INDEX["AU12"]] == 1.0
    assert values[fa.INDEX["AU04"]] == pytest.approx(0.4)


def test_scales_take_whole_tracks() -> None:
    track = np.stack([fa.neutral(), np.full(fa.SIZE, 0.2, dtype=np.float32)])
    assert fa.to_openface(track).shape == (2, fa.SIZE)
    np.testing.assert_allclose(fa.from_openface(fa.to_openface(track)), track, rtol=1e-6)


def test_openface_without_a_clamp_comes_back() -> None:
    """AU12_r 4 is .8 on OpenFace's scale; 2.2 times that is more than the whole movement."""
    values = fa.neutral(fa.COUNT)
    values[fa.INDEX["AU12"]] = 0.8
    assert fa.from_openface(values)[fa.INDEX["AU12"]] == 1.0
    kept = fa.from_openface(values, clamp=False)
    assert kept[fa.INDEX["AU12"]] == pytest.approx(1.76)
    np.testing.assert_allclose(fa.to_openface(kept), values, rtol=1e-6)
