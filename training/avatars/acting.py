"""Acting for an avatar that shows everything once: one thing after the other, or all of it mixed.

A generator can tell two attributes apart only if it has seen them apart. In nature an open jaw parts the lips, too. Here
the jaw also moves alone, and so does everything else that is swept when a model is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icface.arrays import Array
from training.avatars.render import Performance

REST_S = 0.6
"""A clip begins at rest, so that a tracker can learn the person's neutral face."""

# Largest turn in degrees: pitch, yaw, roll.
TURNS_DEG = {"pitch_rad": 16.0, "yaw_rad": 30.0, "roll_rad": 25.0}


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A part of the face that moves."""

    morphs: dict[str, float]
    """Morph targets and their weights at the whole movement."""
    chance: float
    """How often it is chosen where movements are mixed."""
    length_s: float
    """How long it takes there."""
    share: float = 0.0
    """Share of the frames in clips where one thing moves after the other; 0: it is not shown there."""


def _both(weight: float, *names: str) -> dict[str, float]:
    return {side + name: weight for name in names for side in "RL"}


MOVEMENTS: dict[str, Movement] = {
    "brows up": Movement(
        morphs=_both(0.95, "browUp") | {"RRbrowUp": 0.95, "LLbrowUp": 0.95},
        chance=1.5, length_s=0.9, share=2,
    ),
    "brows down": Movement(
        morphs=_both(0.95, "browDown") | {"RRbrowDown": 0.95, "LLbrowDown": 0.95},
        chance=1.2, length_s=0.9, share=1,
    ),
    "smile": Movement(morphs=_both(1.1, "smileClose"), chance=1.6, length_s=1.1, share=3),
    "open smile": Movement(morphs=_both(0.8, "smileOpen"), chance=0.5, length_s=1.1),
    # Beyond 1 the lids are shut as a tracker sees it, too.
    "blink": Movement(morphs=_both(1.2, "eyeClose"), chance=2.5, length_s=0.55, share=4),
    "wide eyes": Movement(morphs=_both(0.9, "eyeOpen"), chance=0.5, length_s=0.8),
    "squint": Movement(morphs=_both(0.9, "squint"), chance=0.5, length_s=0.8),
    "mouth open": Movement(morphs={"MouthOpen": 1.0}, chance=1.8, length_s=0.8, share=2),
    # AU26 without AU25: the jaw falls, the lips stay closed. AU25 without AU26: the lips part, and the jaw holds against
    # it. The other targets keep other Action Units at rest; else a generator would learn to move by those.
    "jaw": Movement(
        morphs={"MouthOpen": 0.85, "Chew": 1.6} | _both(-0.5, "lipDown", "lipUp") | _both(0.5, "smileClose"),
        chance=1.2, length_s=0.8, share=4,
    ),
    "lips": Movement(
        morphs=_both(1.3, "lipDown") | _both(-0.15, "smileClose") | {"MouthOpen": -0.1},
        chance=1.5, length_s=0.7, share=4,
    ),
    "snarl": Movement(morphs=_both(0.8, "lipDown", "lipUp"), chance=0.4, length_s=0.7),
    "disgust": Movement(morphs=_both(0.8, "disgust"), chance=0.5, length_s=0.9),
    "sad mouth": Movement(morphs=_both(0.9, "mouthSad"), chance=0.5, length_s=0.9),
    "rounded": Movement(morphs={"UH_OO": 0.7}, chance=0.5, length_s=0.6),
}  # fmt: skip

TURN_SHARES = {"yaw_rad": 4.0, "pitch_rad": 3.0, "roll_rad": 4.0}
"""The same as `Movement.share`, for turns of the head."""


def single_performances(rng: np.random.Generator, frames: int, fps: float) -> list[Performance]:
    """A clip in which one thing moves after the other, each from rest to its whole range and back.

    `rng` decides the order and how far each frame has come. `fps` counts for the rest at the beginning only: what follows
    is spread over the frames.
    """
    acts = TURN_SHARES | {name: m.share for name, m in MOVEMENTS.items() if m.share > 0}
    names = rng.permutation(list(acts)).tolist()
    rest = min(frames, round(REST_S * fps))
    ends = np.cumsum([acts[name] for name in names])
    ends = np.round(ends / ends[-1] * (frames - rest)).astype(int)
    result = [Performance()] * rest
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        for place in range(end - start):
            phase = (place + rng.uniform(0.2, 0.8)) / (end - start)
            if name in TURN_SHARES:
                angle = np.radians(TURNS_DEG[name]) * np.sin(2 * np.pi * phase)
                result.append(Performance(morphs={}, **{name: float(angle)}))
            else:
                amount = float(np.sin(np.pi * phase))
                morphs = {target: weight * amount for target, weight in MOVEMENTS[name].morphs.items()}
                result.append(Performance(morphs=morphs))
    return result


def mixed_performances(rng: np.random.Generator, frames: int, fps: float) -> list[Performance]:
    """A clip in which turns of the head and parts of the face each have their own clock; `rng` decides everything."""
    length_s, times_s = frames / fps, np.arange(frames) / fps
    movements = list(MOVEMENTS.values())
    chances = np.array([movement.chance for movement in movements])
    morphs: dict[str, Array] = {}
    for _ in range(max(2, round(2.4 * length_s))):
        movement = movements[int(rng.choice(len(movements), p=chances / chances.sum()))]
        span_s = movement.length_s * rng.uniform(0.8, 1.5)
        start_s = rng.uniform(REST_S, max(REST_S, length_s - 0.3))
        # To the whole movement and back, with a plateau over the middle third.
        x = (times_s - start_s) / span_s
        shown = rng.uniform(0.35, 1.0) * _smooth(np.clip(np.minimum(3 * x, 3 * (1 - x)), 0, 1))
        for target, weight in movement.morphs.items():
            # Two movements of one target do not add up; the larger one shows.
            other = morphs.get(target, np.zeros(frames))
            morphs[target] = np.where(np.abs(shown * weight) > np.abs(other), shown * weight, other)
    # Each angle holds a value for about a second and moves on.
    keys_s = np.concatenate([[0.0, REST_S], REST_S + np.cumsum(rng.uniform(0.45, 0.9, size=frames))])
    angles = {}
    for name, limit in TURNS_DEG.items():
        values = np.concatenate([[0.0, 0.0], np.radians(limit) * rng.uniform(-1, 1, size=frames)])
        angles[name] = eased(times_s, keys_s, values)
    return [
        Performance(
            morphs={target: float(values[index]) for target, values in morphs.items()},
            **{name: float(values[index]) for name, values in angles.items()},
        )
        for index in range(frames)
    ]


def eased(times_s: Array | float, keys_s: Array, values: Array) -> Array:
    """Values at any times, which go smoothly from key to key; before the first and after the last they stand still."""
    after = np.clip(np.searchsorted(keys_s, times_s, side="right"), 1, len(keys_s) - 1)
    x = np.clip((times_s - keys_s[after - 1]) / (keys_s[after] - keys_s[after - 1]), 0, 1)
    return np.asarray(values[after - 1] + (values[after] - values[after - 1]) * _smooth(x))


def _smooth(x: Array) -> Array:
    return x * x * (3 - 2 * x)
