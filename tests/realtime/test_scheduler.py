"""Stepping down and up again, on a clock moved by hand."""

from __future__ import annotations

from realtime.scheduler import FULL, HALF_TRACKING, LEVELS, NO_NETWORK, REPEAT, DeadlineScheduler

PERIOD_S = 0.04


class Run:
    """Feeds a scheduler one frame a period."""

    def __init__(self, *, tracker: bool = True, network: bool = False) -> None:
        self.rates: list[bool] = []
        self.dropped: list[bool] = []
        self.scheduler = DeadlineScheduler(
            PERIOD_S, self.rates.append if tracker else None, self.dropped.append if network else None
        )
        self.now_s = 0.0

    def frames(self, seconds: float, load: float) -> list[tuple[float, str]]:
        """Run for a while at a load (part of the period); the changes, as (when, level)."""
        changes = []
        for _ in range(round(seconds / PERIOD_S)):
            self.now_s += PERIOD_S
            if self.scheduler.observe(load * PERIOD_S, self.now_s):
                changes.append((self.now_s, self.scheduler.level))
        return changes


def test_it_gives_up_in_order_and_stops_at_the_last() -> None:
    run = Run()
    assert run.scheduler.level == FULL
    changes = run.frames(30, load=3.0)
    assert [level for _, level in changes] == [HALF_TRACKING, REPEAT]
    assert run.rates == [True, True] and run.scheduler.repeats


def test_each_level_keeps_what_the_ones_before_it_gave_up() -> None:
    run = Run()
    run.frames(1.5, load=1.2)
    assert (run.scheduler.level, run.rates, run.scheduler.repeats) == (HALF_TRACKING, [True], False)


def test_one_slow_frame_changes_nothing() -> None:
    run = Run()
    assert run.frames(5, load=0.5) == []
    assert run.frames(PERIOD_S, load=4.0) == []
    assert run.frames(5, load=0.5) == []


def test_it_recovers_step_by_step_when_there_is_room() -> None:
    run = Run()
    run.frames(30, load=3.0)
    changes = run.frames(60, load=0.3)
    assert [level for _, level in changes] == [HALF_TRACKING, FULL]
    assert run.rates == [True, True, True, False]


def test_between_over_and_room_it_stays() -> None:
    run = Run()
    run.frames(1.5, load=1.2)
    assert run.frames(60, load=0.8) == []


def test_each_failed_trial_doubles_the_wait_for_the_next_up_to_a_bound() -> None:
    run = Run(tracker=False)
    run.frames(1.5, load=1.2)
    waits = []
    for _ in range(6):
        down_s = run.now_s
        while run.scheduler.level == REPEAT:
            run.frames(PERIOD_S, load=0.3)
        waits.append(run.now_s - down_s)
        while run.scheduler.level == FULL:
            run.frames(PERIOD_S, load=1.5)
    # A second to settle, then 4, 8, 16, 32, 60, 60.
    assert [round(wait_s) for wait_s in waits] == [5, 9, 17, 33, 61, 61]


def test_without_a_tracker_its_level_is_left_out() -> None:
    run = Run(tracker=False)
    assert [level for _, level in run.frames(10, load=3.0)] == [REPEAT]
    assert run.rates == []


def test_the_network_is_given_up_before_frames_are_repeated_and_comes_back() -> None:
    run = Run(network=True)
    changes = run.frames(30, load=3.0)
    assert [level for _, level in changes] == [HALF_TRACKING, NO_NETWORK, REPEAT]
    assert run.dropped == [False, True, True] and run.rates == [True, True, True]
    changes = run.frames(60, load=0.3)
    assert [level for _, level in changes] == [NO_NETWORK, HALF_TRACKING, FULL]
    assert run.dropped[3:] == [True, False, False]


def test_a_network_without_a_tracker() -> None:
    run = Run(tracker=False, network=True)
    assert [level for _, level in run.frames(10, load=3.0)] == [NO_NETWORK, REPEAT]
    assert run.dropped == [True, True]


def test_with_repeats_a_frame_has_two_periods() -> None:
    run = Run(tracker=False)
    run.frames(10, load=3.0)
    changes = run.frames(6, load=1.2)
    assert [level for _, level in changes] == [FULL], "1.2 of one period is .6 of two: room to try"


def test_the_order_is_the_documented_one() -> None:
    assert LEVELS == ("full", "half tracker rate", "geometry alone", "repeated frames")
