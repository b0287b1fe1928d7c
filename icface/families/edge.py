"""The edge family: the attributes move the photo's own 3-D landmarks, and these give the maps of a warp.

Its host code is `icface.geometry`. The engine does the warp.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np

from icface.arrays import Frame, Tensors
from icface.bundle import Bundle
from icface.errors import BundleError, EngineError, SourceError
from icface.face.landmarks import Landmarks
from icface.face.pose import head_pose
from icface.families import Family, Means, cannot_run
from icface.geometry.calming import painted
from icface.geometry.completion import COMPLETE_FROM_RAD
from icface.geometry.contract import misfit
from icface.geometry.far_side import hides_far_side, with_far_side
from icface.geometry.person import Person, read_person
from icface.geometry.prepare import GEOMETRY_VERSION, prepare_source
from icface.geometry.renewal import RENEWS, Corrected, has_expression, renewed, shows_teeth, smiles
from icface.geometry.rig import FaceRig
from icface.geometry.trust import rest_change
from icface.geometry.warp import PersonAlpha

logger = logging.getLogger(__name__)

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
    if why := misfit(bundle):
        raise cannot_run(bundle, why)
    # The flow is zero at the border and close to zero over the rim, so only the photo itself fades there.
    version = GEOMETRY_VERSION
    if bundle.correct is not None:
        version += "-corrected-renewed" if RENEWS else "-corrected"
    if bundle.neutralise is not None:
        version += "-calmed"
    prepare = partial(_prepare, _person_of(bundle), bundle.neutralise is not None)
    return Family(version=version, rim=1 / 24, prepare=prepare, rig=FaceRig, alpha=PersonAlpha)


def _person_of(bundle: Bundle) -> Person | None:
    """Whose face the bundle knows; BundleError where what it says of it is damaged."""
    tensors = bundle.person_tensors()
    try:
        return None if tensors is None else read_person(tensors)
    except ValueError as error:
        raise BundleError(f"{bundle.path}: {bundle.person}: {error}; make the model again") from error


def _prepare(
    person: Person | None, neutraliser: bool, frame: Frame, face: Landmarks, means: Means
) -> Tensors:
    scale = {"view_scale": np.array(means.view_scale, dtype=np.float32)} if means.view_scale < 1 else {}

    def prepare(frame: Frame, face: Landmarks, turned_rad: float | None = None) -> Tensors:
        made = prepare_source(
            frame,
            face,
            detector=means.detector,
            size_px=means.size_px,
            turned_rad=turned_rad,
            free_layer=means.free_layer,
            wide=means.wide,
            person=person,
        )
        return {**made, **scale}

    corrected = means.corrected if RENEWS else None
    whole_face = neutraliser and corrected is not None
    yaw_rad, smiling = head_pose(face).yaw_rad, smiles(face)
    turned = abs(yaw_rad) >= COMPLETE_FROM_RAD
    renews = corrected is not None and (smiling or (whole_face and has_expression(face)))
    if turned and not renews:
        cache = prepare(frame, face)
    else:
        first = cache = prepare(frame, face, turned_rad=0.0)
        if corrected is not None and (renews or shows_teeth(first)):
            cache, frame, face = renewed(
                first,
                frame,
                face,
                means.detector,
                partial(_calmed, means, corrected) if whole_face else corrected,
                whole_face=whole_face,
                free_layer=means.free_layer,
                person=person,
            )
        # The mirror image of half a smile is a crooked mouth. Without a network such a photo stays as it is.
        if turned or (hides_far_side(first) and (corrected is not None or not smiling)):
            # The face that was made may be too small, or seem turned too far, by a hair. Then its far side stays.
            with suppress(SourceError):
                completed = prepare(frame, face, turned_rad=yaw_rad)
                cache = with_far_side(first, cache, completed, keeps_teeth=not turned)
    cache = {**cache, **scale}
    if means.corrected is None:
        return cache
    return {**cache, "rest_change": rest_change(cache, means.corrected)}


def _calmed(means: Means, corrected: Corrected, cache: Tensors, motion: Tensors) -> Frame:
    """A frame calmed by the network that is for it; by the corrector, where that network fails."""
    try:
        return painted(means.neutralise, cache, motion)
    except EngineError as error:
        logger.warning("the photo is neutralised without its network: %s", error)
        return corrected(cache, motion)
