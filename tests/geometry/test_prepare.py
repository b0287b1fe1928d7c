"""Preparing a source: the crop, the neutral shape, what is kept of the photo and what is painted.

Most tests use the canonical face, posed and placed by hand, and a detector that says what the test tells it to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, FloatArray, neutral, pose_to_unit
from icface.errors import SourceError
from icface.face import suitability
from icface.face.action_units import BLENDSHAPE_NAMES, measure_attributes, population
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.face.pose import Pose, head_pose
from icface.geometry import prepare, reading
from icface.geometry.layers import polygon_mask
from icface.geometry.prepare import crop_affine, prepare_source, render
from icface.geometry.shape import close_lips, inset_oval, rotation_matrix
from icface.geometry.topology import (
    LEFT_EYE_OPENING,
    LEFT_IRIS,
    MOUTH_OPENING,
    OPENINGS,
    RIGHT_EYE_OPENING,
    face_tables,
)
from icface.images import Photo, cut_crop, load_photo

Angles = tuple[float, float, float]
FRONTAL: Angles = (0.0, 0.0, 0.0)
SMILE = AU_NAMES.index("AU12")
CORNERS = [61, 291]
"""Of the mouth."""


@dataclass(frozen=True, kw_only=True)
class PosedFace(Landmarks):
    """A face whose pose is known, instead of measured from its landmarks."""

    pose: Pose


@pytest.fixture(autouse=True)
def known_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    def pose_of(landmarks: Landmarks) -> Pose:
        return landmarks.pose if isinstance(landmarks, PosedFace) else head_pose(landmarks)

    for module in (prepare, reading, suitability):
        monkeypatch.setattr(module, "head_pose", pose_of)


class Scripted:
    """A detector that gives the same answer again and again, and keeps what it was shown."""

    def __init__(self, *faces: Landmarks) -> None:
        self.faces = list(faces)
        self.shown: list[Frame] = []

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        self.shown.append(frame)
        return self.faces

    def close(self) -> None:
        """Nothing to close."""


def face(
    angles: Angles = FRONTAL,
    *,
    shape: FloatArray | None = None,
    iod_px: float = 100.0,
    eyes_px: tuple[float, float] = (200.0, 180.0),
    size_px: tuple[int, int] = (400, 400),
) -> Landmarks:
    """The canonical face, or another shape (468, 3), in parallel projection.

    Args:
        angles: pitch, yaw, roll in radians; the pitch is that of the head, not what a tracker reads.
        shape: in head space.
        iod_px: pixels between the outer corners of the eyes.
        eyes_px: the middle between them.
        size_px: of the picture.
    """
    turned = (face_tables().canonical if shape is None else shape) @ rotation_matrix(*angles).T
    points = turned * [iod_px, -iod_px, -iod_px] + [*eyes_px, 0]
    rim = np.array([[0, 0, 0], [6, 0, 0], [0, -6, 0], [-6, 0, 0], [0, 6, 0]])
    irises = [points[list(contour)].mean(0) + rim for contour in (RIGHT_EYE_OPENING, LEFT_EYE_OPENING)]
    return PosedFace(
        points_px=np.concatenate([points, *irises]).astype(np.float32),
        image_size_px=size_px,
        blendshapes=np.zeros(52, dtype=np.float32),
        # A tracker reads the pitch of people who look straight ahead as that of the population.
        pose=Pose(angles[0] + population().pitch_rad, angles[1], angles[2]),
    )


@pytest.fixture(scope="module")
def noise() -> Frame:
    """(400, 400, 3): every pixel tells where it comes from."""
    return np.random.default_rng(3).integers(0, 255, (400, 400, 3), dtype=np.uint8)


def measuring(monkeypatch: pytest.MonkeyPatch, measure: Callable[[Landmarks], FloatArray]) -> None:
    """Let this measure attributes, of the photo and of its neutral image."""
    for module in (prepare, reading):
        monkeypatch.setattr(module, "measure_attributes", measure)


@pytest.fixture
def without_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement of Action Units finds none, and no turn of the neutral image."""
    measuring(monkeypatch, lambda landmarks: neutral())


