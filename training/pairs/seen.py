"""A face as a picture shows it: what a source is driven to, and what the corrector shall learn to show."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import AU_NAMES, FloatArray
from icface.errors import SourceError
from icface.face.action_units import measure_attributes, population
from icface.face.extensions import measure_sides
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.pose import head_pose
from icface.geometry import layers
from icface.geometry import topology as mesh
from icface.geometry.eyes import axes
from icface.geometry.reading import certain
from icface.geometry.shape import Projection, fit_source, rotation_matrix

CALM: Final = {
    "AU01": 0.45, "AU02": 0.45, "AU04": 0.4, "AU05": 0.5, "AU09": 0.3, "AU10": 0.3, "AU12": 0.25, "AU15": 0.4,
    "AU17": 0.4, "AU25": 0.2, "AU26": 0.15, "AU45": 0.35,
}  # fmt: skip
"""A face of which no Action Unit is above these is calm."""
_CORNERS = {"right": (33, 133), "left": (263, 362)}


class Seen(NamedTuple):
    """A face in a picture."""

    picture: Frame
    """(H, W, 3) RGB."""
    landmarks: Landmarks
    attributes: FloatArray
    """(20,) as they are measured of a stranger."""
    shape: FloatArray
    """(468, 3) head space, with expression."""
    rotation: FloatArray
    """(3, 3) of the head."""
    project: Projection
    """From head space to pixels of the picture."""

    def attribute(self, name: str) -> float:
        """An Action Unit by its name."""
        return float(self.attributes[3 + AU_NAMES.index(name)])

    def is_calm(self) -> bool:
        """Whether it is as good as neutral, with open eyes."""
        return all(self.attribute(name) <= most for name, most in CALM.items())


def look(picture: Frame, detector: LandmarkDetector) -> Seen:
    """The largest face of a picture; SourceError where there is none."""
    found = detector.detect(picture)
    if not found:
        raise SourceError("no face was found")
    return as_seen(picture, found[0])


def as_seen(picture: Frame, landmarks: Landmarks) -> Seen:
    """A face that was found in a picture."""
    pose = head_pose(landmarks)
    # As in a source that is prepared: the tracker sees a few degrees of pitch in faces that look straight ahead.
    rotation = rotation_matrix(pose.pitch_rad - population().pitch_rad, pose.yaw_rad, pose.roll_rad)
    attributes = measure_attributes(landmarks)
    sides = measure_sides(landmarks, certain(attributes))
    fitted = fit_source(landmarks.points_px, rotation, certain(attributes), sides)
    project = Projection(fitted.base_px, np.float32(fitted.iod_px))
    return Seen(picture, landmarks, attributes, fitted.photo_shape, rotation, project)


def irises(points_px: FloatArray, rotation: FloatArray, iod_px: float) -> Array:
    """(2, 2) where the right and the left iris lie from the middle of their eye's corners, in IOD, y up."""
    to_head = np.linalg.inv(axes(rotation)) / iod_px
    places = []
    for side, corners in _CORNERS.items():
        iris = layers.iris_circle(points_px, left=side == "left")[:2]
        places.append(to_head @ (iris - points_px[list(corners), :2].mean(axis=0)))
    return np.array(places)


def mouth_gap(seen: Seen) -> float:
    """Distance of the inner lips in IOD."""
    upper, lower = seen.shape[mesh.INNER_UPPER_LIP[5]], seen.shape[mesh.INNER_LOWER_LIP[5]]
    return float(upper[1] - lower[1])
