"""Does a model do what it is asked? Each attribute is swept from end to end, and the answer is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, INDEX, POSE_LIMIT_RAD, POSE_NAMES, FloatArray, neutral
from icface.errors import SourceError
from icface.face.viewer import Viewer
from training.evaluation.agreement import slope, spearman
from training.evaluation.animators import Animator

SWEPT: Final = ("yaw", "pitch", "roll", "AU01", "AU12", "AU25", "AU26", "AU45")
STEPS: Final = 9
POSE_REACH: Final = 0.2
"""Part of the range to either side: 16°."""
GOOD: Final = 0.9
"""A sweep is followed when its rank correlation reaches this."""
SLACK: Final = 0.02
"""A monotone sweep may fall back by this from step to step: the measuring has that much noise."""


@dataclass(frozen=True)
class Sweep:
    """One attribute of one source."""

    asked: FloatArray
    """(steps,) attribute values."""
    shown: FloatArray
    """(steps,) measured again, NaN where no face is seen."""

    def spearman(self) -> float:
        """0 where fewer than three steps show a face."""
        return self._fit(spearman)

    def slope(self) -> float:
        """Shown per asked; 0 where fewer than three steps show a face."""
        return self._fit(slope)

    def _fit(self, measure: Callable[[FloatArray, FloatArray], float]) -> float:
        seen = np.isfinite(self.shown)
        return measure(self.asked[seen], self.shown[seen]) if seen.sum() >= 3 else 0.0

    def is_monotone(self) -> bool:
        """Every step shows a face, none falls back by more than SLACK, and the end is above the start by more."""
        # A step without a face is NaN, and no comparison with NaN holds.
        return bool((np.diff(self.shown) >= -SLACK).all() and self.shown[-1] - self.shown[0] > SLACK)


def swept(name: str, steps: int = STEPS) -> FloatArray:
    """Attributes (steps, 20): all neutral but the one, which goes from end to end."""
    values = np.tile(neutral(COUNT), (steps, 1))
    ends = (0.5 - POSE_REACH, 0.5 + POSE_REACH) if name in POSE_NAMES else (0.0, 1.0)
    values[:, INDEX[name]] = np.linspace(*ends, steps, dtype=np.float32)
    return values


def response(animator: Animator, crops: Sequence[Frame], viewer: Viewer) -> dict[str, Any]:
    """Numbers for the report, over source crops; those that the model refuses are counted.

    Answers are measured relative to the model's own neutral frame.
    """
    found: list[dict[str, Sweep]] = []
    for crop in crops:
        try:
            animator.neutralise(crop)
        except SourceError:
            continue
        baseline = viewer.baseline(animator.animate(neutral(COUNT)[None])[0])
        sweeps = {}
        for name in SWEPT:
            asked = swept(name)
            shown = viewer.measure(animator.animate(asked), baseline)
            sweeps[name] = Sweep(asked[:, INDEX[name]], shown[:, INDEX[name]])
        found.append(sweeps)
    return {
        "sources": len(found),
        "refused": len(crops) - len(found),
        "steps": STEPS,
        "pose_reach_deg": float(np.degrees(2 * POSE_REACH * POSE_LIMIT_RAD)),
        "attributes": {name: _summary([sweeps[name] for sweeps in found]) for name in SWEPT} if found else {},
    }


def _summary(sweeps: list[Sweep]) -> dict[str, Any]:
    ranks = [sweep.spearman() for sweep in sweeps]
    shown = np.stack([sweep.shown for sweep in sweeps])
    return {
        "spearman_mean": float(np.mean(ranks)),
        "spearman_least": float(np.min(ranks)),
        "slope_mean": float(np.mean([sweep.slope() for sweep in sweeps])),
        "share_good": float(np.mean([rank >= GOOD for rank in ranks])),
        "share_monotone": float(np.mean([sweep.is_monotone() for sweep in sweeps])),
        "faces_found": int(np.isfinite(shown).sum()),
        "frames": shown.size,
        "shown_mean": [
            float(np.nanmean(column)) if np.isfinite(column).any() else None for column in shown.T
        ],
        "asked": [float(value) for value in sweeps[0].asked],
    }
