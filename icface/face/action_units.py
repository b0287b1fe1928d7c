"""From a face to its attributes, full-shape scale: the 17 Action Units from features and blendshapes, and the pose.

Everything is relative to a `Baseline`: how this person looks with no expression. docs/tracking.md explains the formulas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from icface.arrays import Array
from icface.attributes import AU_NAMES, FloatArray, pose_to_unit
from icface.face import features
from icface.face.features import INDEX as F
from icface.face.landmarks import Landmarks
from icface.face.pose import Pose, head_pose

POPULATION_PATH = Path(__file__).parent / "data" / "population.json"

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

BLENDSHAPE_FULL: Final = 0.65
"""At a whole movement, a blendshape that sees it well reaches about this."""
JAW_GAP_IOD: Final = 0.19
"""Lip gap that a whole AU26 opens by itself."""
LIPS_GAP_IOD: Final = 0.10
"""Lip gap that a whole AU25 adds."""
LIPS_GAP_NOISE_IOD: Final = 0.006
"""Closed lips measure up to this. A nod may make it .015, which is a tenth of AU25, and is not seen when drawn."""
CORNERS_BY_JAW: Final = 0.11
"""IOD by which a whole AU26 narrows the mouth."""
SMILE_GAP_IOD: Final = 0.13
"""Lip gap that a smile opens while the jaw stays where it is."""
# A head that tips up seems to raise its brows, and one that looks down to lower them: blendshape a radian.
INNER_BROW_BY_PITCH, OUTER_BROW_BY_PITCH, BROW_DOWN_BY_PITCH = 0.6, 0.5, 0.8
OUTER_BROW_BY_NOD: Final = 0.04
"""IOD a radian by which the landmarks of its outer brows seem to rise in a head that looks down."""
BROWS_BY_YAW: Final = 0.05
"""IOD a squared radian by which the brows of a head that turns aside seem to rise."""
WING_BY_PITCH: Final = 0.12
"""IOD a radian by which the wings of the nose seem to rise in a head that tips up."""
_BY_LIDS: Final = {"cheek": 0.015, "nose_wing": -0.022, "upper_lip": 0.006, "chin_drop": -0.030}
MOVED_BY_LIDS: Final = np.array([_BY_LIDS.get(name, 0.0) for name in features.NAMES])
"""(22,) what seems to move with closed lids where nothing else moves, IOD: in people, in avatars and in frames."""
RAISED_BY_LIDS: Final = 0.12
"""AU02 that is read of resting brows where the eyes are closed, in people and in frames."""
BROW_ALONG: Final = 0.12
"""What one end of a brow that rises by itself adds to the other end."""
OBLIQUE_NOISE_IOD, OBLIQUE_IOD = 0.015, 0.02
"""What the inner ends of brows rise over the rest without sorrow, and how much more is sure to be sorrow."""
FROWN_OUTSIDE_IOD, FROWN_INNER_IOD, SORROW_INNER_IOD = 0.067, 0.089, 0.240
"""What a whole AU04 lowers the outer parts and the inner ends, and what a whole AU01 beside it raises these, as drawn."""
UNSURE: Final = ("AU14", "AU15", "AU17", "AU20", "AU23")
"""Poorly seen: a dead zone keeps them from twitching."""
UNSURE_DEAD_ZONE: Final = 0.08


@dataclass(frozen=True)
class Baseline:
    """How a face looks without expression."""

    features: Array
    """(22,) see `icface.face.features`; the eye aspect ratios are those of open eyes."""
    blendshapes: Array
    """(52,) MediaPipe's order."""
    pitch_rad: float = 0.0
    """What the tracker takes for pitch when this person looks straight ahead."""


def baseline_of(landmarks: Landmarks) -> Baseline:
    """The baseline of a person from a picture in which they are neutral."""
    scores = landmarks.blendshapes.astype(np.float64)
    return Baseline(features.measure_features(landmarks), scores, population().pitch_rad)


@cache
def population() -> Baseline:
    """The median of neutral faces of many people; made by training/assets/derive_population.py."""
    raw = json.loads(POPULATION_PATH.read_text())
    return Baseline(
        features=np.array([raw["features"][name] for name in features.NAMES]),
        blendshapes=np.array([raw["blendshapes"][name] for name in BLENDSHAPE_NAMES]),
        pitch_rad=float(raw["pitch_rad"]),
    )


