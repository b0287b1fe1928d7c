"""Compares the Action Units present in outputs with those of the driver: table 2 of the paper.

Presence is OpenFace's `AUxx_c` where it is given. Otherwise it is a surrogate: our own intensity, brought to OpenFace's
scale, is 1 or more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import ACTION_UNITS, AU_NAMES, FloatArray, to_openface

Presence = NDArray[np.int8]
"""(n, 17) 0 or 1, −1 where it is not known."""
Counts = NDArray[np.int64]
"""(4, 17) true positives, false positives, true negatives and false negatives of each Action Unit."""

THRESHOLD: Final = 1.0
"""Intensity on OpenFace's scale of 0 to 5 from which a surrogate counts as present."""


def surrogate(attributes: FloatArray) -> Presence:
    """(n, 17) from full-shape attributes (n, 20); unknown where they are not numbers."""
    intensity = 5 * to_openface(attributes)[:, ACTION_UNITS]
    present = (intensity >= THRESHOLD).astype(np.int8)
    present[~np.isfinite(intensity)] = -1
    return present


def confusion(driver: Presence, output: Presence) -> Counts:
    """Counts over all frames in which the driver's presence is known; both (n, 17).

    An output of unknown presence shows no face, and so no Action Unit. Leaving such frames out would favour models that
    lose the face where it moves most.
    """
    known, wanted, shown = driver >= 0, driver == 1, output == 1
    cells = (wanted & shown, known & ~wanted & shown, known & ~wanted & ~shown, wanted & ~shown)
    return np.array([cell.sum(axis=0) for cell in cells])


def summary(counts: Counts) -> dict[str, Any]:
    """Numbers for the report: micro, macro, and per Action Unit; None where undefined."""
    accuracy, f_score = _scores(counts)
    whole = _scores(counts.sum(axis=1, keepdims=True))
    true_positive, false_positive, _, false_negative = counts
    return {
        "macro": {"balanced_accuracy": _mean(accuracy), "f": _mean(f_score)},
        "micro": {"balanced_accuracy": _mean(whole[0]), "f": _mean(whole[1])},
        "per_au": {
            name: {
                "balanced_accuracy": _mean(accuracy[i : i + 1]),
                "f": _mean(f_score[i : i + 1]),
                "in_driver": int(true_positive[i] + false_negative[i]),
                "in_output": int(true_positive[i] + false_positive[i]),
                "frames": int(counts[:, i].sum()),
            }
            for i, name in enumerate(AU_NAMES)
        },
    }


def _scores(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Balanced accuracy, NaN where the driver shows only one of the classes; F, NaN where nobody shows it."""
    tp, fp, tn, fn = counts
    return 0.5 * (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)), _ratio(2 * tp, 2 * tp + fp + fn)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None
