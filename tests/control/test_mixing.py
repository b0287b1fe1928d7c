"""What a state makes of what drives: by hand-computed values, frame by frame, and when a driver goes away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from icface.attributes import ALL_NAMES, INDEX, SIZE, AttributeTrack, FloatArray, in_range, mirror, neutral
from icface.control import source
from icface.control.mixing import FADE_S, Inputs, Mixer, Played, mix
from icface.control.state import ControlState

STEP_S = 1 / 30


def face(**values: float) -> FloatArray:
    result = neutral()
    for name, value in values.items():
        result[INDEX[name]] = value
    return result


def at(values: FloatArray, *names: str) -> list[float]:
    return [round(float(values[INDEX[name]]), 4) for name in names]


ONE = face(yaw=0.7, AU12=0.4, AU12_side=0.2, AU01=0.5, AU45=0.1)
TWO = face(yaw=0.3, AU12=0.8, AU01=0.1, AU45=0.9)
OWN = face(yaw=0.6, AU12=0.3, AU25=0.2)
DEFAULT = ControlState.default(2)


def mixed(state: ControlState, **inputs: FloatArray) -> FloatArray:
    return mix(state, Inputs(drivers=(ONE, TWO), photo=OWN, **inputs))  # type: ignore[arg-type]


def test_the_default_is_the_first_driver_bit_by_bit() -> None:
    random = in_range(np.random.default_rng(1).normal(0.3, 0.5, SIZE).astype(np.float32))
    assert np.array_equal(mix(DEFAULT, Inputs(drivers=(random, TWO))), random)
    assert np.array_equal(Mixer().update(DEFAULT, [random, TWO], OWN, 0.0), random)


def test_mouth_from_one_eyes_from_another_pose_from_the_photo() -> None:
    state = DEFAULT.with_channels("eyes", source=source.driver(2)).with_channels("pose", source=source.photo)
    assert at(mixed(state), "yaw", "AU12", "AU12_side", "AU45", "AU01") == [0.6, 0.4, 0.2, 0.9, 0.5]


def test_gain_and_offset_count_from_neutral_and_limits_hold() -> None:
    state = DEFAULT.with_channels("yaw", gain=0.5).with_channels("AU12", gain=1.5, offset=0.1)
    assert at(mixed(state), "yaw", "AU12", "AU12_side") == [0.6, 0.7, 0.3]
    limited = state.with_channels("AU12", high=0.5).with_channels("AU01", low=0.6)
    assert at(mixed(limited), "AU12", "AU01") == [0.5, 0.6]
    assert at(mixed(DEFAULT.with_channels("AU12", gain=9.0)), "AU12") == [1.0]


def test_values_neutral_and_tracks() -> None:
    state = DEFAULT.with_channels("AU12", source=source.value(0.8)).with_channels(
        "brows", source=source.neutral
    )
    state = state.with_channels("AU45", source=source.track("wink"))
    assert at(mixed(state), "AU12", "AU12_side", "AU01") == [0.8, 0.0, 0.0]
    played = mix(state, Inputs(drivers=(ONE, TWO), photo=OWN, tracks={"wink": face(AU45=0.35)}))
    assert at(played, "AU45") == [0.35]
    assert at(mixed(state), "AU45") == at(OWN, "AU45"), "a track that is not there is the photo's own"


def test_one_side_from_another_driver() -> None:
    """The first driver's sides are .5 and .3, the second's .8 and .8."""
    left = DEFAULT.with_channels("left mouth", source=source.driver(2))
    assert at(mixed(left), "AU12", "AU12_side") == [0.55, 0.5]
    both = left.with_channels("right AU12", source=source.value(0.2))
    assert at(mixed(both), "AU12", "AU12_side") == [0.5, 0.6]
    assert at(mixed(left.with_channels("left AU12", gain=0.5)), "AU12", "AU12_side") == [0.35, 0.1]


def test_locked_is_what_was_shown_and_at_first_the_photo() -> None:
    state = DEFAULT.with_channels("pose", locked=True)
    assert at(mixed(state), "yaw") == [0.6]
    assert at(mixed(state, shown=face(yaw=0.1)), "yaw") == [0.1]


def test_the_eyes_look_into_the_camera_from_the_pose_that_is_shown() -> None:
    state = DEFAULT.with_channels("gaze", source=source.oscillator("camera"))
    turned_rad = (0.7 - 0.5) * 1.4
    assert at(mixed(state), "gaze_yaw") == [round(-turned_rad / 0.6, 4)]
    still = state.with_channels("pose", source=source.neutral)
    assert at(mixed(still), "gaze_yaw") == [0.0]


class Run:
    """A mixer on a clock moved by hand."""

    def __init__(self, state: ControlState = DEFAULT) -> None:
        self.mixer, self.state, self.now_s = Mixer(), state, 10.0

    def step(self, *drivers: FloatArray | None, photo: FloatArray = OWN) -> FloatArray:
        self.now_s += STEP_S
        return self.mixer.update(self.state, drivers, photo, self.now_s)

    def steps(self, count: int, *drivers: FloatArray | None) -> Sequence[FloatArray]:
        return [self.step(*drivers) for _ in range(count)]


def test_a_change_fades_and_leaves_the_others_alone() -> None:
    run = Run()
    run.steps(3, ONE, TWO)
    run.state = DEFAULT.with_channels("mouth", source=source.driver(2))
    shown = run.steps(6, ONE, TWO)
    smiles = [float(values[INDEX["AU12"]]) for values in shown]
    steps = np.diff([0.4, *smiles])
    assert steps.max() == pytest.approx(0.4 * STEP_S / FADE_S, abs=1e-3), "even steps, no jump"
    assert smiles[5] == pytest.approx(0.8, abs=1e-6)
    assert all(at(values, "yaw", "AU01") == [0.7, 0.5] for values in shown)


def test_what_moves_goes_on_moving_while_another_changes() -> None:
    run = Run()
    run.step(face(AU12=0.0), TWO)
    for i in range(1, 6):
        run.state = run.state.with_channels("AU01", gain=1 + i / 10)  # a slider that is dragged
        assert at(run.step(face(AU12=i / 10), TWO), "AU12") == [i / 10]


def test_nothing_jumps_when_locks_come_and_go() -> None:
    run = Run()
    run.steps(2, ONE, TWO)
    run.state = DEFAULT.with_channels("pose", locked=True)
    assert at(run.steps(8, TWO, TWO)[-1], "yaw", "AU12") == [0.7, 0.8]
    run.state = run.state.with_channels("AU12", gain=1.1)  # another change; the lock stays
    assert at(run.steps(8, TWO, TWO)[-1], "yaw") == [0.7]
    run.state = DEFAULT
    yaws = [float(values[INDEX["yaw"]]) for values in run.steps(8, TWO, TWO)]
    assert yaws[0] > 0.6 and yaws[-1] == pytest.approx(0.3)


def test_a_driver_that_went_away_holds_and_eases_to_the_photo_and_the_other_goes_on() -> None:
    run = Run(DEFAULT.with_channels("mouth", source=source.driver(2)))
    run.steps(3, ONE, TWO)
    held = run.steps(5, ONE, None)
    assert all(at(values, "AU12", "yaw") == [0.8, 0.7] for values in held)
    eased = run.steps(150, ONE, None)
    assert max(np.abs(np.diff([values[INDEX["AU12"]] for values in eased]))) < 0.08
    assert at(eased[-1], "AU12", "AU25", "yaw") == [0.3, 0.2, 0.7]
    back = run.steps(10, ONE, TWO)
    assert at(back[0], "AU12") < [0.5] and at(back[-1], "AU12") == [0.8]


def test_a_driver_that_is_not_finite_counts_as_not_there() -> None:
    run = Run()
    run.step(ONE, TWO)
    broken = ONE.copy()
    broken[5] = np.nan
    assert np.array_equal(run.step(broken, TWO), ONE)
    assert run.mixer.heard[0] is None


def test_the_mirror_turns_drivers_and_not_the_photo() -> None:
    run = Run(ControlState.default(2, mirrored=frozenset({1})).with_channels("AU12", source=source.photo))
    shown = run.step(ONE, TWO, photo=face(AU12=0.3, AU12_side=0.1))
    assert at(shown, "yaw", "AU12", "AU12_side") == [0.3, 0.3, 0.1]
    heard, other = run.mixer.heard
    assert heard is not None and np.array_equal(heard, mirror(ONE))
    assert other is not None and np.array_equal(other, TWO), "each driver has a mirror of its own"


def test_signs_of_life_while_a_driver_is_away_or_nobody_drives() -> None:
    away = Run(ControlState.default(1, idle=True))
    assert max(float(v[INDEX["AU45"]]) for v in away.steps(300, face())) == 0.0
    assert max(float(v[INDEX["AU45"]]) for v in away.steps(400, None)) > 0.9
    nobody = Run(ControlState.default(0).with_channels("all", source=source.oscillator("idle")))
    shown = nobody.steps(300)
    assert max(float(v[INDEX["AU45"]]) for v in shown) > 0.9
    assert at(shown[-1], "AU12") == [0.3], "the photo's own stays"


def test_own_smoothing_is_a_time_constant() -> None:
    run = Run(DEFAULT.with_channels("yaw", smoothing_s=0.2))
    run.step(face(yaw=0.5), TWO)
    shown = run.steps(6, face(yaw=0.7), TWO)
    assert at(shown[-1], "yaw") == [round(0.7 - 0.2 * float(np.exp(-6 * STEP_S / 0.2)), 4)]
    assert at(run.steps(90, face(yaw=0.7), TWO)[-1], "yaw") == [0.7]


def test_a_track_plays_from_when_it_is_first_asked_to_its_end() -> None:
    track = AttributeTrack(
        times_s=np.array([0.0, 0.1, 0.2]),
        values=np.stack([face(AU12=0.1), face(AU12=0.2), face(AU12=0.3)]),
        present=np.ones(3, dtype=bool),
    )
    played = Played(track)
    said = [played(50 + i * 0.05) for i in range(7)]
    smiles = [None if values is None else at(values, "AU12")[0] for values in said]
    assert smiles == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, None]


def test_every_attribute_can_be_taken_from_any_driver() -> None:
    rows = [
        in_range(np.random.default_rng(seed).normal(0, 0.4, SIZE).astype(np.float32)) for seed in range(3)
    ]
    state = ControlState.default(3)
    for i, name in enumerate(ALL_NAMES):  # AUxx_side comes after AUxx
        state = state.with_channels(name, source=source.driver(1 + i % 3))
    expected = [rows[i % 3][i] for i in range(SIZE)]
    np.testing.assert_array_equal(mix(state, Inputs(drivers=rows)), np.array(expected))