# The crop


def box(left: float, top: float, right: float, bottom: float) -> FloatArray:
    """(478, 3) landmarks whose face fills a box. The irises, which do not count, lie far away."""
    points = np.zeros((478, 3), dtype=np.float32)
    points[:, :2] = (left + right) / 2, (top + bottom) / 2
    points[0, :2], points[1, :2], points[468:, :2] = (left, top), (right, bottom), 5000
    return points


@pytest.mark.parametrize(
    ("points", "photo_px", "corner", "side"),
    [
        # Side 1.75 × 100, centre (150, 130) raised by .06 × 175 = 10.5.
        (box(100, 80, 200, 180), (600, 500), (62.5, 32.0), 175.0),
        (box(110, 80, 190, 180), (600, 500), (62.5, 32.0), 175.0),  # the longer side of the box counts
        (box(0, 80, 100, 180), (600, 500), (0.0, 32.0), 175.0),  # moved in from the left,
        (box(100, 0, 200, 100), (600, 500), (62.5, 0.0), 175.0),  # the top,
        (box(500, 400, 600, 500), (600, 500), (425.0, 325.0), 175.0),  # and the right and the bottom
        (box(30, 40, 130, 140), (160, 170), (0.0, 0.4), 160.0),  # shrunk to the photo: raised by 9.6
        (box(20, 10, 120, 110), (120, 170), (0.0, 0.0), 140.0),  # never below 1.4 × 100: it leaves the photo
    ],
)
def test_where_the_crop_lies(
    points: FloatArray, photo_px: tuple[int, int], corner: tuple[float, float], side: float
) -> None:
    affine = crop_affine(points, photo_px, 350)
    if photo_px[0] < side:
        corner = (70 - side / 2, corner[1])  # across, it is centred on the face, and leaves the photo
    scale = side / 350
    expected = [[scale, 0, corner[0] + scale / 2 - 0.5], [0, scale, corner[1] + scale / 2 - 0.5]]
    np.testing.assert_allclose(affine, expected, atol=1e-4)
    edges = affine @ [[-0.5, 349.5], [-0.5, 349.5], [1, 1]]  # the outer edges of its first and last pixel
    np.testing.assert_allclose(edges[0], [corner[0] - 0.5, corner[0] + side - 0.5], atol=1e-4)


def test_beyond_the_photo_it_is_mirrored(noise: Frame) -> None:
    """A face 250 wide in a photo of 300: the crop is 350 wide, raised by 21, and begins 25 before the photo."""
    photo = noise[:300, :300]
    crop = cut_crop(photo, crop_affine(box(25, 46, 275, 296), (300, 300), 350), 350)
    np.testing.assert_array_equal(crop[25:325, 25:325], photo)
    np.testing.assert_array_equal(crop[24, 25:325], photo[1])
    np.testing.assert_array_equal(crop[0, 25:325], photo[25])
    np.testing.assert_array_equal(crop[25:325, 349], photo[:, 299 - 25])


@pytest.mark.parametrize(("iod_px", "side"), [(60.0, 256), (140.0, 480), (400.0, 1024)])
@pytest.mark.usefixtures("without_expression")
def test_native_size_is_the_photos_within_limits(iod_px: float, side: int) -> None:
    """1.75 × the face's height, in steps of 32; at least 256 and at most 1024."""
    landmarks = face(iod_px=iod_px, eyes_px=(600, 500), size_px=(1200, 1300))
    photo = np.full((1300, 1200, 3), 120, dtype=np.uint8)
    cache = prepare_source(photo, landmarks, Scripted(), None)
    assert cache["plate"].shape == cache["neutral"].shape == (side, side, 3)
    height_px = np.ptp(landmarks.points_px[:468, 1])
    if 256 < side < 1024:
        assert abs(1.75 * height_px - side) <= 16
        assert cache["crop_to_photo"][0, 0] == pytest.approx(1.75 * height_px / side)


