"""A source in layers: together they are the photo, the room stands still, and bad mattes are refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.attributes import INDEX, FloatArray, neutral, pose_to_unit
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.geometry.cutout import Cutout, Room, cut_out
from icface.geometry.flow import HeadFlow
from icface.geometry.prepare import crop_affine, prepare_source
from icface.geometry.rig import FaceRig
from icface.geometry.shape import Projection, rotation_matrix
from icface.geometry.topology import OVAL
from icface.geometry.warp import HostWarp
from icface.images import cut_crop, load_photo
from tests.conftest import shared_file

PORTRAIT = Path(__file__).resolve().parents[2] / "examples/source.jpg"
SIDE = 384


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return open_detector(video=False)


def cut(photo: Frame, detector: LandmarkDetector) -> tuple[Cutout | str, Frame]:
    """The layers of a photo, and its crop."""
    points = detector.detect(photo)[0].points_px
    affine = crop_affine(points, (photo.shape[1], photo.shape[0]), SIDE)
    inside = (points[:, :2] - affine[:, 2]) / affine[0, 0]
    iod = float(np.linalg.norm(inside[33] - inside[263]))
    return cut_out(photo, affine, SIDE, inside[list(OVAL)], iod), cut_crop(photo, affine, SIDE)


def composed(layers: Cutout) -> Frame:
    m = layers.margin
    inside = layers.layer[m : m + SIDE, m : m + SIDE].astype(np.float64)
    return np.round(inside[..., :3] + layers.plate * (1 - inside[..., 3:] / 255)).astype(np.uint8)


def posed(**angles_deg: float) -> FloatArray:
    values = neutral()
    for name, angle in angles_deg.items():
        values[INDEX[name]] = pose_to_unit([np.radians(angle)])[0]
    return values


@pytest.mark.parametrize("name", ["examples/source.jpg", "data/openpeople/full/P009_selfie.jpg"])
def test_the_layers_together_are_the_photo(name: str, detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT if name.startswith("examples") else shared_file(name)).frame
    layers, crop = cut(photo, detector)
    assert isinstance(layers, Cutout)
    difference = np.abs(composed(layers).astype(int) - crop)
    assert difference.mean() < 1.5
    colours, alpha = layers.layer[..., :3], layers.layer[..., 3:]
    assert (colours <= alpha).all()


def test_the_background_of_a_completed_photo_is_that_of_the_photo(detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT).frame
    points = detector.detect(photo)[0].points_px
    own, _ = cut(photo, detector)
    assert isinstance(own, Cutout)
    affine = crop_affine(points, (photo.shape[1], photo.shape[0]), SIDE)
    inside = (points[:, :2] - affine[:, 2]) / affine[0, 0]
    completed = photo.copy()
    completed[:300, :200] = 255, 0, 0  # what the completion has left beside the person
    room = Room(photo, points[list(OVAL), :2])
    iod = float(np.linalg.norm(inside[33] - inside[263]))
    found = cut_out(completed, affine, SIDE, inside[list(OVAL)], iod, room=room)
    assert isinstance(found, Cutout)
    np.testing.assert_array_equal(found.plate, own.plate)


def test_a_face_without_background_is_refused_with_the_reason(detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT).frame
    points = detector.detect(photo)[0].points_px[:, :2]
    x0, y0 = np.round(points.min(axis=0)).astype(int)
    x1, y1 = np.round(points.max(axis=0)).astype(int)
    found, _ = cut(np.ascontiguousarray(photo[y0 - 20 : y1 + 20, x0 + 15 : x1 - 15]), detector)
    assert isinstance(found, str) and found


def test_a_narrow_photo_has_no_mirror_images_of_the_person_beside_it(detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT).frame
    points = detector.detect(photo)[0].points_px[:, :2]
    (x0, y0), (x1, y1) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    found, _ = cut(np.ascontiguousarray(photo[y0 - 110 : y1 + 20, x0 - 45 : x1 + 45]), detector)
    assert isinstance(found, Cutout)
    inside = found.layer[found.margin : found.margin + SIDE, found.margin : found.margin + SIDE, 3]
    for side in (np.s_[:, : SIDE // 12], np.s_[:, -SIDE // 12 :]):
        assert inside[side].mean() < 12
        assert found.plate[side].std() < 12


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("all_model_images_0029_0660", "hair that cannot be cut out"),  # wild hair in back light
        (
            "textual_search_1_accessories_top_8_matches_0932_0904",
            "hair that cannot be cut out",
        ),  # a straw hat
        ("textual_search_2_Hair_Style_top_9_matches_2441_0015", "hair that cannot be cut out"),  # grey curls
        ("textual_search_2_Accessories_top_10_matches_4192_2505", "top of the head"),  # cut off by the photo
        ("textual_search_2_Expression_top_10_matches_1366_1513", "top of the head"),  # a hat in the same grey
        (
            "textual_search_2_Lighting_top_10_matches_1406_1014",
            "outline of hair and head",
        ),  # smoke in back light
        ("textual_search_2_Background_top_10_matches_1366_1008", ""),  # statues beside the head
        ("textual_search_2_Accessories_top_10_matches_0895_4001", ""),  # hardly any background
        ("textual_search_1_accessories_top_8_matches_1827_0606", ""),  # headphones
        ("textual_search_1_accessories_top_8_matches_0634_1500", ""),  # a headscarf
        ("textual_search_2_Hair_Style_top_9_matches_0220_3010", ""),  # long hair
        ("textual_search_2_Facial_Hair_top_10_matches_0261_0016", ""),  # a beard
        ("textual_search_1_hats_top_8_matches_0633_0606", ""),  # a woollen hat
    ],
)
def test_the_gate_on_real_photos(name: str, reason: str, detector: LandmarkDetector) -> None:
    found, _ = cut(load_photo(shared_file(f"data/sfhq_t2i/{name}.jpg")).frame, detector)
    assert (reason and reason in found) if isinstance(found, str) else not reason


def test_a_second_person_is_part_of_the_room(detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT).frame
    two = np.hstack([photo[:, :900], photo[:, ::-1]])
    found, crop = cut(two, detector)
    assert isinstance(found, Cutout)
    inside = found.layer[found.margin :, found.margin :, 3][:SIDE, :SIDE]
    other = np.s_[: SIDE // 2, -SIDE // 16 :] if inside[:, 0].max() else np.s_[: SIDE // 2, : SIDE // 16]
    assert inside[other].max() == 0
    assert np.array_equal(found.plate[other], crop[other])


def test_what_covers_the_head_moves_with_it(detector: LandmarkDetector) -> None:
    photo = load_photo(PORTRAIT).frame.copy()
    points = detector.detect(photo)[0].points_px
    photo[: int(points[10, 1])] = 200, 60, 40  # a board over forehead and hair
    found, _ = cut(photo, detector)
    assert isinstance(found, Cutout)
    alpha = found.layer[found.margin : found.margin + SIDE, found.margin : found.margin + SIDE, 3]
    assert alpha[SIDE // 12, SIDE // 2 - 20 : SIDE // 2 + 20].min() == 255


@pytest.fixture(scope="module")
def source() -> Tensors:
    photo = load_photo(PORTRAIT).frame
    with closing(open_detector(video=False)) as detector:
        return prepare_source(photo, detector.detect(photo)[0], detector, SIDE)


def played(source: Tensors, attributes: FloatArray) -> Frame:
    return HostWarp(source, (SIDE, SIDE)).frame(FaceRig(source).motion(attributes)).copy()


@pytest.mark.parametrize("angles", [{"yaw": 20.0}, {"roll": -20.0}, {"pitch": 15.0}])
def test_the_room_stands_still(source: Tensors, angles: dict[str, float]) -> None:
    frame = played(source, posed(**angles))
    corners = np.s_[: SIDE // 8, : SIDE // 8], np.s_[: SIDE // 8, -SIDE // 8 :]
    for corner in corners:
        assert np.array_equal(frame[corner], source["plate"][corner])
    assert np.abs(frame.astype(int) - source["neutral"]).mean() > 2


def moved(source: Tensors, points: FloatArray, **angles_deg: float) -> FloatArray:
    """How far points (n, 2), in IOD from the head's pivot, move when the head turns (IOD)."""
    project = Projection(source["base_px"], np.float32(source["iod_px"][()]))
    flow = HeadFlow(source, project, step=6, nodes=(SIDE // 6 + 1,) * 2, still_border=False)
    pitch, yaw, roll = (np.radians(angles_deg.get(name, 0.0)) for name in ("pitch", "yaw", "roll"))
    flow.move(source["neutral_shape"], rotation_matrix(pitch, yaw, roll) @ source["rotation"])
    return flow.at(project.base_px + project.iod_px * points) / project.iod_px


def test_the_body_leans_a_little_with_the_head(source: Tensors) -> None:
    crown, chest = moved(source, np.array([[0, -1.5], [0, 1.4]], dtype=np.float32), roll=15.0)
    assert crown[0] > 0.3 and 0.02 < chest[0] < crown[0] / 4
    nodding = moved(source, np.array([[0, 1.4]], dtype=np.float32), pitch=15.0)
    assert 0.02 < nodding[0, 1] < 0.2 and abs(nodding[0, 0]) < 0.02
    assert np.abs(moved(source, np.array([[0, 1.4]], dtype=np.float32), yaw=20.0)).max() < 0.02


def test_long_hair_stays_straight_and_short_hair_does_not_pull_at_the_body(source: Tensors) -> None:
    down = np.linspace(0.2, 1.3, 12, dtype=np.float32)
    strand = np.stack([np.full_like(down, 1.1), down], axis=-1)
    hanging = {**source, "hair": np.ones_like(source["hair"])}
    for roll in (-15.0, 15.0):
        bent = [moved(one, strand, roll=roll) for one in (source, hanging)]
        # How much the strand is pressed together or torn, at its worst place.
        body, hair = (np.abs(np.diff(way[:, 1]) / np.diff(down)).max() for way in bent)
        assert hair < 0.15 and body > 2 * hair
        assert np.abs(bent[1][-1, 1]) > 0.4 * np.abs(bent[1][0, 1])  # the ends follow the roots


def outline(frame: Frame, plate: Frame, row: int) -> tuple[int, int]:
    """Where a row leaves the plate, from the left and from the right."""
    differs = np.flatnonzero(np.abs(frame[row].astype(int) - plate[row]).max(axis=1) > 24)
    return int(differs[0]), int(differs[-1])


def test_a_turning_head_keeps_its_width(source: Tensors) -> None:
    row = round(float(source["base_px"][1] - 1.1 * source["iod_px"]))  # the forehead
    left, right = outline(played(source, neutral()), source["plate"], row)
    for yaw in (-20.0, 20.0):
        turned_left, turned_right = outline(played(source, posed(yaw=yaw)), source["plate"], row)
        assert (turned_right - turned_left) / (right - left) == pytest.approx(1, abs=0.15)
