"""From a driver's face to the extensions: gaze, one side alone, pucker and the like.

Everything is relative to the driver at rest, as with the Action Units. A calm face gives zeros: each value has a dead
zone, and a side cannot move more than its Action Unit says. docs/tracking.md explains the formulas.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from icface.arrays import Array
from icface.attributes import (
    COUNT,
    EXTENSIONS,
    GAZE_LIMIT_RAD,
    GAZE_NAMES,
    INDEX,
    SIDED,
    FloatArray,
)
from icface.face.action_units import BLENDSHAPE_NAMES, Baseline, population
from icface.face.features import INDEX as F
from icface.face.features import face_shape, features_of
from icface.face.landmarks import Landmarks
from icface.face.pose import Pose, head_pose

REST_FRAMES: Final = 15
FOLLOW_S: Final = 40.0
GATE_TURN_RAD: Final = 0.25
GATE_LEVEL: Final = 0.35
SIDE_DEAD_ZONE: Final = 0.15
GAZE_DEAD_ZONE: Final = (0.12, 0.05)
"""Pitch is seen less well than yaw."""
GAZE_CLOSURE: Final = 0.25
GAZE_LID_STEP: Final = 0.04
"""From this AU45 on, or while it changes by more a frame, lids hide or drag the iris, and the gaze stays as it was."""
GAZE_RETURN_S: Final = 0.16
"""How long the gaze takes from where it stayed to where the eyes look after a blink."""
LID_DRAG_RAD: Final = 0.8
"""How much a whole closure looks like a gaze downwards."""
TURN_FADE_RAD: Final = (0.25, 0.50)
"""A head that turns shows one side less and less. The sides fade from the first angle to the second."""

# How far an iris and the upper lid move for each radian, and what the blendshapes of looking add.
IRIS_X_IOD: Final = 0.11
IRIS_Y_IOD: Final = 0.028
UPPER_LID_IOD: Final = 0.025
LOOK_X: Final = 1.55
LOOK_Y: Final = 0.55

# Measures: what rest does to each, and how far from that the first frames may lead.
MEASURES: Final = (
    "iris_x", "iris_y", "look_x", "look_y",
    "brow_inner", "brow_outer", "brow_middle", "upper_lip", "corner", "lips_aside", "chin_aside",
)  # fmt: skip
_REST: Final = np.array([0.0, 0.0262, 0.09, -0.03, *[0.0] * 7])
_REACH: Final = np.array([0.012, 0.014, 0.16, 0.35, 0.015, 0.02, 0.02, 0.013, 0.024, 0.015, 0.025])

# Heights are left minus right, each against its own eye's corners.
_CORNERS: Final = ((362, 263), (33, 133))
_BROWS: Final = (
    ((336, 285), (107, 55)),
    ((300, 293, 276), (70, 63, 46)),
    ((334, 282), (105, 52)),
)
_B: Final = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}


def _rows() -> FloatArray:
    """(5, 478) weights that give the three brows, the upper lip and the corners of the mouth from heights."""
    rows = np.zeros((5, 478))
    for row, (left, right) in zip(rows[:3], _BROWS, strict=True):
        for sign, points, corners in ((1, left, _CORNERS[0]), (-1, right, _CORNERS[1])):
            row[list(points)] += sign / len(points)
            row[list(corners)] -= sign / len(corners)
    rows[3, [269, 39]] = 1, -1
    rows[4, [291, 61]] = 1, -1
    return rows.astype(np.float32)


_HEIGHTS: Final = _rows()


def measure(shape: Array, blendshapes: FloatArray) -> Array:
    """(11,) `MEASURES` from a face's shape (478, 3), see `features.face_shape`, and its (52,) blendshapes."""
    b = blendshapes
    irises = shape[[468, 473], :2] - (shape[[33, 362], :2] + shape[[133, 263], :2]) / 2
    iris_x, iris_y = irises.mean(0)
    look_x = (
        b[_B["eyeLookInRight"]] + b[_B["eyeLookOutLeft"]] - b[_B["eyeLookInLeft"]] - b[_B["eyeLookOutRight"]]
    )
    look_y = (
        b[_B["eyeLookDownLeft"]]
        + b[_B["eyeLookDownRight"]]
        - b[_B["eyeLookUpLeft"]]
        - b[_B["eyeLookUpRight"]]
    )
    lips_aside = (shape[13, 0] + shape[14, 0]) / 2 - shape[2, 0]
    chin_aside = shape[152, 0] - shape[168, 0]
    return np.array(
        [iris_x, iris_y, look_x / 2, look_y / 2, *(_HEIGHTS @ shape[:, 1]), lips_aside, chin_aside]
    )


