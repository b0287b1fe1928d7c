"""The benchmark of expressions beside photos of them: its arithmetic by hand, and a short run on the example."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import expressions
from benchmarks.expressions import TILE_PX, Trial, people, summary
from icface.attributes import AU_NAMES, INDEX, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError
from icface.images import load_photo
from icface.reenactor import Reenactor
from tests.conftest import REPOSITORY


def trial(asked: float, shown: float) -> Trial:
    """A photo with so much AU12, and a frame with so much."""
    units = np.zeros((2, len(AU_NAMES)), dtype=np.float32)
    units[:, AU_NAMES.index("AU12")] = asked, shown
    return Trial("photo", units[0], units[1], np.zeros((1, 1, 3), dtype=np.uint8))


def test_figures_by_hand() -> None:
    figures = summary([trial(0.5, 0.4), trial(1.0, 0.9), trial(0.4, 0.5), trial(0.2, 0.9), trial(0.0, 0.1)])
    # .8, .9 and 1.25; apart by .1 each; one photo has none, and one has too little to count as either.
    assert figures["AU12"] == pytest.approx({"photos": 3, "amplitude": 0.9, "apart": 0.1, "absent": 0.1})
    assert figures["AU04"]["photos"] == 0 and math.isnan(figures["AU04"]["amplitude"])
    assert figures["AU04"]["absent"] == 0


def test_a_frame_without_a_face_does_not_count() -> None:
    figures = summary([trial(0.5, 0.5), trial(0.5, math.nan)])["AU12"]
    assert (figures["photos"], figures["amplitude"]) == (1, 1)


def test_people_are_told_apart_by_their_files_names(tmp_path: Path) -> None:
    for name in ("anna_neutral.jpg", "anna_happy.jpg", "bert_neutral.jpg", "cleo_sad.jpg", "notes.txt"):
        (tmp_path / name).touch()
    anna = tmp_path / "anna_neutral.jpg", [tmp_path / "anna_happy.jpg"]
    assert list(people(tmp_path, "^([^_]+)_", "*_neutral.*")) == [anna]
    with pytest.raises(ConfigError, match="has nobody with a photo like"):
        list(people(tmp_path, "^([^_]+)_", "*_calm.*"))


def test_a_smile_is_shown_as_it_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    example = REPOSITORY / "examples/source.jpg"
    shutil.copy(example, photos / "anna_neutral.jpg")
    (photos / "anna_damaged.jpg").write_bytes(b"no photo")
    with closing(Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=512)) as reenactor:
        reenactor.set_source(reenactor.prepare_source(load_photo(example)))
        asked = neutral()
        asked[INDEX["AU12"]] = 0.8
        smile = reenactor.animate(asked)
        cv2.imwrite(str(photos / "anna_smile.png"), cv2.cvtColor(smile, cv2.COLOR_RGB2BGR))
    sheet, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    flags = ["--photos", str(photos), "--sheet", str(sheet), "--json", str(figures)]
    assert expressions.main(flags) == 0
    told = capsys.readouterr()
    assert "1 photos of 1 people" in told.out and "anna_damaged.jpg is not a picture" in told.err
    found = json.loads(figures.read_text())["action_units"]["AU12"]
    assert found["photos"] == 1 and found["amplitude"] == pytest.approx(1.0, abs=0.2)
    drawn = cv2.imread(str(sheet))
    assert drawn is not None and drawn.shape == (3 * TILE_PX, TILE_PX, 3)
