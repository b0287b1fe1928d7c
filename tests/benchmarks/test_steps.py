"""The schedule, and the step detector on made-up outputs: grey pictures whose level is known at every moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from benchmarks.steps import GOLDEN, Player, Recorder, Step, find_steps, percentile, schedule

HOLD_S = 2.0
NO_CHANGE, NOT_STILL, NO_FRAME = (
    "the picture did not change",
    "the picture was not still",
    "no frame came",
)


def found(
    levels: Callable[[float], float],
    *,
    steps: int = 2,
    times_s: Sequence[float] | None = None,
    noise: np.random.Generator | None = None,
) -> list[Step]:
    """Steps at 2 s, 4 s ..., seen at ten frames a second; `levels` is the grey level by time."""
    bounds_s = [HOLD_S * k for k in range(steps + 2)]
    if times_s is None:
        times_s = [i / 10 for i in range(1, round(bounds_s[-1] * 10) + 1)]
    pictures = [np.full((8, 8), levels(time_s), dtype=np.float32) for time_s in times_s]
    if noise is not None:
        pictures = [picture + noise.normal(0, 2, picture.shape).astype(np.float32) for picture in pictures]
    return find_steps(bounds_s, times_s, pictures)


def follows(response: Sequence[float], shown: Sequence[bool] | None = None) -> Callable[[float], float]:
    """An output that goes from 0 to 100 and back as steps come; a tenth of a second for each value of `response`."""

    def level(time_s: float) -> float:
        hold = min(int((time_s - 1e-6) / HOLD_S), 99)
        into = round((time_s - hold * HOLD_S) * 10) - 1
        at = response[min(into, len(response) - 1)]

        def of(number: int) -> float:
            return 100.0 if (shown[number] if shown is not None else number % 2 == 1) else 0.0

        return of(hold) if hold == 0 else of(hold - 1) + (of(hold) - of(hold - 1)) * at

    return level


def as_tenths(step: Step) -> tuple[int, int, int]:
    assert not step.missed
    return round(step.onset_s * 10), round(step.halfway_s * 10), round(step.arrived_s * 10)


@pytest.mark.parametrize(
    ("response", "tenths"),
    [
        ([0, 1], (2, 2, 2)),
        ([0, 0.1, 0.4, 0.6, 0.8, 1], (3, 4, 6)),  # a smoothing ramp: .1 is not clear yet, .8 not there yet
        ([0.6, 0.9, 1], (1, 1, 2)),
        ([0, 1.3, 0.9, 1], (2, 2, 3)),  # too far at first
        ([0, 1, 0, 0.2, 1], (4, 5, 5)),  # one odd frame is not the step
    ],
)
def test_when_a_step_is_seen(response: list[float], tenths: tuple[int, int, int]) -> None:
    first, second = found(follows(response))
    assert as_tenths(first) == as_tenths(second) == tenths


def test_noise_does_not_matter(rng: np.random.Generator) -> None:
    for step in found(follows([0, 0, 0.4, 0.7, 1]), steps=5, noise=rng):
        assert as_tenths(step) == (3, 4, 5)


def test_a_drift_over_the_run_does_not_matter() -> None:
    moves = follows([0, 0, 1])
    assert {as_tenths(step) for step in found(lambda t: moves(t) + 3 * t, steps=4)} == {(3, 3, 3)}


def test_frames_that_were_dropped_make_it_later() -> None:
    times_s = [i / 10 for i in range(1, 61) if not 21 <= i <= 24]
    first, second = found(follows([0, 1]), times_s=times_s)
    assert as_tenths(first) == (5, 5, 5)
    assert as_tenths(second) == (2, 2, 2)


def test_a_step_that_never_showed_is_missed_and_so_is_the_way_back() -> None:
    """Hold 3 looks like hold 2: neither step 3 nor step 4 changes anything."""
    shown = [False, True, False, False, False, True, False]
    steps = found(follows([0, 0, 1], shown), steps=6)
    assert [step.missed for step in steps] == ["", "", NO_CHANGE, NO_CHANGE, "", ""]
    assert all(np.isnan(step.onset_s) for step in steps if step.missed)


def test_a_step_that_showed_in_part_is_missed() -> None:
    def half(time_s: float) -> float:
        return min(follows([0, 1])(time_s), 40.0) if 6 < time_s <= 8 else follows([0, 1])(time_s)

    assert [step.missed for step in found(half, steps=5)] == ["", "", NO_CHANGE, NO_CHANGE, ""]


def test_a_picture_that_is_not_still_is_not_timed() -> None:
    """Flicker in the last quarter of hold 1, which is after step 1 and before step 2."""

    def flickers(time_s: float) -> float:
        return follows([0, 1])(time_s) - (60.0 if time_s in (3.7, 3.9) else 0.0)

    assert [step.missed for step in found(flickers, steps=3)] == [NOT_STILL, NOT_STILL, ""]


def test_an_output_later_than_the_hold_is_long_is_not_timed() -> None:
    assert {step.missed for step in found(follows([0] * 17 + [1]), steps=4)} == {NOT_STILL}


def test_an_output_that_ends() -> None:
    times_s = [i / 10 for i in range(1, 51)]
    assert [step.missed for step in found(follows([0, 1]), times_s=times_s)] == ["", NO_FRAME]
    assert [step.missed for step in found(follows([0, 1]), times_s=[])] == [NO_FRAME, NO_FRAME]


def test_noise_alone_is_no_step(rng: np.random.Generator) -> None:
    """Its quarters differ by more than a grey level, by chance, but they tremble more than that."""
    assert {step.missed for step in found(lambda t: 50.0, steps=4, noise=rng)} == {NOT_STILL}
    assert {step.missed for step in found(lambda t: 50.0, steps=4)} == {NO_CHANGE}


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(i) for i in range(20, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 95, 99)] == [10.0, 19.0, 20.0]
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


def test_the_schedule() -> None:
    ticks = schedule(steps=2, fps=10, hold_s=1.0, warm_s=0.5)
    assert ticks == schedule(steps=2, fps=10, hold_s=1.0, warm_s=0.5)
    assert [tick.pose for tick in ticks] == [0] * 5 + [1] * 10 + [0] * 11
    starts_s = [next(tick.due_s for tick in ticks if tick.hold == hold) for hold in range(3)]
    assert starts_s == pytest.approx([0.0, 0.5618, 1.6236], abs=1e-4)


def test_steps_fall_at_every_phase_of_the_camera_and_no_frame_is_late() -> None:
    ticks = schedule(steps=30, fps=30, hold_s=0.8, warm_s=1.0)
    starts = [next(tick.due_s for tick in ticks if tick.hold == hold) * 30 for hold in range(1, 31)]
    phases = np.sort(np.mod(starts, 1))
    # Thirty steps: 1/30 apart would be ideal.
    assert np.diff(phases, append=phases[0] + 1).max() < 0.06
    gaps = np.diff([tick.due_s for tick in ticks]) * 30
    assert gaps.min() >= 1
    assert gaps.max() < 1.0001 + GOLDEN / 19  # the shortest hold has 19 frames
    lengths = np.diff(starts)
    assert lengths.max() - lengths.min() > 5


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_the_player_waits_until_somebody_sees_it_and_notes_when_holds_began() -> None:
    time = Time()
    player = Player(schedule(steps=1, fps=10, hold_s=0.3, warm_s=0.2), 10, time, time.sleep)
    shown = []
    for pose in player:
        shown.append((round(time.now_s - 50, 3), pose))
        if len(shown) == 3:
            player.ready.set()
    # Three frames before it is ready; then two of the warm-up, and three after the step.
    assert shown[:5] == [(0.0, 0), (0.1, 0), (0.2, 0), (0.3, 0), (0.431, 0)]
    assert [pose for _, pose in shown[5:]] == [1, 1, 1]
    assert player.bounds_s == pytest.approx([50.3, 50.5618, 50.9030], abs=1e-4)
    assert player.over.is_set()


def test_the_recorder_keeps_small_grey_pictures(corner_frame: np.ndarray) -> None:
    time = Time()
    recorder = Recorder(time)
    recorder.add(corner_frame)
    recorder.add(np.full_like(corner_frame, 200))
    assert recorder.times_s == [50.0, 50.0]
    assert [picture.shape for picture in recorder.pictures] == [(64, 64)] * 2
    assert recorder.pictures[0][0, 0] == 76  # red: .299 of 255
    assert recorder.pictures[1].mean() == 200
