"""Learning a driver's neutral face while they drive.

It starts as the population's neutral. The person's own median takes over within a second of calm frames, and running
quantiles follow slowly. Learning stops while an expression is held, because a driver who laughs for a minute must not
get a laughing neutral. "Set neutral" fixes the baseline at once, and it is kept for the next time.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np

from icface.arrays import Array
from icface.attributes import FloatArray
from icface.face.action_units import (
    BLENDSHAPE_NAMES,
    Baseline,
    measure_action_units,
    population,
    population_spread,
    smile_in_features,
)
from icface.face.extensions import MEASURES
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
CLOSING_S: Final = 0.1
"""Lips that are closer than they were ever seen are the closed ones, within this."""
STILL_GAP_IOD: Final = 0.004
"""The gap between resting lips varies by less."""
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
_SCORES: Final = len(BLENDSHAPE_NAMES)
_Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
# No feature of a human face comes near 3 IOD.
_LengthIOD = Annotated[float, msgspec.Meta(gt=-3, lt=3)]


def little_smile(shift: Array) -> Array:
    """A shift of (22,) features from the population's neutral without the part that can only be a smile."""
    smile = smile_in_features(shift)
    if smile <= SMILE_REACH:
        return shift
    result = shift.copy()
    result[_SMILE] *= SMILE_REACH / smile
    return result


def calm_scores(scores: Array) -> Array:
    """(52,) blendshapes without expression, from those of (n, 52) frames and within the reach of a calm stranger's."""
    lowest = np.quantile(scores, _BLENDSHAPE_QUANTILE, axis=0)
    return np.asarray(np.minimum(lowest, population().blendshapes + _SCORE_REACH))


class Calibration:
    """The running baseline of one driver.

    Args:
        saved: a neutral that was set before. With it only pitch and a slow drift are learned.
    """

    def __init__(self, saved: Baseline | None = None) -> None:
        self.baseline = saved or population()
        self._home_pitch_rad = self.baseline.pitch_rad
        self._fixed = saved is not None
        self._calm: list[tuple[Array, Array]] = []
        """Features and scores of the first calm frames, which give the person's own median."""
        self._needed = PRIOR_FRAMES
        self._pitches: list[float] = []
        self._first_s = self._last_s = self._held_since_s = math.inf
        self._last_pose = Pose(0.0, 0.0, 0.0)
        self._collected: list[tuple[Array, Array, float]] | None = None
        """The frames of a "set neutral" so far; None where none is wanted."""

    def set_neutral(self) -> None:
        """Take the next SET_NEUTRAL_FRAMES as neutral."""
        self._collected = []

    def update(
        self, features: Array, blendshapes: FloatArray, pose: Pose, time_s: float, *, trusted: bool = True
    ) -> Baseline | None:
        """Learn from one frame. Gives the new baseline when this frame has completed a "set neutral".

        Of a face that is hidden in part, which is not `trusted`, nothing is learned but what "set neutral" asks for.
        """
        scores = blendshapes.astype(np.float64)
        if self._collected is not None:
            self._collected.append((features, scores, pose.pitch_rad))
            return self._fix(self._collected) if len(self._collected) == SET_NEUTRAL_FRAMES else None
        elapsed_s = min(0.2, max(0.0, time_s - self._last_s))
        calm = trusted and self._is_calm(pose, elapsed_s)
        self._last_s, self._last_pose = time_s, pose
        self._first_s = min(self._first_s, time_s)
        if calm:
            self._learn_pitch(pose.pitch_rad, elapsed_s)
            self._learn_gap(features, elapsed_s)
        if not calm or not self._eyes_open(features) or self._is_held(features, blendshapes, pose, time_s):
            return None
        if not self._calm and time_s - self._first_s > LATE_S:
            self._needed = PRIOR_FRAMES * LATE_FACTOR
        if len(self._calm) < self._needed and not self._fixed:
            self._calm.append((features, scores))
            self._blend_prior()
        else:
            self._follow(features, scores, elapsed_s)
        return None

    def _learn_pitch(self, pitch_rad: float, elapsed_s: float) -> None:
        """Learn the pitch of looking ahead. The first calm frames decide, whatever the expression."""
        prior, now = self._home_pitch_rad, self.baseline.pitch_rad
        low, high = prior - PITCH_REACH_RAD, prior + PITCH_REACH_RAD
        if len(self._pitches) < PRIOR_FRAMES and not self._fixed:
            self._pitches.append(pitch_rad)
            own = len(self._pitches) / PRIOR_FRAMES
            now = prior + own * (float(np.clip(np.median(self._pitches), low, high)) - prior)
        else:
            drift = PITCH_DRIFT_RAD_S * elapsed_s * (1.0 if pitch_rad > now else -1.0)
            now = float(np.clip(now + drift, low, high))
        self.baseline = replace(self.baseline, pitch_rad=now)

    def _learn_gap(self, features: Array, elapsed_s: float) -> None:
        """Learn how closed lips look, also from one who is speaking and whose median is of parted ones."""
        closer = features[F["lip_gap"]] - self.baseline.features[F["lip_gap"]]
        if closer < 0 and not self._fixed:
            moved = self.baseline.features.copy()
            moved[F["lip_gap"]] += min(1.0, elapsed_s / CLOSING_S) * closer
            self.baseline = replace(self.baseline, features=moved)

    def _is_calm(self, pose: Pose, elapsed_s: float) -> bool:
        if max(abs(pose.yaw_rad), abs(pose.roll_rad)) > GATE_TURN_RAD:
            return False
        last = self._last_pose
        moved = max(abs(pose.yaw_rad - last.yaw_rad), abs(pose.pitch_rad - last.pitch_rad))
        return elapsed_s == 0 or moved / elapsed_s < GATE_SPEED

    def _eyes_open(self, features: Array) -> bool:
        usual = self.baseline.features
        ratio = min(features[F[eye]] / max(usual[F[eye]], 1e-3) for eye in ("ear_right", "ear_left"))
        return bool((0.85 - ratio) / 0.65 < GATE_CLOSURE)

    def _is_held(self, features: Array, blendshapes: FloatArray, pose: Pose, time_s: float) -> bool:
        """Whether an expression has been there for more than HELD_S."""
        pitch_rad = pose.pitch_rad - self.baseline.pitch_rad
        action_units = measure_action_units(
            features, blendshapes, self.baseline, yaw_rad=pose.yaw_rad, pitch_rad=pitch_rad
        )
        expressive = float(action_units.max()) > HELD_LEVEL
        self._held_since_s = min(self._held_since_s, time_s) if expressive else math.inf
        return time_s - self._held_since_s > HELD_S

    def _blend_prior(self) -> None:
        """From the population to this person's median over the first calm frames."""
        features, scores = (np.array(rows) for rows in zip(*self._calm, strict=True))
        own = len(self._calm) / self._needed
        if self._needed == PRIOR_FRAMES:
            # The first frame counts most: two faces differ more than two calm frames of one face.
            own = FIRST_SHARE + (1 - FIRST_SHARE) * own
        prior = population()
        reach = PRIOR_REACH * population_spread()
        shift = np.clip(np.median(features, axis=0) - prior.features, -reach, reach)
        learned = prior.features + own * little_smile(shift)
        if features[:, F["lip_gap"]].std() > STILL_GAP_IOD:  # lips that speak are no person's closed ones
            learned[F["lip_gap"]] = min(learned[F["lip_gap"]], prior.features[F["lip_gap"]])
        self.baseline = replace(
            self.baseline,
            features=learned,
            blendshapes=prior.blendshapes + own * (calm_scores(scores) - prior.blendshapes),
        )

    def _follow(self, features: Array, scores: Array, elapsed_s: float) -> None:
        """Stochastic running quantiles: up by q, down by 1 − q, in steps of the feature's spread."""
        before, step = self.baseline, 4 * elapsed_s / FOLLOW_S
        moved = before.features + step * population_spread() * (_QUANTILE - (features < before.features))
        risen = before.blendshapes + step * 0.1 * (_BLENDSHAPE_QUANTILE - (scores < before.blendshapes))
        self.baseline = replace(before, features=moved, blendshapes=np.clip(risen, 0.0, 1.0))

    def _fix(self, collected: list[tuple[Array, Array, float]]) -> Baseline:
        """The frames of a "set neutral" become the baseline."""
        # Medians, so that a blink among the frames does not count.
        features, blendshapes, pitch = (np.median(rows, axis=0) for rows in zip(*collected, strict=True))
        self.baseline = Baseline(features, blendshapes, float(pitch))
        self._home_pitch_rad = self.baseline.pitch_rad
        self._fixed, self._collected = True, None
        return self.baseline