@cache
def population_spread() -> Array:
    """(22,) standard deviation of each feature between neutral faces of different people."""
    raw = json.loads(POPULATION_PATH.read_text())
    return np.array([raw["spread"][name] for name in features.NAMES])


def measure_attributes(landmarks: Landmarks, baseline: Baseline | None = None) -> FloatArray:
    """(20,) full-shape attributes of one still picture, relative to the population's neutral unless one is given."""
    values = features.measure_features(landmarks)
    return attributes_of(values, landmarks.blendshapes, head_pose(landmarks), baseline or population())


def attributes_of(values: Array, blendshapes: FloatArray, pose: Pose, baseline: Baseline) -> FloatArray:
    """(20,) full-shape attributes from (22,) features, (52,) blendshapes and the head's pose."""
    pitch_rad = pose.pitch_rad - baseline.pitch_rad
    action_units = measure_action_units(
        values, blendshapes, baseline, yaw_rad=pose.yaw_rad, pitch_rad=pitch_rad
    )
    pose_unit = pose_to_unit([pitch_rad, pose.yaw_rad, pose.roll_rad])
    return np.concatenate([pose_unit, action_units])


def measure_action_units(
    values: Array,
    blendshapes: FloatArray,
    baseline: Baseline,
    *,
    yaw_rad: float = 0.0,
    pitch_rad: float = 0.0,
) -> FloatArray:
    """(17,) Action Units in [0, 1] from (22,) features and (52,) blendshapes, relative to the person's `baseline`.

    With the yaw of the head, the eye that is nearer to the camera counts more. Its pitch, relative to the baseline's,
    corrects the brows.
    """
    seen = dict(zip(BLENDSHAPE_NAMES, blendshapes.tolist(), strict=True))
    risen = np.maximum(blendshapes - baseline.blendshapes, 0.0).tolist()
    b = dict(zip(BLENDSHAPE_NAMES, risen, strict=True))

    def both(name: str) -> float:
        return float(b[name + "Left"] + b[name + "Right"]) / 2

    full = 1.0 / BLENDSHAPE_FULL
    # +yaw turns the nose to image-left, which hides the subject's right eye.
    left = _unit(0.5 + 0.9 * yaw_rad)
    closure = opened = 0.0
    for weight, side, eye in ((1 - left, "Right", "ear_right"), (left, "Left", "ear_left")):
        opening = values[F[eye]] / max(baseline.features[F[eye]], 1e-3)
        opened += weight * opening
        lowered = _mean(b["eyeBlink" + side] / 0.42, (0.90 - opening) / 0.53)
        closure += weight * _closed(lowered, seen["eyeLookDown" + side] - seen["eyeBlink" + side])
    change = values - baseline.features - closure * MOVED_BY_LIDS
    d = dict(zip(features.NAMES, change.tolist(), strict=True))
    tipped_up, tipped_down = max(0.0, -pitch_rad), max(0.0, pitch_rad)
    inner_up = b["browInnerUp"] - INNER_BROW_BY_PITCH * tipped_up
    # The outer brow that turns away scores as raised.
    outer_up = (1 - left) * b["browOuterUpRight"] + left * b["browOuterUpLeft"]
    outer_up -= OUTER_BROW_BY_PITCH * tipped_up
    # So do the landmarks of both brows.
    turned, nodding = BROWS_BY_YAW * yaw_rad**2, OUTER_BROW_BY_NOD * tipped_down
    smiling = both("mouthSmile")
    squint = both("eyeSquint")
    # A smile, narrowed eyes and a bowed head score as lowered brows too.
    brow_down = both("browDown") - 0.5 * smiling - 0.6 * squint - BROW_DOWN_BY_PITCH * tipped_down
    # A wrinkled nose draws the brows and their landmarks down. A frown moves its wings less.
    wrinkled = max(0.0, -d["nose_wing"])
    brow_down -= 5 * max(0.0, wrinkled - 0.035 - WING_BY_PITCH * tipped_up)
    lips_smile = max(0.0, smile_in_features(change))
    # The blendshape tells whether it is a smile, and the lips how wide it is. The blendshape alone rises with a nod and
    # is whole at half a smile.
    smile = _unit(1.5 * full * smiling) * _unit(0.05 + 0.73 * lips_smile)
    # Closed eyes, knitted brows and closed lips are crying, though its mouth is as wide as that of a smile.
    knitted = _unit((-d["brow_gap"] - 0.004) / 0.010)
    smile *= 1 - 0.8 * closure * knitted * _unit(1 - d["lip_gap"] / 0.04)
    jaw = _jaw(full * b["jawOpen"], d, float(values[F["lip_gap"]]), lips_smile)
    # Parting the lips lowers the chin a little too. That is not the jaw.
    gap = d["lip_gap"] - JAW_GAP_IOD * min(jaw, max(0.0, 1.4 * (jaw - 0.1)))
    # Eyes are narrow where blendshape and lower lid both tell. Cheeks that do it draw the corners of the mouth up.
    # Closing lids narrow them, too.
    tight = max(0.0, squint - 0.4 * both("eyeBlink")) / 0.14
    pushed = max(0.0, d["lower_lid"]) / 0.013
    narrow = min(_mean(tight, pushed), 2 * tight, 2 * pushed) * _unit(1.25 - 1.5 * closure)
    closure -= 0.3 * narrow
    raised_cheeks = max(min(lips_smile, 2 * full * smiling) / 0.08, (lips_smile - 0.08) / 0.10)
    raised_cheeks = _unit(raised_cheeks)
    # Wide eyes open further, unless they look up.
    eyes_open = _mean((d["upper_lid"] - 0.002) / 0.009, (opened - 1.02) / 0.12) * (1 - closure)
    eyes_open *= _unit(1 - (both("eyeLookUp") - both("eyeLookDown")) / 0.12)
    # An open or a wide mouth lowers its corners too. That is not sadness.
    corners_low = (d["mouth_height"] - d["corner_height"] - d["lip_gap"]) / 0.05
    corners_low = _unit(corners_low - max(0.0, d["corner_width"] - 0.015) / 0.10)
    # Corners that hang below the seam of the lips tell it by themselves.
    hanging = min(corners_low, _unit((-d["corner_lift"] - 0.010) / 0.025))
    # A dropped jaw draws them in, unless they are stretched.
    stretched = (d["corner_width"] + CORNERS_BY_JAW * jaw - 2 * max(0.0, d["corner_height"])) / 0.12
    units = {
        "AU01": _mean(full * inner_up, (d["brow_inner"] - turned) / 0.065),
        "AU02": _mean(
            full * outer_up, (0.6 * d["brow_outer"] + 0.4 * d["brow_middle"] - turned - nodding) / 0.07
        ),
        "AU04": _mean(
            brow_down / 0.40,
            -(0.6 * d["brow_inner"] + 0.4 * d["brow_middle"] + 0.5 * d["brow_gap"] + 0.4 * wrinkled) / 0.056,
        ),
        "AU05": max(4 * both("eyeWide"), eyes_open),
        "AU06": max(narrow * raised_cheeks, closure * d["cheek"] / 0.05 * _unit(smile / 0.3)) - 0.35 * smile,
        "AU07": narrow * (1 - raised_cheeks),
        "AU09": max(
            3 * both("noseSneer"),
            -(d["nose_wing"] + 0.015 * lips_smile + WING_BY_PITCH * tipped_up + 0.012) / 0.046,
        ),
        "AU10": max(
            full * (both("mouthUpperUp") - 0.9 * smiling),
            (d["upper_lip"] - 0.035 * lips_smile - 0.008) / 0.055,
        ),
        "AU12": smile,
        "AU14": 2 * both("mouthDimple") * (1 - 0.5 * smile),
        "AU15": 2.4 * both("mouthFrown") + max(0.5 * corners_low, 0.95 * hanging),
        "AU17": full * max(b["mouthShrugLower"], 0.5 * (b["mouthShrugLower"] + b["mouthShrugUpper"])),
        # Lips of an open mouth tell it by themselves.
        "AU20": max(
            1.5 * both("mouthStretch") + 0.5 * _unit(stretched), 0.6 * stretched * _unit(d["lip_gap"] / 0.08)
        )
        * (1 - smile),
        "AU23": 0.5 * both("mouthPress") + 0.25 * (b["mouthRollUpper"] + b["mouthRollLower"]),
        "AU25": (gap - LIPS_GAP_NOISE_IOD) / (LIPS_GAP_IOD - LIPS_GAP_NOISE_IOD),
        "AU26": jaw,
        "AU45": closure,
    }
    # Brows whose inner ends stand over lowered outer ones are raised and drawn together, as in sorrow. Each movement
    # hides the other in what tells it, so both are read as they are drawn.
    outside = (d["brow_middle"] + d["brow_outer"]) / 2
    sorrow = _unit((d["brow_inner"] - outside - OBLIQUE_NOISE_IOD) / OBLIQUE_IOD)
    units["AU04"] = max(_unit(units["AU04"]), sorrow * _unit(-outside / FROWN_OUTSIDE_IOD))
    raised = d["brow_inner"] + FROWN_INNER_IOD * units["AU04"]
    units["AU01"] = max(_unit(units["AU01"]), sorrow * raised / SORROW_INNER_IOD)
    # The middle of a brow goes along with either end. Where both ends rise alike, both are true.
    # Lids that close seem to raise the outer ends.
    inner, outer = _unit(units["AU01"]), _unit(_unit(units["AU02"]) - RAISED_BY_LIDS * _unit(closure))
    units["AU01"] = inner - BROW_ALONG * max(0.0, outer - inner)
    units["AU02"] = outer - BROW_ALONG * max(0.0, inner - outer)
    for name in UNSURE:
        units[name] = (units[name] - UNSURE_DEAD_ZONE) / (1 - UNSURE_DEAD_ZONE)
    return np.asarray(np.clip([units[name] for name in AU_NAMES], 0.0, 1.0), dtype=np.float32)


