"""The extensions of a driver: quiet on calm faces, mirrored in a mirror, and what one side does is read on that side."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import AU_NAMES, COUNT, EXTENSIONS, GAZE_LIMIT_RAD, INDEX, FloatArray, mirror
from icface.face.action_units import BLENDSHAPE_NAMES, Baseline, attributes_of, baseline_of
from icface.face.extensions import ExtensionReader, measure, shapes_of
from icface.face.features import INDEX as FEATURE
from icface.face.features import NAMES, face_shape, measure_features
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.face.pose import head_pose
from icface.face.tracker import FaceTracker
from icface.geometry.topology import face_tables
from icface.images import load_photo
from tests.conftest import shared_file
from tests.e2e.measuring import frames
from tests.face.test_action_units import face

IOD_PX = 200.0
CORNERS = ((33, 133), (263, 362))


def with_irises(seen: Landmarks, x_iod: float = 0.0, y_iod: float = 0.0, **scores: float) -> Landmarks:
    """Irises beside the middle of the eyes' corners, to the image's right and up, and more blendshapes."""
    points, blendshapes = seen.points_px.copy(), seen.blendshapes.copy()
    for iris, corners in zip((468, 473), CORNERS, strict=True):
        points[iris : iris + 5] = points[list(corners)].mean(0)
        points[iris : iris + 5, :2] += np.array([x_iod, -y_iod], dtype=np.float32) * IOD_PX
    for name, score in scores.items():
        blendshapes[BLENDSHAPE_NAMES.index(name)] = score
    return replace(seen, points_px=points, blendshapes=blendshapes)


REST = with_irises(face(), y_iod=0.026, eyeLookInLeft=0.09, eyeLookInRight=0.09)


def extensions(*seen: Landmarks, closure: float = 0.0, **units: float) -> dict[str, float]:
    """Of the last face, after half a second of calm."""
    reader, baseline = ExtensionReader(), baseline_of(REST)
    values = np.zeros(len(EXTENSIONS), dtype=np.float32)
    for i, landmarks in enumerate([REST] * 15 + list(seen)):
        attributes = np.zeros(COUNT, dtype=np.float32)
        if i >= 15:
            for name, level in units.items():
                attributes[INDEX[name]] = level
        values = reader.read(
            face_shape(landmarks),
            measure_features(landmarks),
            landmarks.blendshapes,
            baseline,
            head_pose(landmarks),
            attributes,
            i / 30,
        )
    return dict(zip(EXTENSIONS, values.tolist(), strict=True))


def test_a_face_at_rest_gives_zeros() -> None:
    assert set(extensions().values()) == {0.0}


def test_irises_and_blendshapes_give_the_gaze() -> None:
    """.033 IOD to the image's right are .30 rad; so are .465 of looking."""
    aside = with_irises(
        face(), 0.033, 0.026, eyeLookInRight=0.09 + 0.465, eyeLookOutLeft=0.465, eyeLookInLeft=0.09
    )
    got = extensions(aside)
    dead = 0.05
    assert got["gaze_yaw"] == pytest.approx(-(0.30 / GAZE_LIMIT_RAD - dead) / (1 - dead), abs=0.02)
    assert got["gaze_pitch"] == 0.0


def test_a_blink_does_not_move_the_gaze() -> None:
    down = with_irises(face(), 0.0, -0.02, eyeLookDownLeft=0.6, eyeLookDownRight=0.6)
    assert extensions(down, AU45=0.8)["gaze_pitch"] == 0.0


