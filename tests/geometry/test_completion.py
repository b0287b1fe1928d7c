"""Turned photos made frontal."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Tensors
from icface.attributes import INDEX, FloatArray, neutral, pose_to_unit
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.face.pose import head_pose
from icface.geometry import completion
from icface.geometry.completion import upright
from icface.geometry.prepare import prepare_source
from icface.geometry.rig import FaceRig
from icface.geometry.shape import Projection, rotation_matrix
from icface.geometry.topology import face_tables
from icface.geometry.warp import HostWarp
from icface.images import load_photo

PORTRAIT = Path(__file__).resolve().parents[2] / "examples/source.jpg"
FAR_CHEEK = [50, 117, 118, 123, 147, 187, 205, 207, 213]
"""Of the subject's right side, which a head with its nose to image-left hides."""


@pytest.mark.parametrize("pose", [(0.05, 0.5, 0.0), (-0.1, -0.7, 0.2)])
def test_a_measured_pose_is_corrected_by_symmetry(pose: tuple[float, float, float]) -> None:
    true = rotation_matrix(*pose)
    points = (face_tables().canonical @ true.T) * [90, -90, -90] + [300, 200, 0]
    measured = rotation_matrix(pose[0], pose[1] - 0.08, pose[2] + 0.06)
    np.testing.assert_allclose(upright(points.astype(np.float32), true), true, atol=2e-3)
    corrected = upright(points.astype(np.float32), measured)
    # A symmetric head tells turns to the side and tilts; it cannot tell a nod.
    across = true[:, 0]
    assert np.degrees(np.arccos(measured[:, 0] @ across)) > 4
    assert np.degrees(np.arccos(min(1.0, float(corrected[:, 0] @ across)))) < 0.2
    np.testing.assert_allclose(corrected @ corrected.T, np.eye(3), atol=1e-5)


def test_the_light_of_the_far_side_goes_on() -> None:
    """Light that falls off smoothly across a grey face. Its far third is not known; the fit finds it again."""
    side, iod = 200, 60.0
    project = Projection(np.array([100.0, 130.0], dtype=np.float32), np.float32(iod))
    x = (np.arange(side, dtype=np.float32) - 100) / iod
    level = 90 * np.exp(-0.25 * x / (1 + np.abs(x)))
    person = np.empty((side, side, 4), dtype=np.float32)
    person[...] = level[None, :, None]
    mirrored = completion._flipped(person, 100)
    known = np.zeros((side, side), dtype=np.float32)
    known[40:160, 55:125] = 1
    light = completion._light(person, mirrored, known, project)
    relit = (mirrored[..., :3] * light)[60:140]
    assert np.abs(relit - person[60:140, :, :3])[:, 60:170].max() < 4
    assert np.abs(mirrored[60:140, :, :3] - person[60:140, :, :3])[:, 150:170].min() > 12


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return open_detector(video=False)


def looking(yaw_deg: float) -> FloatArray:
    values = neutral()
    values[INDEX["yaw"]] = pose_to_unit([np.radians(yaw_deg)])[0]
    return values


def cheek(cache: Tensors) -> FloatArray:
    """(n, 3) colours of the far cheek in the neutral picture, each averaged over some pixels."""
    half = 6
    places = np.round(cache["texture_px"][FAR_CHEEK]).astype(int)
    frame = cache["neutral"].astype(np.float32)
    return np.array([frame[y - half : y + half, x - half : x + half].mean(axis=(0, 1)) for x, y in places])


@pytest.mark.slow
def test_the_hidden_cheek_of_a_real_photo_comes_back(detector: LandmarkDetector) -> None:
    """A frontal portrait is turned by the rig, and what comes out is taken for a photo."""
    photo = load_photo(PORTRAIT).frame
    frontal = prepare_source(photo, detector.detect(photo)[0], detector, 512)
    # A photo shows each place with its own colours.
    turned = HostWarp(frontal, (512, 512)).frame(FaceRig(frontal, as_seen=True).motion(looking(22)))
    turned = np.pad(turned, ((128, 128), (128, 128), (0, 0)), mode="edge")
    (found,) = detector.detect(turned)
    assert 15 < abs(np.degrees(head_pose(found).yaw_rad)) < 40
    completed = prepare_source(turned, found, detector, 512)
    as_it_is = prepare_source(turned, found, detector, 512, turned_rad=0.0)
    wanted = cheek(frontal)
    missed, missed_before = (np.abs(cheek(made) - wanted).mean() for made in (completed, as_it_is))
    assert missed < 0.8 * missed_before, (missed, missed_before)
    # It is frontal now.
    with closing(open_detector(video=False)) as other:
        (again,) = other.detect(np.pad(completed["neutral"], ((256, 256), (256, 256), (0, 0)), mode="edge"))
    assert abs(np.degrees(head_pose(again).yaw_rad)) < 4
