"""A hidden mouth: painted faces, the values that are shown meanwhile, and a real hand."""

from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.attributes import INDEX, SIZE
from icface.face.mouth import BEFORE_S, EASE_S, HIDE_S, SHOW_S, MouthHold, MouthWatch
from icface.face.tracker import FaceTracker
from tests.e2e.measuring import frames
from tests.face.test_action_units import face

POINTS = face().points_px
OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
SKIN, LIPS, HAND = (200, 150, 130), (190, 100, 95), (175, 131, 114)
FPS = 25
MOUTH = [INDEX[name] for name in ("AU10", "AU12", "AU17", "AU20", "AU25", "AU26")]


def painted(*, hand: bool = False, lips: tuple[int, int, int] = LIPS) -> np.ndarray:
    """A face with lips; a hand hides their left half and the chin below."""
    frame = np.full((480, 640, 3), SKIN, dtype=np.uint8)
    outline = np.round(POINTS[OUTER_LIPS, :2]).astype(np.int32)
    cv2.fillPoly(frame, [outline], lips)
    if hand:
        left, top = outline.min(axis=0)
        frame[top - 10 : 480, left - 60 : int(POINTS[13, 0])] = HAND
        frame[top - 10 : 480, left - 25 : left - 15] = 90  # between two fingers
    return frame


@pytest.fixture
def watch() -> MouthWatch:
    """It has seen the face for a second."""
    result = MouthWatch()
    for i in range(FPS):
        assert result.update(painted(), POINTS, 0.0, i / FPS) == 0
    return result


def test_a_hand_before_the_mouth_is_told_and_so_is_its_end(watch: MouthWatch) -> None:
    levels = [watch.update(painted(hand=25 <= i < 125), POINTS, 0.0, i / FPS) for i in range(25, 130)]
    assert levels[:100] == [1.0] * 100
    assert levels[100:] == [0.0] * 5


@pytest.mark.parametrize(
    "frame",
    [
        painted() // 2,
        np.clip(painted() * np.array([1.0, 0.9, 0.8]), 0, 255).astype(np.uint8),
        painted(lips=(190, 85, 90)),
    ],
    ids=["darker", "warmer", "redder lips"],
)
def test_light_and_red_lips_hide_nothing(watch: MouthWatch, frame: np.ndarray) -> None:
    assert watch.update(frame, POINTS, 0.0, 1.0) == 0


def test_a_light_from_the_side_hides_the_mouth_for_no_frame(watch: MouthWatch) -> None:
    side = np.linspace(0.2, 1.2, 640, dtype=np.float32)[:, np.newaxis]
    lit = np.clip(painted() * side, 0, 255).astype(np.uint8)
    assert [watch.update(lit, POINTS, 0.0, 1 + i / FPS) for i in range(5)] == [0.0] * 5


def test_a_hand_that_was_there_from_the_start_is_not_the_usual_look_for_long() -> None:
    watch = MouthWatch()
    for i in range(50):
        watch.update(painted(hand=True), POINTS, 0.0, i / FPS)
    assert watch.update(painted(), POINTS, 0.0, 2.0) == 0


def test_of_a_turned_head_nothing_is_said(watch: MouthWatch) -> None:
    assert watch.update(painted(hand=True), POINTS, 0.6, 1.0) == 0


def test_what_is_held_is_from_before_eases_to_rest_and_comes_back_without_a_jump() -> None:
    hold = MouthHold()
    smile, pitch = INDEX["AU12"], INDEX["pitch"]

    def shown(i: int, value: float, hidden: float) -> np.ndarray:
        attributes = np.full(SIZE, 0.3, dtype=np.float32)
        attributes[[smile, pitch]] = value
        return hold.update(attributes, hidden, i / FPS)

    assert [shown(i, 0.1 * i, 0.0)[smile] for i in range(6)] == pytest.approx([0.1 * i for i in range(6)])
    # Frame 1 is the newest that is BEFORE_S older than frame 5, the last that was seen.
    assert round(BEFORE_S * FPS) == 4
    first = shown(6, 1.0, 1.0)
    level = (1 / FPS) / HIDE_S
    assert first[smile] == pytest.approx(1 + level * (0.1 * np.exp(-(1 / FPS) / EASE_S) - 1), abs=1e-5)
    assert first[pitch] == 1  # the head is not hidden
    held = [shown(i, 1.0, 1.0)[smile] for i in range(7, 31)]
    assert held[-1] == pytest.approx(0.1 * np.exp(-1 / EASE_S), abs=1e-3)
    back = [shown(i, 1.0, 0.0)[smile] for i in range(31, 31 + round(SHOW_S * FPS))]
    assert np.diff([held[-1], *back]).max() < 1.1 / (SHOW_S * FPS)
    assert back[-1] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_real_hand_neither_opens_the_mouth_nor_makes_it_smile(shared_clip: Path) -> None:
    with closing(FaceTracker()) as tracker:
        states = [tracker.read(frame, i / FPS) for i, frame in enumerate(islice(frames(shared_clip), 100))]
    values = np.stack([state.attributes[MOUTH] for state in states if state is not None])
    assert len(values) == 100
    # Unheld, AU12 and AU25 of the hidden mouth jump to .9 and .8.
    assert values[60:].max() < 0.25
    assert np.abs(np.diff(values[55:], axis=0)).max() < 0.15
