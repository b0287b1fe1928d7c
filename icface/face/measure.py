"""The 20 attributes of one still picture: no smoothing, no calibration."""

from __future__ import annotations

import numpy as np

from icface.attributes import FloatArray, pose_to_unit
from icface.face.action_units import Baseline, measure_action_units, population
from icface.face.features import measure_features
from icface.face.landmarks import Landmarks
from icface.face.pose import head_pose


def measure_attributes(landmarks: Landmarks, baseline: Baseline | None = None) -> FloatArray:
    """(20,) full-shape attributes, relative to the population's neutral face unless `baseline` is given."""
    baseline = baseline or population()
    pose = head_pose(landmarks)
    pitch_rad = pose.pitch_rad - baseline.pitch_rad
    action_units = measure_action_units(
        measure_features(landmarks), landmarks.blendshapes, baseline, yaw_rad=pose.yaw_rad
    )
    return np.concatenate([pose_to_unit([pitch_rad, pose.yaw_rad, pose.roll_rad]), action_units])


def baseline_of(landmarks: Landmarks) -> Baseline:
    """The baseline of a person from a picture in which they are neutral."""
    features = measure_features(landmarks)
    scores = landmarks.blendshapes.astype(np.float64)
    return Baseline(features=features, blendshapes=scores, pitch_rad=population().pitch_rad)