def test_after_a_blink_the_gaze_goes_where_the_eyes_look_without_a_jump() -> None:
    aside = with_irises(
        face(), 0.033, 0.026, eyeLookInRight=0.09 + 0.465, eyeLookOutLeft=0.465, eyeLookInLeft=0.09
    )
    reader, baseline = ExtensionReader(), baseline_of(REST)
    seen = []
    for i in range(30):
        attributes = np.zeros(COUNT, dtype=np.float32)
        attributes[INDEX["AU45"]] = 0.8 if 15 <= i < 20 else 0.0
        now = REST if i < 15 else aside
        shape, features = face_shape(now), measure_features(now)
        values = reader.read(shape, features, now.blendshapes, baseline, head_pose(now), attributes, i / 30)
        seen.append(float(values[EXTENSIONS.index("gaze_yaw")]))
    assert seen[:21] == [0.0] * 21
    assert seen[-1] == pytest.approx(extensions(aside)["gaze_yaw"], abs=0.01)
    assert np.abs(np.diff(seen)).max() < 0.4 * abs(seen[-1])


def test_wide_eyes_do_not_look_down() -> None:
    """Lower lids that go down drag the irises along, but the upper lids go up."""
    down = with_irises(face(), 0.0, 0.011, eyeLookDownLeft=0.3, eyeLookDownRight=0.3)
    wide = down.points_px.copy()
    wide[[159, 386, 158, 385], 1] -= 0.015 * IOD_PX
    assert extensions(replace(down, points_px=wide))["gaze_pitch"] == 0.0
    lowered = down.points_px.copy()
    lowered[[159, 386, 158, 385], 1] += 0.015 * IOD_PX
    assert extensions(replace(down, points_px=lowered))["gaze_pitch"] > 0.4


def one_side(name: str, left: bool, *answers: str) -> Landmarks:
    """The canonical face with a movement of one side, and the blendshapes that answer to it."""
    whole = face_tables().displacements[AU_NAMES.index(name)]
    here = face_tables().canonical[:, 0] > 0 if left else face_tables().canonical[:, 0] < 0
    moved = face()
    points = moved.points_px.copy()
    points[:468] += (whole * here[:, None]) * [IOD_PX, -IOD_PX, -IOD_PX]
    side = "Left" if left else "Right"
    seen = replace(moved, points_px=points)
    return with_irises(
        seen,
        y_iod=0.026,
        eyeLookInLeft=0.09,
        eyeLookInRight=0.09,
        **{answer + side: 0.5 for answer in answers},
    )


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("AU02", ("browOuterUp",)),
        ("AU12", ("mouthSmile",)),
        ("AU45", ("eyeBlink",)),
        ("AU10", ("mouthUpperUp",)),
    ],
)
def test_what_one_side_does_is_read_on_that_side(name: str, answers: tuple[str, ...]) -> None:
    for left, sign in ((True, 1), (False, -1)):
        got = extensions(one_side(name, left, *answers), **{name: 0.5})
        assert sign * got[f"{name}_side"] > 0.5


def test_a_side_cannot_move_more_than_its_action_unit() -> None:
    got = extensions(one_side("AU12", True, "mouthSmile"), AU12=0.1)
    assert got["AU12_side"] == pytest.approx(0.2)
    assert extensions(one_side("AU12", True, "mouthSmile"), AU12=0.0)["AU12_side"] == 0.0


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return open_detector(video=False)


