"""The two segmentation networks: as MediaPipe's package runs them, and refused where their file is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.images import load_photo
from icface.segmentation import segmenters
from icface.segmentation.segmenters import hair_mask, person_mask

PORTRAIT = Path(__file__).resolve().parents[2] / "examples/source.jpg"
REFERENCE = Path(__file__).with_name("mediapipe_reference.npz")
"""Written by record_reference.py: the portrait's masks, every EVERY_PX-th row and column."""
EVERY_PX = 4
PERSON_PX = 256
HAIR_PX = 512


def portrait(side: int) -> Frame:
    frame = load_photo(PORTRAIT).frame
    return np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def test_masks_are_those_of_mediapipe() -> None:
    reference = np.load(REFERENCE)
    for found, name in ((person_mask(portrait(PERSON_PX)), "person"), (hair_mask(portrait(HAIR_PX)), "hair")):
        difference = np.abs(found[::EVERY_PX, ::EVERY_PX] - reference[name])
        assert difference.max() < 1e-3 and difference.mean() < 1e-4, name


def test_masks_have_the_size_of_the_picture() -> None:
    frame = portrait(300)[:200]
    for mask in (person_mask(frame), hair_mask(frame)):
        assert mask.shape == (200, 300) and mask.dtype == np.float32
        assert mask.min() >= 0 and mask.max() <= 1


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(segmenters, "FOLDER", tmp_path)
    segmenters._network.cache_clear()
    yield tmp_path
    segmenters._network.cache_clear()


def test_a_damaged_network_is_refused_in_a_sentence(own_files: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*person.onnx .*; install icface-live again"):
        person_mask(portrait(64))
    (own_files / "person.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match=r"person.onnx is damaged; install icface-live again"):
        person_mask(portrait(64))
