"""How much a face trembles that should stand still."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.face.landmarks import Landmarks
from icface.face.tracker import FaceTracker
from icface.face.viewer import Viewer
from icface.reenactor import Reenactor
from training.evaluation.agreement import jitter_iod

FRAMES: Final = 30
SETTLED: Final = 10
"""Frames at the start that do not count: the tracker's smoothing begins."""
NOISE_LEVELS: Final = 2.0
"""Standard deviation of a webcam's noise, of 255."""


def still_jitter(reenactor: Reenactor, driver: Frame, viewer: Viewer, seed: int = 20) -> float | None:
    """Landmark jitter of the output, in distances of the outer eye corners, while the driver does not move.

    The driver is one frame with a camera's noise. None where fewer than two faces are seen.
    """
    rng = np.random.default_rng(seed)
    shown: list[Landmarks | None] = []
    with closing(FaceTracker()) as tracker:
        for number in range(FRAMES):
            noise = rng.normal(0, NOISE_LEVELS, driver.shape)
            noisy = np.clip(driver + noise, 0, 255).astype(np.uint8)
            state = tracker.read(noisy, number / 30)
            if state is None or number < SETTLED:
                continue
            shown.append(viewer.look(reenactor.animate(state.attributes)))
    return jitter_iod(shown)