def gaze_rad(measures: Array, rest: Array = _REST) -> tuple[float, float]:
    """Where the eyes look in the head, down and to the image's left, from (11,) measures of a face and of its rest."""
    iris_x, iris_y, look_x, look_y = (measures - rest)[:4].tolist()
    return (look_y / LOOK_Y - iris_y / IRIS_Y_IOD) / 2, -(look_x / LOOK_X + iris_x / IRIS_X_IOD) / 2


class ExtensionReader:
    """Reads the extensions of one driver, and learns how this driver's face rests.

    `rest` (11,) are measures of that which were kept. From them on it only follows slowly.
    """

    def __init__(self, rest: Array | None = None) -> None:
        self._rest = _REST if rest is None else rest
        self._first: list[Array] = [] if rest is None else [rest] * REST_FRAMES
        """Measures of the first frames, which give the driver's own rest."""
        self._reach = _REACH
        self._gaze = np.zeros(2)
        self._stayed_s = -math.inf
        """When lids last hid the irises."""
        self._closure = 0.0
        self._last_s = math.inf

    @property
    def rest(self) -> Array:
        """(11,) measures of the face at rest, as far as they are learned."""
        return self._rest

    def set_neutral(self) -> None:
        """Take the driver's face over the next frames as rest."""
        self._first, self._reach = [], np.full(len(MEASURES), np.inf)

    def read(
        self,
        shape: Array,
        features: Array,
        blendshapes: FloatArray,
        baseline: Baseline,
        pose: Pose,
        attributes: FloatArray,
        time_s: float,
    ) -> FloatArray:
        """The extensions of one frame, in `EXTENSIONS` order.

        Args:
            shape: (478, 3) see `features.face_shape`.
            features: (22,)
            blendshapes: (52,)
            baseline: how the driver looks without expression.
            pose: of the head.
            attributes: (20,) of this frame. They bound how far a side can move.
            time_s: of the frame.
        """
        measures = measure(shape, blendshapes)
        self._learn(measures, pose, attributes, time_s)
        values = dict.fromkeys(EXTENSIONS, 0.0)
        closure = float(attributes[INDEX["AU45"]])
        if closure < GAZE_CLOSURE and abs(closure - self._closure) < GAZE_LID_STEP:
            pitch_rad, yaw_rad = gaze_rad(measures, self._rest)
            seen_rad = believed_pitch(pitch_rad, closure, features, baseline), yaw_rad
            share = _unit(abs(time_s - self._stayed_s) / GAZE_RETURN_S)
            self._gaze += share * (np.array(seen_rad) - self._gaze)
        else:
            self._stayed_s = time_s
        self._closure = closure
        for name, angle, dead_zone in zip(GAZE_NAMES, self._gaze.tolist(), GAZE_DEAD_ZONE, strict=True):
            values[name] = _quiet(angle / GAZE_LIMIT_RAD, dead_zone)
        seen = _seen(pose)
        moved = dict(zip(MEASURES, (measures - self._rest).tolist(), strict=True))
        risen = np.maximum(blendshapes - baseline.blendshapes, 0.0)
        values.update(_bounded(_sides(moved, features, risen, baseline), attributes, seen))
        values.update(shapes_of(features - baseline.features, risen))
        lips = _mean_if_alike(
            (risen[_B["mouthLeft"]] - risen[_B["mouthRight"]]) / 0.4, moved["lips_aside"] / 0.04
        )
        values["mouth_side"] = seen * _quiet(lips, SIDE_DEAD_ZONE)
        # The mouth takes the chin along.
        jaw = (moved["chin_aside"] - 1.1 * moved["lips_aside"]) / 0.08
        values["jaw_side"] = _unit(1 - abs(pose.yaw_rad) / TURN_FADE_RAD[0]) * _quiet(jaw, 0.4)
        return np.clip(np.array(list(values.values()), dtype=np.float32), -1.0, 1.0)

    def _learn(self, measures: Array, pose: Pose, attributes: FloatArray, time_s: float) -> None:
        elapsed_s = min(0.2, max(0.0, time_s - self._last_s))
        self._last_s = time_s
        seen = (
            max(abs(pose.yaw_rad), abs(pose.roll_rad)) < GATE_TURN_RAD
            and attributes[INDEX["AU45"]] < GAZE_CLOSURE
        )
        calm = seen and attributes[INDEX["AU01"] : COUNT].max() < GATE_LEVEL
        asked = bool(np.isinf(self._reach[0]))
        if len(self._first) < REST_FRAMES and (seen or asked):
            self._first.append(measures)
            shift = np.median(self._first, axis=0) - _REST
            self._rest = _REST + np.clip(shift, -self._reach, self._reach)
        elif calm:
            step = elapsed_s / FOLLOW_S * _REACH
            self._rest = self._rest + step * np.sign(measures - self._rest)