@pytest.mark.parametrize("eyes_px", [(40.0, 180.0), (390.0, 180.0), (200.0, 60.0), (200.0, 330.0)])
@pytest.mark.usefixtures("without_expression")
def test_a_face_that_the_pictures_edge_cuts(noise: Frame, eyes_px: tuple[float, float]) -> None:
    landmarks = face(eyes_px=eyes_px)
    left, top, right, bottom = landmarks.box_px
    assert min(left, top, 400 - right, 400 - bottom) < 0
    cache = prepare_source(noise, landmarks, Scripted(), 128)
    smiling = neutral()
    smiling[INDEX["AU12"]] = smiling[INDEX["yaw"]] = 0.8
    frame = render(cache, smiling)
    assert frame.shape == (128, 128, 3) and (frame != cache["neutral"]).any()
    assert all(np.isfinite(tensor).all() for tensor in cache.values())
    # Back in the photo, every vertex lies where its landmark was (the oval is drawn inwards).
    found = cache["texture_px"] * cache["crop_to_photo"][0, 0] + cache["crop_to_photo"][:, 2]
    expected = inset_oval(landmarks.points_px[:468])[:, :2]
    np.testing.assert_allclose(found, expected, atol=0.01)


# What is refused


def test_a_tiny_face_is_refused(noise: Frame) -> None:
    with pytest.raises(SourceError, match=r"only 4\d pixels tall; use a photo where it is at least 48"):
        prepare_source(noise, face(iod_px=23), Scripted(), 256)


@pytest.mark.parametrize(
    ("pose", "angle"), [((0.0, 0.82, 0.0), 47), ((0.0, -0.82, 0.0), 47), ((0.85, -0.3, 0.0), r"\d+")]
)
def test_a_face_that_is_turned_too_far_is_refused(noise: Frame, pose: Angles, angle: object) -> None:
    with pytest.raises(SourceError, match=rf"turned by {angle}°; use a photo that looks at the camera"):
        prepare_source(noise, face(pose), Scripted(), 256)


@pytest.mark.usefixtures("without_expression")
def test_a_face_that_is_lost_when_it_is_completed(noise: Frame) -> None:
    """The detector finds nothing in the completed picture: the photo is taken as it is."""
    detector = Scripted()
    assert "neutral" in prepare_source(noise, face((0.0, 0.3, 0.0)), detector, 64)
    assert len(detector.shown) == 1 + prepare.LOOPS
    assert "neutral" in prepare_source(noise, face((0.0, -0.6, 0.0)), detector, 64)


@pytest.mark.usefixtures("without_expression")
def test_both_eyes_of_a_completed_photo_look_ahead(noise: Frame) -> None:
    """The near eye's iris lies .03 IOD aside. Both eyes show its pictures, and its gaze is taken out."""
    front = face()
    near = front.points_px.copy()
    near[list(LEFT_IRIS), 0] += 3  # of 100 pixels per IOD
    detector = Scripted(replace(front, points_px=near))
    cache = prepare_source(noise, face((0.0, 0.4, 0.0)), detector, 200)  # the nose is turned to image-left
    np.testing.assert_array_equal(cache["right_eye_patches"], cache["left_eye_patches"])
    places = {}
    for contour, side in ((RIGHT_EYE_OPENING, "right"), (LEFT_EYE_OPENING, "left")):
        middle = cache["texture_px"][[contour[0], contour[8]]].mean(0)
        places[side] = cache[f"{side}_iris"][:2] - middle, cache[f"{side}_eye_origin"] - middle
    for right, left in zip(places["right"], places["left"], strict=True):
        np.testing.assert_allclose(right, left, atol=1e-3)
    aside = places["left"][0][0] / cache["iod_px"]
    assert aside == pytest.approx(0.03, abs=0.01)
    # Where the iris was seen, IRIS_TRAVEL_IOD times the sine of the gaze, to the image's right: a negative yaw.
    assert cache["gaze_rad"][1] == pytest.approx(-math.asin(aside / 0.135), abs=1e-3)


