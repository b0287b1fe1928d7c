"""The product on the examples that ship: always run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.images import load_photo
from icface.reenactor import Reenactor
from tests.e2e.reenactment import check_driven_file, check_sweep


@pytest.fixture(scope="module")
def detector() -> Iterator[LandmarkDetector]:
    with open_detector(video=False) as opened:
        yield opened


def test_the_example_photo_is_driven_by_the_example_clip(repository: Path, tmp_path: Path) -> None:
    check_driven_file(repository / "examples/source.jpg", repository / "examples/driver.mp4", tmp_path)


def test_more_asked_for_is_more_shown(repository: Path, detector: LandmarkDetector) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=512)
    reenactor.set_source(reenactor.prepare_source(load_photo(repository / "examples/source.jpg")))
    check_sweep(reenactor, detector)
