"""Signs of life without a driver: when blinks come, how lids move, and that nothing happens while somebody drives."""

import numpy as np

from icface.attributes import ALL_NAMES, INDEX, FloatArray, neutral
from icface.control.idle import BLINK_GAP_S, BLINK_S, WAIT_S, Idle, IdleStrength

FPS = 100


class Life:
    """What the mixer does for a driver who comes and goes."""

    def __init__(self, seed: int = 0) -> None:
        self._idle, self._strength = Idle(seed), IdleStrength()

    def __call__(self, present: bool, time_s: float) -> FloatArray:
        shown = neutral()
        self._idle.add(shown, self._strength.update(True, present, time_s), time_s)
        return shown


def play(
    seconds: float, present: bool, seed: int = 0, idle: Life | None = None, start_s: float = 0.0
) -> FloatArray:
    idle = idle or Life(seed)
    return np.array([idle(present, start_s + i / FPS) for i in range(round(seconds * FPS))])


def blinks(shown: FloatArray) -> list[tuple[int, int]]:
    """First and last frame of each blink."""
    closed = np.concatenate([[False], shown[:, INDEX["AU45"]] > 0, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(int)))
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


def test_before_the_first_face_it_blinks_at_natural_intervals() -> None:
    found = blinks(play(600, present=False))
    starts = np.array([first for first, _ in found]) / FPS
    gaps = np.diff(starts)
    low, high = BLINK_GAP_S
    assert gaps.min() >= low and gaps.max() <= high + sum(BLINK_S) + 0.05
    assert 3.0 < gaps.mean() < 4.5 and gaps.std() > 0.5  # 13 to 20 a minute, and no clockwork


def test_lids_close_fast_and_open_slowly() -> None:
    shown = play(60, present=False)
    for first, last in blinks(shown)[1:]:
        closure = shown[first : last + 1, INDEX["AU45"]]
        assert closure.max() > 0.99
        shut = np.flatnonzero(closure > 0.99)
        assert shut[0] / FPS < 0.09 and (last - first - shut[-1]) / FPS > 0.14


def test_a_driver_is_left_alone_and_gets_the_face_back_softly() -> None:
    idle = Life()
    driven = play(20, present=True, idle=idle)
    np.testing.assert_array_equal(driven, np.tile(neutral(), (len(driven), 1)))
    alone = play(30, present=False, idle=idle, start_s=20.0)
    np.testing.assert_array_equal(alone[: round(WAIT_S * FPS) - 2], driven[: round(WAIT_S * FPS) - 2])
    assert len(blinks(alone)) >= 4
    back = play(2, present=True, idle=idle, start_s=50.0)
    np.testing.assert_array_equal(back[round(0.35 * FPS) :], driven[: len(back) - round(0.35 * FPS)])
    moved = np.abs(np.diff(np.concatenate([alone, back]), axis=0))
    still = [i for i, name in enumerate(ALL_NAMES) if name != "AU45"]
    assert moved[:, still].max() < 2e-3  # nothing jumps


def test_breath_is_slight_and_in_range() -> None:
    shown = play(120, present=False)
    pitch = shown[:, INDEX["pitch"]] - 0.5
    assert 0.004 < np.ptp(pitch) < 0.03
    assert 0 < np.abs(shown[:, INDEX["place_y"]]).max() < 0.02
    moving = {ALL_NAMES[i] for i in np.flatnonzero(np.ptp(shown, axis=0))}
    assert moving == {"pitch", "yaw", "AU45", "place_y"}


def test_a_seed_gives_the_same_life_again() -> None:
    np.testing.assert_array_equal(play(30, present=False, seed=3), play(30, present=False, seed=3))
    assert (play(30, present=False, seed=3) != play(30, present=False, seed=4)).any()
