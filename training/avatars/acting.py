"""Acting for an avatar that shows everything once: turns of the head and parts of the face, each on its own clock."""

from __future__ import annotations

import numpy as np

from training.avatars.render import Performance

REST_S = 0.6
"""A clip begins at rest, as a tracker that has to learn the person's neutral face would have it."""

# Largest turn in degrees: pitch, yaw, roll.
TURNS_DEG = {"pitch_rad": 16.0, "yaw_rad": 27.0, "roll_rad": 13.0}


def _both(*names: str) -> tuple[str, ...]:
    return tuple(side + name for name in names for side in "RL")


# Movement -> its morph targets, their weight at the whole movement, how often it is chosen, how long it takes (s).
MOVEMENTS: dict[str, tuple[tuple[str, ...], float, float, float]] = {
    "brows up": ((*_both("browUp"), "RRbrowUp", "LLbrowUp"), 0.95, 1.5, 0.9),
    "brows down": ((*_both("browDown"), "RRbrowDown", "LLbrowDown"), 0.95, 1.2, 0.9),
    "smile": (_both("smileClose"), 0.95, 1.6, 1.1),
    "open smile": (_both("smileOpen"), 0.8, 0.5, 1.1),
    "blink": (_both("eyeClose"), 1.0, 2.5, 0.55),
    "wide eyes": (_both("eyeOpen"), 0.9, 0.5, 0.8),
    "squint": (_both("squint"), 0.9, 0.5, 0.8),
    "jaw": (("MouthOpen",), 0.9, 2.5, 0.8),
    "lips": (_both("lipDown", "lipUp"), 0.8, 1.0, 0.7),
    "disgust": (_both("disgust"), 0.8, 0.5, 0.9),
    "sad mouth": (_both("mouthSad"), 0.9, 0.5, 0.9),
    "rounded": (("UH_OO",), 0.7, 0.5, 0.6),
}


def _bump(time_s: float, start_s: float, length_s: float) -> float:
    """0 to 1 and back, smooth, with a plateau over the middle third."""
    x = (time_s - start_s) / length_s
    if not 0.0 < x < 1.0:
        return 0.0
    rise = min(1.0, 3 * x, 3 * (1 - x))
    return rise * rise * (3 - 2 * rise)


def random_performances(rng: np.random.Generator, frames: int, fps: float) -> list[Performance]:
    """A clip's acting.

    Args:
        rng: decides everything.
        frames: how many.
        fps: frames a second.
    """
    length_s = frames / fps
    names = list(MOVEMENTS)
    chances = np.array([MOVEMENTS[name][2] for name in names])
    events = []
    for _ in range(max(2, round(2.4 * length_s))):
        name = names[int(rng.choice(len(names), p=chances / chances.sum()))]
        span_s = MOVEMENTS[name][3] * rng.uniform(0.8, 1.5)
        events.append((name, rng.uniform(REST_S, length_s - 0.3), span_s, rng.uniform(0.35, 1.0)))
    # Each angle holds a value for about a second and moves on.
    keys_s = np.concatenate([[0.0, REST_S], REST_S + np.cumsum(rng.uniform(0.45, 0.9, size=frames))])
    angles = {
        name: np.concatenate([[0.0, 0.0], np.radians(limit) * rng.uniform(-1, 1, size=frames)])
        for name, limit in TURNS_DEG.items()
    }
    result = []
    for index in range(frames):
        time_s = index / fps
        morphs: dict[str, float] = {}
        for name, start_s, span_s, amount in events:
            targets, weight, _, _ = MOVEMENTS[name]
            value = amount * weight * _bump(time_s, start_s, span_s)
            for target in targets:
                morphs[target] = max(morphs.get(target, 0.0), value)
        result.append(Performance(morphs=morphs, **_angles(keys_s, angles, time_s)))
    return result


def _angles(keys_s: np.ndarray, values: dict[str, np.ndarray], time_s: float) -> dict[str, float]:
    after = int(np.searchsorted(keys_s, time_s, side="right"))
    x = (time_s - keys_s[after - 1]) / (keys_s[after] - keys_s[after - 1])
    blend = x * x * (3 - 2 * x)
    return {name: float(v[after - 1] + (v[after] - v[after - 1]) * blend) for name, v in values.items()}