def measure_sides(landmarks: Landmarks, attributes: FloatArray) -> FloatArray:
    """(13,) left minus right in `SIDED` order of one still picture, of which (20,) attributes are known."""
    shape, baseline = face_shape(landmarks), population()
    moved = dict(zip(MEASURES, (measure(shape, landmarks.blendshapes) - _REST).tolist(), strict=True))
    risen = np.maximum(landmarks.blendshapes - baseline.blendshapes, 0.0)
    sides = _sides(moved, features_of(shape), risen, baseline)
    return np.array(list(_bounded(sides, attributes, _seen(head_pose(landmarks))).values()), dtype=np.float32)


def _seen(pose: Pose) -> float:
    """How much of both sides is seen, in [0, 1]."""
    return _unit((TURN_FADE_RAD[1] - abs(pose.yaw_rad)) / (TURN_FADE_RAD[1] - TURN_FADE_RAD[0]))


def _bounded(sides: dict[str, float], attributes: FloatArray, seen: float) -> dict[str, float]:
    """The `_side` extensions: quiet, and with each side between nothing and the whole movement."""
    result = {}
    for name, side in sides.items():
        mean = float(attributes[INDEX[name]])
        # An eye that is open stays open, so AU45 needs no bound.
        most = 2 * min(mean, 1 - mean) if name != "AU45" else 1.0
        result[f"{name}_side"] = float(np.clip(seen * _quiet(side, SIDE_DEAD_ZONE), -most, most))
    return result


def believed_pitch(pitch_rad: float, closure: float, features: Array, baseline: Baseline) -> float:
    """What to believe of a gaze up or down, because the landmarks of the iris give way to the lids."""
    # A lid that lowers drags the iris along.
    pitch_rad = min(pitch_rad, max(0.0, pitch_rad - LID_DRAG_RAD * closure))
    # The upper lid goes with the eye. Wide eyes raise it, and their lower lid pulls the landmarks down.
    raised = float(features[F["upper_lid"]] - baseline.features[F["upper_lid"]]) / UPPER_LID_IOD
    pitch_rad = (
        min(pitch_rad, max(0.0, -1.5 * raised)) if pitch_rad > 0 else max(pitch_rad, min(0.0, -1.5 * raised))
    )
    # Of narrow eyes, as in a laugh, too little is seen.
    eyes = ("ear_left", "ear_right")
    opening = sum(features[F[eye]] / max(baseline.features[F[eye]], 1e-3) for eye in eyes) / 2
    return pitch_rad * _unit((opening - 0.45) / 0.35)


