"""The benchmark of what is asked and what is seen: its arithmetic by hand, and a short run on the example."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import response
from benchmarks.response import STEPS, Answer, amplitude, fitted_gains, questions, summary
from icface.attributes import AU_NAMES, INDEX, POSE_NAMES
from icface.geometry.rig import AU_GAIN, POSE_GAIN
from training.evaluation.response import Sweep


def answers(share: float, leak: float = 0.0) -> dict[str, Answer]:
    """Every attribute is shown at a share of what is asked; AU01 leaks into AU02."""
    found = {}
    for name, asked in questions().items():
        shown = asked[0] + share * (asked - asked[0])
        if name in POSE_NAMES:
            shown = 0.5 + share * (asked - 0.5)
        if name == "AU01":
            shown[:, INDEX["AU02"]] += leak * asked[:, INDEX["AU01"]]
        found[name] = Answer(asked, shown.astype(np.float32))
    return found


def test_figures_by_hand() -> None:
    figures = summary([answers(0.5), answers(0.7), answers(1.2, leak=-0.3)])
    assert figures["pose"]["yaw"]["slope"] == pytest.approx([0.7, 0.5])
    assert figures["action_units"]["AU12"]["whole"] == pytest.approx([0.7, 0.5])
    assert figures["action_units"]["AU12"]["half"] == pytest.approx([0.7, 0.5])
    assert figures["action_units"]["AU12"]["spearman"] == pytest.approx([1.0, 1.0])
    assert figures["action_units"]["AU01"]["crosstalk"]["AU02"] == pytest.approx([0.0, -0.3])
    for name in ("gaze_yaw", "AU18"):
        assert figures["extensions"][name]["slope"] == pytest.approx([0.7, 0.5])
        assert figures["extensions"][name]["whole"] == pytest.approx([0.7, 0.5])
    assert figures["mixed"]["laugh"]["AU12"]["shown"] == pytest.approx([0.7, 1.2])


def test_an_amplitude_counts_from_the_neutral_frame() -> None:
    asked = np.array([0.0, 0.5, 1.0], dtype=np.float32)
    sweep = Sweep(asked, np.array([0.1, 0.2, 0.7], dtype=np.float32))
    assert amplitude(sweep, 1.0) == pytest.approx(0.6) and amplitude(sweep, 0.5) == pytest.approx(0.2)
    assert math.isnan(amplitude(Sweep(asked, np.array([0.1, 0.2, np.nan], dtype=np.float32)), 1.0))


def test_a_photo_without_a_face_is_the_worst() -> None:
    lost = answers(1.0)
    lost["AU12"].shown[:] = np.nan
    whole = summary([answers(0.9), answers(0.5), lost])["action_units"]["AU12"]["whole"]
    assert whole[0] == pytest.approx(0.7) and math.isnan(whole[1])


def test_gains_make_up_for_the_answer_within_bounds() -> None:
    """What is shown at four fifths must be asked a quarter more, what is shown at five fourths a fifth less."""
    low, high = response.LEAST_GAIN, response.LARGEST_GAIN
    for share in (0.8, 1.25, 0.05):
        pose, units = fitted_gains([answers(share)])
        np.testing.assert_allclose(pose, np.clip(POSE_GAIN / share, low, high), atol=0.03)
        np.testing.assert_allclose(units, np.clip(AU_GAIN / share, low, high), atol=0.03)


@pytest.mark.slow
def test_the_example_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(response, "STEPS", 3)
    picture, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    assert response.main(["--sheet", str(picture), "--json", str(figures), "--fit"]) == 0
    found = json.loads(figures.read_text())
    assert found["photos"] == ["source.jpg"] and STEPS == 9
    for name in POSE_NAMES:
        assert 0.85 < found["pose"][name]["slope"][0] < 1.15
    for name in ("AU02", "AU04", "AU12", "AU25", "AU26"):
        assert 0.7 < found["action_units"][name]["whole"][0] < 1.3
    for name in ("gaze_pitch", "gaze_yaw"):
        assert 0.8 < found["extensions"][name]["slope"][0] < 1.5
    drawn = cv2.imread(str(picture))
    assert drawn is not None and drawn.shape[1] == response.COLUMNS * response.TILE_PX
    printed = capsys.readouterr().out
    assert "POSE_GAIN" in printed and all(name in printed for name in AU_NAMES)


def test_a_photo_without_a_person_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((300, 300, 3), 127, dtype=np.uint8))
    assert response.main([str(tmp_path / "wall.png")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert "no face" in lines[0] and len(lines) == 2
