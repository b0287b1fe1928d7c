"""The edge family: the attributes move the photo's own 3-D landmarks; these give the maps of a warp.

Everything is host code, in `icface.geometry`; the engine warps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.bundle import Bundle
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.families import Family, Neutralise, Tensors, cannot_run
from icface.geometry import GEOMETRY_VERSION, Motion, prepare_source

MOTION: Final = "icface.geometry"
"""The manifest's name of the host code that is used here."""


class EdgeFamily(Family):
    """See the module."""

    version = GEOMETRY_VERSION
    # The flow is zero at the border and hardly anything over this width: what fades is the photo itself.
    rim = 1 / 24

    def prepare(
        self,
        frame: Frame,
        face: Landmarks,
        *,
        detector: LandmarkDetector,
        neutralise: Neutralise,
        size_px: int | None,
    ) -> Tensors:
        """See Family."""
        return prepare_source(frame, face, detector, size_px)

    def motion(self, cache: Mapping[str, NDArray[np.generic]]) -> Motion:
        """See Family."""
        side = cache["neutral"].shape[0]
        return Motion(cache, (side, side))


def open_family(bundle: Bundle) -> EdgeFamily:
    """See `icface.families.open_family`."""
    if bundle.motion != MOTION:
        raise cannot_run(bundle, f"it wants the motion {bundle.motion}, and {MOTION} is what there is")
    if bundle.attribute_scale != "full-shape":
        raise cannot_run(bundle, f"its motion takes full-shape attributes, not {bundle.attribute_scale} ones")
    if bundle.neutralise is not None:
        raise cannot_run(bundle, "its photos are neutralised by host code, not by a graph")
    return EdgeFamily()
