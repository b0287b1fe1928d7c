"""The rest of a photo, cut out: however wide it is, it is the same person."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.face.landmarks import open_detector
from icface.geometry.prepare import prepare_source
from icface.geometry.surroundings import reduced, surroundings
from icface.images import cut_crop, load_photo

PORTRAIT = Path(__file__).resolve().parents[2] / "examples/source.jpg"


@pytest.fixture(scope="module")
def portrait() -> tuple[Frame, Tensors]:
    photo = load_photo(PORTRAIT).frame[::2, ::2].copy()
    with closing(open_detector(video=False)) as detector:
        return photo, prepare_source(photo, detector.detect(photo)[0], detector, 256)


def test_a_wide_photo_shows_the_same_person(portrait: tuple[Frame, Tensors]) -> None:
    photo, cache = portrait
    square = surroundings(photo, cache["crop_to_photo"], cache)
    pad = photo.shape[1] // 2
    wide = np.pad(photo, ((0, 0), (pad, pad), (0, 0)), mode="edge")
    aside = cache["crop_to_photo"] + [[0, 0, pad], [0, 0, 0]]
    around = surroundings(wide, aside, cache)
    middle = np.s_[:, pad + 20 : -pad - 20]
    difference = np.abs(around.layer[middle].astype(int) - square.layer[:, 20:-20])
    assert difference[..., 3].mean() < 3
    assert not around.layer[: photo.shape[0] // 2, : pad - 20].any()
    assert (square.layer[..., :3] <= square.layer[..., 3:]).all()


def test_the_room_has_no_person(portrait: tuple[Frame, Tensors]) -> None:
    photo, cache = portrait
    layer, room = surroundings(photo, cache["crop_to_photo"], cache)
    wall = np.median(photo[:60, :60].reshape(-1, 3), axis=0)
    assert np.abs(room[100:300, 150:350].astype(int) - wall).mean() < 30, (
        "the grey wall goes on behind the head"
    )
    clear = layer[..., 3] == 0
    assert np.abs(room.astype(int) - photo)[clear].mean() < 2


def test_a_photo_is_reduced_to_its_crop_s_fineness(portrait: tuple[Frame, Tensors]) -> None:
    photo, _ = portrait
    doubled = photo.repeat(2, axis=0).repeat(2, axis=1)
    affine = np.array([[3.0, 0, 40], [0, 3.0, 60]])
    small, to_small = reduced(doubled, affine)
    assert small.shape[0] == round(doubled.shape[0] / 3) and to_small[0, 0] == pytest.approx(1)
    one, other = cut_crop(doubled, affine, 200), cut_crop(small, to_small, 200)
    assert np.abs(one.astype(int) - other).mean() < 2
    same, unchanged = reduced(photo, np.array([[0.5, 0, 1], [0, 0.5, 2]]))
    assert same is photo and unchanged[0, 0] == 0.5
