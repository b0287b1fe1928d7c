"""Compares the Action Units present in outputs with those of the driver: table 2 of the paper.

Presence is OpenFace's `AUxx_c` where it is given. Otherwise it is a surrogate: our own intensity, brought to OpenFace's
scale, is 1 or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import ACTION_UNITS, AU_NAMES, FloatArray, to_openface

Presence = NDArray[np.int8]
"""(n, 17) 0 or 1, −1 where it is not known."""

THRESHOLD: Final = 1.0
"""Intensity on OpenFace's scale of 0 to 5 from which a surrogate counts as present."""


def surrogate(attributes: FloatArray) -> Presence:
    """(n, 17) from full-shape attributes (n, 20); unknown where they are not numbers."""
    intensity = 5 * to_openface(attributes)[:, ACTION_UNITS]
    present = (intensity >= THRESHOLD).astype(np.int8)
    present[~np.isfinite(intensity)] = -1
    return present


@dataclass(frozen=True)
class Confusion:
    """Counts per Action Unit, (17,) each."""

    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    true_negative: NDArray[np.int64]
    false_negative: NDArray[np.int64]

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def micro(self) -> Confusion:
        """All Action Units as one, (1,) each."""
        return Confusion(*(values.sum(keepdims=True) for values in self._all()))

    def balanced_accuracy(self) -> NDArray[np.float64]:
        """½ (TP/(TP+FN) + TN/(TN+FP)); NaN where the driver shows only one of the classes."""
        positives = self.true_positive + self.false_negative
        negatives = self.true_negative + self.false_positive
        return 0.5 * (_ratio(self.true_positive, positives) + _ratio(self.true_negative, negatives))

    def f_score(self) -> NDArray[np.float64]:
        """2 TP / (2 TP + FP + FN); NaN where neither driver nor output ever shows it."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)

    def _all(self) -> tuple[NDArray[np.int64], ...]:
        return self.true_positive, self.false_positive, self.true_negative, self.false_negative


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def confusion(driver: Presence, output: Presence) -> Confusion:
    """Counts over all frames in which the driver's presence is known; both (n, 17).

    An output of unknown presence shows no face, and so no Action Unit. Leaving such frames out would favour models that
    lose the face where it moves most.
    """
    known = driver >= 0
    wanted, shown = driver == 1, output == 1
    return Confusion(
        true_positive=(known & wanted & shown).sum(axis=0),
        false_positive=(known & ~wanted & shown).sum(axis=0),
        true_negative=(known & ~wanted & ~shown).sum(axis=0),
        false_negative=(known & wanted & ~shown).sum(axis=0),
    )


def summary(counts: Confusion) -> dict[str, Any]:
    """Numbers for the report: micro, macro, and per Action Unit; None where undefined."""
    accuracy, f_score = counts.balanced_accuracy(), counts.f_score()
    whole = counts.micro()
    return {
        "macro": {"balanced_accuracy": _mean(accuracy), "f": _mean(f_score)},
        "micro": {"balanced_accuracy": _mean(whole.balanced_accuracy()), "f": _mean(whole.f_score())},
        "per_au": {
            name: {
                "balanced_accuracy": _mean(accuracy[i : i + 1]),
                "f": _mean(f_score[i : i + 1]),
                "in_driver": int(counts.true_positive[i] + counts.false_negative[i]),
                "in_output": int(counts.true_positive[i] + counts.false_positive[i]),
                "frames": int(sum(values[i] for values in counts._all())),
            }
            for i, name in enumerate(AU_NAMES)
        },
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None
