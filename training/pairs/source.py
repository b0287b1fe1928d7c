"""A prepared photo that is driven to a face that was seen: by its shape, not by attributes.

An ordinary frame differs from that in one point: its shape is the photo's neutral one moved by Action Units. Slide, flow
of head and body, eyeballs, teeth and light are the same.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import ACTION_UNITS, AU_NAMES, POSE, FloatArray, neutral, pose_to_unit
from icface.face.action_units import population
from icface.face.extensions import measure_sides
from icface.face.landmarks import LandmarkDetector
from icface.face.pose import head_pose
from icface.face.suitability import check_suitable
from icface.geometry import prepare
from icface.geometry import topology as mesh
from icface.geometry.completion import COMPLETE_FROM_RAD
from icface.geometry.correction import openings
from icface.geometry.eyes import IRIS_TRAVEL_IOD, gaze_direction
from icface.geometry.patch import SUPERSAMPLING, finer
from icface.geometry.person import Person
from icface.geometry.reading import read_photo
from icface.geometry.rig import JAW_SHARE, POSE_GAIN, FaceRig
from icface.geometry.shape import PIVOT, Projection, beyond_doubt, calmed_shape
from icface.geometry.teeth import OWN, MouthRows
from icface.geometry.topology import face_tables
from icface.geometry.warp import HostWarp
from training.pairs.seen import Seen, irises

SHUT: Final = 0.35
"""From this AU45 on an eye tells no gaze."""
LEAST_GAZE_RAD: Final = 0.06
"""A gaze that differs less from the photo's own is not laid anew, so that the photo's eye keeps all its pixels."""
MOST_SINE: Final = 0.55
QUIET: Final = tuple(AU_NAMES.index(name) for name in ("AU05", "AU07", "AU25", "AU26", "AU45"))
"""Noise leaves these: the openings of eyes and mouth stay as they are seen."""
_JAW: Final = AU_NAMES.index("AU26")
_CHIN: Final = 152


class Shown(NamedTuple):
    """A frame that the geometry made."""

    frame: Frame
    """(S, S, 3) RGB."""
    opening: NDArray[np.uint8]
    """(S, S), inner alpha: eyes and mouth."""
    shape: FloatArray
    rotation: FloatArray


class Source:
    """A face of a photo, prepared as in the product.

    Args:
        seen: the photo.
        detector: looks at what is made of it.
        iod_px: pixels from eye to eye in its frames, about.
        by_attributes: whether it is moved by attributes too. Else the offsets of its neutral pose and smile are not
            measured, which takes half of the time and changes no frame that is driven by a shape.
        person: whose face it is, where that is known.
    """

    def __init__(
        self,
        seen: Seen,
        detector: LandmarkDetector,
        iod_px: float,
        *,
        by_attributes: bool = False,
        person: Person | None = None,
    ) -> None:
        self.seen = seen
        size_px = _size_px(seen, iod_px)
        if by_attributes or abs(head_pose(seen.landmarks).yaw_rad) >= COMPLETE_FROM_RAD:
            self.cache = prepare.prepare_source(
                seen.picture, seen.landmarks, detector, size_px, person=person
            )
        else:
            check_suitable(seen.landmarks)
            photo_size_px = seen.picture.shape[1], seen.picture.shape[0]
            affine = prepare.crop_affine(seen.landmarks.points_px, photo_size_px, size_px)
            self.cache = read_photo(seen.picture, seen.landmarks, affine, size_px, person=person)
        side = self.cache["plate"].shape[0]
        self.rig = FaceRig(self.cache)
        self.warp = HostWarp(self.cache, (side, side))
        self.project = Projection(self.cache["base_px"], np.float32(self.cache["iod_px"][()]))
        self.affine = self.cache["crop_to_photo"]
        """(2, 3) from pixels of the frame to those of the photo."""

    @property
    def own_teeth(self) -> bool:
        """Whether the photo's own teeth are shown."""
        return bool(MouthRows.of(self.cache).teeth == OWN)

    def own_pose(self) -> FloatArray:
        """Neutral attributes, with the pose that the head has in the photo."""
        pose = head_pose(self.seen.landmarks)
        turn_rad = np.array([pose.pitch_rad - population().pitch_rad, pose.yaw_rad, pose.roll_rad])
        attributes = neutral()
        attributes[POSE] = pose_to_unit((turn_rad - self.cache["pose_offset_rad"]) / POSE_GAIN)
        return attributes

    def by_attributes(self, attributes: FloatArray) -> Shown:
        """An ordinary frame."""
        return self._shown(self.rig.motion(attributes))

    def driven_to(self, seen: Seen, to_picture: Array, noise: FloatArray | None = None) -> Shown:
        """The source with the landmarks and the pose of a face that was seen.

        Args:
            seen: the face.
            to_picture: (2, 3) from pixels of the source's frame to those of the face's picture; upright.
            noise: (17,) Action Units that are added.
        """
        shape = self.shape_of(seen.shape, seen.rotation, seen.project, to_picture)
        if noise is not None:
            shape = with_noise(shape, noise)
        return self.by_shape(shape, seen.rotation, self._gaze_of(seen))

    def calmed(self, rotation: FloatArray) -> Shown:
        """The source as the product calms it, before a network has seen it, with this rotation (3, 3)."""
        attributes, sides = self.seen.attributes, measure_sides(self.seen.landmarks, self.seen.attributes)
        expression = beyond_doubt(attributes[ACTION_UNITS], sides)
        return self.by_shape(
            calmed_shape(self.cache["neutral_shape"], *expression), rotation, self.own_gaze()
        )

    def expressed(self, attributes: FloatArray, seen: Seen) -> Shown:
        """The expression of attributes (SIZE,) in the pose and with the gaze of a face that was seen."""
        self.rig.motion(attributes)
        return self.by_shape(self.rig.shape.copy(), seen.rotation, self._gaze_of(seen))

    def by_shape(self, shape: FloatArray, rotation: FloatArray, gaze_rad: tuple[float, float]) -> Shown:
        """The source with this shape (468, 3), rotation (3, 3) and gaze."""
        return self._shown(self.rig.motion_of_shape(shape, rotation, gaze_rad, self._jaw_of(shape)))

    def shape_of(
        self, shape: FloatArray, rotation: FloatArray, project: Projection, to_picture: Array
    ) -> FloatArray:
        """The shape that this source has to have so that it lies where a shape of another picture does."""
        scale = to_picture[0, 0]
        base_px = (project.base_px - to_picture[:, 2]) / scale
        times = float(project.iod_px) / scale / float(self.project.iod_px)
        moved = np.append((base_px - self.project.base_px) / float(self.project.iod_px) * [1, -1], 0)
        return np.asarray(PIVOT + times * (shape - PIVOT) + moved @ rotation, dtype=np.float32)

    def onto(self, seen: Seen) -> Array:
        """(2, 3) from pixels of the frame to those of another picture of the person: pivot on pivot, IOD on IOD."""
        scale = float(seen.project.iod_px) / float(self.project.iod_px)
        return np.column_stack([scale * np.eye(2), seen.project.base_px - scale * self.project.base_px])

    def own_gaze(self) -> tuple[float, float]:
        """Where the photo's eyes look."""
        down, aside = self.cache["gaze_rad"].tolist()
        return down, aside

    def _shown(self, motion: Tensors) -> Shown:
        frame = self.warp.frame(motion).copy()
        opening = openings(
            motion["inner_alpha"], motion["inner_shade"], np.empty(frame.shape[:2], dtype=np.uint8)
        )
        return Shown(frame, opening, self.rig.shape, self.rig.rotation)

    def _jaw_of(self, shape: FloatArray) -> FloatArray:
        """(3,) how far the lower teeth have moved: as AU26 moves them, by as much as the chin has dropped."""
        whole = self.cache.get("displacements", face_tables().displacements)[_JAW, _CHIN]
        dropped = (shape[_CHIN] - self.cache["neutral_shape"][_CHIN]) @ whole / (whole @ whole)
        return np.asarray(JAW_SHARE * np.clip(dropped, 0, 2) * whole, dtype=np.float32)

    def _gaze_of(self, seen: Seen) -> tuple[float, float]:
        """The gaze that brings the source's irises to where they are seen."""
        own = self.own_gaze()
        if max(seen.attribute("AU45"), self.seen.attribute("AU45")) > SHUT:
            return own
        there = irises(seen.landmarks.points_px, seen.rotation, float(seen.project.iod_px))
        here = irises(self.seen.landmarks.points_px, self.seen.rotation, float(self.seen.project.iod_px))
        moved = (there - here).mean(axis=0) / IRIS_TRAVEL_IOD
        x, y = np.clip(gaze_direction(own) + moved, -MOST_SINE, MOST_SINE).tolist()
        pitch = -math.asin(y)
        gaze = pitch, -math.asin(max(-1.0, min(1.0, x / math.cos(pitch))))
        return own if math.dist(gaze, own) < LEAST_GAZE_RAD else gaze