def _sides(
    moved: dict[str, float], features: Array, risen: FloatArray, baseline: Baseline
) -> dict[str, float]:
    """Left minus right of each sided Action Unit."""

    def tilt(name: str) -> float:
        return float(risen[_B[f"{name}Left"]] - risen[_B[f"{name}Right"]])

    closures = []
    for side, eye in (("Left", "ear_left"), ("Right", "ear_right")):
        opening = features[F[eye]] / max(baseline.features[F[eye]], 1e-3)
        closures.append((_unit(risen[_B[f"eyeBlink{side}"]] / 0.5) + _unit((0.85 - opening) / 0.6)) / 2)
    left, right = closures
    # Eyes that close both are a blink, however it looks in between.
    wink = (left - right) * 2.0 * _unit((0.7 - min(left, right)) / 0.3)
    smile = (tilt("mouthSmile") / 0.30 + moved["corner"] / 0.070) / 2
    outer = 0.6 * moved["brow_outer"] + 0.4 * moved["brow_middle"]
    inner = 0.6 * moved["brow_middle"] + 0.4 * moved["brow_inner"]
    sides = dict.fromkeys(SIDED, 0.0) | {
        "AU01": moved["brow_inner"] / 0.022,
        "AU02": (tilt("browOuterUp") / 0.40 + outer / 0.040) / 2,
        "AU04": (tilt("browDown") / 0.20 - inner / 0.028) / 2,
        "AU05": tilt("eyeWide") / 0.30,
        "AU06": smile,
        "AU07": 0.6 * tilt("eyeSquint") / 0.2 * _unit(1 - abs(wink)),
        "AU09": tilt("noseSneer") / 0.30,
        "AU10": (tilt("mouthUpperUp") / 0.25 + moved["upper_lip"] / 0.030) / 2,
        "AU12": smile,
        "AU14": tilt("mouthDimple") / 0.30,
        "AU15": (tilt("mouthFrown") / 0.20 - moved["corner"] / 0.037) / 2,
        "AU20": tilt("mouthStretch") / 0.16,
        "AU45": wink,
    }
    return sides


def shapes_of(d: Array, risen: FloatArray) -> dict[str, float]:
    """AU18, AU22 and AU24 from (22,) changes of features and (52,) risen blendshapes.

    Of pressed lips both must tell. MediaPipe's blendshapes of a jaw that comes forward and of puffed cheeks
    never rise, so AU29 and AU34 stay 0.
    """
    press = (risen[_B["mouthPressLeft"]] + risen[_B["mouthPressRight"]]) / 2
    # The blendshape is blind to some faces. Closed lips that are thicker and narrower tell it as well.
    closed = _unit(1 - d[F["lip_gap"]] / 0.05)
    told = max(risen[_B["mouthPucker"]] / 0.65, d[F["lips_thickness"]] / 0.04 * closed)
    pucker = min(told, -d[F["corner_width"]] / 0.10)
    # A grin is neither a funnel nor pressed, though its blendshapes say so.
    narrow = _unit(1 - d[F["corner_width"]] / 0.10)
    funnel = narrow * _quiet(_unit(risen[_B["mouthFunnel"]] / 0.55), 0.15)
    return {
        # A funnel narrows the mouth as well.
        "AU18": _quiet(_unit(pucker), 0.15) * (1 - 0.6 * funnel),
        "AU22": funnel,
        # Lips that are parted are not pressed.
        "AU24": _quiet(_unit(min(press / 0.35, -d[F["lips_thickness"]] / 0.055)), 0.3) * narrow * closed,
    }


def _mean_if_alike(one: float, other: float) -> float:
    """The mean of two that point the same way; else 0."""
    return (one + other) / 2 if one * other > 0 else 0.0


def _quiet(value: float, dead_zone: float) -> float:
    """A value with a dead zone, at most 1 in size."""
    return math.copysign(_unit((abs(value) - dead_zone) / (1 - dead_zone)), value)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
