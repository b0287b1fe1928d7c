"""The back of head and neck, on a drawn person: dark hair, light skin, a round head and a neck before nothing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import FloatArray, neutral, pose_to_unit
from icface.geometry import back
from icface.geometry.back import BackOfHead
from icface.geometry.outline import FARTHEST, Outline, is_heads, outline_by_angle
from icface.geometry.raster import COVERED, fill_behind
from icface.geometry.rig import FaceRig
from icface.geometry.shape import FACE_CENTRE, PIVOT, Projection, close_lips, ring_around, rotation_matrix
from icface.geometry.topology import OVAL, face_tables

SIDE, MARGIN, IOD = 240, 60, 60.0
EYES = np.array([120.0, 110.0], dtype=np.float32)
HAIR, SKIN = (40, 30, 20), (200, 150, 130)
Cache = dict[str, NDArray[Any]]


def at(x: float, y: float) -> tuple[int, int]:
    """A place of the layer."""
    return round(EYES[0] + x * IOD) + MARGIN, round(EYES[1] - y * IOD) + MARGIN


def source(half_width: float = 0.85, top: float = 1.3, neck: tuple[int, int, int] = SKIN) -> Cache:
    """A frontal person whose head is so wide and so high (IOD)."""
    shape = close_lips(face_tables().canonical)
    skin = np.zeros((SIDE + 2 * MARGIN, SIDE + 2 * MARGIN, 4), dtype=np.uint8)
    cv2.rectangle(skin, at(-0.6, -0.4), at(0.6, -2.9), (*neck, 255), -1)
    middle = (top - 1.15) / 2
    axes = round(half_width * IOD), round((top + 1.15) / 2 * IOD)
    cv2.ellipse(skin, at(0, middle), axes, 0, 0, 360, (*HAIR, 255), -1)
    cv2.ellipse(skin, at(0, -0.3), (round(0.7 * IOD), round(0.95 * IOD)), 0, 0, 360, (*SKIN, 255), -1)
    patches = np.array([[0, 0, 30, 20]] * 3, dtype=np.int32)
    iris = np.array([*EYES, 5.0], dtype=np.float32)
    return {
        "skin": skin,
        "plate": np.zeros((SIDE, SIDE, 3), dtype=np.uint8),
        "margin": np.array(MARGIN, dtype=np.int32),
        "edges": np.array([-MARGIN, -MARGIN, SIDE + MARGIN, SIDE + MARGIN], dtype=np.float32),
        "edge_cover": np.zeros((4, SIDE), dtype=np.float32),
        "hair": np.zeros((4, 4), dtype=np.float32),
        "inner": np.zeros((80, 80, 3), np.uint8),
        "neutral_shape": shape,
        "photo_shape": shape,
        "crop_to_photo": np.eye(2, 3),
        "rotation": np.eye(3, dtype=np.float32),
        "base_px": EYES + np.float32(IOD) * np.array([PIVOT[0], -PIVOT[1]], dtype=np.float32),
        "iod_px": np.array(IOD, dtype=np.float32),
        "texture_px": (shape[:, :2] * [IOD, -IOD] + EYES).astype(np.float32),
        "ring_shape": ring_around(shape),
        "pose_offset_rad": np.zeros(3, dtype=np.float32),
        "au_offset": np.zeros(17, dtype=np.float32),
        **{
            f"{side}_eye_{part}": patches if part == "patches" else EYES
            for side in ("left", "right")
            for part in ("origin", "patches")
        },
        "right_iris": iris,
        "left_iris": iris,
        "gaze_rad": np.zeros(2, dtype=np.float32),
        "mouth_patch": np.array([0, 20, 80, 60], dtype=np.int32),
        "mouth_rows": np.array([90, 20, 40, -0.02, 0], dtype=np.float32),
    }


def project(cache: Cache) -> Projection:
    return Projection(cache["base_px"], np.float32(IOD))


def free(points: FloatArray) -> FloatArray:
    return np.ones(len(points), dtype=np.float32)


def maps(cache: Cache, pose_deg: tuple[float, float, float]) -> tuple[FloatArray, FloatArray]:
    """The map of a pose, with the back and without it."""
    values = neutral()
    values[:3] = pose_to_unit(np.radians(pose_deg))
    rig = FaceRig(cache)
    with_back = rig.motion(values)["skin_map"].copy()
    rig._back = None
    return with_back, rig.motion(values)["skin_map"].copy()


def shown(cache: Cache, skin_map: FloatArray) -> Array:
    """(H, W, 4) what the layer has there."""
    return np.asarray(cv2.remap(cache["skin"], skin_map[..., 0], skin_map[..., 1], cv2.INTER_NEAREST))


def test_a_triangle_is_drawn_only_where_nothing_is_shown() -> None:
    """Corners (0, 0), (8, 0), (0, 8) with places (20, 30), (28, 30), (20, 38): a pixel is read at (x + 20, y + 30)."""
    vertices = np.array([[0, 0, 0], [8, 0, 0], [0, 8, 0]], dtype=np.float32)
    values = np.array([[20, 30], [28, 30], [20, 38]], dtype=np.float32)
    cover = np.zeros((40, 40), dtype=np.uint8)
    cover[:, 4:] = COVERED
    out = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).astype(np.float32)
    rest = out.copy()
    seen_from_behind = np.array([[0, 1, 2]], dtype=np.int32)
    fill_behind(vertices, seen_from_behind, values, cover, out)
    assert np.array_equal(out, rest)
    fill_behind(vertices, np.array([[0, 2, 1]], dtype=np.int32), values, cover, out)
    y, x = np.mgrid[:10, :10]
    drawn = (x + y <= 8) & (x < 4)
    np.testing.assert_allclose(out[drawn], rest[drawn] + [20, 30], atol=1e-3)
    assert np.array_equal(out[~drawn], rest[~drawn])


def test_the_outline_around_the_face_is_measured() -> None:
    cache = source()
    oval = cache["neutral_shape"][list(OVAL)]
    away = oval[:, :2] - FACE_CENTRE
    radius = np.linalg.norm(away, axis=1)
    up = np.clip(away[:, 1] / np.abs(away[:, 1]).max(), -1, 1)
    outline = outline_by_angle(cache, project(cache), radius, up, np.arctan2(away[:, 1], away[:, 0]))
    # Straight above the face's centre the head ends 1.3 IOD over the eyes; straight below, the neck goes on.
    assert outline[0] == pytest.approx((1.3 - FACE_CENTRE[1]) / radius[0], abs=0.08)
    assert outline[len(OVAL) // 2] > 0.8 * FARTHEST


def test_which_outline_is_the_heads() -> None:
    ears, crown, long_hair, cut = (1.2, 0.0), (1.3, 1.0), (1.8, 0.0), (1.05, 1.0)
    assert [
        round(float(is_heads(np.array(o), np.array(u))), 2) for o, u in (ears, crown, long_hair, cut)
    ] == [0, 1, 1, 0]


def test_at_rest_nothing_of_the_back_is_seen() -> None:
    with_back, without = maps(source(), (0, 0, 0))
    np.testing.assert_array_equal(with_back, without)


@pytest.mark.parametrize("yaw", [-30.0, -20.0, 20.0, 30.0])
def test_a_turned_head_keeps_its_width_at_the_ears(yaw: float) -> None:
    """At the height of the eyes, where it turns to the camera: .85 IOD less INSET around the axis, which moves."""
    cache = source()
    with_back, without = maps(cache, (0, yaw, 0))
    # At an angle a round head is as wide; its back is a little deeper than wide.
    row = round(float(EYES[1]))
    sign = 1 if yaw > 0 else -1
    turn = np.radians(abs(yaw)) * 1.33
    axis = project(cache)(
        np.array([[0, 0, back.CENTRE[2]]], dtype=np.float32), rotation_matrix(0, np.radians(yaw) * 1.33, 0)
    )
    half = 0.98 * (0.85 - back.INSET) * np.hypot(np.cos(turn), back.DEPTH * np.sin(turn))
    edge = float(axis[0, 0]) + sign * half * IOD
    columns = np.arange(SIDE)[::-sign]
    for skin_map, low, high in ((with_back, -0.1, 0.1), (without, -2.0, -0.05)):
        solid = shown(cache, skin_map)[row, :, 3][::-sign] > 200
        outermost = columns[np.argmax(solid)]
        assert low * IOD < sign * (outermost - edge) < high * IOD


@pytest.mark.parametrize("pose", [(0, 30, 0), (0, -30, 0), (15, 30, 0), (-15, -30, 0)])
def test_the_back_of_the_head_is_hair_and_the_necks_is_skin(pose: tuple[float, float, float]) -> None:
    cache = source()
    with_back, without = maps(cache, pose)
    drawn = (with_back != without).any(axis=2)
    assert drawn.sum() > 0.1 * IOD**2
    colours = shown(cache, with_back)[drawn]
    of_hair = (colours == (*HAIR, 255)).all(axis=1)
    of_skin = (colours == (*SKIN, 255)).all(axis=1)
    assert (of_hair | of_skin).all()
    rows = np.nonzero(drawn)[0]
    assert of_hair[rows < EYES[1]].all()


def with_hair(cache: Cache) -> Cache:
    """The same, told where the hair is."""
    hair = (cache["skin"] == (*HAIR, 255)).all(axis=2).astype(np.float32)
    return {**cache, "hair": hair}


def test_a_rim_that_is_lit_from_behind_does_not_colour_the_back() -> None:
    """The outline is pale, on one side over a little and on the other over all of the hair. Both look like dark hair."""
    cache = with_hair(source(half_width=1.0))
    pale = np.array([210, 215, 220, 255], dtype=np.uint8)
    for side, deep in ((1, 0.12), (-1, 0.45)):
        for y in np.arange(-0.2, 1.1, 0.01):
            edge = np.sqrt(max(0.0, 1 - ((y - 0.075) / 1.225) ** 2))
            (x0, row), (x1, _) = at(side * edge, y), at(side * (edge - deep), y)
            cache["skin"][row, min(x0, x1) : max(x0, x1) + 1] = pale
    for yaw in (-30, 30):
        with_back, without = maps(cache, (0, yaw, 0))
        drawn = (with_back != without).any(axis=2)
        drawn[round(float(EYES[1])) :] = False
        assert drawn.sum() > 0.05 * IOD**2
        assert (shown(cache, with_back)[drawn] == (*HAIR, 255)).all(axis=1).mean() > 0.8


def test_where_light_falls_from_one_side_each_side_has_its_own_colour() -> None:
    """A photo that is a little turned takes both from one side, or the shaded side of a turned head would be bright."""
    cache = with_hair(source(half_width=1.0))
    levels = {1: 230, -1: 110}  # of the rims; the hair between them is darker by far
    for side, level in levels.items():
        for y in np.arange(-0.2, 1.3, 0.01):
            edge = np.sqrt(max(0.0, 1 - ((y - 0.075) / 1.225) ** 2))
            (x0, row), (x1, _) = at(side * edge, y), at(side * (edge - 0.25), y)
            cache["skin"][row, min(x0, x1) : max(x0, x1) + 1, :3] = level
    outline = Outline(cache, project(cache), back.CENTRE)
    assert outline.hair is not None and outline.hair.tolist() == list(HAIR)
    head = back._head(outline, (0, 0))
    assert head is not None
    for number, side in enumerate(back.SIDES):
        x, y = np.round(head.looks(np.array([0.5]), np.array([0.1]), number)[0]).astype(int)
        assert cache["skin"][y, x, :3].tolist() == [levels[side]] * 3


def test_a_head_that_looks_up_has_nothing_of_the_back_beside_its_jaw() -> None:
    cache = source()
    # The matte doubts the right half of the jaw.
    cache["skin"][at(0, -0.3)[1] : at(0, -0.9)[1], at(0.45, 0)[0] : at(0.9, 0)[0], 3] = 90
    with_back, without = maps(cache, (-20, 0, 0))
    drawn = (with_back != without).any(axis=2)
    below_the_ears = round(float(EYES[1]) + 0.3 * IOD)
    assert not drawn[below_the_ears:].any()


def test_a_collar_is_not_the_necks_colour() -> None:
    assert _neck_of(source()) is not None
    assert _neck_of(source(neck=(240, 240, 250))) is None
    assert _neck_of(source(neck=(30, 60, 120))) is None


def _neck_of(cache: Cache) -> object:
    return back._neck(Outline(cache, project(cache), back.CENTRE), (0, 1))


def test_a_head_that_the_photo_cuts_has_no_back() -> None:
    cache = source()
    cache["skin"][: at(0, 0.7)[1]] = 0
    assert not BackOfHead(cache, project(cache), free)._drawn
    np.testing.assert_array_equal(*maps(cache, (0, 30, 0)))


def test_hair_that_stands_out_hides_the_back() -> None:
    cache = source(half_width=1.5, top=1.4)
    head = back._head(Outline(cache, project(cache), back.CENTRE), (0, 1))
    assert head is not None
    assert (head.widths.max(axis=0) < 0.5).all()


def test_where_nothing_may_move_the_back_stays() -> None:
    cache = source()
    still = BackOfHead(cache, project(cache), lambda points: 0 * free(points))
    values = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32) + MARGIN
    before = values.copy()
    still(rotation_matrix(0.2, 0.6, 0.1), values)
    np.testing.assert_array_equal(values, before)
