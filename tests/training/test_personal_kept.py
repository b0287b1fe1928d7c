"""What a personal tuning keeps, and how its pairs come to lie on each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from icface.geometry.patch import CONDITIONS
from icface.networks import PatchConfig, PatchCorrector
from training.pairs.records import CHANNELS, MOST_FLOW_PX, ROOM_PX, STORED_PX, Record, laid
from training.personal.kept import as_it_was, kept_outside


def dot_at(x: int, y: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.zeros((STORED_PX, STORED_PX, 3), dtype=np.uint8)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    return picture


def around(x: float, y: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.stack(np.meshgrid([x - 10, x, x + 10], [y - 10, y, y + 10]), axis=-1).reshape(-1, 2)


def test_what_is_seen_beside_its_place_comes_to_it() -> None:
    drawn = around(100, 60)
    moved = laid(dot_at(104, 57), drawn, drawn + np.array([4, -3]))
    assert np.argwhere(moved[..., 0] > 200).mean(axis=0) == pytest.approx([60, 100], abs=0.4)


def test_two_lips_that_are_farther_open_stay_so() -> None:
    """Landmarks that differ up and down by as much, side by side, move nothing."""
    places = np.concatenate([around(100, 60), around(100, 61)])
    apart = np.concatenate([np.full((9, 2), [0.0, 5.0]), np.full((9, 2), [0.0, -5.0])])
    moved = laid(dot_at(100, 60), places, places + apart)
    assert np.argwhere(moved[..., 0] > 200).mean(axis=0) == pytest.approx([60, 100], abs=0.4)


def test_no_flow_is_larger_than_the_bound() -> None:
    drawn = around(100, 60)
    moved = laid(dot_at(160, 60), drawn, drawn + np.array([60, 0]))
    assert np.argwhere(moved[..., 0] > 128).mean(axis=0)[1] == pytest.approx(160, abs=MOST_FLOW_PX + 1)


def test_beside_mouth_and_eyes_the_corrector_s_own_picture_is_asked_for() -> None:
    torch.manual_seed(0)
    network = PatchCorrector(PatchConfig()).eval().requires_grad_(False)
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (STORED_PX, STORED_PX, CHANNELS), dtype=np.uint8)
    conditions = np.zeros(CONDITIONS, dtype=np.float32)
    found = kept_outside(network, Record(pixels, conditions, {})).pixels
    was = as_it_was(network, pixels[..., 3:], conditions)
    assert np.array_equal(found[..., 3:], pixels[..., 3:])
    mouth, eye = np.s_[ROOM_PX + 136, ROOM_PX + 96], np.s_[ROOM_PX + 64, ROOM_PX + 60]
    for place in (mouth, eye):
        assert np.array_equal(found[place][:3], pixels[place][:3])
    forehead, chin = np.s_[ROOM_PX + 14, ROOM_PX + 96], np.s_[ROOM_PX + 180, ROOM_PX + 10]
    for place in (forehead, chin):
        assert np.array_equal(found[place][:3], was[place])
    room = np.s_[:ROOM_PX]
    assert np.array_equal(found[room][..., :3], pixels[room][..., 3:6])
