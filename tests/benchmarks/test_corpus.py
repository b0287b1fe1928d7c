"""The corpus runner: it says what is right, and what is not."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import cases
from benchmarks.corpus import Case, Result, lines, main, read_table, run_case


def test_a_number_is_compared_with_its_cell() -> None:
    result = Result()
    result.check("frames", 60, "60", 0)
    result.check("length_s", 2.008, "2", 0.01)
    result.check("error", 0.03, "0.06")
    result.check("sync_ms", 300, "")
    assert result.wrong == []
    result.check("frames", 59, "60", 0)
    result.check("length_s", None, "2", 0.01)
    result.check("error", 0.07, "0.06")
    assert result.wrong == [
        "frames 59 instead of 60",
        "length_s none instead of 2",
        "error 0.07 instead of 0.06",
    ]
    case = Case(Path("a.mp4"), {})
    assert list(lines([(case, result)])) == [
        "WRONG a.mp4: frames 59 instead of 60; length_s none instead of 2; error 0.07 instead of 0.06",
        "0 of 1 cases are right",
    ]


def test_what_a_case_is_for_follows_from_its_name(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("case,frames\nme.JPG,\ndrive.csv,5\nclip.mp4,\n")
    for name in ("me.JPG", "drive.csv"):
        (tmp_path / name).touch()
    assert main([str(tmp_path)]) == 2, "clip.mp4 is not there"
    (tmp_path / "clip.mp4").touch()
    photo, drive, clip = read_table(table, tmp_path)
    assert photo.flags[:2] == ["--source", str(photo.path)] and "driver.mp4" in photo.flags[3]
    assert drive.flags[2:] == ["--attributes", str(drive.path)] and drive.wanted["frames"] == "5"
    assert clip.flags[2:] == ["--camera", str(clip.path)]


@pytest.mark.slow
def test_a_case_is_run_and_what_is_wrong_with_it_is_told(tmp_path: Path) -> None:
    with av.open(str(cases.CLIP)) as container:
        pictures = [
            picture.to_ndarray(format="rgb24").astype(np.uint8)
            for picture in islice(container.decode(video=0), 12)
        ]
    kind = cases.KINDS["mirrored.mp4"]
    kind = replace(kind, times_s=kind.times_s[:12], sound="aac")
    clip = tmp_path / "mirrored.mp4"
    cases.write(clip, kind, pictures)
    right = {"frames": "12", "length_s": "0.4", "sync_ms": "1", "error": "0.06", "clean": "driver.mp4"}
    assert run_case(Case(clip, right), tmp_path, tmp_path).wrong == []
    wrong = run_case(
        Case(clip, right | {"frames": "13", "error": "0", "exit": "1"}), tmp_path, tmp_path
    ).wrong
    assert wrong[:2] == ["exit 0 instead of 1", "frames 12 instead of 13"] and wrong[2].startswith("error ")
