"""The product on real people: a clip drives a photo, and attributes are swept on five photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.attributes import neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.images import load_photo
from icface.reenactor import Reenactor
from tests.e2e.reenactment import check_driven_file, check_sweep

# Three neutral faces and one that smiles with teeth, of real people; a generated portrait.
PHOTOS = (
    "data/london/n_002_03.jpg",
    "data/london/n_004_03.jpg",
    "data/london/n_006_03.jpg",
    "data/london/s_006_08.jpg",
    "data/sfhq_t2i/textual_search_2_Background_Color_top_9_matches_0220_3009.jpg",
)


@pytest.fixture(scope="module")
def reenactor() -> Reenactor:
    return Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=512)


@pytest.mark.long
def test_a_photo_is_driven_by_a_real_person(shared: Path, shared_clip: Path, tmp_path: Path) -> None:
    check_driven_file(shared / PHOTOS[0], shared_clip, tmp_path)


@pytest.mark.parametrize("photo", PHOTOS)
def test_more_asked_for_is_more_shown(photo: str, shared: Path, reenactor: Reenactor) -> None:
    reenactor.set_source(reenactor.prepare_source(load_photo(shared / photo)))
    check_sweep(reenactor)


@pytest.mark.parametrize("photo", PHOTOS)
def test_what_does_not_move_is_the_photo(photo: str, shared: Path) -> None:
    """The neutral frame meets the photo at its border, pixel for pixel, where it is to fit into it."""
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=512, still_border=True)
    found = load_photo(shared / photo)
    # With room on every side: where a crop ends with its photo, it may move.
    pad = found.frame.shape[0] // 2
    roomy = np.pad(found.frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    source = reenactor.prepare_source(replace(found, frame=roomy, sha256=f"roomy {found.sha256}"))
    reenactor.set_source(source)
    frame = reenactor.animate(neutral())
    side = frame.shape[0]
    scale = source.crop_to_photo[0, 0]
    # The product shrinks with an area filter before it samples, so the reference is softened alike and the
    # comparison allows for what is left of the difference.
    photo_frame = cv2.GaussianBlur(source.photo_frame, (0, 0), max(0.1, 0.35 * scale))
    crop = cv2.warpAffine(
        photo_frame,
        source.crop_to_photo,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rim = np.ones((side, side), dtype=bool)
    rim[2:-2, 2:-2] = False
    margin = int(source.cache["margin"])
    person = source.cache["skin"][margin : margin + side, margin : margin + side].astype(float)
    layers = person[..., :3] + source.cache["plate"] * (1 - person[..., 3:] / 255)
    assert np.abs(frame[rim] - layers[rim]).max() <= 1
    assert np.abs(frame[rim].astype(float) - crop[rim]).mean() <= 3.0
