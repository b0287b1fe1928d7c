"""The matte: soft at the edges of the picture, one person only, and its own doubts."""

from __future__ import annotations

from contextlib import closing

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.face.landmarks import open_detector
from icface.geometry.topology import OVAL
from icface.images import load_photo
from icface.segmentation import matte as matte_module
from icface.segmentation.matte import guided, person_matte
from icface.segmentation.segmenters import Mask, hair_mask, person_mask
from tests.segmentation.test_segmenters import PORTRAIT

Face = tuple[Frame, FloatArray, float]


@pytest.fixture(scope="module")
def face() -> Face:
    """A portrait, the outline of its face, and the distance of its eyes."""
    frame = np.asarray(
        cv2.resize(load_photo(PORTRAIT).frame, (512, 512), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
    with closing(open_detector(video=False)) as detector:
        points = detector.detect(frame)[0].points_px
    return frame, points[list(OVAL), :2], float(np.linalg.norm(points[33] - points[263]))


def test_a_mask_is_moved_to_the_edge_of_the_picture() -> None:
    frame = np.zeros((80, 80, 3), dtype=np.uint8)
    frame[:, 40:] = 200
    rough = np.zeros((80, 80), dtype=np.float32)
    rough[:, 44:] = 1  # four pixels off
    found = guided(frame, rough, 10, 1e-4)
    assert found[40, 34:38].max() < 0.1
    assert found[40, 42:46].min() > 0.55


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_mask_stays(value: float) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    found = guided(frame, np.full((60, 50), value, dtype=np.float32), 6, 1e-4)
    assert np.abs(found - value).max() < 1e-3


def test_the_person_is_whole_and_the_wall_is_not_part_of_it(face: Face) -> None:
    frame, oval, iod = face
    matte = person_matte(frame, oval, iod)
    x, y = np.round(oval.mean(axis=0)).astype(int)
    assert matte.alpha[y, x] == 1
    assert matte.alpha[:40, :40].max() == matte.alpha[:40, -40:].max() == 0
    assert 0.25 < matte.alpha.mean() < 0.6
    assert matte.unsure < 0.1 and matte.seen > 0.98 and matte.missed < 0.1 and matte.hair_left < 1e-3


def test_another_person_is_background(face: Face) -> None:
    frame, oval, iod = face
    gap = np.full((512, 60, 3), frame[5, 5], dtype=np.uint8)
    alpha = person_matte(np.hstack([frame, gap, frame]), oval, iod).alpha
    assert alpha[:, :512].sum() > 1e4
    assert alpha[:, 572:].max() == 0


def test_an_outline_that_cannot_be_seen_is_unsure(face: Face) -> None:
    frame, oval, iod = face
    fog = cv2.GaussianBlur(frame, (0, 0), 25)
    assert person_matte(np.asarray(fog), oval, iod).unsure > 3 * person_matte(frame, oval, iod).unsure


def told(monkeypatch: pytest.MonkeyPatch, person: Mask, hair: Mask) -> None:
    """Let the networks tell these masks."""
    monkeypatch.setattr(matte_module, "person_mask", lambda _: person)
    monkeypatch.setattr(matte_module, "hair_mask", lambda _: hair)


def test_hair_that_is_left_out_is_counted(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, oval, iod = face
    person, hair = person_mask(frame), hair_mask(frame)
    far = np.s_[10:110, 5:85]
    assert person[far].max() < 0.1
    hair[far] = 0.5
    told(monkeypatch, person, hair)
    found = person_matte(frame, oval, iod)
    head = (found.alpha[: int(oval[:, 1].max())] > 0.5).sum()
    assert found.hair_left == pytest.approx(100 * 80 / head, rel=0.02)
    # Another person's hair is theirs.
    person[far] = 1
    assert person_matte(frame, oval, iod).hair_left < 1e-3


def test_a_crown_that_no_network_sees_is_counted(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, oval, iod = face
    person, hair = person_mask(frame), hair_mask(frame)
    person[: int(oval[:, 1].min())] = hair[: int(oval[:, 1].min())] = 0
    told(monkeypatch, person, hair)
    assert person_matte(frame, oval, iod).missed > 0.15


def test_a_doubt_inside_is_person_and_a_gap_is_not(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, oval, iod = face
    person, hair = person_mask(frame), hair_mask(frame)
    x, y = np.round(oval.mean(axis=0)).astype(int)
    chest = round(y + 2.2 * iod)
    doubt, gap = (
        np.s_[chest - 15 : chest + 15, x - 60 : x - 30],
        np.s_[chest - 15 : chest + 15, x + 30 : x + 60],
    )
    assert person[doubt].min() > 0.9 and person[gap].min() > 0.9
    person[doubt], person[gap] = 0.5, 0
    told(monkeypatch, person, hair)
    alpha = person_matte(frame, oval, iod).alpha
    assert alpha[doubt].min() == 1
    assert alpha[gap].max() < 1
