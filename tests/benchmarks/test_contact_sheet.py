"""Pictures of runs: a sheet that stands still, and one that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from benchmarks.contact_sheet import GAP_PX, main, numbers_of
from icface.errors import ConfigError


def draw(repository: Path, out: Path, frames: str) -> int:
    photo, clip = (str(repository / "examples" / name) for name in ("source.jpg", "driver.mp4"))
    files = ["--source", photo, "--driver", clip, "--output-video", clip, "--out", str(out)]
    return main([*files, "--frames", frames, "--tile", "64"])


def test_a_sheet_has_the_driver_above_the_output(repository: Path, tmp_path: Path) -> None:
    assert draw(repository, tmp_path / "sheet.png", "0,40") == 0
    with Image.open(tmp_path / "sheet.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (2 * 64 + 3 * GAP_PX, 3 * 64 + 5 * GAP_PX, 3)
    above, below = (sheet[y : y + 64, 64 + 2 * GAP_PX :] for y in (GAP_PX, 64 + 2 * GAP_PX))
    np.testing.assert_array_equal(above, below, "the clip is given as both")


def test_a_film_has_the_frames_at_the_clips_rate(repository: Path, tmp_path: Path) -> None:
    assert draw(repository, tmp_path / "film.webp", "33:45:3") == 0
    with Image.open(tmp_path / "film.webp") as film:
        assert film.size == (3 * 64 + 2 * GAP_PX, 64)
        shown_ms = []
        for picture in ImageSequence.Iterator(film):
            picture.load()
            shown_ms.append(picture.info["duration"])
    # Every third of 30 frames a second. The encoder joins frames that look the same.
    assert sum(shown_ms) == 400 and len(shown_ms) > 1


@pytest.mark.parametrize("frames", ["a", "1:2", "0:10:0", "1,,2"])
def test_frames_that_are_no_numbers(frames: str) -> None:
    with pytest.raises(ConfigError, match=f"--frames {frames}: write"):
        numbers_of(frames)
