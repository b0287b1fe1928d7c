"""A photo as in a call: where the head is, what lies beside the photo, and that nothing is cut."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks, open_detector
from icface.geometry import beyond
from icface.geometry.call_view import EYES, call_view
from icface.images import cut_crop, load_photo
from icface.segmentation.matte import Matte
from tests.conftest import shared_file

SIZE = 640, 360
PORTRAIT = Path(__file__).resolve().parents[2] / "examples/source.jpg"


def found(photo: Frame) -> Landmarks:
    with closing(open_detector(video=False)) as detector:
        return detector.detect(photo)[0]


@pytest.fixture(scope="module")
def portrait() -> tuple[Frame, Landmarks]:
    photo = load_photo(PORTRAIT).frame
    return photo, found(photo)


def roomy(photo: Frame, face: Landmarks, pads: tuple[int, int, int, int]) -> tuple[Frame, Landmarks]:
    """The photo with its edges repeated: above, below, to the left and to the right."""
    top, bottom, left, right = pads
    wide = np.pad(photo, ((top, bottom), (left, right), (0, 0)), mode="edge")
    points = face.points_px + np.array([left, top, 0], dtype=np.float32)
    return wide, Landmarks(points, (wide.shape[1], wide.shape[0]), face.blendshapes)


def in_view(points: FloatArray, view_to_photo: Array) -> Array:
    return np.asarray((points[:, :2] - view_to_photo[:, 2]) / view_to_photo[0, 0])


def test_a_photo_with_room_is_only_cut(portrait: tuple[Frame, Landmarks]) -> None:
    photo, face = roomy(*portrait, (600, 600, 1500, 1500))
    view, view_to_photo = call_view(photo, face, SIZE)
    np.testing.assert_array_equal(view, cut_crop(photo, view_to_photo, SIZE))
    points = in_view(face.points_px[:468], view_to_photo)
    assert points[[33, 263], 1].mean() == pytest.approx(EYES * SIZE[1], abs=2)
    assert (points[:, 0].min() + points[:, 0].max()) / 2 == pytest.approx(SIZE[0] / 2, abs=1)
    assert 0.28 < np.ptp(points[:, 1]) / SIZE[1] < 0.36


def test_a_little_beside_the_middle_is_better_than_a_room_made_up(portrait: tuple[Frame, Landmarks]) -> None:
    photo, face = roomy(*portrait, (600, 600, 1500, 0))
    face_x = face.points_px[:468, 0].mean()
    scale = call_view(photo, face, SIZE)[1][0, 0]
    right = int(face_x + scale * SIZE[0] * (0.5 - 0.05))  # a twentieth of the picture is missing
    narrow = np.pad(photo, ((0, 0), (0, 1500), (0, 0)), mode="edge")[:, :right]
    view, view_to_photo = call_view(narrow, face, SIZE)
    np.testing.assert_array_equal(view, cut_crop(narrow, view_to_photo, SIZE))


@pytest.mark.parametrize("size_px", [SIZE, (1280, 720)])
def test_a_square_portrait_goes_on_to_both_sides(
    portrait: tuple[Frame, Landmarks], size_px: tuple[int, int]
) -> None:
    photo, face = portrait
    view, view_to_photo = call_view(photo, face, size_px)
    assert view.shape == (size_px[1], size_px[0], 3)
    scale = view_to_photo[0, 0]
    # The photo reaches the lower border: no edge of the person is in the picture.
    bottom = (photo.shape[0] - 0.5 - view_to_photo[1, 2]) / scale
    assert bottom >= size_px[1] - 1
    left = round((-0.5 - view_to_photo[0, 2]) / scale)
    assert left > 0.15 * size_px[0], "the photo is narrower"
    inside = np.s_[4:-4, left + 4 : -left - 4]
    shown = cut_crop(photo, view_to_photo, size_px)[inside]
    assert np.abs(view[inside].astype(int) - shown).mean() < 1
    # There is no seam: across the photo's edge neighbours differ as they do beside it.
    columns = np.abs(np.diff(view[:, left - 20 : left + 20].astype(int), axis=1)).max(axis=2).mean(axis=0)
    assert columns[18:22].max() < 2 * np.median(columns) + 1


def test_a_shoulder_that_the_edge_cuts_goes_on_and_ends_round(portrait: tuple[Frame, Landmarks]) -> None:
    photo, face = portrait
    view, view_to_photo = call_view(photo, face, (1280, 720))
    left = round((-0.5 - view_to_photo[0, 2]) / view_to_photo[0, 0])
    wall = np.median(view[:300, :left].reshape(-1, 3), axis=0)
    # The shirt is white, the wall is grey. In each column beyond the edge, where does the shirt begin?
    shirt = (view[:, : left + 1].min(axis=2) > wall.max() + 40)[300:]
    heights = shirt.sum(axis=0)
    assert heights[left] > 10, "the photo's edge cuts the shirt"
    reach = int((heights > 2).sum())
    assert 10 < reach < 200
    assert heights[: left - 220].max() <= 2
    outline = heights[left - reach : left + 1]
    assert np.diff(outline).min() > -8 and np.abs(np.diff(outline)).max() < 12, (
        "it falls evenly, without a cut"
    )


@pytest.mark.parametrize("side", [0, 1])
def test_beside_a_face_that_the_photos_edge_cuts_there_is_nobody_else(
    portrait: tuple[Frame, Landmarks], side: int
) -> None:
    """The cut side is the other one's mirror image, once: farther out there is the wall alone."""
    photo, face = portrait
    left, _, right, _ = face.box_px
    cut = photo[:, round(left) :] if side == 0 else photo[:, : round(right)]
    moved = np.array([left if side == 0 else 0, 0, 0], dtype=np.float32).round()
    face = Landmarks(face.points_px - moved, (cut.shape[1], cut.shape[0]), face.blendshapes)
    view, view_to_photo = call_view(np.ascontiguousarray(cut), face, SIZE)
    if side == 1:
        view = view[:, ::-1]
    edge = (-0.5 - view_to_photo[0, 2]) / view_to_photo[0, 0]
    assert edge > 0.3 * SIZE[0] if side == 0 else edge + cut.shape[1] / view_to_photo[0, 0] < 0.7 * SIZE[0]
    out = view[: SIZE[1] * 2 // 3, : SIZE[0] // 6].astype(int)
    assert np.ptp(out, axis=(0, 1)).max() < 30, "the wall is even"
    beside = view[SIZE[1] // 3, SIZE[0] // 6 :].astype(int)
    assert (np.abs(beside - np.median(out, axis=(0, 1))).max(axis=1) > 40).any(), (
        "hair ends on this side, too"
    )


def test_where_the_outline_is_not_clear_the_photo_stands_before_itself(
    portrait: tuple[Frame, Landmarks], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsure(frame: Frame, oval_px: FloatArray, iod_px: float) -> Matte:
        ones = np.ones(frame.shape[:2], dtype=np.float32)
        return Matte(ones, ones, unsure=1.0, seen=1.0, missed=0.0, hair_left=0.0)

    monkeypatch.setattr(beyond, "person_matte", unsure)
    photo, face = portrait
    view, view_to_photo = call_view(photo, face, SIZE)
    middle = np.s_[:, 280:360]
    shown = cut_crop(photo, view_to_photo, SIZE)[middle]
    assert np.abs(view[middle].astype(int) - shown).max() <= 1
    # Beside it everything is soft: neighbours hardly differ, and there is no line at the photo's edge.
    left = round((-0.5 - view_to_photo[0, 2]) / view_to_photo[0, 0])
    assert left > 80
    assert np.abs(np.diff(view[:, : left + 10].astype(int), axis=1)).max() <= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["P004_portrait", "P001_selfie"])
def test_hair_that_the_photos_edge_cuts_is_cut_by_the_pictures_edge(name: str) -> None:
    photo = load_photo(shared_file(f"data/openpeople/full/{name}.jpg")).frame
    _, view_to_photo = call_view(photo, found(photo), SIZE)
    assert -view_to_photo[1, 2] / view_to_photo[0, 0] <= 1, "the photo begins above the picture"
