"""Compares attributes that were asked for with those measured in the output, and measures jitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from icface.attributes import ACTION_UNITS, NAMES, POSE, POSE_NAMES, FloatArray, pose_from_unit
from icface.face.landmarks import Landmarks

LEAST_SPREAD: Final = 0.02
"""An attribute was not exercised where the standard deviation of what was asked for is below this."""
_EYES: Final = (33, 263)
_FACE_POINTS: Final = 468
"""Without the irises."""


def correlation(asked: NDArray[Any], shown: NDArray[Any]) -> float | None:
    """Pearson's r over pairs that are numbers; None where what was asked for hardly varies; 0 for a flat answer."""
    both = np.isfinite(asked) & np.isfinite(shown)
    x, y = asked[both].astype(np.float64), shown[both].astype(np.float64)
    if len(x) < 3 or x.std() < LEAST_SPREAD:
        return None
    return 0.0 if y.std() < 1e-6 else float(np.corrcoef(x, y)[0, 1])


def spearman(asked: NDArray[Any], shown: NDArray[Any]) -> float:
    """Rank correlation; ties share their rank; 0 for a flat answer."""
    if np.ptp(asked) == 0 or np.ptp(shown) == 0:
        return 0.0
    return float(spearmanr(asked, shown).statistic)


def slope(asked: NDArray[Any], shown: NDArray[Any]) -> float:
    """Slope of the straight line through the answers, by least squares."""
    x = asked.astype(np.float64) - asked.mean()
    return float(x @ (shown - shown.mean()) / (x @ x))


def agreement(clips: Sequence[tuple[FloatArray, FloatArray]]) -> dict[str, Any]:
    """Numbers for the report.

    Pose errors are mean absolute differences in degrees (APD), those of Action Units in their unit (AED). Correlations
    are of the movement inside clips. What is constant in a clip, such as a face that always seems to smile, counts as
    an error; it does not count in the correlation.

    Args:
        clips: full-shape attributes (n, 20) asked for and (n, 20) measured, rows without a face NaN, for each clip.
    """
    # Frames with a face, clip by clip.
    seen = [np.stack(clip)[:, np.isfinite(clip[1]).all(axis=1)] for clip in clips]
    x, y = np.concatenate(seen, axis=1)
    degrees = np.degrees(np.abs(pose_from_unit(x[:, POSE]) - pose_from_unit(y[:, POSE])))
    units = np.abs(x[:, ACTION_UNITS] - y[:, ACTION_UNITS])
    found = len(x) > 0
    means = degrees.mean(axis=0) if found else [None] * len(POSE_NAMES)
    moved = [clip - clip.mean(axis=1, keepdims=True) for clip in seen if clip.shape[1]]
    x, y = np.concatenate(moved, axis=1) if moved else (x, y)
    r = {name: correlation(x[:, i], y[:, i]) for i, name in enumerate(NAMES)}
    known = [value for name in NAMES[ACTION_UNITS] if (value := r[name]) is not None]
    return {
        "frames": sum(len(asked) for asked, _ in clips),
        "faces_found": sum(clip.shape[1] for clip in seen),
        "pose_error_deg": {
            n: None if m is None else float(m) for n, m in zip(POSE_NAMES, means, strict=True)
        },
        "apd_deg": float(degrees.mean()) if found else None,
        "aed": float(units.mean()) if found else None,
        "pose_correlation": {name: r[name] for name in NAMES[POSE]},
        "au_correlation": {name: r[name] for name in NAMES[ACTION_UNITS]},
        "au_correlation_mean": float(np.mean(known)) if known else None,
    }


def jitter_iod(faces: Sequence[Landmarks | None]) -> float | None:
    """How much landmarks tremble: root mean square distance from their mean, in distances of the outer eye corners.

    None where fewer than two faces are seen.
    """
    points = [face.points_px[:_FACE_POINTS, :2].astype(np.float64) for face in faces if face is not None]
    if len(points) < 2:
        return None
    tracks = np.stack(points)
    eyes = tracks[:, list(_EYES)].mean(axis=0)
    spread = np.square(tracks - tracks.mean(axis=0)).sum(axis=2).mean()
    return float(np.sqrt(spread) / np.linalg.norm(eyes[0] - eyes[1]))
