"""The benchmark of mouths that talk: its arithmetic by hand, and a short run on the repository's driver."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import talking
from benchmarks.expressions import TILE_PX
from benchmarks.talking import MEASURES, Spoken, calmest, summary
from icface.face.landmarks import Landmarks
from icface.geometry.topology import face_tables
from tests.training.footage import driver_frames, write_clip


def said(gap: float, shown: float) -> Spoken:
    """Lips that are `gap` apart, in an output that has them `shown` apart and .01 wider."""
    return Spoken(np.array([gap, 0, 0, 0]), np.array([shown, 0.01, 0, 0]), np.zeros((1, 1, 3), np.uint8))


def test_figures_by_hand() -> None:
    rows = summary([[said(0.0, 0.0), said(0.03, 0.05)], [said(0.04, 0.05)]])
    closed, narrow, every = rows
    assert [row["frames"] for row in rows] == [1, 2, 3] and every["kind"] is None
    assert (closed["kind"], narrow["kind"]) == (0, 1)
    assert narrow["seen"][0] == 0.035 and narrow["shown"][0] == 0.05
    assert narrow["apart"][:2] == [0.015, 0.01]
    assert every["apart"][0] == pytest.approx(0.01)


def face(gap_iod: float) -> Landmarks:
    points = np.zeros((478, 3), dtype=np.float32)
    points[:468] = face_tables().canonical * [200, -200, -200] + [320, 240, 0]
    points[[14, 87, 317], 1] += 200 * gap_iod
    return Landmarks(points, (640, 480), np.zeros(52, dtype=np.float32))


def test_the_calm_frame_has_closed_lips_and_open_eyes() -> None:
    assert calmest([face(0.1), face(0.0), face(0.2)]) == 1
    asleep = face(0.0)
    points = asleep.points_px.copy()
    points[[145, 153, 144, 374, 380, 373], 1] = points[[159, 158, 160, 386, 385, 387], 1]
    assert calmest([face(0.02), replace(asleep, points_px=points)]) == 0


def test_a_clip_is_driven_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "talk.mp4", driver_frames()[::2], fps=5)
    blank = write_clip(tmp_path / "blank.mp4", [np.zeros((64, 64, 3), np.uint8)] * 6, fps=5)
    sheet, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    command = [str(clip), str(blank), "--quality", "fast", "--sheet", str(sheet), "--json", str(figures)]
    assert talking.main(command) == 1  # one clip shows nobody
    out = capsys.readouterr()
    assert "blank.mp4: no face is seen in it" in out.err and out.err.count("blank.mp4") == 1
    assert "1 clips" in out.out
    told = json.loads(figures.read_text())
    assert told["measures"] == list(MEASURES)
    every = told["rows"][-1]
    assert every["frames"] >= 8
    assert every["apart"][0] < 0.05  # the gap follows
    picture = cv2.imread(str(sheet))
    assert picture is not None and picture.shape == (2 * TILE_PX, 6 * TILE_PX, 3)
    assert talking.main([str(blank)]) != 0


def test_another_face_is_driven(tmp_path: Path, repository: Path) -> None:
    clip = write_clip(tmp_path / "talk.mp4", driver_frames()[::2], fps=5)
    figures = tmp_path / "figures.json"
    photo = str(repository / "examples/rendered.jpg")
    command = [str(clip), "--source", photo, "--quality", "fast", "--json", str(figures)]
    assert talking.main(command) == 0
    every = json.loads(figures.read_text())["rows"][-1]
    assert every["frames"] >= 8 and every["apart"][0] < 0.05
