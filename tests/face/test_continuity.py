"""What is shown when the driver comes and goes, by scripted times."""

import math

import numpy as np
import pytest

from icface.attributes import INDEX, neutral
from icface.face.continuity import Continuity


def driven(value: float = 0.8) -> np.ndarray:
    attributes = neutral()
    attributes[INDEX["yaw"]] = value
    attributes[INDEX["AU12"]] = value
    return attributes


def test_before_any_face_it_is_neutral() -> None:
    continuity = Continuity()
    np.testing.assert_array_equal(continuity.update(None, 0.0), neutral())
    assert continuity.state == "waiting"


def test_a_face_from_the_first_frame_on_is_shown_at_once() -> None:
    continuity = Continuity()
    np.testing.assert_array_equal(continuity.update(driven(), 0.0), driven())
    assert continuity.state == "tracking"


def test_a_face_after_waiting_fades_in() -> None:
    continuity = Continuity()
    continuity.update(None, 0.0)
    assert continuity.update(driven(), 1.0)[INDEX["AU12"]] == 0.0
    assert continuity.update(driven(), 1.075)[INDEX["AU12"]] == pytest.approx(0.4)
    assert continuity.update(driven(), 1.16)[INDEX["AU12"]] == pytest.approx(0.8)
    assert continuity.state == "tracking"


def test_hold_then_ease_then_idle() -> None:
    continuity = Continuity()
    continuity.update(driven(), 0.0)
    np.testing.assert_array_equal(continuity.update(None, 0.1), driven())
    np.testing.assert_array_equal(continuity.update(None, 0.3), driven())
    states = [continuity.state]
    eased = continuity.update(None, 0.6)  # .3 s of easing after the .2 s of holding from 0.1 on
    states.append(continuity.state)
    assert eased[INDEX["AU12"]] == pytest.approx(0.8 * math.exp(-0.3 / 0.3), rel=1e-5)
    assert eased[INDEX["yaw"]] == pytest.approx(0.5 + 0.3 * math.exp(-0.3 / 0.8), rel=1e-5)
    np.testing.assert_array_equal(continuity.update(None, 5.0), neutral())
    assert [*states, continuity.state] == ["holding", "easing", "idle"]


def test_it_eases_to_the_rest_that_is_given_and_waits_there() -> None:
    rest = driven(0.3)
    continuity = Continuity()
    np.testing.assert_array_equal(continuity.update(None, 0.0, rest), rest)
    gone = Continuity()
    gone.update(driven(0.8), 0.0)
    gone.update(None, 0.1, rest)
    eased = gone.update(None, 0.6, rest)
    assert eased[INDEX["AU12"]] == pytest.approx(0.3 + 0.5 * math.exp(-0.3 / 0.3), rel=1e-5)
    np.testing.assert_array_equal(gone.update(None, 5.0, rest), rest)


def test_a_short_gap_comes_back_without_a_jump() -> None:
    continuity = Continuity()
    continuity.update(driven(0.8), 0.0)
    held = continuity.update(None, 0.1)
    back = continuity.update(driven(0.2), 0.14)
    np.testing.assert_array_equal(back, held)
    assert continuity.state == "returning"
    middle = continuity.update(driven(0.2), 0.215)
    assert middle[INDEX["AU12"]] == pytest.approx(0.5, abs=1e-5)


def test_what_it_gives_is_the_callers() -> None:
    continuity = Continuity()
    continuity.update(driven(), 0.0)[:] = 0.0
    np.testing.assert_array_equal(continuity.update(None, 0.05), driven())
