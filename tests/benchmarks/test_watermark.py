"""The benchmark of the watermark counts what is found, and ends with 1 after a false alarm."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import watermark
from benchmarks.watermark import main
from realtime.watermark_search import Found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    picture = np.random.default_rng(2).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(picture, (300, 300), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "one.png"), smooth)
    return tmp_path


def test_found_and_not_found_are_counted(photos: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert main(["--photos", str(photos), "--count", "1", "--without", "2", "--json", str(figures)]) == 0
    told = json.loads(figures.read_text())
    assert told["psnr_db"][1] >= 42
    assert {name: row["found"] for name, row in told["found"].items()} == dict.fromkeys(told["found"], 1.0)
    assert told["without"]["false_alarms"] == 0 and 3 < told["without"]["highest"] < 7.5


def test_a_false_alarm_ends_with_1(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermark, "search", lambda frames: Found(9.0, 1.0))
    assert main(["--photos", str(photos), "--count", "0", "--without", "3"]) == 1


def test_a_folder_without_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--photos", str(tmp_path)]) == 2
    assert "no pictures are there" in capsys.readouterr().err
