"""The rig on a synthetic source: the canonical face drawn into a checkered crop."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.attributes import AU_NAMES, INDEX, FloatArray, neutral, pose_to_unit
from icface.geometry import rig as module
from icface.geometry.rig import FaceRig
from icface.geometry.shape import PIVOT, close_lips, ring_around, ring_triangles
from icface.geometry.topology import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    face_tables,
)
from icface.geometry.warp import HostWarp

SIDE = 200
IOD = 60.0
Cache = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def cache() -> Cache:
    """A frontal, neutral canonical face whose own picture is the identity of the motion at neutral."""
    shape = close_lips(face_tables().canonical)
    eyes_px = np.array([100.0, 84.0], dtype=np.float32)
    rng = np.random.default_rng(7)
    skin = rng.integers(0, 255, (SIDE, SIDE, 4), dtype=np.uint8)
    skin[..., 3] = 255
    return {
        "skin": skin,
        "plate": np.zeros((SIDE, SIDE, 3), dtype=np.uint8),
        "margin": np.array(0, dtype=np.int32),
        "edges": np.array([0, 0, SIDE - 1, SIDE - 1], dtype=np.float32),
        "edge_cover": np.zeros((4, SIDE), dtype=np.float32),
        "inner": np.full((140, 80, 3), 250, np.uint8),
        "neutral_shape": shape,
        "rotation": np.eye(3, dtype=np.float32),
        "base_px": eyes_px + np.float32(IOD) * np.array([PIVOT[0], -PIVOT[1]], dtype=np.float32),
        "iod_px": np.array(IOD, dtype=np.float32),
        "texture_px": (shape[:, :2] * [IOD, -IOD] + eyes_px).astype(np.float32),
        "ring_shape": ring_around(shape),
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(17, dtype=np.float32),
        "right_eye_origin": np.array([70.0, 74.0], dtype=np.float32),
        "left_eye_origin": np.array([110.0, 74.0], dtype=np.float32),
        "right_eye_patch": np.array([0, 0, 30, 20], dtype=np.int32),
        "left_eye_patch": np.array([0, 30, 30, 20], dtype=np.int32),
        "mouth_patch": np.array([0, 70, 80, 60], dtype=np.int32),
        "mouth_rows": np.array([90, 20, 40, -0.02, 0], dtype=np.float32),
    }


@pytest.fixture
def rig(cache: Cache) -> FaceRig:
    return FaceRig(cache)


def attributes(**values: float) -> FloatArray:
    result = neutral()
    for name, value in values.items():
        result[INDEX[name]] = value
    return result


IDENTITY = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)


def test_where_nothing_moves_the_picture_is_the_photo(rig: FaceRig, cache: Cache) -> None:
    maps = rig.motion(neutral())
    np.testing.assert_allclose(maps["skin_map"], IDENTITY, atol=2e-3)
    frame = HostWarp(cache, (SIDE, SIDE)).frame(maps)
    untouched = maps["inner_alpha"] == 0
    assert np.abs(frame.astype(int) - cache["skin"][..., :3])[untouched].max() == 0


@pytest.mark.parametrize("pose", [(0.25, 0.0, 0.0), (0.0, 0.4, 0.0), (0.0, 0.0, -0.3), (0.2, -0.3, 0.2)])
def test_the_border_stays_exactly_where_it_is(rig: FaceRig, pose: tuple[float, float, float]) -> None:
    values = neutral()
    values[:3] = pose_to_unit(pose)
    skin_map = rig.motion(values)["skin_map"]
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_allclose(skin_map[edge], IDENTITY[edge], atol=0.35)
    np.testing.assert_array_equal(skin_map[0, 0], [0, 0])


def test_yaw_moves_the_nose_against_the_ears(rig: FaceRig, cache: Cache) -> None:
    turned = rig.motion(attributes(yaw=0.7))["skin_map"]
    nose = cache["texture_px"][1].round().astype(int)
    # +yaw: the nose moves to image-left, so a pixel shows what lay to its right.
    assert turned[nose[1], nose[0], 0] > nose[0] + 3
    rolled = rig.motion(attributes(roll=0.7))["skin_map"]
    forehead = cache["texture_px"][10].round().astype(int)
    assert rolled[forehead[1], forehead[0], 0] < forehead[0] - 3  # clockwise: the top moves right


def test_a_whole_blink_closes_the_lids_and_half_does_not(rig: FaceRig) -> None:
    def opening(closure: float) -> float:
        rig.motion(attributes(AU45=closure))
        upper = rig._vertices[list(RIGHT_UPPER_LID), 1]
        lower = rig._vertices[list(RIGHT_LOWER_LID), 1]
        return float((lower - upper).mean())

    full = opening(0.0)
    assert opening(1.0) == pytest.approx(0.0, abs=0.02 * full)
    half = 1 - 0.5 * module.AU_GAIN[AU_NAMES.index("AU45")]
    assert opening(0.5) == pytest.approx(half * full, rel=0.05)


def test_a_closed_eye_has_lashes_and_a_narrow_one_has_less(rig: FaceRig) -> None:
    def thickness_px(closure: float) -> float:
        alpha = rig.motion(attributes(AU45=closure))["inner_alpha"]
        middle = round(float(rig._vertices[159, 0]))
        return float(alpha[:100, middle].sum()) / 255

    lid_px = float(rig._project.iod_px) * module.LASHES_IOD
    assert 0.8 * lid_px < thickness_px(1.0) < 0.05 * IOD
    assert thickness_px(0.0) > 0.05 * IOD  # the open eye itself


def test_a_laugh_keeps_the_corners_of_its_smile(rig: FaceRig) -> None:
    """A dropped jaw alone draws the corners in and down. In a laugh the smile holds them."""

    def corners(**values: float) -> tuple[float, float]:
        rig.motion(attributes(**values))
        right, left = rig._vertices[61], rig._vertices[291]
        return float(left[0] - right[0]), -float(left[1] + right[1]) / 2

    rest, smile, jaw = corners(), corners(AU12=1.0), corners(AU26=0.5)
    laugh = corners(AU12=1.0, AU25=1.0, AU26=0.5)
    assert jaw[0] < rest[0] - 0.02 * IOD and jaw[1] < rest[1] - 0.01 * IOD
    for axis in (0, 1):
        assert laugh[axis] - rest[axis] > 0.9 * (smile[axis] - rest[axis])


def test_sorrow_raises_the_inner_ends_of_the_brows(rig: FaceRig) -> None:
    def heights(**values: float) -> tuple[float, float]:
        rig.motion(attributes(**values))
        return -float(rig._vertices[[107, 336], 1].mean()), -float(rig._vertices[[70, 300], 1].mean())

    rest, sorrow = heights(), heights(AU01=0.6, AU04=0.5)
    assert sorrow[0] - rest[0] > 0.03 * IOD and sorrow[1] - rest[1] < 0.0


def test_each_end_of_the_brow_has_its_own_unit() -> None:
    moved = face_tables().displacements[:, :, 1]
    inner, outer = moved[:, [107, 55]].mean(1), moved[:, [70, 63, 46]].mean(1)
    one, two = AU_NAMES.index("AU01"), AU_NAMES.index("AU02")
    assert inner[one] > 0.05 and abs(outer[one]) < 0.15 * inner[one]
    assert outer[two] > 0.05 and abs(inner[two]) < 0.25 * outer[two]


def test_lips_never_pass_through_each_other(rig: FaceRig) -> None:
    for values in ({"AU17": 1.0}, {"AU23": 1.0}, {"AU15": 1.0, "AU17": 1.0, "AU23": 1.0}):
        rig.motion(attributes(**values))
        upper = rig._vertices[list(INNER_UPPER_LIP), 1]
        lower = rig._vertices[list(INNER_LOWER_LIP), 1]
        assert (lower - upper > -1e-3).all()


def test_an_open_mouth_shows_its_inside_and_nothing_stays_behind(rig: FaceRig) -> None:
    opened = rig.motion(attributes(AU25=1.0, AU26=1.0))["inner_alpha"].copy()
    mouth_rows = np.flatnonzero((opened[110:] > 200).any(axis=1))
    assert len(mouth_rows) > 0.15 * IOD
    closed = rig.motion(neutral())["inner_alpha"]
    assert closed[112:].max() < 128  # at most a hair line between closed lips
    for x0, y0, x1, y1 in rig.motion(neutral())["regions"]:
        closed[y0:y1, x0:x1] = 0
    assert closed.max() == 0


def test_extreme_input_gives_finite_maps_inside_the_crop(rig: FaceRig) -> None:
    for value in (0.0, 1.0):
        maps = rig.motion(np.full(20, value, dtype=np.float32))
        assert np.isfinite(maps["skin_map"]).all() and np.isfinite(maps["inner_map"]).all()
        assert maps["skin_map"].min() > -SIDE and maps["skin_map"].max() < 2 * SIDE


def test_the_strip_faces_the_camera() -> None:
    shape = face_tables().canonical
    points = np.concatenate([shape[:, :2], ring_around(shape)[:, :2]]) * [1, -1]
    a, b, c = (points[ring_triangles()[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    assert (area < 0).all()
