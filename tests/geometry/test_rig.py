"""The rig on a synthetic source: the canonical face drawn into a checkered crop."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.attributes import (
    AU_NAMES,
    GAZE_LIMIT_RAD,
    INDEX,
    LOWEST,
    POSE_LIMIT_RAD,
    SHAPES,
    SIZE,
    FloatArray,
    in_range,
    mirror,
    neutral,
    pose_to_unit,
)
from icface.geometry import movement, slide
from icface.geometry import rig as module
from icface.geometry.eyes import LASHES_IOD
from icface.geometry.rig import BROWS_BY_PITCH, BROWS_BY_YAW, FaceRig, brows_of_turn
from icface.geometry.shape import PIVOT, close_lips, ring_around, ring_triangles
from icface.geometry.topology import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    face_tables,
)
from icface.geometry.warp import HostWarp

SIDE = 200
IOD = 60.0
RIGHT_CORNERS, LEFT_CORNERS = [33, 133], [263, 362]
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
        "hair": np.zeros((4, 4), dtype=np.float32),
        "inner": np.full((250, 80, 3), 250, np.uint8),
        "neutral_shape": shape,
        "photo_shape": shape,
        "crop_to_photo": np.eye(2, 3),
        "rotation": np.eye(3, dtype=np.float32),
        "base_px": eyes_px + np.float32(IOD) * np.array([PIVOT[0], -PIVOT[1]], dtype=np.float32),
        "iod_px": np.array(IOD, dtype=np.float32),
        "texture_px": (shape[:, :2] * [IOD, -IOD] + eyes_px).astype(np.float32),
        "ring_shape": ring_around(shape),
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(17, dtype=np.float32),
        "right_eye_origin": np.array([70.0, 74.0], dtype=np.float32),
        "left_eye_origin": np.array([110.0, 74.0], dtype=np.float32),
        "right_eye_patches": np.array([[0, y, 30, 20] for y in (0, 30, 60)], dtype=np.int32),
        "left_eye_patches": np.array([[0, y, 30, 20] for y in (90, 120, 150)], dtype=np.int32),
        "right_iris": np.array(
            [*(shape[RIGHT_CORNERS, :2].mean(0) * [IOD, -IOD] + eyes_px), 5.0], np.float32
        ),
        "left_iris": np.array([*(shape[LEFT_CORNERS, :2].mean(0) * [IOD, -IOD] + eyes_px), 5.0], np.float32),
        "gaze_rad": np.zeros(2, dtype=np.float32),
        "mouth_patch": np.array([0, 180, 80, 60], dtype=np.int32),
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


def openings(rig: FaceRig, **values: float) -> tuple[float, float]:
    """Mean heights of the right and the left eye."""
    rig.motion(attributes(**values))
    lids = ((RIGHT_UPPER_LID, RIGHT_LOWER_LID), (LEFT_UPPER_LID, LEFT_LOWER_LID))
    right, left = (
        float((rig._vertices[list(low), 1] - rig._vertices[list(up), 1]).mean()) for up, low in lids
    )
    return right, left


def test_a_whole_blink_closes_the_lids_and_half_does_not(rig: FaceRig) -> None:
    full, _ = openings(rig)
    assert openings(rig, AU45=1.0)[0] == pytest.approx(0.0, abs=0.02 * full)
    half = 1 - 0.5 * module.AU_GAIN[AU_NAMES.index("AU45")]
    assert openings(rig, AU45=0.5)[0] == pytest.approx(half * full, rel=0.05)


def test_a_wrinkled_nose_and_a_raised_lip_together_raise_the_lip_less_than_one_after_the_other(
    rig: FaceRig,
) -> None:
    def height(**values: float) -> float:
        rig.motion(attributes(**values))
        return float(rig.shape[0, 1])

    rest = height()
    nose, lip, both = (
        abs(height(**asked) - rest) for asked in ({"AU09": 1.0}, {"AU10": 1.0}, {"AU09": 1.0, "AU10": 1.0})
    )
    assert lip < both < nose + 0.7 * lip


@pytest.mark.parametrize(("name", "share"), [("AU09", 0.5**0.75), ("AU20", 0.5)])
def test_half_of_what_is_hardly_seen_is_drawn_further(rig: FaceRig, name: str, share: float) -> None:
    rig.motion(attributes())
    rest = rig.shape.copy()
    moved = []
    for level in (0.5, 1.0):
        rig.motion(attributes(**{name: level}))
        moved.append(np.linalg.norm(rig.shape - rest, axis=1).max())
    assert moved[0] / moved[1] == pytest.approx(share, abs=0.02)


def test_a_wink_closes_one_eye_only(rig: FaceRig) -> None:
    right, left = openings(rig)
    assert openings(rig, AU45=0.5, AU45_side=1.0) == pytest.approx((right, 0.0), abs=0.02 * right)
    assert openings(rig, AU45=0.5, AU45_side=-1.0) == pytest.approx((0.0, left), abs=0.02 * right)


def test_one_side_moves_as_the_whole_movement_moves_it_and_the_other_side_rests(rig: FaceRig) -> None:
    def corners(**values: float) -> FloatArray:
        rig.motion(attributes(**values))
        return rig._vertices[[61, 291], :2].copy()

    rest, smile, smirk = corners(), corners(AU12=1.0), corners(AU12=0.5, AU12_side=1.0)
    np.testing.assert_allclose(smirk[1] - rest[1], smile[1] - rest[1], atol=0.04 * IOD * 0.1)
    np.testing.assert_allclose(smirk[0], rest[0], atol=0.04 * IOD * 0.1)


def test_a_mirrored_vector_makes_the_mirrored_face(rig: FaceRig) -> None:
    # The canonical face is symmetrical to 1e-3 IOD.
    twin = np.linalg.norm(
        face_tables().canonical[:, None] - face_tables().canonical[None] * [-1, 1, 1], axis=2
    ).argmin(1)
    rng = np.random.default_rng(5)
    for _ in range(5):
        values = rng.uniform(LOWEST / 2, 0.5).astype(np.float32)
        rig.motion(values)
        face = rig._vertices[:468, :2].copy()
        rig.motion(mirror(values))
        seen = rig._vertices[twin, :2] * [-1, 1] + [200.0, 0]
        assert np.abs(seen - face).max() < 0.02 * IOD


def test_each_shape_moves_the_face(rig: FaceRig) -> None:
    rest = rig._vertices.copy() if rig.motion(neutral()) else rig._vertices
    for number in range(SHAPES.start, SHAPES.stop):
        values = neutral()
        values[number] = 1.0
        rig.motion(values)
        assert np.abs(rig._vertices - rest).max() > 0.01 * IOD


def iris_places(rig: FaceRig, **values: float) -> tuple[FloatArray, FloatArray]:
    """Mean place and extent (x, y) of what shows the right iris, with lids wide open."""
    values = {"AU05": 1.0, **values}
    motion = rig.motion(attributes(**values))
    x0, y0, x1, y1 = motion["regions"][0]
    rows, cols = np.nonzero(motion["inner_map"][y0:y1, x0:x1, 1] > 55)  # the third picture of the right eye
    return np.array([cols.mean() + x0, rows.mean() + y0]), np.array([np.ptp(cols) + 1, np.ptp(rows) + 1])


@pytest.mark.parametrize("yaw", [-1.0, -0.4, 0.5, 1.0])
def test_gaze_moves_the_iris_by_the_projected_angle(rig: FaceRig, cache: Cache, yaw: float) -> None:
    place, extent = iris_places(rig, gaze_yaw=yaw)
    moved = place[0] - cache["right_iris"][0]
    angle = yaw * GAZE_LIMIT_RAD
    assert moved == pytest.approx(-np.sin(angle) * 0.135 * IOD, abs=0.6)
    assert extent[0] == pytest.approx(2 * 5.0 * np.cos(angle), abs=1.2)  # seen at an angle


def test_eyes_that_stay_on_the_camera_turn_less_than_the_head(rig: FaceRig) -> None:
    """At .3 rad of yaw, .32 · .3 of the way back is there already."""
    rest, _ = iris_places(rig, yaw=0.5 + 0.3 / 1.4, gaze_yaw=0.001)
    back, _ = iris_places(rig, yaw=0.5 + 0.3 / 1.4, gaze_yaw=-0.3 / GAZE_LIMIT_RAD)
    shown = np.sin(0.3 * (1 - 0.32)) * 0.135 * IOD * np.cos(0.3 * module.POSE_GAIN[1])
    assert back[0] - rest[0] == pytest.approx(shown, abs=0.6)


@pytest.mark.parametrize("gaze_rad", np.linspace(0.2, 0.4, 11))
def test_gaze_is_the_photos_own_where_it_is_asked_for(cache: Cache, gaze_rad: float) -> None:
    """However the attributes round it."""
    aside = FaceRig({**cache, "gaze_rad": np.array([0.0, gaze_rad], dtype=np.float32)})
    place, _ = iris_places(aside)
    assert place[0] - cache["right_iris"][0] == pytest.approx(np.sin(gaze_rad) * 0.135 * IOD, abs=0.6)
    own = aside.motion(attributes(gaze_yaw=gaze_rad / GAZE_LIMIT_RAD))
    x0, y0, x1, y1 = own["regions"][0]
    assert own["inner_map"][y0:y1, x0:x1, 1].max() < 30  # the picture as photographed


def test_lids_follow_the_gaze_and_do_not_close(rig: FaceRig) -> None:
    def lid(**values: float) -> tuple[float, float]:
        height, _ = openings(rig, **values)
        return float(rig._vertices[159, 1]), height

    (rest, height), (down, lowered), (up, raised) = lid(), lid(gaze_pitch=1.0), lid(gaze_pitch=-1.0)
    assert down - rest > 0.03 * IOD and up - rest < -0.02 * IOD
    assert lowered > 0.4 * height and raised > height
    assert openings(rig, gaze_pitch=1.0, AU45=1.0)[0] == pytest.approx(0.0, abs=0.02 * height)


def test_a_closed_eye_has_lashes_and_a_narrow_one_has_less(rig: FaceRig) -> None:
    def thickness_px(closure: float) -> float:
        alpha = rig.motion(attributes(AU45=closure))["inner_alpha"]
        middle = round(float(rig._vertices[159, 0]))
        return float(alpha[:100, middle].sum()) / 255

    lid_px = float(rig._project.iod_px) * LASHES_IOD
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


def test_a_smile_that_shows_teeth_lowers_the_chin(rig: FaceRig) -> None:
    def chin(**values: float) -> float:
        rig.motion(attributes(**values))
        return float(rig.shape[152, 1])

    rest, smile, parted, both = chin(), chin(AU12=1.0), chin(AU25=1.0), chin(AU12=1.0, AU25=1.0)
    assert both - rest < (smile - rest) + (parted - rest) - 0.03


def test_a_frown_lowers_the_inner_ends_of_the_brows_and_leaves_room_between_them(rig: FaceRig) -> None:
    rig.motion(attributes())
    rest = rig.shape.copy()
    rig.motion(attributes(AU04=1.0))
    lower = (rest - rig.shape)[:, 1]
    inner, middle, outer = (
        lower[[*vertices]].mean()
        for vertices in ((55, 285, 107, 336), (105, 334, 52, 282), (70, 300, 46, 276))
    )
    assert inner > 0.9 * middle and inner > 2 * outer > 0
    gap = [shape[285, 0] - shape[55, 0] for shape in (rest, rig.shape)]
    assert 0.4 < gap[1] / gap[0] < 0.8


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


def test_lips_that_part_a_little_still_meet_at_the_corners(rig: FaceRig) -> None:
    def open_columns(**values: float) -> int:
        rig.motion(attributes(**values))
        gap = rig._vertices[list(INNER_LOWER_LIP), 1] - rig._vertices[list(INNER_UPPER_LIP), 1]
        return int((gap > 0.004 * IOD).sum())  # of the nine between the corners

    assert [open_columns(AU25=amount) for amount in (0.0, 0.2, 0.5, 1.0)] == [0, 3, 5, 7]
    assert open_columns(AU25=0.5, AU26=0.9) == 9
    assert open_columns(AU12=1.0, AU25=0.5) == 9  # a smile shows its teeth from side to side


def test_a_gap_narrows_by_hand() -> None:
    """Lips .03 apart everywhere: on the way to OPEN_IOD it is closed by 4 · .03 · .8 · (distance from the middle)²."""
    shape = np.zeros((468, 3), dtype=np.float32)
    upper, lower = list(INNER_UPPER_LIP), list(INNER_LOWER_LIP)
    shape[upper, 1] = 0.03
    movement._part_lips(shape, 1.0)
    gap = shape[upper, 1] - shape[lower, 1]
    across = face_tables().canonical[upper, 0] / face_tables().canonical[308, 0]
    expected = np.maximum(0.03 - 4 * 0.03 * 0.8 * across**2, 0)
    np.testing.assert_allclose(gap[1:-1], expected[1:-1], atol=1e-6)
    np.testing.assert_allclose((shape[upper, 1] + shape[lower, 1])[1:-1], 0.03, atol=1e-6)  # about the middle


def test_brows_rest_where_the_head_turns() -> None:
    """Brows come down where the head looks up or aside, and rise where it looks down: the mesh turns farther than it."""
    assert brows_of_turn(0.0, 0.0) == 0.0
    assert brows_of_turn(-np.pi / 6, 0.0) == pytest.approx(-0.5 * BROWS_BY_PITCH)
    assert brows_of_turn(np.pi / 6, 0.0) == pytest.approx(0.5 * BROWS_BY_PITCH)
    assert (
        brows_of_turn(0.0, np.pi / 3) == brows_of_turn(0.0, -np.pi / 3) == pytest.approx(-0.5 * BROWS_BY_YAW)
    )


def test_a_bowed_frown_stays_a_frown(rig: FaceRig) -> None:
    """The turn raises the brows by as much with a frown as without; sorrow's share is not added for it."""

    def brows(**values: float) -> float:
        rig.motion(attributes(**values))
        return float(rig.shape[[107, 336], 1].mean())

    down = 0.5 + np.radians(25) / (2 * POSE_LIMIT_RAD)
    raised = brows(pitch=down) - brows()
    assert raised > 0.01
    assert brows(pitch=down, AU04=1.0) - brows(AU04=1.0) == pytest.approx(raised, abs=1e-5)


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
        maps = rig.motion(in_range(np.full(SIZE, value, dtype=np.float32)))
        assert np.isfinite(maps["skin_map"]).all() and np.isfinite(maps["inner_map"]).all()
        assert maps["skin_map"].min() > -SIDE and maps["skin_map"].max() < 2 * SIDE


