"""Pictures of figures."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks.plots import save_stages
from icface.errors import ICFaceError


def leg(stages: dict[str, float]) -> dict[str, object]:
    values = {name: {"p50_ms": ms, "p95_ms": 2 * ms, "p99_ms": 3 * ms} for name, ms in stages.items()}
    return {"fps": 30.0, "cpu_share": 0.2, "stages": values}


def test_every_leg_gets_its_room(tmp_path: Path) -> None:
    one = {("size=512", "null"): leg({"track": 5.0, "animate": 3.0})}
    two = {**one, ("size=256", "live"): leg({"track": 5.0, "animate": 2.0, "latency": 12.0})}
    heights = []
    for number, figures in enumerate((one, two)):
        save_stages(tmp_path / f"{number}.png", figures)
        picture = cv2.imread(str(tmp_path / f"{number}.png"))
        assert picture is not None
        heights.append(picture.shape[0])
        blue, green, red = (int((picture[..., i] < 250).sum()) for i in range(3))
        assert min(blue, green, red) > 1000  # something is drawn
    assert heights[1] > 2 * heights[0]


@pytest.mark.parametrize("name", ["none/here.png", "figures.abacus"])
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ICFaceError, match="cannot write"):
        save_stages(tmp_path / name, {("a", "null"): leg({"track": 1.0})})