class _SavedNeutral(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A neutral on disk. It is checked when it is read."""

    format: Literal[3]
    """Raise it when a feature's meaning changes."""
    features: Annotated[list[_LengthIOD], msgspec.Meta(min_length=len(F), max_length=len(F))]
    blendshapes: Annotated[list[_Score], msgspec.Meta(min_length=_SCORES, max_length=_SCORES)]
    pitch_rad: Annotated[float, msgspec.Meta(gt=-1, lt=1)]
    extensions: (
        Annotated[list[_LengthIOD], msgspec.Meta(min_length=len(MEASURES), max_length=len(MEASURES))] | None
    ) = None
    """Earlier files do not have it."""


class Neutral(NamedTuple):
    """What is kept of a driver's neutral face."""

    baseline: Baseline
    extensions: Array | None
    """(11,) see `extensions.MEASURES`; None where it was not kept."""


def save_neutral(path: Path, baseline: Baseline, extensions: Array) -> None:
    """Keep a neutral and the (11,) rest of the extensions for the next time.

    A folder that cannot be written is only logged.
    """
    saved = _SavedNeutral(
        format=3,
        features=baseline.features.tolist(),
        blendshapes=baseline.blendshapes.tolist(),
        pitch_rad=baseline.pitch_rad,
        extensions=extensions.tolist(),
    )
    try:
        write_file(path, msgspec.json.encode(saved))
    except OSError as error:
        logger.warning("the neutral was set but could not be kept in %s: %s", path, error)


def load_neutral(path: Path) -> Neutral | None:
    """A kept neutral; None where there is none or the file is broken (logged)."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_SavedNeutral)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("ignoring the saved neutral %s: %s", path, error)
        return None
    baseline = Baseline(np.array(saved.features), np.array(saved.blendshapes), saved.pitch_rad)
    return Neutral(baseline, None if saved.extensions is None else np.array(saved.extensions))
