"""A photo whose far side is hidden by a small turn is told apart, and its far side completed."""

from __future__ import annotations

from contextlib import closing

import cv2
import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.face.landmarks import open_detector
from icface.face.pose import head_pose
from icface.families import Means, open_family
from icface.geometry.completion import COMPLETE_FROM_RAD
from icface.geometry.contract import CALMED
from icface.geometry.far_side import TURNED, hides_far_side
from icface.geometry.own import own_attributes
from icface.geometry.patch import PATCH_PX
from icface.geometry.prepare import prepare_source
from icface.geometry.renewal import smiles
from icface.geometry.shape import rotation_matrix
from icface.geometry.warp import HostWarp
from icface.images import load_photo
from tests.conftest import shared_file
from tests.geometry.test_back import MARGIN, Cache, at, project, source

TURN_RAD = float(np.arcsin(TURNED)) + 0.01


def turned(yaw_rad: float, shown_iod: float, half_width: float = 1.1) -> Cache:
    """A person who is turned to a side, and shows so much of the head beside the far side of the face."""
    cache = source(half_width)
    rotation = rotation_matrix(0, yaw_rad, 0)
    cache["rotation"] = rotation
    # The face's rim is where it was drawn, so the layer is cut where it lies now.
    face = project(cache)(cache["neutral_shape"], rotation)[:, 0]
    far = -1 if rotation[2, 0] > 0 else 1
    edge = round(float(face.max() if far > 0 else face.min()) + far * shown_iod * (at(1, 0)[0] - at(0, 0)[0]))
    beyond = np.s_[:, edge + MARGIN :] if far > 0 else np.s_[:, : edge + MARGIN]
    cache["skin"][beyond] = 0
    return cache


@pytest.mark.parametrize("side", [1, -1])
def test_a_side_that_shows_little_beside_the_face_is_hidden(side: int) -> None:
    assert hides_far_side(turned(side * TURN_RAD, 0.0))
    assert not hides_far_side(turned(side * TURN_RAD, 0.5))
    assert not hides_far_side(turned(side * (TURN_RAD - 0.02), 0.0)), "it is hardly turned"


def test_a_photo_of_one_layer_and_one_without_anything_to_mirror_are_left_alone() -> None:
    one_layer = turned(TURN_RAD, 0.0) | {"margin": np.array(0, dtype=np.int32)}
    assert not hides_far_side(one_layer)
    no_hair = turned(TURN_RAD, 0.0, half_width=0.5)
    assert not hides_far_side(no_hair)


def as_it_is_drawn(cache: Tensors, motion: Tensors) -> Frame:
    """A network that corrects nothing."""
    height, width = cache["plate"].shape[:2]
    return HostWarp(cache, (width, height)).frame(motion).copy()


def calm_as_it_is(inputs: Tensors) -> Tensors:
    """A neutraliser that changes nothing."""
    correction = np.zeros((1, PATCH_PX, PATCH_PX, 4), np.float32)
    correction[..., 0] = 1
    return {CALMED: correction}


@pytest.mark.slow
def test_a_real_photo_gets_its_far_side_and_stays_the_person() -> None:
    photo = load_photo(shared_file("data/us_congress_gpo/S000018.jpg")).frame
    family = open_family(Bundle.load(DEFAULT_BUNDLE))
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        as_it_is = prepare_source(photo, face, detector, 256)
        plain = family.prepare(photo, face, Means(detector, calm_as_it_is, 256))
        means = Means(detector, calm_as_it_is, 256, corrected=as_it_is_drawn)
        made = family.prepare(photo, face, means)
    assert hides_far_side(as_it_is)
    assert smiles(face) and hides_far_side(plain), "without a network half a smile is not mirrored"
    assert abs(float(made["rotation"][2, 0])) < TURNED
    assert not hides_far_side(made)
    np.testing.assert_array_equal(made["own"], own_attributes(as_it_is, made))


@pytest.mark.slow
def test_a_turned_smile_is_taken_out_by_the_network_before_the_face_is_mirrored() -> None:
    photo = load_photo(shared_file("data/us_congress_gpo/C001035.jpg")).frame
    family = open_family(Bundle.load(DEFAULT_BUNDLE))
    turns: list[float] = []

    def calmed(inputs: Tensors) -> Tensors:
        """A network that paints the mouth blue, which the mirror image of one side would not."""
        turns.append(float(inputs["conditions"][0, -1]))
        correction = calm_as_it_is(inputs)[CALMED]
        cv2.circle(correction[0], (96, 140), 10, (0, 0, 0, 255), -1)
        return {CALMED: correction}

    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        assert abs(head_pose(face).yaw_rad) > COMPLETE_FROM_RAD and smiles(face)
        means = Means(detector, calmed, 256, corrected=as_it_is_drawn)
        made = family.prepare(photo, face, means)
    assert abs(turns[0]) > 0.15, "it saw the photo as it was turned"
    assert abs(float(made["rotation"][2, 0])) < TURNED
    shown = made["neutral"].astype(int)
    assert (shown[..., 2] - shown[..., 0]).max() > 80, "what it made is in the frontal picture"
