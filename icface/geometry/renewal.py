"""A photo with an expression made neutral by a network too: it paints the neutral frame once, and that is prepared again.

Geometry takes a grin back, and leaves its folds and bags. Where a network has taken these out before the photo is read,
every frame starts without them. The corrector, which sees every frame, can do that for smiles. A neutraliser of its own
can do it for the whole face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, POSE, SIDED, neutral, pose_to_unit
from icface.face.action_units import measure_attributes, population
from icface.face.extensions import measure_sides
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.pose import head_pose
from icface.geometry.cutout import Room
from icface.geometry.own import own_attributes
from icface.geometry.person import Person
from icface.geometry.prepare import pasted, take_out_the_rest
from icface.geometry.reading import certain, read_photo
from icface.geometry.rig import POSE_GAIN, FaceRig
from icface.geometry.shape import beyond_doubt, calmed_shape
from icface.geometry.teeth import OWN, MouthRows, mouth_anchor
from icface.geometry.topology import FACE_VERTICES, OVAL
from icface.geometry.warp import HostWarp

RENEWS: Final = True
"""Whether it is done, with bundles that have a network."""
LEAST_SMILE: Final = 0.35
"""From this AU12 on a photo has folds to take out."""

EXPRESSIVE: Final = {
    "AU01": 0.6, "AU04": 0.75, "AU09": 0.6, "AU10": 0.7, "AU15": 0.6, "AU20": 0.7, "AU25": 0.45, "AU26": 0.35,
    "AU45": 0.6,
}  # fmt: skip
"""From here on an Action Unit tells an expression: in 2 of 49 neutral photos. Others are read in many faces at rest."""

Corrected = Callable[[Tensors, Tensors], Frame]
"""Makes a frame from cache and motion tensors, with a network's correction."""


def shows_teeth(cache: Tensors) -> bool:
    """Whether a photo shows its own teeth."""
    return bool(MouthRows.of(cache).teeth == OWN)


def has_expression(landmarks: Landmarks) -> bool:
    """Whether a face has any expression that is beyond doubt."""
    units = measure_attributes(landmarks)
    return _has_shut_eye(landmarks) or any(units[INDEX[name]] >= low for name, low in EXPRESSIVE.items())


def _has_shut_eye(landmarks: Landmarks) -> bool:
    """Narrow eyes are somebody's own; one that is shut, even alone, is to be opened."""
    attributes = measure_attributes(landmarks)
    aside = measure_sides(landmarks, attributes)[SIDED.index("AU45")]
    return float(attributes[INDEX["AU45"]] + abs(aside) / 2) >= EXPRESSIVE["AU45"]


def smiles(landmarks: Landmarks) -> bool:
    """Whether a face smiles so much that it has folds."""
    return float(certain(measure_attributes(landmarks))[INDEX["AU12"]]) >= LEAST_SMILE


def renewed(
    cache: Tensors,
    frame: Frame,
    landmarks: Landmarks,
    detector: LandmarkDetector,
    corrected: Corrected,
    *,
    whole_face: bool = False,
    free_layer: bool = False,
    person: Person | None = None,
) -> tuple[Tensors, Frame, Landmarks]:
    """The cache tensors of the same photo, read from its corrected neutral frame; that picture, and the face in it.

    Args:
        cache: what `prepare_source` made of it.
        frame: the photo, (H, W, 3) RGB.
        landmarks: the face in it.
        detector: finds the face in the picture that was made. Where it finds none, all stays as it is.
        corrected: makes frames with the network.
        whole_face: it calms brows, nose and lids too, and paints eyes that were shut.
        free_layer: as for `prepare_source`.
        person: whose face it is, where that is known.
    """
    affine, size_px = cache["crop_to_photo"], len(cache["plate"])
    at_rest = neutral()
    # Turned as in the photo, so that hair and ears stay where they were photographed.
    pose = head_pose(landmarks)
    turned_rad = np.array([pose.pitch_rad - population().pitch_rad, pose.yaw_rad, pose.roll_rad])
    at_rest[POSE] = pose_to_unit((turned_rad - cache["pose_offset_rad"]) / POSE_GAIN)
    rig = FaceRig(cache)
    motion = rig.motion(at_rest)
    opens_eyes = whole_face and _has_shut_eye(landmarks)
    if whole_face:
        attributes = measure_attributes(landmarks)
        both, aside = beyond_doubt(attributes[ACTION_UNITS], measure_sides(landmarks, attributes))
        if not opens_eyes:
            both[AU_NAMES.index("AU45")] = aside[SIDED.index("AU45")] = 0
        shape = calmed_shape(rig.shape, both, aside)
        motion = rig.motion_of_shape(shape, rig.rotation, (0.0, 0.0), np.zeros(3, dtype=np.float32))
    # At the eyes too, which no driver closes here. A network that paints eyes leaves those alone that the photo shows.
    motion["gates"][0, 0] = motion["gates"][0, 2] if opens_eyes or not whole_face else 0.0
    whole = pasted(frame, corrected(cache, motion), affine)
    middle = landmarks.points_px[:, :2].mean(axis=0)
    found = sorted(
        detector.detect(whole),
        key=lambda face: float(np.linalg.norm(face.points_px[:, :2].mean(axis=0) - middle)),
    )
    if not found:
        return cache, frame, landmarks
    room = Room(frame, landmarks.points_px[list(OVAL), :2])
    # The mesh is where the rig has drawn it. A tracker would take hair at its edge for the cheek.
    points, drawn = found[0].points_px.copy(), rig.vertices
    points[:FACE_VERTICES, :2] = drawn[:, :2] * affine[0, 0] + affine[:, 2]
    points[:FACE_VERTICES, 2] = -drawn[:, 2] * cache["iod_px"] * affine[0, 0]
    face = replace(found[0], points_px=points)
    made = read_photo(whole, face, affine, size_px, free_layer, room, person=person)
    if MouthRows.of(cache).teeth == OWN:
        keep_the_teeth(made, cache)
    rig, warp = FaceRig(made), HostWarp(made, (size_px, size_px))
    # Once: what is left of the expression is small.
    take_out_the_rest(made, warp.frame(rig.motion(neutral())), detector, person)
    shown: dict[str, NDArray[Any]] = {
        "neutral": warp.frame(rig.motion(neutral())).copy(),
        "own": own_attributes(cache, made),
    }
    return made | shown, whole, face


def keep_the_teeth(made: dict[str, NDArray[Any]], cache: Tensors) -> None:
    """Give a source the inside of the mouth that the photo showed, below its own eyes and mouth."""
    below, top = cache["inner"], len(made["inner"])
    width = max(below.shape[1], made["inner"].shape[1])
    made["inner"] = np.concatenate(
        [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0))) for each in (made["inner"], below)]
    )
    made["mouth_patch"] = cache["mouth_patch"] + np.array([0, top, 0, 0], dtype=np.int32)
    # Teeth belong to the skull. The line of the lips, from which their lower end counts, is not where it was.
    was, now = (mouth_anchor(each["neutral_shape"])[1] for each in (cache, made))
    rows = MouthRows.of(cache)
    made["mouth_rows"] = np.array(rows._replace(upper_edge=rows.upper_edge + was - now), dtype=np.float32)
