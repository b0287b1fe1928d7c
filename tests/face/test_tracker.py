"""Calibration and tracking: with scripted faces, and on a real clip."""

from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from icface.attributes import INDEX
from icface.errors import ConfigError
from icface.face.calibration import Calibration, load_neutral, save_neutral
from icface.face.features import INDEX as F
from icface.face.features import measure_features
from icface.face.landmarks import Landmarks, open_detector
from icface.face.pose import Pose
from icface.face.tracker import FaceTracker, TrackerConfig
from icface.geometry.shape import rotation_matrix
from tests.conftest import shared_file
from tests.face.test_action_units import face

AHEAD = Pose(0.05, 0.0, 0.0)
FRAME = np.zeros((48, 64, 3), dtype=np.uint8)


class Script:
    """A detector that plays faces."""

    def __init__(self, *faces: Landmarks | None) -> None:
        self._faces = iter(faces)

    def detect(self, frame: np.ndarray, time_s: float | None = None) -> list[Landmarks]:
        found = next(self._faces)
        return [] if found is None else [found]

    def close(self) -> None: ...


def turned(yaw_rad: float, **movements: float) -> Landmarks:
    still = face(**movements)
    points = still.points_px.astype(np.float64)
    points[:468] = ((points[:468] - [320, 240, 0]) * [1, -1, -1]) @ rotation_matrix(0, yaw_rad, 0).T
    points[:468] = points[:468] * [1, -1, -1] + [320, 240, 0]
    return Landmarks(points_px=points.astype(np.float32), image_size_px=(640, 480))


def learn(calibration: Calibration, values: np.ndarray, start_s: float, seconds: float) -> None:
    for i in range(round(seconds * 25)):
        calibration.update(values, None, AHEAD, start_s + i / 25)


def test_half_a_second_of_calm_is_enough_to_know_a_person() -> None:
    values = measure_features(face())
    calibration = Calibration()
    before = abs(calibration.baseline.features[F["corner_width"]] - values[F["corner_width"]])
    learn(calibration, values, 0.0, 0.6)
    after = abs(calibration.baseline.features[F["corner_width"]] - values[F["corner_width"]])
    assert before > 0.01 and after < 1e-6
    assert calibration.baseline.pitch_rad == pytest.approx(0.05, abs=0.01)


def test_a_held_smile_does_not_become_the_neutral() -> None:
    calibration = Calibration()
    learn(calibration, measure_features(face()), 0.0, 2.0)
    neutral = calibration.baseline.features.copy()
    smile = measure_features(face(AU12=1.0, AU25=0.8))
    learn(calibration, smile, 2.0, 60.0)
    learned = (calibration.baseline.features - neutral)[F["corner_width"]]
    assert abs(learned) < 0.15 * abs((smile - neutral)[F["corner_width"]])


def test_closed_eyes_do_not_become_the_neutral() -> None:
    calibration = Calibration()
    values = measure_features(face())
    learn(calibration, values, 0.0, 2.0)
    closed = values.copy()
    closed[[F["ear_right"], F["ear_left"]]] *= 0.2
    learn(calibration, closed, 2.0, 30.0)
    assert calibration.baseline.features[F["ear_left"]] > 0.9 * values[F["ear_left"]]


def test_set_neutral_takes_the_mean_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep/neutral.json"
    calibration = Calibration()
    calibration.set_neutral()
    values = measure_features(face(AU12=0.5))
    done = [calibration.update(values, None, AHEAD, i / 25) for i in range(20)]
    assert done[:-1] == [None] * 19 and done[-1] is not None
    np.testing.assert_allclose(calibration.baseline.features, values)
    save_neutral(path, done[-1])
    kept = load_neutral(path)
    assert kept is not None
    np.testing.assert_allclose(kept.features, values)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"features": [1]}'])
def test_a_broken_neutral_is_ignored_with_a_word(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "neutral.json"
    path.write_text(content)
    assert load_neutral(path) is None and "ignoring" in caplog.text
    assert load_neutral(tmp_path / "none.json") is None


def test_a_face_for_one_frame_at_a_wild_angle_is_not_believed() -> None:
    still, wild = turned(0.0), turned(0.6)
    tracker = FaceTracker(detector=Script(still, wild, still))
    assert tracker.read(FRAME, 0.0) is not None
    assert tracker.read(FRAME, 0.04) is None
    assert tracker.read(FRAME, 0.08) is not None


def test_a_turn_that_lasts_is_believed() -> None:
    tracker = FaceTracker(detector=Script(turned(0.0), *[turned(0.6)] * 4))
    seen = [tracker.read(FRAME, i / 25) is not None for i in range(5)]
    assert seen == [True, False, False, True, True]


def test_no_face_is_none_and_the_next_one_starts_afresh() -> None:
    tracker = FaceTracker(detector=Script(turned(-0.3), None, turned(0.3)))
    first = tracker.read(FRAME, 0.0)
    assert tracker.read(FRAME, 0.04) is None
    last = tracker.read(FRAME, 0.08)
    assert first is not None and last is not None
    # Not dragged back towards where the face was before the gap.
    assert last.attributes[INDEX["yaw"]] - 0.5 == pytest.approx(
        0.5 - first.attributes[INDEX["yaw"]], abs=0.02
    )


def test_a_set_neutral_survives_the_program(tmp_path: Path) -> None:
    path = tmp_path / "neutral.json"
    tracker = FaceTracker(TrackerConfig(neutral_path=path), Script(*[turned(0.0, AU12=0.6)] * 21))
    tracker.set_neutral()
    for i in range(21):
        state = tracker.read(FRAME, i / 25)
    again = FaceTracker(TrackerConfig(neutral_path=path), Script(turned(0.0, AU12=0.6)))
    state = again.read(FRAME, 0.0)
    assert state is not None and state.attributes[INDEX["AU12"]] < 0.05


def test_a_wrong_task_file_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "model.task"
    wrong.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="not a FaceLandmarker task file"):
        open_detector(wrong, video=True)
    with pytest.raises(ConfigError, match="cannot read the landmark model"):
        open_detector(tmp_path / "missing.task", video=True)


def read_clip(path: Path, tracker: FaceTracker) -> np.ndarray:
    """(N, 20), NaN where there is no face."""
    rows = []
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            state = tracker.read(picture.to_ndarray(format="rgb24"), float(picture.time))
            rows.append(np.full(20, np.nan) if state is None else state.attributes)
    return np.array(rows)


def test_a_real_clip_by_both_detectors(shared_clip: Path) -> None:
    task = shared_file("models/face_landmarker.task")
    tracks = []
    for model in (None, task):
        with closing(FaceTracker(detector=open_detector(model, video=True))) as tracker:
            tracks.append(read_clip(shared_clip, tracker))
    for track in tracks:
        assert np.isfinite(track).all(axis=1).mean() >= 0.99
        assert np.nanmax(track[:, INDEX["AU45"]]) > 0.9  # closed eyes are seen as closed
        assert np.nanmax(track[:, INDEX["AU12"]]) > 0.8  # and the laugh as a laugh
    both = np.isfinite(tracks[0]).all(axis=1) & np.isfinite(tracks[1]).all(axis=1)
    for name, at_least in (("yaw", 0.97), ("roll", 0.97), ("pitch", 0.85), ("AU12", 0.6), ("AU45", 0.7)):
        a, b = (track[both, INDEX[name]] for track in tracks)
        assert np.corrcoef(a, b)[0, 1] >= at_least, name