def read_against(base: Baseline, rest: NDArray[np.float64], landmarks: Landmarks) -> FloatArray:
    """(SIZE,) of a still, against another still at rest."""
    features, pose = measure_features(landmarks), head_pose(landmarks)
    attributes = attributes_of(features, landmarks.blendshapes, pose, base)
    reader = ExtensionReader()
    reader._rest, reader._first, reader._closure = rest, [rest] * 15, float(attributes[INDEX["AU45"]])
    read = reader.read(face_shape(landmarks), features, landmarks.blendshapes, base, pose, attributes, 0.0)
    return np.concatenate([attributes, read])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("person", "expression", "name", "sign"),
    [
        ("P006", "playful", "AU45_side", 1),
        ("P001", "smug", "AU12_side", 1),
        ("P002", "thoughtful", "gaze_yaw", -1),
    ],
)
def test_a_mirrored_photo_gives_the_mirrored_numbers(
    person: str, expression: str, name: str, sign: int, detector: LandmarkDetector
) -> None:
    def photo(which: str) -> Frame:
        return load_photo(shared_file(f"data/openpeople/{person}_{which}.jpg")).frame

    seen = []
    for flip in (False, True):
        still, moved = (
            detector.detect(np.ascontiguousarray(picture[:, ::-1]) if flip else picture)[0]
            for picture in (photo("neutral"), photo(expression))
        )
        rest = measure(face_shape(still), still.blendshapes)
        seen.append(read_against(baseline_of(still), rest, moved))
    own, other = seen
    assert sign * own[INDEX[name]] > 0.3
    # MediaPipe's networks see a face and its mirror image a little differently.
    difference = np.abs(mirror(other)[COUNT:] - own[COUNT:])
    assert difference.max() < 0.4 and difference.mean() < 0.06


@pytest.mark.slow
def test_a_driver_who_sits_still_gives_quiet_zeros(repository: Path) -> None:
    """A neutral photo with a camera's noise, for two seconds."""
    picture = load_photo(repository / "examples/source.jpg").frame
    rng = np.random.default_rng(4)
    with closing(FaceTracker(None, open_detector(video=True))) as tracker:
        shown = []
        for i in range(60):
            noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            state = tracker.read(noisy, i / 30)
            assert state is not None
            shown.append(state.attributes[COUNT:])
    assert np.abs(shown[15:]).max() < 0.05


@pytest.mark.slow
def test_on_a_real_clip_eyes_look_aside_and_a_talking_face_does_not_twitch(shared_clip: Path) -> None:
    with closing(FaceTracker(None, open_detector(video=True))) as tracker:
        states = (tracker.read(frame, i / 24) for i, frame in enumerate(frames(shared_clip)))
        track = np.array([state.attributes for state in states if state is not None])
    yaw = track[:, INDEX["gaze_yaw"]]
    assert np.ptp(yaw) > 0.8
    step = np.abs(np.diff(track[:, COUNT:], 2, axis=0)).mean(0)
    assert step.max() < 0.06


@pytest.mark.parametrize(("gap_iod", "pressed"), [(0.0, 1.0), (0.06, 0.0)])
def test_thin_lips_are_pressed_unless_they_are_parted(gap_iod: float, pressed: float) -> None:
    """A grin makes them thin as well, and MediaPipe calls that pressed, too."""
    rest = with_irises(face(), y_iod=0.026, eyeLookInLeft=0.09, eyeLookInRight=0.09)
    points = rest.points_px.copy()
    for outer, inner in ((0, 13), (17, 14)):
        points[outer] += 0.6 * (points[inner] - points[outer])
    points[[14, 17, 87, 317], 1] += gap_iod * IOD_PX
    scores = rest.blendshapes.copy()
    scores[[BLENDSHAPE_NAMES.index(f"mouthPress{side}") for side in ("Left", "Right")]] = 0.4
    assert extensions(replace(rest, points_px=points, blendshapes=scores))["AU24"] == pytest.approx(
        pressed, abs=0.02
    )


@pytest.mark.parametrize(
    ("thicker", "gap", "pucker"), [(0.03, 0.0, 0.75), (0.03, 0.05, 0.0), (0.0, 0.0, 0.0)]
)
def test_closed_lips_that_are_narrower_and_thicker_are_puckered(
    thicker: float, gap: float, pucker: float
) -> None:
    """Where the blendshape says nothing."""
    change = np.zeros(len(NAMES))
    change[FEATURE["corner_width"]] = -0.12
    change[FEATURE["lips_thickness"]], change[FEATURE["lip_gap"]] = thicker, gap
    found = shapes_of(change, np.zeros(52, dtype=np.float32))
    assert found["AU18"] == pytest.approx(max(0.0, pucker - 0.15) / 0.85, abs=1e-6)
