"""Frames per second: variants of the settings, and the medians over the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.fps import main, middle, table, variant
from icface.errors import ConfigError
from realtime.config import LiveConfig

BASE = LiveConfig(sources=(Path("me.jpg"),), size_px=512, null=True, drivers=("clip.mp4",))


def report(fps: float, track_ms: float, **stages: float) -> dict[str, Any]:
    values = {"track": track_ms, **stages}
    keys = ("mean_ms", "p50_ms", "p95_ms", "p99_ms")
    times = {name: dict.fromkeys(keys, value) for name, value in values.items()}
    return {"fps": fps, "cpu_share": fps / 1000, "frames": 9, "levels": {"full": 9}, "stages": times}


def test_variants_change_one_setting() -> None:
    assert variant(BASE, "size=256").size_px == 256
    assert variant(BASE, "size=native").size_px is None
    assert variant(BASE, "engine=openvino:int8").engine == "openvino:int8"
    assert variant(BASE, "model=my.icface").model == Path("my.icface")
    assert variant(BASE, "quality=fast").quality == "fast" != BASE.quality


@pytest.mark.parametrize("text", ["size=7", "engine=", "model=", "quality=good", "colour=red", ""])
def test_what_is_no_variant(text: str) -> None:
    with pytest.raises(ConfigError, match="expected engine=NAME, model=BUNDLE, size=256"):
        variant(BASE, text)


def test_medians_over_the_rounds() -> None:
    """A stage that one round lacks is left out."""
    found = middle([report(60, 3, latency=9), report(90, 7, latency=8), report(80, 4)])
    assert found["fps"] == 80 and found["cpu_share"] == 0.08
    assert found["rounds_fps"] == [60, 90, 80] and found["rounds_latency_p95_ms"] == [9, 8]
    assert found["stages"]["track"]["p95_ms"] == 4 and "latency" not in found["stages"]
    assert table("size=512", "null", found).startswith(
        "size=512, null: 80.0 FPS (rounds: 60.0, 90.0, 80.0), 8%"
    )


def test_a_clip_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clip", str(tmp_path / "none.mp4"), "--rounds", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
