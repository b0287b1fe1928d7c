"""Calibration and tracking: with scripted faces, and on a real clip."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import AU_NAMES, INDEX
from icface.face.action_units import measure_action_units, population, population_spread
from icface.face.calibration import Calibration, load_neutral, save_neutral
from icface.face.extensions import MEASURES
from icface.face.features import INDEX as F
from icface.face.features import measure_features
from icface.face.landmarks import Landmarks, PointSmoothing
from icface.face.pose import Pose
from icface.face.tracker import FaceTracker
from icface.geometry.shape import rotation_matrix
from tests.e2e.measuring import frame_rate, frames
from tests.face.test_action_units import face, scores
from tests.face.test_extensions import IOD_PX

AU12 = AU_NAMES.index("AU12")
# .6·.105 + .5·.13 + .3·.04 + .3·.033 of .15: a whole AU12.
SMILE = np.zeros(len(F))
SMILE[[F["corner_width"], F["corner_height"], F["corner_lift"], F["corner_depth"]]] = (
    0.105,
    0.13,
    0.04,
    -0.033,
)
AHEAD = Pose(0.05, 0.0, 0.0)
REST = scores()
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
    return replace(still, points_px=points.astype(np.float32))


def learn(
    calibration: Calibration,
    values: np.ndarray,
    start_s: float,
    seconds: float,
    blendshapes: np.ndarray = REST,
) -> None:
    for i in range(round(seconds * 25)):
        calibration.update(values, blendshapes, AHEAD, start_s + i / 25)


def test_half_a_second_of_calm_is_enough_to_know_a_person() -> None:
    values = measure_features(face())
    calibration = Calibration()
    before = abs(calibration.baseline.features[F["mouth_height"]] - values[F["mouth_height"]])
    learn(calibration, values, 0.0, 0.6)
    after = abs(calibration.baseline.features[F["mouth_height"]] - values[F["mouth_height"]])
    assert before > 0.01 and after < 1e-6
    assert calibration.baseline.pitch_rad == pytest.approx(0.05, abs=0.01)


def test_a_held_smile_does_not_become_the_neutral() -> None:
    calibration = Calibration()
    learn(calibration, measure_features(face()), 0.0, 2.0)
    neutral = calibration.baseline.features.copy()
    smile = measure_features(face(AU12=1.0, AU25=0.8))
    learn(calibration, smile, 2.0, 60.0, scores(AU12=1.0))
    learned = (calibration.baseline.features - neutral)[F["corner_width"]]
    assert abs(learned) < 0.15 * abs((smile - neutral)[F["corner_width"]])


def test_a_smile_on_the_first_frames_stays_mostly_a_smile() -> None:
    smile = population().features + SMILE
    calibration = Calibration()
    learn(calibration, smile, 0.0, 10.0, scores(AU12=1.0))
    units = measure_action_units(smile, scores(AU12=1.0), calibration.baseline)
    whole = measure_action_units(smile, scores(AU12=1.0), population())
    assert 0.6 < units[AU12] / whole[AU12] < 0.8


def test_a_calm_stranger_is_neutral_from_the_first_frame_on() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        values = population().features + np.clip(rng.normal(0, 0.5, len(F)), -1, 1) * population_spread()
        calibration = Calibration()
        calibration.update(values, REST, AHEAD, 0.0)
        assert measure_action_units(values, REST, calibration.baseline).max() < 0.1


def test_a_late_first_look_changes_the_neutral_slowly() -> None:
    """The first calm moment after 10 s of turning about: in one frame nothing jumps."""
    calibration = Calibration()
    for i in range(250):
        calibration.update(measure_features(face()), REST, Pose(0.05, 0.5, 0.0), i / 25)
    before = calibration.baseline.features.copy()
    np.testing.assert_array_equal(before, population().features)
    values = before + population_spread()
    learn(calibration, values, 10.0, 0.2)
    assert (np.abs(calibration.baseline.features - before) < 0.1 * population_spread()).all()


def with_gap(gap_iod: float) -> np.ndarray:
    values = population().features.copy()
    values[F["lip_gap"]] = gap_iod
    return values


def learned_gap(*gaps_iod: float) -> float:
    """What is taken for closed lips after frames with these gaps."""
    calibration = Calibration()
    for i, gap in enumerate(gaps_iod):
        calibration.update(with_gap(gap), REST, AHEAD, i / 25)
    return float(calibration.baseline.features[F["lip_gap"]])


def test_one_who_speaks_from_the_first_frame_on_has_closed_lips_like_anybody() -> None:
    """Half of the frames show a gap of .08. Their median was taken for closed lips, as far as two standard deviations."""
    usual = float(population().features[F["lip_gap"]])
    assert learned_gap(*[0.08, 0.03, 0.09, 0.02] * 5) == pytest.approx(usual, abs=1e-3)


def test_lips_that_come_closer_are_the_closed_ones_within_some_frames() -> None:
    assert learned_gap(*[0.08, 0.03] * 8, *[0.002] * 8) == pytest.approx(0.002, abs=1e-3)


def test_lips_that_rest_apart_are_taken_as_they_rest() -> None:
    """They tremble by .002."""
    assert learned_gap(*[0.018, 0.022] * 10) == pytest.approx(0.02, abs=0.003)


def test_pitch_drifts_slowly_and_never_far() -> None:
    calibration = Calibration()
    values = measure_features(face())
    learn(calibration, values, 0.0, 2.0)
    start = calibration.baseline.pitch_rad
    for i in range(25 * 20):
        calibration.update(values, REST, Pose(0.3, 0.0, 0.0), 2.0 + i / 25)
    assert calibration.baseline.pitch_rad - start == pytest.approx(20 * 0.002, rel=0.05)


def test_closed_eyes_do_not_become_the_neutral() -> None:
    calibration = Calibration()
    values = measure_features(face())
    learn(calibration, values, 0.0, 2.0)
    closed = values.copy()
    closed[[F["ear_right"], F["ear_left"]]] *= 0.2
    learn(calibration, closed, 2.0, 30.0, scores(AU45=1.0))
    assert calibration.baseline.features[F["ear_left"]] > 0.9 * values[F["ear_left"]]


def test_a_set_neutral_ignores_a_blink_and_stays_where_it_was_set() -> None:
    """A camera far below the eyes: the pitch that was set is not pulled back to what is usual."""
    calibration = Calibration()
    calibration.set_neutral()
    values = measure_features(face())
    blink = values.copy()
    blink[[F["ear_right"], F["ear_left"]]] = 0.0
    for i in range(20):
        calibration.update(blink if 8 <= i < 13 else values, REST, Pose(-0.4, 0.0, 0.0), i / 25)
    np.testing.assert_allclose(calibration.baseline.features, values)
    assert calibration.baseline.pitch_rad == -0.4
    for i in range(20, 45):
        calibration.update(values, REST, Pose(-0.4, 0.0, 0.0), i / 25)
    assert calibration.baseline.pitch_rad == pytest.approx(-0.4, abs=0.003)


def test_set_neutral_takes_the_next_frames_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep/neutral.json"
    calibration = Calibration()
    calibration.set_neutral()
    values = measure_features(face(AU12=0.5))
    done = [calibration.update(values, REST, AHEAD, i / 25) for i in range(20)]
    assert done[:-1] == [None] * 19 and done[-1] is not None
    np.testing.assert_allclose(calibration.baseline.features, values)
    rest = np.linspace(-0.2, 0.3, len(MEASURES))
    save_neutral(path, done[-1], rest)
    kept = load_neutral(path)
    assert kept is not None and kept.extensions is not None
    np.testing.assert_allclose(kept.baseline.features, values)
    np.testing.assert_allclose(kept.extensions, rest)


def test_a_neutral_that_was_saved_before_there_were_extensions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "neutral.json"
    save_neutral(path, population(), np.zeros(len(MEASURES)))
    raw = json.loads(path.read_bytes())
    del raw["extensions"]
    path.write_text(json.dumps(raw))
    kept = load_neutral(path)
    assert kept is not None and kept.extensions is None
    np.testing.assert_array_equal(kept.baseline.features, population().features)


@pytest.mark.parametrize(
    "broken",
    [
        *({"format": 1}, {"format": None}, {"pitch_rad": "x"}, {"pitch_rad": -1.0}),
        *({"features": [1.0]}, {"features": [50.0] * 22}, {"features": [[1.0]] * 22}),
        *({"extensions": [0.0]}, {"extensions": [4.0] * 11}),
        *({"features": [float("nan")] * 22}, {"blendshapes": [-0.5] * 52}, {"features": None}),
    ],
)
def test_a_saved_neutral_with_odd_values_is_refused(
    tmp_path: Path, broken: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "neutral.json"
    save_neutral(path, population(), np.zeros(len(MEASURES)))
    kept = load_neutral(path)
    assert kept is not None
    np.testing.assert_array_equal(kept.baseline.features, population().features)
    raw = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: v for name, v in (raw | broken).items() if v is not None}))
    assert load_neutral(path) is None and "ignoring" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"features": [1]}'])
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
    tracker = FaceTracker(path, Script(*[turned(0.0, AU12=0.6)] * 21))
    tracker.set_neutral()
    for i in range(21):
        state = tracker.read(FRAME, i / 25)
    again = FaceTracker(path, Script(turned(0.0, AU12=0.6)))
    state = again.read(FRAME, 0.0)
    assert state is not None and state.attributes[INDEX["AU12"]] < 0.05


def test_a_set_neutral_survives_another_face_that_drives(tmp_path: Path) -> None:
    mine = [replace(turned(0.0, AU12=0.6), person=1)] * 21
    script = [*mine, replace(face(), person=2), replace(mine[0], person=3)]
    tracker = FaceTracker(tmp_path / "neutral.json", Script(*script))
    tracker.read(FRAME, 0.0)
    tracker.set_neutral()
    for i in range(1, len(script)):
        state = tracker.read(FRAME, i / 25)
    assert state is not None and state.attributes[INDEX["AU12"]] < 0.05


def test_the_rest_of_the_extensions_survives_the_program(tmp_path: Path) -> None:
    """A mouth whose one corner hangs. Once it was set as neutral, it is no half smile, not even in the first frame."""
    hanging = face(AU12=0.3)
    points = hanging.points_px.copy()
    points[61, 1] += 0.08 * IOD_PX
    hanging = replace(hanging, points_px=points)
    path = tmp_path / "neutral.json"
    tracker = FaceTracker(path, Script(*[hanging] * 21))
    tracker.set_neutral()
    for i in range(21):
        tracker.read(FRAME, i / 25)
    smiling = replace(face(AU12=0.8), points_px=face(AU12=0.8).points_px + points - face(AU12=0.3).points_px)
    kept = FaceTracker(path, Script(smiling)).read(FRAME, 0.0)
    raw = json.loads(path.read_bytes())
    del raw["extensions"]
    path.write_text(json.dumps(raw))
    lost = FaceTracker(path, Script(smiling)).read(FRAME, 0.0)
    assert kept is not None and lost is not None
    assert abs(kept.attributes[INDEX["AU12_side"]]) < 0.05 < abs(lost.attributes[INDEX["AU12_side"]])


def eyes(closed: bool) -> Landmarks:
    return face(AU45=1.0) if closed else face()


def test_a_blink_of_one_fast_frame_lasts_for_one_of_30() -> None:
    """A camera of 90 FPS, one closed frame: whoever looks every 33 ms sees it."""
    script = [eyes(i == 30) for i in range(60)]
    tracker = FaceTracker(detector=Script(*script))
    closure = []
    for i in range(60):
        state = tracker.read(FRAME, i / 90)
        assert state is not None
        closure.append(state.attributes[INDEX["AU45"]])
    peak = max(closure)
    assert peak > 0.6 and closure[29] < 0.1
    assert closure[30:33] == [peak] * 3 and closure[40] < 0.1


def test_a_file_that_begins_again_is_followed_at_once() -> None:
    tracker = FaceTracker(detector=Script(*[turned(0.25)] * 5, turned(-0.25)))
    for i in range(5):
        before = tracker.read(FRAME, 20 + i / 25)
    state = tracker.read(FRAME, 0.0)
    assert before is not None and state is not None
    assert state.attributes[INDEX["yaw"]] == pytest.approx(1 - before.attributes[INDEX["yaw"]], abs=0.01)


def after_a_calm(moved: Landmarks, seconds: float) -> np.ndarray:
    """The attributes of a face that moves after a second of calm and so many more."""
    tracker = FaceTracker(detector=Script(*[face()] * 26, moved, moved))
    for i in range(25):
        tracker.read(FRAME, i / 25)
    for time_s in (1.0, 1.04, 1.08):
        state = tracker.read(FRAME, time_s + seconds)
    assert state is not None
    return state.attributes


def test_small_movements_are_amplified_in_time_but_large_ones_never_pass_one() -> None:
    def smile(level: float, seconds: float) -> float:
        return float(after_a_calm(face(AU12=level), seconds)[INDEX["AU12"]])

    assert 1.2 * smile(0.2, 0.1) < smile(0.2, 60.0) < 3 * smile(0.2, 0.1)
    assert smile(1.5, 600.0) <= 1.0


def test_a_small_frown_never_becomes_a_large_one() -> None:
    at_once, later = (after_a_calm(face(AU04=0.2), s)[INDEX["AU04"]] for s in (0.1, 600.0))
    assert 0.05 < at_once < later < 1.6 * at_once


@pytest.mark.parametrize("name", ["AU25", "AU26"])
def test_a_mouth_opens_as_far_as_it_is_seen_however_little_one_spoke_before(name: str) -> None:
    at_once, later = (after_a_calm(face(AU25=0.3, AU26=0.4), s)[INDEX[name]] for s in (0.1, 600.0))
    assert 0.1 < at_once < 0.9
    assert later == pytest.approx(at_once, abs=0.02)  # the neutral was learned meanwhile


def read_clip(path: Path, tracker: FaceTracker) -> np.ndarray:
    """(N, 20), NaN where there is no face."""
    rows, fps = [], float(frame_rate(path))
    for index, frame in enumerate(frames(path)):
        state = tracker.read(frame, index / fps)
        rows.append(np.full(20, np.nan) if state is None else state.attributes)
    return np.array(rows)


@pytest.mark.slow
def test_smoothing_leaves_the_blinks_of_a_real_clip_whole(
    shared_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(FaceTracker()) as tracker:
        shown = read_clip(shared_clip, tracker)[:, INDEX["AU45"]]
    monkeypatch.setattr(PointSmoothing, "update", lambda self, points, time_s: points)
    with closing(FaceTracker()) as tracker:
        raw = read_clip(shared_clip, tracker)[:, INDEX["AU45"]]
    peaks = [i for i in range(2, len(raw) - 2) if raw[i] > 0.5 and raw[i] == raw[i - 2 : i + 3].max()]
    assert len(peaks) >= 3
    assert min(shown[i : i + 2].max() / raw[i] for i in peaks) > 0.94


@pytest.mark.slow
def test_a_real_clip(shared_clip: Path) -> None:
    with closing(FaceTracker()) as tracker:
        track = read_clip(shared_clip, tracker)
    assert np.isfinite(track).all(axis=1).mean() >= 0.99
    assert np.nanmax(track[:, INDEX["AU45"]]) > 0.9  # closed eyes are seen as closed
    assert np.nanmax(track[:, INDEX["AU12"]]) > 0.8  # and the laugh as a laugh


@pytest.mark.parametrize(
    "first",
    [
        turned(0.5),
        turned(-0.5),
        face(AU26=0.9, AU25=0.6),
        face(AU26=0.4, AU25=0.3),
    ],
    ids=["turned left", "turned right", "open", "half open"],
)
def test_a_driver_who_starts_turned_or_with_an_open_mouth_gets_no_half_smile(first: Landmarks) -> None:
    tracker = FaceTracker(detector=Script(*[first] * 30, *[face()] * 30))
    states = [tracker.read(FRAME, i / 30) for i in range(60)]
    smiles = [state.attributes[INDEX["AU12"]] for state in states if state is not None]
    assert len(smiles) >= 58  # a head that turns at once is not believed for two frames
    assert max(smiles) < 0.05
