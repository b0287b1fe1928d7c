"""From a face's features, and blendshapes where there are any, to the 17 Action Units, full-shape scale.

Everything is relative to a `Baseline`: how this person looks with no expression. Formulas: docs/tracking.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import AU_NAMES
from icface.face import features
from icface.face.features import INDEX as F

POPULATION_PATH = Path(__file__).parent / "data" / "population.json"

_AU: Final = {name: i for i, name in enumerate(AU_NAMES)}

BLENDSHAPE_NAMES: Final = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
_B: Final = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}

JAW_GAP_IOD: Final = 0.165
"""Lip gap that a whole AU26 opens by itself."""
LIPS_GAP_IOD: Final = 0.10
"""Lip gap that a whole AU25 adds."""
LIPS_GAP_NOISE_IOD: Final = 0.015
"""Closed lips measure up to this when the head nods."""
DECORATIVE: Final = ("AU14", "AU15", "AU17", "AU20", "AU23")
"""Poorly seen in landmarks: a dead zone and a low gain keep them from twitching."""
DECORATIVE_DEAD_ZONE: Final = 0.08
DECORATIVE_GAIN: Final = 0.6
"""From landmarks alone; blendshapes are trusted a little more."""
BLENDSHAPE_FULL: Final = 0.65
"""MediaPipe's blendshapes reach about this at a whole movement."""


BASELINE_FORMAT: Final = 2
"""Of a saved baseline: raise it when a feature's meaning changes."""
LENGTH_LIMIT_IOD: Final = 3.0
"""No feature of a human face comes near this."""


@dataclass(frozen=True)
class Baseline:
    """How a face looks without expression."""

    features: Array
    """(22,) see `icface.face.features`; the eye aspect ratios are those of open eyes."""
    blendshapes: Array
    """(52,) MediaPipe's order."""
    pitch_rad: float = 0.0
    """What the tracker takes for pitch when this person looks straight ahead."""


@lru_cache(maxsize=1)
def population() -> Baseline:
    """The median of neutral faces of many people; made by training/assets/derive_population.py."""
    raw = json.loads(POPULATION_PATH.read_text())
    return Baseline(
        features=np.array([raw["features"][name] for name in features.NAMES]),
        blendshapes=np.array([raw["blendshapes"][name] for name in BLENDSHAPE_NAMES]),
        pitch_rad=float(raw["pitch_rad"]),
    )


@lru_cache(maxsize=1)
def population_spread() -> Array:
    """(22,) standard deviation of each feature between neutral faces of different people."""
    raw = json.loads(POPULATION_PATH.read_text())
    return np.array([raw["spread"][name] for name in features.NAMES])


def measure_action_units(
    values: Array, blendshapes: NDArray[np.float32] | None, baseline: Baseline, *, yaw_rad: float = 0.0
) -> NDArray[np.float32]:
    """(17,) Action Units in [0, 1].

    Args:
        values: (22,) features of this face.
        blendshapes: (52,) from the task file, or None.
        baseline: the same person without expression.
        yaw_rad: head yaw; the eye nearer to the camera counts more.
    """
    geometric = _from_features(values - baseline.features, values, baseline, yaw_rad)
    if blendshapes is not None:
        geometric = _with_blendshapes(geometric, np.maximum(blendshapes - baseline.blendshapes, 0.0), yaw_rad)
    gain = (DECORATIVE_GAIN if blendshapes is None else 1.0) / (1 - DECORATIVE_DEAD_ZONE)
    for name in DECORATIVE:
        geometric[name] = max(0.0, geometric[name] - DECORATIVE_DEAD_ZONE) * gain
    return np.clip([geometric[name] for name in AU_NAMES], 0.0, 1.0).astype(np.float32)


def _eye_weights(yaw_rad: float) -> tuple[float, float]:
    """Right and left: +yaw turns the nose to image-left, which hides the subject's right eye."""
    near = float(np.clip(0.5 + 0.9 * abs(yaw_rad), 0.5, 1.0))
    return (1 - near, near) if yaw_rad > 0 else (near, 1 - near)


