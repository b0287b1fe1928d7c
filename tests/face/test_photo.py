"""The faces of photos: found whatever way they lie, numbered from left to right, put upright, with words about them."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import INDEX
from icface.errors import ConfigError, SourceError
from icface.face.action_units import baseline_of, measure_attributes
from icface.face.expectations import expectations
from icface.face.landmarker import Region
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of, put_upright, tilt_rad, without_far
from icface.face.pose import head_pose
from icface.face.search import distinct
from icface.face.suitability import choose_face
from icface.face.viewer import Viewer
from icface.images import load_photo
from realtime.listing import WIDTH_PX, list_faces
from tests.conftest import REPOSITORY, shared_file


@pytest.fixture(scope="module")
def portrait() -> Frame:
    return load_photo(REPOSITORY / "examples/source.jpg").frame


@pytest.fixture(scope="module")
def seen(portrait: Frame) -> Landmarks:
    (face,) = faces_of(portrait)
    return face


@pytest.fixture(scope="module")
def couple(portrait: Frame) -> Frame:
    """A large face on the left and a small one on the right."""
    frame = np.full((700, 1500, 3), 120, dtype=np.uint8)
    frame[50:650, 40:640] = cv2.resize(portrait, (600, 600), interpolation=cv2.INTER_AREA)
    frame[200:500, 1000:1300] = cv2.resize(portrait, (300, 300), interpolation=cv2.INTER_AREA)
    return frame


def words(photo: Frame) -> str:
    (face,) = faces_of(photo)
    return "; ".join(expectations(photo, face, *put_upright(*without_far(photo, face))))


def turned(photo: Frame, degrees: float) -> Frame:
    """Clockwise, about the middle, at four fifths of the size."""
    side = len(photo)
    affine = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -degrees, 0.8)
    return np.asarray(cv2.warpAffine(photo, affine, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@pytest.mark.parametrize("example", ["rendered", "source"])
@pytest.mark.parametrize("degrees", [-24, -12, 12, 24])
def test_a_tilted_head_raises_no_brow_and_wrinkles_no_nose(example: str, degrees: float) -> None:
    """Read once, where the finder saw it, the rendered face had an AU09 of .74 and 1 at 12 and 24 degrees."""
    photo = load_photo(REPOSITORY / f"examples/{example}.jpg").frame
    (upright,), (tilted,) = faces_of(turned(photo, 0)), faces_of(turned(photo, degrees))
    with Viewer() as viewer:
        seen = [viewer.look(turned(photo, angle)) for angle in (0, degrees)]
    assert seen[0] is not None and seen[1] is not None
    for still, face in ((upright, tilted), (seen[0], seen[1])):
        found = measure_attributes(face, baseline_of(still))
        assert max(found[INDEX[name]] for name in ("AU01", "AU02", "AU09")) < 0.2


@pytest.mark.parametrize("degrees", [40, 135, 180, 265])
def test_a_photo_that_lies_is_put_upright(portrait: Frame, seen: Landmarks, degrees: float) -> None:
    photo = turned(portrait, degrees)
    (face,) = faces_of(photo)
    off = math.remainder(math.degrees(tilt_rad(face) - tilt_rad(seen)) - degrees, 360)
    assert abs(off) < 4
    upright, face = put_upright(photo, face)
    assert abs(math.degrees(tilt_rad(face))) < 6
    assert face.image_size_px == upright.shape[1::-1]
    # The face is the same in the same place of the turned picture: read anew there, its pose is the portrait's.
    np.testing.assert_allclose(head_pose(face)[:2], head_pose(seen)[:2], atol=0.08)
    (again,) = faces_of(upright)
    np.testing.assert_allclose(again.points_px[:, :2], face.points_px[:, :2], atol=0.03 * seen.area_px**0.5)


def test_quarters_lose_no_pixel_and_what_is_upright_stays(portrait: Frame, seen: Landmarks) -> None:
    assert put_upright(portrait, seen)[0] is portrait
    photo = np.ascontiguousarray(portrait[::-1, ::-1])
    (face,) = faces_of(photo)
    np.testing.assert_array_equal(put_upright(photo, face)[0], portrait)


def test_faces_are_numbered_from_left_to_right_and_the_largest_is_the_default(couple: Frame) -> None:
    faces = faces_of(couple)
    assert [round(float(face.points_px[:, 0].mean()), -2) for face in faces] == [300, 1200]
    path = Path("us.jpg")
    assert choose_face(faces, path, None) is faces[0] and choose_face(faces, path, 2) is faces[1]
    mirrored = faces_of(np.ascontiguousarray(couple[:, ::-1]))
    assert choose_face(mirrored, path, None) is mirrored[1]
    with pytest.raises(ConfigError, match="from left to right"):
        choose_face(faces, path, 3)


@pytest.mark.slow
def test_a_face_seen_in_the_nose_of_a_larger_one_is_none() -> None:
    name = "textual_search_2_Age_top_10_matches_3025_4007"
    photo = load_photo(shared_file(f"data/sfhq_t2i/{name}.jpg")).frame
    (face,) = faces_of(photo)
    left, top, right, bottom = face.box_px
    assert right - left > 0.7 * photo.shape[1] and bottom - top > 0.65 * photo.shape[0]
    assert abs(tilt_rad(face)) < 0.2


def test_regions_of_one_place_are_one_face_if_their_sizes_are_alike() -> None:
    nose, face = Region(126, 176, 135, 135, 0.3, 1.0), Region(188, 228, 379, 379, 0.0, 0.1)
    near = Region(200, 230, 330, 330, 0.0, 0.05)
    assert distinct([nose, face, near]) == [nose, face]


def test_a_face_of_50_pixels_in_12_megapixels_is_found(portrait: Frame) -> None:
    photo = np.full((3000, 4000, 3), 130, dtype=np.uint8)
    photo[2100:2220, 3300:3420] = cv2.resize(portrait, (120, 120), interpolation=cv2.INTER_AREA)
    (face,) = faces_of(photo)
    np.testing.assert_allclose(face.points_px[:, :2].mean(0), [3360, 2155], atol=12)


def test_the_face_of_a_panorama_looks_ahead(portrait: Frame, seen: Landmarks) -> None:
    small = cv2.resize(portrait, (400, 400), interpolation=cv2.INTER_AREA)
    photo = np.full((400, 6000, 3), 130, dtype=np.uint8)
    photo[:, 5500:5900] = small
    (face,) = faces_of(photo)
    part, face = without_far(photo, face)
    assert part.shape == (400, 800, 3) and face.image_size_px == (800, 400)
    (again,) = faces_of(part)
    np.testing.assert_allclose(again.points_px[:, :2], face.points_px[:, :2], atol=0.04 * 200)  # read anew
    assert abs(head_pose(face).yaw_rad - head_pose(seen).yaw_rad) < 0.1
    assert "panorama" in words(photo)


def test_a_good_photo_needs_no_words(portrait: Frame) -> None:
    assert words(portrait) == ""
    assert words(load_photo(REPOSITORY / "examples/rendered.jpg").frame) == ""


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (np.s_[240:], "cuts the face"),
        (np.s_[140:], "cuts the head"),
        (np.s_[:, 430:], "cuts the face"),
        (np.s_[:600], "cuts the face"),
        (np.s_[60:], ""),
        (np.s_[:, :710], "room beside the ears"),
        (np.s_[:, 310:], "room beside the ears"),
        (np.s_[:670], "room below the chin"),
        (np.s_[140:670], "room above the hair and below the chin"),
        (np.s_[140:670, 310:710], "room around it"),
        (np.s_[:760, 220:800], ""),
    ],
)
def test_a_cut_face_is_said(portrait: Frame, part: tuple[slice, ...], said: str) -> None:
    text = words(np.ascontiguousarray(portrait[part]))
    assert said in text and (said or not text)


def test_a_lying_photo_is_cut_where_its_crown_is(portrait: Frame) -> None:
    assert "cuts" in words(np.ascontiguousarray(portrait[140:][::-1, ::-1]))
    assert (
        words(np.ascontiguousarray(portrait[::-1, ::-1])).count(";") == 1
    )  # the way it lies, and nothing else


@pytest.mark.parametrize("colour", [(140, 180, 215), (240, 240, 240), (28, 28, 30)])
def test_a_face_mask_is_said(portrait: Frame, seen: Landmarks, colour: tuple[int, int, int]) -> None:
    rim = [
        197, 116, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323,
        454, 345,
    ]  # fmt: skip
    photo = portrait.copy()
    cv2.fillPoly(photo, [seen.points_px[rim, :2].astype(np.int32)], colour)
    assert "mouth and chin seem to be covered" in words(photo)


def test_sunglasses_are_said(portrait: Frame, seen: Landmarks) -> None:
    photo = portrait.copy()
    for corners in ((33, 133), (263, 362)):
        x, y = seen.points_px[list(corners), :2].mean(0)
        cv2.ellipse(photo, (int(x), int(y) + 6), (50, 36), 0, 0, 360, (25, 22, 20), -1)
    assert "the eyes are covered" in words(photo)


def test_a_dark_photo_is_said(portrait: Frame) -> None:
    assert "very dark" in words((portrait * 0.1).astype(np.uint8))


def test_the_contact_picture(couple: Frame, portrait: Frame, tmp_path: Path) -> None:
    photo, out = tmp_path / "us.png", tmp_path / "faces.png"
    cv2.imwrite(str(photo), couple[..., ::-1])
    lines = list_faces([photo], out)
    assert [line.split(" from ")[0] for line in lines] == [f"{photo}: face 1", f"{photo}: face 2"]
    picture = load_photo(out).frame
    assert picture.shape == (round(700 * WIDTH_PX / 1500) + WIDTH_PX // 8, WIDTH_PX, 3)
    yellow = (np.abs(picture.astype(int) - (255, 220, 0)).max(axis=2) < 8).any(axis=0)
    assert yellow[: WIDTH_PX // 2].any() and yellow[WIDTH_PX // 2 :].any()


def test_what_list_faces_refuses(tmp_path: Path, portrait: Frame) -> None:
    wall, photo = tmp_path / "wall.png", tmp_path / "me.png"
    cv2.imwrite(str(wall), np.full((200, 300, 3), 90, np.uint8))
    cv2.imwrite(str(photo), portrait)
    with pytest.raises(SourceError, match="no face found in"):
        list_faces([wall], tmp_path / "out.png")
    with pytest.raises(ConfigError, match="PNG"):
        list_faces([photo], tmp_path / "out.jpg")
    with pytest.raises(ConfigError, match="would be overwritten"):
        list_faces([photo], photo)
    with pytest.raises(ConfigError, match="no photo"):
        list_faces([], tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_shut_eyes_are_told_with_what_becomes_of_them() -> None:
    photo = load_photo(shared_file("data/openpeople/P009_exhausted.jpg")).frame
    (face,) = faces_of(photo)
    upright = put_upright(*without_far(photo, face))
    told = [expectations(photo, face, *upright, opens_eyes=opens)[0] for opens in (False, True)]
    assert told[0] == "the eyes are closed and will not open; take a photo with open ones"
    assert told[1].startswith("the eyes are closed and are painted open, and those are not the person's")
