"""Finding faces: sizes, places and numbers of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest

from icface.face.landmarks import LandmarkDetector, open_detector
from icface.images import load_photo
from tests.conftest import shared_file


def photo(name: str, width_px: int | None = None) -> np.ndarray:
    """(H, W, 3) RGB of the face material."""
    picture = load_photo(shared_file(f"data/london/{name}.jpg")).frame
    if width_px is not None:
        size = (width_px, round(width_px * picture.shape[0] / picture.shape[1]))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return picture


def on_grey(height_px: int, width_px: int, *pictures: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Pictures at (x, y) on a grey ground."""
    frame = np.full((height_px, width_px, 3), 120, dtype=np.uint8)
    for picture, x, y in pictures:
        frame[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return frame


def centre(points_px: np.ndarray) -> np.ndarray:
    return np.asarray(points_px[:468, :2].mean(axis=0))


@pytest.fixture(scope="module")
def still_detector() -> Iterator[LandmarkDetector]:
    with closing(open_detector(video=False, max_faces=4)) as detector:
        yield detector


def test_a_small_face_is_found_where_it_is(still_detector: LandmarkDetector) -> None:
    whole = photo("n_002_03")
    (expected,) = still_detector.detect(whole)
    small = photo("n_002_03", width_px=160)
    scale = 160 / whole.shape[1]
    (face,) = still_detector.detect(on_grey(900, 1400, (small, 1100, 500)))
    np.testing.assert_allclose(
        centre(face.points_px), centre(expected.points_px) * scale + [1100, 500], atol=4
    )
    assert face.image_size_px == (1400, 900)


def test_a_face_that_fills_the_picture_is_found(still_detector: LandmarkDetector) -> None:
    whole = photo("n_002_03")
    (expected,) = still_detector.detect(whole)
    left, top, right, bottom = (int(edge) for edge in expected.box_px)
    (face,) = still_detector.detect(np.ascontiguousarray(whole[top:bottom, left:right]))
    np.testing.assert_allclose(
        centre(face.points_px) + np.array([left, top]),
        centre(expected.points_px),
        atol=0.05 * (right - left),
    )


def test_the_largest_face_comes_first(still_detector: LandmarkDetector) -> None:
    large, small = photo("n_002_03", width_px=500), photo("n_004_03", width_px=330)
    faces = still_detector.detect(on_grey(700, 1000, (small, 20, 100), (large, 450, 50)))
    assert len(faces) == 2
    assert faces[0].area_px > faces[1].area_px
    assert centre(faces[0].points_px)[0] > 500 > centre(faces[1].points_px)[0]


def test_where_nobody_is_nobody_is_found(still_detector: LandmarkDetector) -> None:
    assert still_detector.detect(on_grey(300, 401)) == []
    assert still_detector.detect(on_grey(9, 7)) == []


def test_a_video_may_begin_again() -> None:
    """Looped files and restarted cameras."""
    frame = photo("n_002_03", width_px=320)
    with closing(open_detector(video=True)) as detector:
        found = [len(detector.detect(frame, time_s)) for time_s in (7.0, 7.04, 7.04, 0.0, 0.04, 3.0)]
    assert found == [1] * 6
