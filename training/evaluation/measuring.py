"""Looking at outputs as a tracker does: the 20 attributes of every picture, each picture by itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from icface.arrays import Frame
from icface.face.action_units import Baseline, population
from icface.face.viewer import Viewer
from training.preparation.calibrate import Measured, learn_baseline


class ClipViewer(Viewer):
    """Also learns how a real person looks without expression, as the attributes of the data were learned."""

    def clip_baseline(self, crops: Iterable[Frame]) -> Baseline:
        """The neutral of the person in many pictures (S, S, 3); the population's where no face is seen."""
        faces = [face for face in map(self.look, crops) if face is not None]
        if not faces:
            return population()
        # Equal times: the pictures need not be neighbours.
        return learn_baseline([Measured.of(faces, np.zeros(len(faces)))], population())