@pytest.mark.usefixtures("without_expression")
def test_a_tilted_head_is_not_refused(noise: Frame) -> None:
    assert "neutral" in prepare_source(noise, face((0.0, 0.0, 0.6)), Scripted(), 64)


# The neutral shape


@pytest.mark.parametrize("pose", [FRONTAL, (0.1, -0.3, 0.0), (-0.15, 0.2, 0.5), (0.0, 0.0, -0.3)])
@pytest.mark.usefixtures("without_expression")
def test_a_posed_face_gives_the_shape_that_was_posed(noise: Frame, pose: Angles) -> None:
    cache = prepare_source(noise, face(pose), Scripted(), 256)
    np.testing.assert_allclose(cache["rotation"], rotation_matrix(*pose), atol=1e-6)
    expected = close_lips(inset_oval(face_tables().canonical))
    np.testing.assert_allclose(cache["neutral_shape"], expected, atol=2e-3)
    scale = cache["crop_to_photo"][0, 0]
    assert cache["iod_px"] * scale == pytest.approx(100, rel=1e-4)


@pytest.mark.usefixtures("without_expression")
def test_the_neutral_image_of_a_frontal_neutral_face_is_the_photo(noise: Frame) -> None:
    """Outside of eyes and mouth, which are painted anew, no pixel moves. The canonical face has closed lips."""
    cache = prepare_source(noise, face(shape=close_lips(face_tables().canonical)), Scripted(), 200)
    points = (face().points_px[:, :2] - cache["crop_to_photo"][:, 2]) / cache["crop_to_photo"][0, 0]
    far = ~openings(points.astype(np.float32), 200, margin_px=6)
    crop = cut_crop(noise, cache["crop_to_photo"], 200)
    np.testing.assert_array_equal(cache["neutral"][far], crop[far])
    assert far.mean() > 0.9


