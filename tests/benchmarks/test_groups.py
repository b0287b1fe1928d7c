"""The benchmark of groups: skin tone of known colours, means by hand, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.groups import by_group, main, read_labels, tone, worst


@pytest.mark.parametrize(
    ("lab", "name"),
    # ITA = atan((L - 50) / b): 56, 22 and -27 degrees.
    [((72.0, 8.0, 15.0), "light"), ((57.0, 10.0, 17.0), "medium"), ((42.0, 12.0, 16.0), "dark")],
)
def test_skin_tone_is_the_angle_of_the_cheeks_colour(lab: tuple[float, float, float], name: str) -> None:
    rgb = cv2.cvtColor(np.array([[lab]], dtype=np.float32), cv2.COLOR_LAB2RGB)[0, 0]
    frame = np.zeros((120, 120, 3), np.uint8)
    frame[40:80, 40:80] = np.rint(rgb * 255)
    points = np.full((478, 3), 60, dtype=np.float32)
    assert tone(frame, points) == name


def test_means_are_those_of_the_groups_and_small_groups_are_not_the_worst() -> None:
    photos = [
        {"file": str(n), "age": "old" if n < 5 else "young", "sex": "f", "ITA": "dark" if n == 0 else "light",
         "refused": float(n == 0), "error": error}
        for n, error in enumerate([0.9, 0.3, 0.3, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    ]  # fmt: skip
    groups = by_group(photos)
    assert groups["age"]["old"]["error"][0] == pytest.approx(0.4)
    assert groups["age"]["young"]["error"] == pytest.approx([0.1, 0.1, 0.1])
    low, high = groups["age"]["old"]["error"][1:]
    assert 0.2 <= low < 0.4 < high <= 0.9
    assert groups["all"]["all"]["n"] == 10 and groups["ITA"]["dark"]["n"] == 1
    assert worst(groups) == {"refused": "age: old", "error": "age: old"}


def test_labels_without_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,age\nme,30\n")
    assert main(["--photos", str(tmp_path), "--labels", str(labels)]) == 2
    assert "column `file`" in capsys.readouterr().err


def test_the_labels_that_come_along_name_every_group(repository: Path) -> None:
    rows = read_labels(repository / "benchmarks/groups_labels.csv")
    assert len({row["file"] for row in rows}) == len(rows) == 60
    assert all(all(row.values()) for row in rows)
