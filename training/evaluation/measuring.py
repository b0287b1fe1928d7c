"""Looking at outputs as a tracker does: the 20 attributes of every picture, each picture by itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from icface.arrays import Frame
from icface.face.action_units import Baseline, population
from icface.face.features import measure_features
from icface.face.pose import head_pose
from icface.face.viewer import Viewer
from training.preparation.calibrate import Measured, learn_baseline


class ClipViewer(Viewer):
    """Also learns how a real person looks without expression, as the attributes of the data were learned."""

    def clip_baseline(self, crops: Iterable[Frame]) -> Baseline:
        """The neutral of the person in many pictures (S, S, 3); the population's where no face is seen."""
        faces = [face for face in map(self.look, crops) if face is not None]
        if not faces:
            return population()
        poses = [head_pose(face) for face in faces]
        seen = Measured(
            features=np.stack([measure_features(face) for face in faces]),
            blendshapes=np.stack([face.blendshapes for face in faces]),
            pose_rad=np.array([(pose.pitch_rad, pose.yaw_rad, pose.roll_rad) for pose in poses]),
            times_s=np.zeros(len(faces)),  # the pictures need not be neighbours in time
        )
        return learn_baseline([seen], population())
