"""What rendered clips act: every attribute alone over its whole range, then everything mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.avatars.acting import (
    MOVEMENTS,
    REST_S,
    TURN_SHARES,
    TURNS_DEG,
    mixed_performances,
    single_performances,
)
from training.avatars.render import Performance
from training.render_clips import FPS, HELD_OUT, chosen, clip_paths, parser

FRAMES = 42
Act = Callable[[np.random.Generator, int, float], list[Performance]]
ACTED = {name for name, movement in MOVEMENTS.items() if movement.share > 0}


def moving(performance: Performance) -> set[str]:
    """Turns and movements of a moment."""
    turns = {name for name in TURNS_DEG if getattr(performance, name) != 0}
    morphs = set(performance.morphs)
    return turns | {name for name in ACTED if morphs == set(MOVEMENTS[name].morphs)}


def amount(performance: Performance, name: str) -> float:
    """Of a movement, 1 for the whole."""
    target, weight = next(iter(MOVEMENTS[name].morphs.items()))
    return performance.morphs[target] / weight


def test_one_thing_moves_after_the_other() -> None:
    shown = single_performances(np.random.default_rng(1), FRAMES, FPS)
    assert len(shown) == FRAMES
    rest = round(REST_S * FPS)
    assert all(not moving(p) for p in shown[:rest])
    names = [moving(p) for p in shown[rest:]]
    assert all(len(name) == 1 for name in names), "two things at once, or none"
    order = [next(iter(name)) for name in names]
    assert set(order) == ACTED | set(TURN_SHARES)
    # Each once, in one piece.
    assert len([1 for before, name in zip([None, *order], order, strict=False) if name != before]) == len(
        set(order)
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_whole_range_is_shown(seed: int) -> None:
    """In a long clip to the very ends, and in a short one far enough."""
    for frames, least in ((400, 0.98), (FRAMES, 0.5)):
        shown = single_performances(np.random.default_rng(seed), frames, FPS)
        for name in TURN_SHARES:
            angles = np.degrees([getattr(p, name) for p in shown])
            assert least * TURNS_DEG[name] < angles.max() <= TURNS_DEG[name], name
            assert least * TURNS_DEG[name] < -angles.min() <= TURNS_DEG[name], name
        for name in ACTED:
            amounts = [amount(p, name) for p in shown if moving(p) == {name}]
            assert least < max(amounts) <= 1, name


def test_everything_is_mixed() -> None:
    """Turned heads act, and together the angles fill their range."""
    shown = [p for seed in range(20) for p in mixed_performances(np.random.default_rng(seed), FRAMES, FPS)]
    assert len(shown) == 20 * FRAMES
    for name, limit in TURNS_DEG.items():
        angles = np.degrees([getattr(p, name) for p in shown])
        assert angles.max() <= limit + 1e-9
        assert angles.max() - angles.min() > 1.8 * limit, name
    both = [p for p in shown if any(p.morphs.values()) and abs(p.roll_rad) > 0.1 and abs(p.yaw_rad) > 0.1]
    assert len(both) > 0.1 * len(shown)
    for name, movement in MOVEMENTS.items():
        for target, weight in movement.morphs.items():
            share = max(p.morphs.get(target, 0.0) / weight for p in shown)
            assert share > 0.5, (name, target)


@pytest.mark.parametrize("act", [single_performances, mixed_performances])
def test_the_seed_decides(act: Act) -> None:
    first, again, other = (act(np.random.default_rng(seed), 12, FPS) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("frames", [1, 4, 9])
def test_short_clips(frames: int) -> None:
    for act in (single_performances, mixed_performances):
        assert len(act(np.random.default_rng(0), frames, FPS)) == frames


def test_avatars_are_spread_over_all() -> None:
    avatars = [Path(f"{name}.glb") for name in ("f", "b", "a", "X_b", "d", "c", "e", "X_a")]
    assert [p.stem for p in chosen(avatars, "*", None)] == ["X_a", "X_b", "a", "b", "c", "d", "e", "f"]
    assert [p.stem for p in chosen(avatars, "[!X]*", 3)] == ["a", "c", "e"]
    assert [p.stem for p in chosen(avatars, "X_*", 9)] == ["X_a", "X_b"]
    assert chosen(avatars, "nobody", None) == []


def test_held_out_clips_are_another_person() -> None:
    """Laid out so that prepare.py takes the first folder for who it is."""
    clips = clip_paths(Path("out"), "White_F_2", 3, 1)
    assert [clip.parts[1] for clip in clips] == ["White_F_2", "White_F_2", f"{HELD_OUT}White_F_2"]
    assert len({clip.parts[2] for clip in clips}) == 3
    assert parser().parse_args(["--avatars", "a", "--out", "b"]).held_out == 0