def test_the_strip_faces_the_camera() -> None:
    shape = face_tables().canonical
    points = np.concatenate([shape[:, :2], ring_around(shape)[:, :2]]) * [1, -1]
    a, b, c = (points[ring_triangles()[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    assert (area < 0).all()


def test_the_jaw_that_turns_to_the_camera_slides_inwards(rig: FaceRig, cache: Cache) -> None:
    """The corner of the jaw (288 on the subject's left) by JAW, where the head has turned far; the other side stays."""
    rest = cache["texture_px"]
    rig.motion(neutral())
    np.testing.assert_allclose(rig._values[:468, :2], rest, atol=1e-4)
    rig.motion(attributes(yaw=1.0))  # the nose to image-left: the subject's left turns to the camera
    moved = rig._values[:468, :2] - rest
    np.testing.assert_allclose(moved[288], [-slide.JAW * IOD, 0], atol=0.05)
    assert (moved[cache["neutral_shape"][:, 0] < 0] == 0).all()
    rig.motion(attributes(yaw=0.0))
    np.testing.assert_allclose((rig._values[:468, :2] - rest)[58], [slide.JAW * IOD, 0], atol=0.05)


def stretched(rig: FaceRig, cache: Cache) -> FloatArray:
    """How many times as large as in the photo the triangles of the near cheek are drawn, at 30° of yaw."""
    values = neutral()
    values[INDEX["yaw"]] = pose_to_unit([np.radians(30)])[0]
    rig.motion(values)
    x, y, _ = cache["neutral_shape"].T
    corners = face_tables().skin_triangles
    corners = corners[((x > 0.35) & (y < -0.1) & (y > -0.8))[corners].all(axis=1)]

    def areas(points: FloatArray) -> FloatArray:
        a, b, c = (points[corners[:, i]] for i in range(3))
        cross = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        return np.asarray(np.abs(cross), dtype=np.float32)

    return areas(rig._vertices[:468, :2]) / areas(rig._values[:468, :2])


def test_the_cheek_that_turns_to_the_camera_is_stretched_evenly(rig: FaceRig, cache: Cache) -> None:
    """As it was seen, few triangles beside the rim are stretched most."""
    assert np.percentile(stretched(rig, cache), 90) < 2.6
    assert np.percentile(stretched(FaceRig(cache, as_seen=True), cache), 90) > 3.5


def test_a_head_that_looks_up_shows_what_is_below_its_chin(rig: FaceRig, cache: Cache) -> None:
    """The chin (152) is read farther down, in proportion; looking down moves nothing."""
    rest = cache["texture_px"]
    values = neutral()
    values[INDEX["pitch"]] = pose_to_unit([-0.25])[0]
    rig.motion(values)
    moved = rig._values[:468, :2] - rest
    share = np.sin(0.25 * module.POSE_GAIN[0]) / slide.WHOLE
    np.testing.assert_allclose(moved[152], [0, slide.CHIN * IOD * share], atol=0.05)
    assert (moved[cache["neutral_shape"][:, 1] > -0.8] == 0).all()
    values[INDEX["pitch"]] = pose_to_unit([0.25])[0]
    rig.motion(values)
    np.testing.assert_array_equal(rig._values[:468, :2], rest)


def test_a_person_who_moves_as_everybody_does_is_shown_to_the_bit(cache: Cache) -> None:
    tables = face_tables()
    known = cache | {"displacements": tables.displacements, "extensions": tables.extensions}
    attributes = neutral()
    attributes[[INDEX[name] for name in ("AU01", "AU12", "AU26", "AU45", "AU12_side")]] = 0.6
    everybody = {name: part.copy() for name, part in FaceRig(cache).motion(attributes).items()}
    for name, part in FaceRig(known).motion(attributes).items():
        np.testing.assert_array_equal(part, everybody[name])
    known["displacements"] = 0.5 * tables.displacements
    assert not np.array_equal(FaceRig(known).motion(attributes)["skin_map"], everybody["skin_map"])