def with_noise(shape: FloatArray, noise: FloatArray) -> FloatArray:
    """A shape moved by Action Units (17,) that keeps the openings of eyes and mouth."""
    amounts = noise.copy()
    amounts[list(QUIET)] = 0
    moved = np.tensordot(amounts, face_tables().displacements, axes=1)
    upper = [*mesh.INNER_UPPER_LIP, *mesh.UPPER_LID]
    lower = [*mesh.INNER_LOWER_LIP, *mesh.LOWER_LID]
    moved[upper] = moved[lower] = (moved[upper] + moved[lower]) / 2
    return np.asarray(shape + moved, dtype=np.float32)


def then(first: Array, second: Array) -> Array:
    """The affine (2, 3) that is `first` and then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def cut_once(picture: Frame, patch_to_picture: Array, px: int) -> Frame:
    """Cut a patch (px, px, 3) straight from a picture, however fine that is."""
    scale = math.sqrt(abs(float(np.linalg.det(patch_to_picture[:, :2]))))
    times = max(SUPERSAMPLING, math.ceil(scale))
    fine = cv2.warpAffine(
        picture,
        finer(patch_to_picture, times),
        (times * px, times * px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, (px, px), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _size_px(seen: Seen, iod_px: float) -> int:
    """Side of a crop in which the eyes have that distance."""
    size = seen.picture.shape[1], seen.picture.shape[0]
    side_px = prepare.crop_affine(seen.landmarks.points_px, size, 1)[0, 0]
    wanted = 2 * round(side_px * iod_px / float(seen.project.iod_px) / 2)
    low, high = prepare.NATIVE_LIMITS_PX
    return int(np.clip(wanted, low, high))
