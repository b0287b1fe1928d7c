"""The edge family: the attributes move the photo's own 3-D landmarks, and these give the maps of a warp.

Its host code is `icface.geometry`. The engine does the warp.
"""

from __future__ import annotations

from typing import Final

from icface.arrays import Frame, Tensors
from icface.bundle import Bundle
from icface.face.landmarks import Landmarks
from icface.families import Family, Means, cannot_run
from icface.geometry.prepare import GEOMETRY_VERSION, prepare_source
from icface.geometry.renewal import RENEWS, is_worth_renewing, renewed
from icface.geometry.rig import FaceRig
from icface.geometry.trust import rest_change
from icface.geometry.warp import PersonAlpha

HOST_CODE: Final = "icface.geometry"
"""The manifest's name of this host code."""


def open_family(bundle: Bundle) -> Family:
    """See `icface.families.open_family`."""
    if bundle.host_code != HOST_CODE:
        raise cannot_run(
            bundle, f"it wants the host code {bundle.host_code}, and {HOST_CODE} is what there is"
        )
    if bundle.attribute_scale != "full-shape":
        raise cannot_run(bundle, f"its rig takes full-shape attributes, not {bundle.attribute_scale} ones")
    if bundle.neutralise is not None:
        raise cannot_run(bundle, "its photos are neutralised by host code, not by a graph")
    # The flow is zero at the border and close to zero over the rim, so only the photo itself fades there.
    version = GEOMETRY_VERSION
    if bundle.correct is not None:
        version += "-corrected-renewed" if RENEWS else "-corrected"
    return Family(version=version, rim=1 / 24, prepare=_prepare, rig=FaceRig, alpha=PersonAlpha)


def _prepare(frame: Frame, face: Landmarks, means: Means) -> Tensors:
    cache = prepare_source(
        frame, face, means.detector, means.size_px, free_layer=means.free_layer, wide=means.wide
    )
    if means.corrected is None:
        return cache
    if RENEWS and is_worth_renewing(cache, face):
        cache = renewed(cache, frame, face, means.detector, means.corrected, free_layer=means.free_layer)
    return {**cache, "rest_change": rest_change(cache, means.corrected)}
