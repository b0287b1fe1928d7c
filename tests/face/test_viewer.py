"""Faces of small, tight frames: found where they are, and measured by themselves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.face.alignment import align
from icface.face.landmarks import open_detector
from icface.face.viewer import LEAST_PX, Viewer, enlarged, in_frame
from icface.images import cut_crop, load_photo


@pytest.fixture(scope="module")
def face(repository: Path) -> Frame:
    photo = load_photo(repository / "examples/rendered.jpg").frame
    detector = open_detector(video=False)
    found = detector.detect(photo)[0]
    detector.close()
    return cut_crop(photo, align(found, 128), 128)


@pytest.mark.parametrize("size_px", [64, 128])
def test_small_crops_are_seen_where_they_were_aligned(face: Frame, size_px: int) -> None:
    crop = np.asarray(cv2.resize(face, (size_px, size_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    with Viewer() as viewer:
        seen = viewer.look(crop)
    assert seen is not None
    affine = align(in_frame(seen, size_px), size_px)
    # Aligning an aligned crop changes nothing.
    np.testing.assert_allclose(affine[:, :2], np.eye(2), atol=0.02)
    np.testing.assert_allclose(affine[:, 2], 0, atol=0.02 * size_px)


def test_a_measurement_does_not_depend_on_what_was_seen_before(face: Frame) -> None:
    noise = np.random.default_rng(1).integers(0, 256, face.shape, dtype=np.uint8)
    moved = np.roll(face, 17, axis=1)
    with Viewer() as viewer:
        alone = viewer.measure([face], None)
    with Viewer() as viewer:
        among = viewer.measure([moved, noise, face, face[:, ::-1], face], None)
    np.testing.assert_array_equal(among[2], alone[0])
    np.testing.assert_array_equal(among[4], alone[0])
    assert np.isnan(among[1]).all()
    assert np.isfinite(among[3]).all()


def test_only_small_frames_are_enlarged() -> None:
    large = np.zeros((LEAST_PX, LEAST_PX + 30, 3), dtype=np.uint8)
    assert enlarged(large) is large
    assert enlarged(large[::4, ::4]).shape == (LEAST_PX, 288, 3)


def test_where_no_face_is_seen_nothing_is_measured() -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    with Viewer() as viewer:
        assert viewer.look(grey) is None and viewer.baseline(grey) is None
        assert np.isnan(viewer.measure([grey])).all()
        assert viewer.measure([]).shape == (0, 20)
