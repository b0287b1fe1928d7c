"""Learning a driver's neutral face while they drive.

It starts as the population's neutral. The person's own median takes over within a second of calm frames, and running
quantiles follow slowly. Learning stops while an expression is held, because a driver who laughs for a minute must not
get a laughing neutral. "Set neutral" fixes the baseline at once, and it is kept for the next time.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.face.action_units import (
    BLENDSHAPE_NAMES,
    Baseline,
    baseline_from_json,
    baseline_to_json,
    measure_action_units,
    population,
    population_spread,
    smile_in_features,
)
from icface.face.features import INDEX as F
from icface.face.pose import Pose
from icface.files import write_file

logger = logging.getLogger(__name__)


PRIOR_FRAMES: Final = 15
SET_NEUTRAL_FRAMES: Final = 20
FIRST_SHARE: Final = 0.9
LATE_S: Final = 2.0
LATE_FACTOR: Final = 6
"""A first calm moment after LATE_S is taken over this many times more slowly, because a jump would be seen."""
PITCH_REACH_RAD: Final = 0.20
"""How far pitch may be from the population's, or from what was set. Persons differ by .13, and laptops look up."""
PITCH_DRIFT_RAD_S: Final = 0.002
FOLLOW_S: Final = 25.0
HELD_LEVEL: Final = 0.35
HELD_S: Final = 1.0
GATE_TURN_RAD: Final = 0.25
GATE_SPEED: Final = 1.2
"""Radians a second of the head."""
GATE_CLOSURE: Final = 0.30
PRIOR_REACH: Final = 2.0
"""How many standard deviations the first frames may move the baseline from the population's."""
SMILE_REACH: Final = 0.35
"""How much of an AU12 they may move it. Few calm strangers need more; the rest is a smile on the first frames."""

_SMILE: Final = [F[n] for n in ("corner_width", "corner_height", "corner_lift", "corner_depth", "cheek")]
# The scores of calm strangers: smiles, open mouths and closed eyes differ little, brows and pressed lips much.
_STEADY: Final = ("jaw", "eyeBlink", "mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthStretch")
_SCORE_REACH: Final = np.array([0.15 if name.startswith(_STEADY) else 0.5 for name in BLENDSHAPE_NAMES])
_QUANTILE: Final = np.full(len(F), 0.5)
_QUANTILE[[F["ear_right"], F["ear_left"]]] = 0.75
_QUANTILE[F["lip_gap"]] = 0.10
_BLENDSHAPE_QUANTILE: Final = 0.25


def little_smile(shift: Array) -> Array:
    """A shift of (22,) features from the population's neutral without the part that can only be a smile."""
    smile = smile_in_features(shift)
    if smile <= SMILE_REACH:
        return shift
    result = shift.copy()
    result[_SMILE] *= SMILE_REACH / smile
    return result


def calm_scores(scores: Array) -> Array:
    """(52,) blendshapes without expression from those of (n, 52) frames, as far as a calm stranger's may be."""
    lowest = np.quantile(scores, _BLENDSHAPE_QUANTILE, axis=0)
    return np.asarray(np.minimum(lowest, population().blendshapes + _SCORE_REACH))


