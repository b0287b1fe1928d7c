"""Compares attributes that were asked for with those measured in the output, and measures jitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from icface.arrays import Array
from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, POSE_NAMES, FloatArray, pose_from_unit
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
    if y.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def spearman(asked: NDArray[Any], shown: NDArray[Any]) -> float:
    """Rank correlation; ties share their rank; 0 for a flat answer."""
    x, y = rankdata(asked), rankdata(shown)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


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
    asked, shown = (np.concatenate([clip[side] for clip in clips]) for side in (0, 1))
    seen = np.isfinite(shown).all(axis=1)
    result: dict[str, Any] = {"frames": len(asked), "faces_found": int(seen.sum())}
    x, y = asked[seen], shown[seen]
    degrees = np.degrees(np.abs(pose_from_unit(x[:, POSE]) - pose_from_unit(y[:, POSE])))
    units = np.abs(x[:, ACTION_UNITS] - y[:, ACTION_UNITS])
    result["pose_error_deg"] = _named(POSE_NAMES, degrees.mean(axis=0) if seen.any() else None)
    result["apd_deg"] = float(degrees.mean()) if seen.any() else None
    result["aed"] = float(units.mean()) if seen.any() else None
    x, y = (np.concatenate(parts) for parts in zip(*(_movement(*clip) for clip in clips), strict=True))
    result["pose_correlation"] = {n: correlation(x[:, i], y[:, i]) for i, n in enumerate(POSE_NAMES)}
    result["au_correlation"] = {n: correlation(x[:, 3 + i], y[:, 3 + i]) for i, n in enumerate(AU_NAMES)}
    known = [r for r in result["au_correlation"].values() if r is not None]
    result["au_correlation_mean"] = float(np.mean(known)) if known else None
    return result


def _movement(asked: FloatArray, shown: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows of a clip with a face, less their mean."""
    seen = np.isfinite(shown).all(axis=1)
    if not seen.any():
        return asked[:0], shown[:0]
    return asked[seen] - asked[seen].mean(axis=0), shown[seen] - shown[seen].mean(axis=0)


def _named(names: Sequence[str], values: Array | None) -> dict[str, float | None]:
    return {name: None if values is None else float(values[i]) for i, name in enumerate(names)}


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
