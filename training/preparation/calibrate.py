"""From measurements of a clip to attributes. The whole video of a person tells how their neutral face looks.

It works as for a live driver (docs/tracking.md), but the future is known: quantiles are over all calm frames without
expression, not running ones. There is no range gain: the same movement is the same number for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import AU_NAMES, FloatArray, pose_to_unit
from icface.face.action_units import Baseline, measure_action_units, population
from icface.face.calibration import calm_scores, little_smile
from icface.face.features import INDEX as F
from icface.face.features import measure_features
from icface.face.landmarks import Landmarks
from icface.face.pose import head_pose
from icface.face.tracker import DEAD_ZONE

PRIOR_FRAMES: Final = 5
"""So many calm frames weigh as much as the prior. Persons differ far more than the calm frames of one person."""
TURN_RAD: Final = 0.25
SPEED_RAD_S: Final = 1.2
OPEN_EYES: Final = 0.655
"""Eye aspect divided by that of open eyes; above this AU45 is below .3."""
CALM_LEVEL: Final = 0.35
"""A frame is not neutral where an Action Unit exceeds the person's lower quartile by this."""
PITCH_REACH_RAD: Final = 0.20
ROUNDS: Final = 3
_QUANTILE: Final = {"ear_right": 0.75, "ear_left": 0.75, "lip_gap": 0.10}
_EARS: Final = [F["ear_right"], F["ear_left"]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the detector saw of one face in n frames."""

    features: Array
    """(n, 22)"""
    blendshapes: NDArray[np.float32]
    """(n, 52)"""
    pose_rad: Array
    """(n, 3) pitch, yaw, roll"""
    times_s: Array
    """(n,)"""

    @classmethod
    def of(cls, faces: Sequence[Landmarks], times_s: Array) -> Measured:
        """Measure faces seen at times (n,)."""
        poses = [head_pose(face) for face in faces]
        return cls(
            features=np.array([measure_features(face) for face in faces]),
            blendshapes=np.array([face.blendshapes for face in faces]),
            pose_rad=np.array([(pose.pitch_rad, pose.yaw_rad, pose.roll_rad) for pose in poses]),
            times_s=times_s,
        )

    def __len__(self) -> int:
        return len(self.features)

    def taken(self, mask: NDArray[np.bool_]) -> Measured:
        """Only some of the frames."""
        return Measured(**{name: values[mask] for name, values in vars(self).items()})


def learn_baseline(clips: Sequence[Measured], prior: Baseline) -> Baseline:
    """How the person of some clips looks without expression; the prior is believed where there are few calm frames."""
    calm = [vars(clip.taken(_is_calm(clip))) for clip in clips]
    seen = Measured(**{name: np.concatenate([clip[name] for clip in calm]) for name in calm[0]})
    if not len(seen):
        return prior
    baseline = _estimate(seen, prior)
    for _ in range(ROUNDS):
        neutral = seen.taken(_without_expression(seen, baseline))
        if not len(neutral):
            break
        baseline = _estimate(neutral, prior)
    return baseline


def attributes_of(clip: Measured, baseline: Baseline) -> FloatArray:
    """(n, 20) full-shape."""
    units = np.clip((_action_units(clip, baseline) - DEAD_ZONE) / (1 - DEAD_ZONE), 0.0, 1.0)
    pose = pose_to_unit(clip.pose_rad - [baseline.pitch_rad, 0.0, 0.0])
    return np.concatenate([pose, units], axis=1).astype(np.float32)


def _is_calm(clip: Measured) -> NDArray[np.bool_]:
    """(n,) frames in which the head looks ahead and moves little."""
    ahead = np.abs(clip.pose_rad[:, 1:]).max(axis=1) < TURN_RAD
    moved = np.abs(np.diff(clip.pose_rad[:, :2], axis=0)).max(axis=1, initial=0.0)
    elapsed_s = np.diff(clip.times_s)
    # A new piece of the clip starts where time stands or runs back.
    slow = np.concatenate([[True], (moved < SPEED_RAD_S * elapsed_s) | (elapsed_s <= 0)])
    return np.asarray(ahead & slow)


def _estimate(calm: Measured, prior: Baseline) -> Baseline:
    """Quantiles over calm frames; few of them leave the estimate near the prior."""
    trust = len(calm) / (len(calm) + PRIOR_FRAMES)
    values = np.median(calm.features, axis=0)
    for name, quantile in _QUANTILE.items():
        values[F[name]] = np.quantile(calm.features[:, F[name]], quantile)
    # A person who smiles all the time must not end up with a laughing neutral.
    common = population()
    smile = prior.features + trust * (values - prior.features) - common.features
    lowest = calm_scores(calm.blendshapes.astype(np.float64))
    pitch_rad = np.clip(
        np.median(calm.pose_rad[:, 0]), common.pitch_rad - PITCH_REACH_RAD, common.pitch_rad + PITCH_REACH_RAD
    )
    return Baseline(
        features=common.features + little_smile(smile),
        blendshapes=prior.blendshapes + trust * (lowest - prior.blendshapes),
        pitch_rad=float(prior.pitch_rad + trust * (pitch_rad - prior.pitch_rad)),
    )


def _without_expression(seen: Measured, baseline: Baseline) -> NDArray[np.bool_]:
    """(n,) frames with open eyes and hardly any Action Unit above what the face often shows.

    The bound is relative. With a prior that is far off, as for high brows, no frame of a face at rest is near 0.
    """
    open_eyes = (seen.features[:, _EARS] / np.maximum(baseline.features[_EARS], 1e-3)).min(axis=1) > OPEN_EYES
    units = _action_units(seen, baseline)
    excess = units - np.quantile(units, 0.25, axis=0)
    return np.asarray(open_eyes & (excess.max(axis=1) <= CALM_LEVEL))


def _action_units(clip: Measured, baseline: Baseline) -> FloatArray:
    """(n, 17)"""
    rows = zip(clip.features, clip.blendshapes, clip.pose_rad[:, 1], strict=True)
    units = [measure_action_units(values, one, baseline, yaw_rad=float(yaw)) for values, one, yaw in rows]
    return np.array(units, dtype=np.float32).reshape(-1, len(AU_NAMES))
