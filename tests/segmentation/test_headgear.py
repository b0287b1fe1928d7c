"""What is worn on the head comes along, and the room behind it does not."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.face.landmarks import open_detector
from icface.geometry.topology import OVAL
from icface.images import load_photo
from icface.segmentation.headgear import worn
from icface.segmentation.matte import person_matte
from icface.segmentation.segmenters import Mask
from tests.conftest import shared_file

IOD = 40.0
CROWN = np.s_[20:50, 80:120]


def scene() -> tuple[Frame, Mask, Mask, FloatArray]:
    """A face below the brim of a dark hat, whose crown the networks do not see, before a grey wall."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    oval = np.stack([100 + 40 * np.sin(angle), 130 - 50 * np.cos(angle)], axis=1).astype(np.float32)
    frame = np.full((200, 200, 3), 150, dtype=np.uint8)
    frame[80:190, 60:140] = 220, 180, 160
    frame[50:80, 55:145] = frame[CROWN] = 30
    person = np.zeros((200, 200), dtype=np.float32)
    person[50:190, 60:140] = 1
    return frame, person, np.zeros_like(person), oval


def test_a_hat_goes_on_in_its_own_colour() -> None:
    frame, person, hair, oval = scene()
    found = worn(frame, person, hair, oval, IOD)
    assert found[CROWN].mean() > 0.85
    found[14:50, 74:126] = False
    assert not found[:50].any()


def test_a_colour_that_goes_on_to_the_sides_is_the_room_s() -> None:
    frame, person, hair, oval = scene()
    frame[20:50] = 30
    assert not worn(frame, person, hair, oval, IOD)[:50].any()


def test_a_doubt_above_the_forehead_is_what_is_worn_unless_it_is_hair() -> None:
    frame, person, hair, oval = scene()
    frame[CROWN] = 200, 170, 50
    person[CROWN] = 0.5
    assert worn(frame, person, hair, oval, IOD)[CROWN].mean() > 0.85
    hair[CROWN] = 0.4
    assert not worn(frame, person, hair, oval, IOD)[25:45, 85:115].any()


def test_what_does_not_touch_the_head_is_the_room_s() -> None:
    frame, person, hair, oval = scene()
    frame[36:50] = 150
    person[20:36, 80:120] = 0.5
    assert not worn(frame, person, hair, oval, IOD)[:50].any()


@pytest.mark.parametrize(
    "name",
    [
        "Hats_top_10_matches_1919_0016",  # top hats
        "Hats_top_10_matches_1919_4007",
        "Hats_top_10_matches_0814_1014",  # a black hat before a dark room
    ],
)
def test_the_hat_of_a_real_photo_is_whole(name: str) -> None:
    photo = load_photo(shared_file(f"data/sfhq_t2i/textual_search_2_{name}.jpg")).frame
    with closing(open_detector(video=False)) as detector:
        points = detector.detect(photo)[0].points_px
    oval, iod = points[list(OVAL), :2], float(np.linalg.norm(points[33] - points[263]))
    alpha = person_matte(photo, oval, iod).alpha
    x, forehead = int(oval[:, 0].mean()), int(oval[:, 1].min())
    above = alpha[round(0.1 * iod) : forehead, x - 5 : x + 5]
    assert (above > 0.9).mean() > 0.7
