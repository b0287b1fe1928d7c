"""The product on the examples that ship: always run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.images import load_photo
from icface.reenactor import Reenactor
from tests.e2e.measuring import frames, icface_live
from tests.e2e.reenactment import check_driven_file, check_sweep


def test_the_example_photo_is_driven_by_the_example_clip(repository: Path, tmp_path: Path) -> None:
    check_driven_file(repository / "examples/rendered.jpg", repository / "examples/driver.mp4", tmp_path)


def test_more_asked_for_is_more_shown(repository: Path) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=512)
    reenactor.set_source(reenactor.prepare_source(load_photo(repository / "examples/rendered.jpg")))
    check_sweep(reenactor)


def test_recorded_attributes_replay_to_the_same_pictures(repository: Path, tmp_path: Path) -> None:
    source, driver = repository / "examples/rendered.jpg", repository / "examples/driver.mp4"
    drove, first, second = tmp_path / "drove.csv", tmp_path / "first.mp4", tmp_path / "second.mp4"
    driven = ("--camera", driver, "--record-attributes", drove, "--output", first)
    for arguments in (driven, ("--attributes", drove, "--output", second)):
        result = icface_live("--source", source, *arguments, "--frames", "25")
        assert result.returncode == 0, result.stderr
    pairs = list(zip(frames(first), frames(second), strict=True))
    assert len(pairs) == 25
    for index, (driven_frame, replayed_frame) in enumerate(pairs):
        np.testing.assert_array_equal(driven_frame, replayed_frame, err_msg=f"frame {index}")
