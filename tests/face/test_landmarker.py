"""The task's networks run by OpenVINO see what MediaPipe's package sees, and say nothing."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from icface.errors import ConfigError
from icface.face import landmarker
from icface.face.landmarker import MODEL_PATH, Networks, Region, _load, _merged, region_around
from icface.face.landmarks import Landmarks, PointSmoothing, open_detector
from icface.face.pose import FLIP, head_pose, pose_from_rotation
from icface.images import load_photo
from tests.conftest import REPOSITORY
from tests.e2e.measuring import frames
from tests.face.test_smoothing import face_points

REFERENCE = Path(__file__).with_name("mediapipe_reference.npz")
"""Written by record_reference.py: every EVERY-th frame of the driver, then the source."""
EVERY = 12


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def ours() -> list[Landmarks]:
    """Our faces of the same pictures, filtered as MediaPipe filters them."""
    seen = []
    with pytest.MonkeyPatch.context() as patch, closing(open_detector(video=True)) as detector:
        patch.setattr(PointSmoothing, "SPEED_WEIGHT", 80.0)
        patch.setattr(PointSmoothing, "SPEED_CUTOFF_HZ", 1.0)
        patch.setattr(PointSmoothing, "UNFILTERED", ())
        for index, frame in enumerate(frames(REPOSITORY / "examples/driver.mp4")):
            (face,) = detector.detect(frame, index / 30 + 0.001)
            if index % EVERY == 0:
                seen.append(face)
    with closing(open_detector(video=False)) as detector:
        seen += detector.detect(load_photo(REPOSITORY / "examples/rendered.jpg").frame)
    return seen


def test_it_sees_what_mediapipe_sees(reference: dict[str, np.ndarray], ours: list[Landmarks]) -> None:
    """Each point to half a percent of the face's width, .03 % in the median; blendshapes to .02.

    Both compute in float32 and in another order. A camera's noise moves a point by more.
    """
    assert len(ours) == len(reference["points_px"]) == 21
    for face, points, scores in zip(ours, reference["points_px"], reference["blendshapes"], strict=True):
        width = np.ptp(points[:, 0])
        apart = np.abs(face.points_px - points).max(axis=1) / width
        assert apart.max() < 0.005 and np.median(apart) < 0.0005
        np.testing.assert_allclose(face.blendshapes, scores, atol=0.02)


def test_the_pose_is_that_of_mediapipes_matrix(
    reference: dict[str, np.ndarray], ours: list[Landmarks]
) -> None:
    """From its own landmarks, which are stored to .01 pixel, to a twentieth of a degree; from ours to a fifth."""
    for face, points, matrix in zip(ours, reference["points_px"], reference["matrices"], strict=True):
        left, _, right = np.linalg.svd(matrix[:3, :3].astype(np.float64))
        theirs = pose_from_rotation(FLIP @ left @ right @ FLIP)
        for seen, within_deg in ((replace(face, points_px=points), 0.05), (face, 0.2)):
            pose = head_pose(seen)
            assert math.degrees(abs(pose.pitch_rad - theirs.pitch_rad)) < within_deg
            assert math.degrees(abs(pose.yaw_rad - theirs.yaw_rad)) < within_deg
            assert math.degrees(abs(pose.roll_rad - theirs.roll_rad)) < within_deg


def test_the_next_region_by_hand() -> None:
    """Eyes on a line that falls by 45°; 100 by 140 pixels about (50, 70), half as much again."""
    points = face_points()
    points[33], points[263] = [20, 20, 0], [60, 60, 0]
    region = region_around(points)
    assert (region.x, region.y) == pytest.approx((50, 70))
    assert (region.width, region.height) == pytest.approx((210, 210))
    assert region.angle_rad == pytest.approx(math.pi / 4)
    # The square's middle and its top left corner, turned clockwise.
    to_picture = region.to_picture()
    assert to_picture @ [0.5, 0.5, 1] == pytest.approx([50, 70])
    assert to_picture @ [0, 0, 1] == pytest.approx([50, 70 - 210 / math.sqrt(2)])


def test_answers_for_one_face_are_merged_by_their_scores() -> None:
    """Two boxes of 10 by 10 that share 8 by 10, and one far off."""

    def box(x: float) -> list[list[float]]:
        return [[x, 5.0], [10.0, 10.0]] + [[x, 4.0]] * 6

    scores = np.array([0.6, 0.7, 0.9])
    logits = np.log(scores / (1 - scores))
    merged = _merged(np.array([box(5.0), box(50.0), box(7.0)]), logits)
    assert [face[0, 0] for face, _ in merged] == pytest.approx([(0.6 * 5 + 0.9 * 7) / 1.5, 50.0])
    assert [certainty for _, certainty in merged] == pytest.approx([logits[2], logits[1]])


def test_a_region_is_near_itself_only() -> None:
    here = Region(100, 100, 80, 80, 0.0)
    assert here.is_near(Region(110, 95, 90, 90, 0.2)) and not here.is_near(Region(160, 100, 80, 80, 0.0))


@pytest.fixture
def unloaded() -> Iterator[None]:
    """As in a new process: nothing is loaded yet, and nothing of a test stays loaded."""
    _load.cache_clear()
    yield
    _load.cache_clear()


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("content", [None, b"no model", MODEL_PATH.read_bytes()[:-1]])
def test_a_missing_or_damaged_model_is_one_line(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.task"
    if content is not None:
        model.write_bytes(content)
    monkeypatch.setattr("icface.face.landmarker.MODEL_PATH", model)
    with pytest.raises(ConfigError, match=r"model\.task.*; install icface-live again"):
        open_detector(video=True)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.slow
def test_it_works_without_a_cache_and_heals_a_damaged_one(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = load_photo(REPOSITORY / "examples/rendered.jpg").frame
    networks = Networks()
    (region,) = networks.find(frame)
    expected = networks.landmarks(frame, region)
    assert expected is not None
    for kept in (cache_dir / "tracker").iterdir():
        kept.chmod(0o600)
        kept.write_bytes(kept.read_bytes()[:1000])
    _load.cache_clear()
    healed = Networks().landmarks(frame, region)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(tmp_path / "file" / "below"))
    _load.cache_clear()
    without = Networks().landmarks(frame, region)
    assert healed is not None and without is not None
    np.testing.assert_allclose(healed, expected, atol=1e-3)
    np.testing.assert_allclose(without, expected, atol=1e-3)


@pytest.mark.parametrize("ending", ["detector.close()", "", "raise SystemExit(0)"])
def test_nothing_is_printed(ending: str) -> None:
    """No native line at the start or at the first face, and none at the end of a program that closes nothing."""
    program = (
        "import cv2; from icface.face.landmarks import open_detector\n"
        "frame = cv2.imread('examples/rendered.jpg')[..., ::-1].copy()\n"
        "detector = open_detector(video=True)\n"
        "print(sum(len(detector.detect(frame, i / 25)) for i in range(3)))\n" + ending
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "3\n", "")


class _Model:
    def create_infer_request(self) -> _Model:
        return self


@pytest.mark.parametrize("damaged", [False, True])
def test_whoever_opens_the_networks_waits_for_what_is_loaded_ahead(
    damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are loaded once. A fault is told where they are opened, not on the thread that loads."""
    begun, go_on = threading.Event(), threading.Event()
    loads: list[str] = []

    @cache
    def load() -> tuple[_Model, ...]:
        loads.append(threading.current_thread().name)
        begun.set()
        assert go_on.wait(60)
        if damaged:
            raise ConfigError("the model is damaged")
        return (_Model(),) * 3

    monkeypatch.setattr(landmarker, "_load", load)
    landmarker.load_ahead()
    assert begun.wait(60)
    opening = threading.Timer(0.2, go_on.set)
    opening.start()
    if damaged:
        with pytest.raises(ConfigError, match="damaged"):
            Networks()
    else:
        Networks()
        assert loads == ["loading"]
    assert go_on.is_set(), "it did not wait"
    opening.join()
    assert loads[0] == "loading"