def _from_features(d: Array, values: Array, baseline: Baseline, yaw_rad: float) -> dict[str, float]:
    """Action Units from feature changes `d`; not yet clipped."""
    right, left = _eye_weights(yaw_rad)
    closure = 0.0
    for name, weight in (("ear_right", right), ("ear_left", left)):
        ratio = values[F[name]] / max(baseline.features[F[name]], 1e-3)
        closure += weight * float(np.clip((0.85 - ratio) / 0.65, 0.0, 1.0))
    inner = d[F["brow_inner"]] / 0.065
    corner_rise = 0.5 * d[F["corner_height"]] + 0.3 * d[F["corner_lift"]]
    smile = (0.6 * d[F["corner_width"]] + corner_rise - 0.3 * d[F["corner_depth"]]) / 0.15
    # A long chin is not a dropped jaw: with closed lips the jaw can only drop a little.
    jaw = max(0.0, min(d[F["chin_drop"]] / 0.15, 0.25 + values[F["lip_gap"]] / 0.12))
    # Parting the lips lowers the chin's landmark a little too; that is not the jaw.
    gap = d[F["lip_gap"]] - JAW_GAP_IOD * float(np.clip((jaw - 0.2) / 0.8, 0.0, 1.0))
    open_ = 1.0 - closure
    low_corner = float(np.clip(1 - d[F["corner_height"]] / 0.03, 0.0, 1.0))
    return {
        "AU01": inner,
        "AU02": (0.6 * d[F["brow_outer"]] + 0.4 * d[F["brow_middle"]]) / 0.07,
        "AU04": (-0.6 * d[F["brow_inner"]] - 0.4 * d[F["brow_middle"]] - 0.5 * d[F["brow_gap"]]) / 0.045,
        "AU05": d[F["upper_lid"]] * open_ / 0.035,
        # A smile lifts the cheeks by itself; only what is beyond that narrows the eyes.
        "AU06": (d[F["cheek"]] + 0.25 * max(0.0, d[F["corner_width"]])) / 0.06
        - 0.6 * max(0.0, min(1.0, smile)),
        "AU07": d[F["lower_lid"]] * open_ / 0.023,
        "AU09": -d[F["nose_wing"]] / 0.09,
        "AU10": d[F["upper_lip"]] / 0.09 - 0.6 * max(0.0, smile),
        "AU12": smile,
        "AU14": -(d[F["corner_depth"]] - d[F["lip_centre_depth"]]) / 0.07 * low_corner
        - 0.5 * max(0.0, smile),
        "AU15": -(d[F["corner_height"]] - d[F["mouth_height"]]) / 0.05 - max(0.0, jaw),
        "AU17": (d[F["lower_lip_chin"]] - d[F["lower_lip_length"]]) / 0.10 - jaw,
        "AU20": (d[F["corner_width"]] / 2 - 0.8 * max(0.0, d[F["corner_height"]])) / 0.075 - max(0.0, smile),
        "AU23": (-d[F["lips_thickness"]] - 0.3 * max(0.0, d[F["lip_gap"]])) / 0.05 - max(0.0, smile),
        "AU25": (gap - LIPS_GAP_NOISE_IOD) / (LIPS_GAP_IOD - LIPS_GAP_NOISE_IOD),
        "AU26": jaw,
        "AU45": closure,
    }


def _with_blendshapes(geometric: dict[str, float], b: Array, yaw_rad: float) -> dict[str, float]:
    """Blend in the 52 scores, already relative to the neutral ones."""

    def both(name: str) -> float:
        return float(b[_B[name + "Left"]] + b[_B[name + "Right"]]) / 2

    def one(name: str) -> float:
        return float(b[_B[name]])

    full = 1.0 / BLENDSHAPE_FULL
    right, left = _eye_weights(yaw_rad)
    smile = min(1.0, full * both("mouthSmile"))
    blink = min(1.0, full * (right * float(b[_B["eyeBlinkRight"]]) + left * float(b[_B["eyeBlinkLeft"]])))
    squint = both("eyeSquint")
    upper = both("mouthUpperUp")
    result: dict[str, float] = {
        "AU01": full * one("browInnerUp"),
        "AU02": full * both("browOuterUp"),
        "AU04": full * (both("browDown") - 0.5 * both("mouthSmile")),
        "AU05": max(2 * both("eyeWide"), 0.5 * geometric["AU05"]),
        "AU06": 0.6 * squint * smile + 0.5 * max(0.0, geometric["AU06"]),
        "AU07": squint * (1 - 0.5 * smile) * (1 - blink),
        "AU09": max(3 * both("noseSneer"), 0.5 * geometric["AU09"]),
        "AU10": full * (upper - 0.6 * both("mouthSmile")),
        "AU12": smile,
        "AU14": 2 * both("mouthDimple") * (1 - 0.5 * smile),
        "AU15": 2 * both("mouthFrown"),
        "AU17": full * max(one("mouthShrugLower"), 0.5 * (one("mouthShrugLower") + one("mouthShrugUpper"))),
        "AU20": 1.5 * both("mouthStretch") * (1 - smile),
        "AU23": 0.5 * both("mouthPress") + 0.25 * (one("mouthRollUpper") + one("mouthRollLower")),
        "AU25": geometric["AU25"],
        "AU26": max(full * one("jawOpen"), 0.5 * geometric["AU26"]),
        "AU45": blink,
    }
    return result


def baseline_from_json(raw: Mapping[str, object]) -> Baseline:
    """A baseline saved by `baseline_to_json`.

    Raises:
        ValueError: fields are missing, of the wrong length or out of range, or it is of another format.
    """
    if raw.get("format") != BASELINE_FORMAT:
        raise ValueError("not a saved neutral of this version")
    try:
        values = np.array(raw["features"], dtype=np.float64)
        blendshapes = np.array(raw["blendshapes"], dtype=np.float64)
        pitch_rad = float(raw["pitch_rad"])  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a saved neutral: {error}") from error
    if values.shape != (len(features.NAMES),) or blendshapes.shape != (len(BLENDSHAPE_NAMES),):
        raise ValueError("not a saved neutral: wrong number of values")
    # Written so that what is not a number is out of range too.
    lengths_fit = (np.abs(values) < LENGTH_LIMIT_IOD).all()
    scores_fit = ((blendshapes >= 0.0) & (blendshapes <= 1.0)).all()
    if not (lengths_fit and scores_fit and abs(pitch_rad) < 1.0):
        raise ValueError("not a saved neutral: values out of range")
    return Baseline(features=values, blendshapes=blendshapes, pitch_rad=pitch_rad)


def baseline_to_json(baseline: Baseline) -> dict[str, object]:
    return {
        "format": BASELINE_FORMAT,
        "features": baseline.features.tolist(),
        "blendshapes": baseline.blendshapes.tolist(),
        "pitch_rad": baseline.pitch_rad,
    }