class Calibration:
    """The running baseline of one driver.

    Args:
        saved: a neutral that was set before. With it only pitch and a slow drift are learned.
    """

    def __init__(self, saved: Baseline | None = None) -> None:
        start = saved or population()
        self._features = start.features.copy()
        self._blendshapes = start.blendshapes.copy()
        self._pitch_rad = start.pitch_rad
        self._home_pitch_rad = start.pitch_rad
        self._fixed = saved is not None
        self._gated: list[Array] = []
        self._gated_blendshapes: list[Array] = []
        self._needed = PRIOR_FRAMES
        self._pitches: list[float] = []
        self._first_s: float | None = None
        self._held_since_s: float | None = None
        self._last_s: float | None = None
        self._last_pose: Pose | None = None
        self._collecting = False
        self._collected: list[tuple[Array, Array, float]] = []

    @property
    def baseline(self) -> Baseline:
        return Baseline(features=self._features, blendshapes=self._blendshapes, pitch_rad=self._pitch_rad)

    def set_neutral(self) -> None:
        """Take the next SET_NEUTRAL_FRAMES as neutral."""
        self._collecting = True
        self._collected.clear()

    def update(
        self, features: Array, blendshapes: NDArray[np.float32], pose: Pose, time_s: float
    ) -> Baseline | None:
        """Learn from one frame.

        Returns:
            The new baseline when a "set neutral" has just been completed, else None.
        """
        scores = blendshapes.astype(np.float64)
        if self._collecting:
            return self._collect(features, scores, pose)
        elapsed_s = 0.0 if self._last_s is None else min(0.2, max(0.0, time_s - self._last_s))
        calm = self._is_calm(pose, elapsed_s)
        self._last_s, self._last_pose = time_s, pose
        if self._first_s is None:
            self._first_s = time_s
        if calm:
            self._learn_pitch(pose.pitch_rad, elapsed_s)
        if not calm or not self._eyes_open(features) or self._is_held(features, blendshapes, pose, time_s):
            return None
        if len(self._gated) < self._prior_frames(time_s) and not self._fixed:
            self._blend_prior(features, scores)
        else:
            self._follow(features, scores, elapsed_s)
        return None

    def _prior_frames(self, time_s: float) -> int:
        """How many frames the change to the own median takes: few at the start, many later on."""
        if not self._gated:
            late = time_s - (self._first_s or 0.0) > LATE_S
            self._needed = PRIOR_FRAMES * (LATE_FACTOR if late else 1)
        return self._needed

    def _learn_pitch(self, pitch_rad: float, elapsed_s: float) -> None:
        """Learn the person's pitch when looking ahead. The first calm frames decide, whatever the expression."""
        prior = self._home_pitch_rad
        low, high = prior - PITCH_REACH_RAD, prior + PITCH_REACH_RAD
        if len(self._pitches) < PRIOR_FRAMES and not self._fixed:
            self._pitches.append(pitch_rad)
            own = len(self._pitches) / PRIOR_FRAMES
            self._pitch_rad = prior + own * (float(np.clip(np.median(self._pitches), low, high)) - prior)
        else:
            drift = PITCH_DRIFT_RAD_S * elapsed_s * (1.0 if pitch_rad > self._pitch_rad else -1.0)
            self._pitch_rad = float(np.clip(self._pitch_rad + drift, low, high))

    def _is_calm(self, pose: Pose, elapsed_s: float) -> bool:
        if max(abs(pose.yaw_rad), abs(pose.roll_rad)) > GATE_TURN_RAD:
            return False
        last = self._last_pose
        if last is None or elapsed_s <= 0:
            return True
        moved = max(abs(pose.yaw_rad - last.yaw_rad), abs(pose.pitch_rad - last.pitch_rad))
        return moved / elapsed_s < GATE_SPEED

    def _eyes_open(self, features: Array) -> bool:
        ratio = min(features[F[eye]] / max(self._features[F[eye]], 1e-3) for eye in ("ear_right", "ear_left"))
        return bool((0.85 - ratio) / 0.65 < GATE_CLOSURE)

    def _is_held(self, features: Array, blendshapes: NDArray[np.float32], pose: Pose, time_s: float) -> bool:
        """Whether an expression has been there for more than HELD_S."""
        action_units = measure_action_units(features, blendshapes, self.baseline, yaw_rad=pose.yaw_rad)
        if float(action_units.max()) <= HELD_LEVEL:
            self._held_since_s = None
            return False
        if self._held_since_s is None or time_s < self._held_since_s:
            self._held_since_s = time_s
        return time_s - self._held_since_s > HELD_S

    def _blend_prior(self, features: Array, scores: Array) -> None:
        """From the population to this person's median over the first calm frames."""
        self._gated.append(features)
        own = len(self._gated) / self._needed
        if self._needed == PRIOR_FRAMES:
            # The first frame counts most: two faces differ more than two calm frames of one face.
            own = FIRST_SHARE + (1 - FIRST_SHARE) * own
        prior = population()
        reach = PRIOR_REACH * population_spread()
        shift = np.clip(np.median(self._gated, axis=0) - prior.features, -reach, reach)
        self._features = prior.features + own * little_smile(shift)
        self._gated_blendshapes.append(scores)
        lowest = calm_scores(np.array(self._gated_blendshapes))
        self._blendshapes = prior.blendshapes + own * (lowest - prior.blendshapes)

    def _follow(self, features: Array, scores: Array, elapsed_s: float) -> None:
        """Stochastic running quantiles: up by q, down by 1 − q, in steps of the feature's spread."""
        rate = elapsed_s / FOLLOW_S
        step = 4 * rate * population_spread()
        self._features += step * (_QUANTILE - (features < self._features))
        below = scores < self._blendshapes
        self._blendshapes += 4 * rate * 0.1 * (_BLENDSHAPE_QUANTILE - below)
        np.clip(self._blendshapes, 0.0, 1.0, out=self._blendshapes)

    def _collect(self, features: Array, scores: Array, pose: Pose) -> Baseline | None:
        self._collected.append((features, scores, pose.pitch_rad))
        if len(self._collected) < SET_NEUTRAL_FRAMES:
            return None
        self._collecting = False
        # Medians, so that a blink among the frames does not count.
        self._features = np.median([item[0] for item in self._collected], axis=0)
        self._blendshapes = np.median([item[1] for item in self._collected], axis=0)
        self._pitch_rad = self._home_pitch_rad = float(np.median([item[2] for item in self._collected]))
        self._fixed = True
        return self.baseline


def save_neutral(path: Path, baseline: Baseline) -> None:
    """Keep a neutral for the next time; a folder that cannot be written is only logged."""
    try:
        write_file(path, json.dumps(baseline_to_json(baseline)))
    except OSError as error:
        logger.warning("the neutral was set but could not be kept in %s: %s", path, error)


def load_neutral(path: Path) -> Baseline | None:
    """A kept neutral; None where there is none or the file is broken (logged)."""
    try:
        raw = json.loads(path.read_text())
        if not isinstance(raw, dict):
            raise ValueError("not a saved neutral")
        return baseline_from_json(raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("ignoring the saved neutral %s: %s", path, error)
        return None