def smile_in_features(d: Array) -> float:
    """How much of a whole smile the landmarks of the mouth tell, from (22,) feature changes; not clipped."""
    rise = 0.5 * d[F["corner_height"]] + 0.3 * d[F["corner_lift"]]
    return float((0.6 * d[F["corner_width"]] + rise - 0.3 * d[F["corner_depth"]]) / 0.15)


def _closed(lowered: float, gaze: float) -> float:
    """How far an eye is closed, from how low its lid is and from `eyeLookDown` less `eyeBlink`.

    The lid follows the gaze. An eye that looks down scores higher for that than for a blink, a closing one does not. A
    closed eye stays closed, wherever it looks.
    """
    down = _unit((gaze - 0.12) / 0.2)
    lowered = _unit(lowered)
    return lowered * _unit(1 - 3.2 * down * (1 - lowered))


def _jaw(opened: float, d: Mapping[str, float], lip_gap: float, lips_smile: float) -> float:
    """How far the jaw is dropped, by its blendshape `opened` and by the chin."""
    # The blendshape is blind to small openings. There the chin decides. But its landmark wanders, and a long chin is not
    # a dropped jaw. So it counts only as far as the lips open. Lips that part by more than .06 lower it by up to .04.
    lowered_by_lips = min(max(0.0, 0.5 * (d["lip_gap"] - 0.06)), 0.04)
    dropped = _unit((d["chin_drop"] - lowered_by_lips) / 0.16)
    chin = dropped * _unit(lip_gap / 0.04)
    # A smile lowers the chin as well. There the jaw has dropped no further than the lips are open beyond a smile's gap.
    jaw = chin + 0.3 * _unit(opened)
    room = _unit((d["lip_gap"] - SMILE_GAP_IOD) / JAW_GAP_IOD)
    jaw -= _unit(lips_smile) * max(0.0, jaw - room)
    # Behind a hand the blendshape is a guess, and the chin of resting lips wanders by half a movement. Neither counts
    # further than the lips are open, but what lowers the chin by more than that is the jaw.
    return min(jaw, max(_unit((dropped - 0.5) / 0.3), _unit((d["lip_gap"] + 0.027) / JAW_GAP_IOD)))


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _mean(one: float, other: float) -> float:
    return (_unit(one) + _unit(other)) / 2
