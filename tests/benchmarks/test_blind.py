"""The blind comparison: what the page shows, what it keeps to itself, and how its answers are counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import blind
from benchmarks.blind import EXPRESSIONS, Trial, Version, draw_lots, main, sign_test
from icface.arrays import Frame
from icface.bundle import DEFAULT_BUNDLE

A, B = 40, 200
"""Grey levels that stand for the two versions."""


def grey(version: Version, trials: list[Trial]) -> list[Frame | None]:
    """Frames of one grey level a version; the second photo can be used by the first version only."""
    frames = [np.full((8, 8, 3), B if version.corrected else A, dtype=np.uint8) for _ in trials]
    return [
        None if version.corrected and trial.photo.stem == "two" else frame
        for trial, frame in zip(trials, frames, strict=True)
    ]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blind, "frames_of", grey)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("one.jpg", "two.jpg", "three.png", "notes.txt"):
        (photos / name).touch()
    out = tmp_path / "blind"
    assert main(["make", "--sources", str(photos), "--trials", "60", "--out", str(out)]) == 0
    return out


def shown_levels(made: Path, number: str) -> tuple[int, int]:
    """Of the left and the right picture."""
    left, right = (cv2.imread(str(made / f"pictures/{number}-{side}.png")) for side in ("left", "right"))
    assert left is not None and right is not None
    return int(left.mean()), int(right.mean())


def test_sides_are_mixed_and_the_key_knows_them(made: Path) -> None:
    key = json.loads((made / "key.json").read_text())["trials"]
    assert len(key) == 40, "a photo that one version cannot use is left out for both"
    for number, trial in key.items():
        assert shown_levels(made, number) == ((B, A) if trial["left"] == "b" else (A, B))
    sides = Counter(trial["left"] for trial in key.values())
    assert min(sides.values()) >= 10
    assert {trial["photo"] for trial in key.values()} == {"one.jpg", "three.png"}


def test_the_page_does_not_say_which_is_which(made: Path) -> None:
    page = (made / "page.html").read_text()
    found = re.search(r'id="trials">(.*?)</script>', page)
    assert found is not None
    trials = json.loads(found[1])["trials"]
    assert len(trials) == 40 and set(trials[0]) == {"number", "asked"}


def test_answers_are_counted_for_the_version_behind_them(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Always the darker picture is version a, so choosing it each time must give it all of them."""
    document = json.loads((made / "key.json").read_text())
    answers = {}
    for number in document["trials"]:
        left, right = shown_levels(made, number)
        answers[number] = "left" if left < right else "right"
    answers["0001"] = "same"
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"set": document["set"], "answers": answers}))
    capsys.readouterr()
    assert main(["count", str(made), str(results)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^all +39 +0 +1$", printed, re.MULTILINE)
    assert "p = 3.6e-12" in printed  # 2 / 2^39


def test_results_of_another_page_are_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    for text, told in (
        ("nothing", "cannot read"),
        ('{"set": "others", "answers": {}}', "belongs to other pictures"),
        (json.dumps({"set": "fast and best, seed 20", "answers": {}}), "has no answers"),
        (json.dumps({"set": "fast and best, seed 20", "answers": {"9": "left"}}), "is not known"),
    ):
        results.write_text(text)
        assert main(["count", str(made), str(results)]) == 2
        assert told in capsys.readouterr().err


def test_photos_and_expressions_come_equally_often() -> None:
    trials = draw_lots([Path("a"), Path("b"), Path("c")], 120, np.random.default_rng(1))
    assert set(Counter(trial.photo for trial in trials).values()) == {40}
    assert Counter(trial.expression for trial in trials) == dict.fromkeys(EXPRESSIONS, 10)


def test_versions_by_their_names() -> None:
    assert Version.parse("fast") == Version(DEFAULT_BUNDLE, corrected=False)
    assert Version.parse("m.icface") == Version(Path("m.icface"), corrected=True)
    assert Version.parse("a/m.icface:fast") == Version(Path("a/m.icface"), corrected=False)


def test_the_sign_test() -> None:
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)
    assert sign_test(5, 5) == sign_test(0, 0) == 1.0


def test_folders_without_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "blind")
    assert main(["make", "--sources", str(tmp_path), "--out", out]) == 2
    assert "no photos" in capsys.readouterr().err
    assert main(["make", "--sources", str(tmp_path / "none"), "--out", out]) == 2
    assert "there is no such photo" in capsys.readouterr().err