def test_a_smile_is_subtracted(noise: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of .8 counts what lies above the uncertainty of .15, stretched: .65 / .85; of that nine tenths."""
    tables = face_tables()
    measured = neutral()
    measured[INDEX["AU12"]] = 0.8
    measuring(monkeypatch, lambda landmarks: measured)
    smiling = (tables.canonical + 0.8 * tables.displacements[SMILE]).astype(np.float32)
    cache = prepare_source(noise, face(shape=smiling), Scripted(), 256)
    taken_out = 0.9 * 0.65 / 0.85
    rest = tables.canonical + np.float32(0.8 - taken_out) * tables.displacements[SMILE]
    np.testing.assert_allclose(cache["neutral_shape"][CORNERS], close_lips(rest)[CORNERS], atol=5e-3)
    assert np.abs(close_lips(smiling) - close_lips(rest))[CORNERS].min() > 0.04
    # The texture keeps the smile: it says where the corners lie in the photo.
    crop_px = (face(shape=smiling).points_px[CORNERS, :2] - cache["crop_to_photo"][:, 2]) / cache[
        "crop_to_photo"
    ][0, 0]
    np.testing.assert_allclose(cache["texture_px"][CORNERS], crop_px, atol=1e-3)


def test_what_is_uncertain_is_left(noise: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = neutral()
    measured[ACTION_UNITS] = 0.15
    measuring(monkeypatch, lambda landmarks: measured)
    cache = prepare_source(noise, face(), Scripted(), 64)
    expected = close_lips(inset_oval(face_tables().canonical))
    np.testing.assert_allclose(cache["neutral_shape"], expected, atol=2e-3)


# The second look at the neutral image


def looked_again(noise: Frame, monkeypatch: pytest.MonkeyPatch, **values: float) -> tuple[Tensors, Scripted]:
    """A neutral photo, whose neutral image is measured as having these attributes."""
    measured = neutral()
    measured[:3] = pose_to_unit([0.0, values.pop("yaw_rad", 0.0), 0.0])
    for name, value in values.items():
        measured[INDEX[name]] = value
    photo, detector = face(), Scripted(face())
    measuring(monkeypatch, lambda landmarks: neutral() if landmarks is photo else measured)
    return prepare_source(noise, photo, detector, 64), detector


def test_it_is_framed_as_by_a_webcam(noise: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, detector = looked_again(noise, monkeypatch)
    assert [picture.shape for picture in detector.shown] == [(128, 128, 3)] * 2
    for picture in detector.shown:
        np.testing.assert_array_equal(picture[32:96, 32:96], cache["neutral"])
        np.testing.assert_array_equal(picture[:32, 32:96], np.repeat(cache["neutral"][:1], 32, axis=0))


@pytest.mark.parametrize(("yaw_rad", "offset"), [(0.05, -0.10), (-0.02, 0.04), (0.2, -0.15), (-0.3, 0.15)])
def test_a_turn_that_is_left_is_turned_back(
    noise: Frame, monkeypatch: pytest.MonkeyPatch, yaw_rad: float, offset: float
) -> None:
    """Twice, and never by more than .15."""
    cache, _ = looked_again(noise, monkeypatch, yaw_rad=yaw_rad)
    np.testing.assert_allclose(cache["pose_offset_rad"], [0, offset, 0], atol=1e-6)
    np.testing.assert_array_equal(cache["neutral"], render(cache, neutral()))


@pytest.mark.parametrize(("smile", "offset"), [(0.15, 0.0), (0.32, -0.2), (0.66, -0.4), (1.0, -0.4)])
def test_a_smile_that_is_left_is_taken_out(
    noise: Frame, monkeypatch: pytest.MonkeyPatch, smile: float, offset: float
) -> None:
    """Half of what is certain, (.32 − .15) / .85 = .2, twice; never more than .4. Other Action Units are left."""
    cache, _ = looked_again(noise, monkeypatch, AU12=smile, AU26=0.9)
    expected = np.zeros(17)
    expected[SMILE] = offset
    np.testing.assert_allclose(cache["au_offset"], expected, atol=1e-6)


def test_a_neutral_image_without_a_face_is_left_as_it_is(noise: Frame) -> None:
    cache = prepare_source(noise, face(), Scripted(), 64)
    assert not cache["pose_offset_rad"].any() and not cache["au_offset"].any()


# Photos: what is kept, what is filled


@pytest.fixture(scope="module")
def photo(repository: Path) -> Photo:
    return load_photo(repository / "examples/rendered.jpg")


@pytest.fixture(scope="module")
def detector() -> Iterator[LandmarkDetector]:
    detector = open_detector(video=False)
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def landmarks(photo: Photo, detector: LandmarkDetector) -> Landmarks:
    (found,) = detector.detect(photo.frame)
    return found


@pytest.fixture(scope="module")
def prepared(photo: Photo, landmarks: Landmarks, detector: LandmarkDetector) -> Tensors:
    return prepare_source(photo.frame, landmarks, detector, 256)


def in_crop(landmarks: Landmarks, cache: Tensors) -> FloatArray:
    """(478, 2) landmarks in pixels of the crop."""
    affine = cache["crop_to_photo"]
    return np.asarray((landmarks.points_px[:, :2] - affine[:, 2]) / affine[0, 0], dtype=np.float32)


def openings(points_px: FloatArray, side: int, *, margin_px: int) -> NDArray[np.bool_]:
    """(side, side) whether a pixel lies in the mouth or an eye, or within a margin around it."""
    inside = np.zeros((side, side), dtype=np.bool_)
    for contour in OPENINGS:
        inside |= polygon_mask((side, side), points_px[list(contour)]) > 0
    rows, cols = np.nonzero(inside)
    for dy in range(-margin_px, margin_px + 1):
        for dx in range(-margin_px, margin_px + 1):
            inside[np.clip(rows + dy, 0, side - 1), np.clip(cols + dx, 0, side - 1)] = True
    return inside


def test_skin_is_the_photos_but_for_mouth_and_eyes(
    photo: Photo, landmarks: Landmarks, prepared: Tensors
) -> None:
    crop = cut_crop(photo.frame, prepared["crop_to_photo"], 256)
    points = in_crop(landmarks, prepared)
    margin = int(prepared["margin"])
    skin = prepared["skin"][margin : margin + 256, margin : margin + 256]
    kept = ~openings(points, 256, margin_px=6) & (skin[..., 3] == 255)
    assert kept.mean() > 0.3
    np.testing.assert_array_equal(skin[kept][:, :3], crop[kept])
    # The dark irises are painted over with skin.
    for iris in (468, 473):
        x, y = points[iris].round().astype(int)
        assert int(crop[y, x].sum()) < 150 < int(skin[y, x, :3].sum())


@pytest.mark.parametrize(("side", "iris"), [("right", 468), ("left", 473)])
def test_an_eye_keeps_the_photos_pixels(
    photo: Photo, landmarks: Landmarks, prepared: Tensors, side: str, iris: int
) -> None:
    """The middle of the iris is where the crop has it. Far from the opening, the eyeball is darker than its white."""
    crop = cut_crop(photo.frame, prepared["crop_to_photo"], 256)
    x, y, width, height = prepared[f"{side}_eye_patches"][0]
    patch = prepared["inner"][y : y + height, x : x + width]
    column, row = (in_crop(landmarks, prepared)[iris] - prepared[f"{side}_eye_origin"]).round().astype(int)
    left, top = prepared[f"{side}_eye_origin"].astype(int)
    np.testing.assert_array_equal(
        patch[row - 1 : row + 2, column - 1 : column + 2],
        crop[top + row - 1 : top + row + 2, left + column - 1 : left + column + 2],
    )
    brightest = int(patch.sum(2).max())
    assert int(patch[0, 0].sum()) < 0.9 * brightest


@pytest.mark.slow
def test_a_photo_cut_above_the_brows_gets_no_second_ones(photo: Photo, detector: LandmarkDetector) -> None:
    """What lies above the edge is lighter than brows and smooth, as far up as the forehead goes."""
    (whole,) = detector.detect(photo.frame)
    brows = whole.points_px[[66, 105, 296, 334], 1].min()
    top = round(float(brows) - 0.1 * float(np.ptp(whole.points_px[[33, 263], 0])))
    cut = np.ascontiguousarray(photo.frame[top:])
    (found,) = detector.detect(cut)
    cache = prepare_source(cut, found, detector, 256)
    edge = int(cache["margin"] + cache["edges"][1])
    middle, iod = cache["base_px"][0] + cache["margin"], float(cache["iod_px"])
    columns = np.s_[round(float(middle - 0.45 * iod)) : round(float(middle + 0.45 * iod))]
    made = cache["skin"][edge - round(0.2 * iod) : edge - 1, columns].astype(np.float32)
    cheek = cache["skin"][edge + round(0.85 * iod), round(float(middle + 0.35 * iod)), :3].astype(np.float32)
    assert np.abs(made[..., :3].mean(axis=2) - cheek.mean()).max() < 0.3 * cheek.mean()
    assert made[..., 3].min() == 255


def test_a_closed_mouth_gets_painted_teeth(prepared: Tensors) -> None:
    x, y, width, height = prepared["mouth_patch"]
    mouth = prepared["inner"][y : y + height, x : x + width].astype(int)
    scale, upper_row, lower_row, _, own = prepared["mouth_rows"]
    assert own == 0.0 and 0 < upper_row < lower_row < height
    teeth = mouth[int(upper_row) - round(0.05 * scale), width // 2 - 2]
    cavity = mouth[int(upper_row) + round(0.02 * scale), width // 2 - 2]
    assert teeth.min() > 100 > cavity.max()


def test_an_open_mouth_keeps_its_own_teeth(
    photo: Photo, landmarks: Landmarks, detector: LandmarkDetector
) -> None:
    """The mouth's opening of the photo is painted green: green teeth are shown, on the skull."""
    points = landmarks.points_px.copy()
    for vertex in MOUTH_OPENING[11:]:  # the lower row
        points[vertex, 1] += 0.12 * np.linalg.norm(points[33] - points[263])
    frame = photo.frame.copy()
    frame[polygon_mask((frame.shape[1], frame.shape[0]), points[list(MOUTH_OPENING), :2]) > 0] = (0, 255, 0)
    cache = prepare_source(frame, replace(landmarks, points_px=points), detector, 256)
    x, y, width, height = cache["mouth_patch"]
    mouth = cache["inner"][y : y + height, x : x + width].astype(int)
    assert cache["mouth_rows"][4] == 1.0
    middle = mouth[int(cache["mouth_rows"][1]) - 4, width // 2]
    assert middle[1] > 200 and middle[[0, 2]].max() < 60


def test_the_same_photo_gives_the_same_tensors(
    photo: Photo, landmarks: Landmarks, detector: LandmarkDetector, prepared: Tensors
) -> None:
    before = photo.frame.copy()
    again = prepare_source(photo.frame, landmarks, detector, 256)
    assert set(again) == set(prepared)
    for name, tensor in prepared.items():
        np.testing.assert_array_equal(again[name], tensor, err_msg=name)
    np.testing.assert_array_equal(photo.frame, before)


def test_a_smiling_photo_becomes_neutral(prepared: Tensors, detector: LandmarkDetector) -> None:
    """A photo of somebody who smiles, made by the rig: in its neutral image hardly anything of the smile is left."""
    smiling = neutral()
    smiling[INDEX["AU12"]] = 0.7

    def smile_of(frame: Frame) -> tuple[Landmarks, float]:
        (found,) = detector.detect(np.pad(frame, ((128, 128), (128, 128), (0, 0)), mode="edge"))
        return found, float(measure_attributes(found)[INDEX["AU12"]])

    photo = render(prepared, smiling)
    found, before = smile_of(photo)
    padded = np.pad(photo, ((128, 128), (128, 128), (0, 0)), mode="edge")
    _, after = smile_of(prepare_source(padded, found, detector, 256)["neutral"])
    assert before > 0.5
    assert after < 0.25


# The key of the cache


def test_other_tables_are_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "tables"
    changed.write_bytes(b"other tables")
    before = prepare._table_digest()
    assert prepare.GEOMETRY_VERSION.endswith(before)
    monkeypatch.setattr(prepare, "TABLES_PATH", changed)
    tables = prepare._table_digest()
    monkeypatch.setattr(prepare, "POPULATION_PATH", changed)
    assert len({before, tables, prepare._table_digest()}) == 3


def test_eyes_that_look_into_the_camera_look_ahead_once_the_head_is_turned_back(landmarks: Landmarks) -> None:
    """A head that is turned by .3 rad, and irises that lie .092 IOD a radian against it."""
    shape = face_tables().canonical @ rotation_matrix(0.0, 0.3, 0.0).T
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = shape * [200, -200, -200] + [320, 240, 0]
    for iris, corners in ((468, [33, 133]), (473, [263, 362])):
        points[iris : iris + 5] = points[corners].mean(0) + np.array([0.092 * 0.3 * 200, -5.0, 0.0])
    scores = np.zeros(52, dtype=np.float32)
    pose = Pose(population().pitch_rad, 0.3, 0.0)
    for name in ("eyeLookInRight", "eyeLookOutLeft"):
        scores[BLENDSHAPE_NAMES.index(name)] = 0.09 + 0.3 * 1.6
    turned = Landmarks(points, (640, 480), scores)
    assert reading.own_gaze(turned, pose)[1] == pytest.approx(-0.3 * (1 - 0.32), abs=0.03)
    assert reading.own_gaze(landmarks, head_pose(landmarks)).tolist() == [0, 0]  # the portrait looks straight


@pytest.mark.usefixtures("without_expression")
def test_a_wide_crop_is_never_smaller_than_what_was_asked_for(
    noise: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "NATIVE_LIMITS_PX", (32, 128))
    cache = prepare_source(noise, face(), Scripted(), 160, wide=True)
    assert cache["plate"].shape == (160, 160, 3)
