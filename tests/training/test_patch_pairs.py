"""Pairs of patches as they are drawn: which ones how often, and what is done to both sides of a pair alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from icface.errors import ConfigError
from icface.geometry.patch import CONDITIONS, MEASURES, PATCH_PX, conditions, measures
from tests.training.tiny_patches import make_tiny_pairs
from training.learning.patch.config import PatchSamplingConfig
from training.learning.patch.pairs import (
    INDEX_FILE,
    STORED_PX,
    PatchPairs,
    interest,
    mirrored_conditions,
    relit,
    varied,
)

STILL = PatchSamplingConfig(jitter_px=0, blurred=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_pairs(tmp_path / "pairs", {"photos": "true", "jaws": "opened"})


def test_conditions_of_a_mirrored_head_are_the_mirrored_conditions() -> None:
    """Landmarks of a head that looks aside, and of its mirror image."""
    swapped = {33: 263, 133: 362, 159: 386, 145: 374, 105: 334, 107: 336, 101: 330, 61: 291, 129: 358}
    rng = np.random.default_rng(0)
    shape, photo = rng.normal(0, 1, (2, 468, 3)).astype(np.float32)

    def mirrored(points: np.ndarray) -> np.ndarray:
        result = points.copy()
        for one, other in swapped.items():
            result[[one, other]] = points[[other, one]]
        result[:, 0] *= -1
        return result

    yaw = 0.4
    rotation = np.array(
        [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0.1], [-np.sin(yaw), 0, np.cos(yaw)]], np.float32
    )
    turned = rotation * np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], np.float32)
    here = conditions(measures(shape), measures(photo), rotation)
    there = conditions(measures(mirrored(shape)), measures(mirrored(photo)), turned)
    assert not np.allclose(here, there, atol=0.1)
    assert np.allclose(mirrored_conditions(here), there, atol=1e-5)
    assert np.array_equal(mirrored_conditions(mirrored_conditions(here)), here)


def test_an_item_depends_on_its_number_and_the_seed(folder: Path) -> None:
    pairs, again, other = (PatchPairs(folder, PatchSamplingConfig(), seed) for seed in (1, 1, 2))
    items, same, different = ([part[number] for number in range(6)] for part in (pairs, again, other))
    for one, two in zip(items, same, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one["patch"], two["patch"]) for one, two in zip(items, different, strict=True))
    assert items[0]["target"].shape == (3, PATCH_PX, PATCH_PX)
    assert items[0]["patch"].shape == (4, PATCH_PX, PATCH_PX)
    assert items[0]["conditions"].shape == (CONDITIONS,)


def test_shares_decide_which_sets_are_drawn(folder: Path) -> None:
    """Only targets that are photos teach the judge, so `real` tells the set."""
    for shares, wanted in (
        ({"photos": 1.0}, 1.0),
        ({"jaws": 2.0}, 0.0),
        ({"photos": 3.0, "jaws": 1.0}, 0.75),
    ):
        pairs = PatchPairs(folder, PatchSamplingConfig(shares=shares), 0)
        drawn = np.mean([float(pairs[number]["real"]) for number in range(60)])
        assert drawn == pytest.approx(wanted, abs=0.15)


def test_blurred_photos_do_not_teach_the_judge(folder: Path) -> None:
    rows = (folder / "photos.csv").read_text()
    (folder / "photos.csv").write_text(rows.replace(",100,", ",45,"))
    pairs = PatchPairs(folder, PatchSamplingConfig(shares={"photos": 1.0}), 0)
    assert float(pairs[0]["real"]) == 0


def test_wide_mouths_closing_lids_and_moved_brows_are_drawn_more_often() -> None:
    still, wide, shut, frown = np.zeros((4, CONDITIONS), np.float32)
    for record in (still, wide, shut, frown):
        record[[5, 9, MEASURES + 5, MEASURES + 9]] = 0.1
    wide[0] = 0.17
    shut[9] = 0.0
    frown[11] = -0.035
    # Nothing happens: .35. A gap of .17: 1.5 for it and 3 for being wide. One eye is shut: 1.5. The left brow's inner end
    # is .035 lower, halfway to what counts whole: .6.
    found = interest(np.stack([still, wide, shut, frown]))
    assert found == pytest.approx([0.35, 4.85, 1.85, 0.95], abs=1e-5)


def test_target_and_frame_are_changed_alike() -> None:
    rng = np.random.default_rng(2)
    pixels = np.empty((STORED_PX, STORED_PX, 7), np.uint8)
    pixels[..., :3] = pixels[..., 3:6] = rng.integers(0, 256, (STORED_PX, STORED_PX, 3))
    pixels[..., 6] = pixels[..., 0]
    for seed in range(5):
        target, patch = varied(pixels, PatchSamplingConfig(), np.random.default_rng(seed), shown_target=False)
        assert np.array_equal(target, patch[..., :3])
        assert any(
            np.array_equal(patch[..., 3], pixels[12 + y : 204 + y, 12 + x : 204 + x, 6])
            for y in range(-6, 7)
            for x in range(-6, 7)
        ), "the opening is moved, but its values stay"


def test_the_target_itself_may_be_shown() -> None:
    pixels = np.zeros((STORED_PX, STORED_PX, 7), np.uint8)
    pixels[..., :3] = 50
    pixels[..., 3:6] = 200
    target, patch = varied(pixels, STILL, np.random.default_rng(0), shown_target=True)
    assert np.array_equal(target, patch[..., :3])


def test_target_gets_the_frames_light() -> None:
    """Light that rises from side to side is taken over; a mouth that differs, and a fold, stay."""
    target = np.full((PATCH_PX, PATCH_PX, 3), 100, np.uint8)
    warped = np.empty_like(target)
    warped[...] = np.linspace(95, 115, PATCH_PX)[None, :, None]
    inner = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    found = relit(target, warped, inner).astype(float)
    middle = np.s_[60:140, 50:142]
    assert np.abs(found - warped)[middle].max() < 4
    target[130:150, 70:120] = 20
    inner[130:150, 70:120] = 255
    with_mouth = relit(target, warped, inner).astype(float)
    assert np.abs(with_mouth - found)[60:120, 50:142].max() < 3
    assert np.abs(with_mouth[132:148, 72:118] - 20).max() < 3
    target[90:93, 60:90] = 60
    assert float(relit(target, warped, inner)[91, 75, 0]) == pytest.approx(
        0.6 * float(warped[91, 75, 0]), abs=4
    )


def test_light_does_not_differ_by_more_than_a_third() -> None:
    dark, bright = (
        np.full((PATCH_PX, PATCH_PX, 3), 30, np.uint8),
        np.full((PATCH_PX, PATCH_PX, 3), 200, np.uint8),
    )
    inner = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    assert np.array_equal(relit(dark, bright, inner), np.full_like(dark, 40))
    assert np.array_equal(relit(bright, dark, inner), np.full_like(dark, 150))


def test_one_line_for_what_does_not_fit(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"has no set talk, which sampling\.shares names; it has photos, jaws"
    ):
        PatchPairs(folder, PatchSamplingConfig(shares={"talk": 1.0}), 0)
    np.save(folder / "jaws.conditions.npy", np.zeros((2, CONDITIONS), np.float32))
    with pytest.raises(ConfigError, match=r"the set jaws .* has 3 rows"):
        PatchPairs(folder, PatchSamplingConfig(), 0)
    index = json.loads((folder / INDEX_FILE).read_text())
    (folder / INDEX_FILE).write_text(json.dumps(index | {"patch_px": 128}))
    with pytest.raises(ConfigError, match="is of patches"):
        PatchPairs(folder, PatchSamplingConfig(), 0)
    with pytest.raises(ConfigError, match="cannot read"):
        PatchPairs(folder / "missing", PatchSamplingConfig(), 0)
