"""Tests of the benchmark of background builds: its arithmetic, and its error where no engine was built."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import background_build
from benchmarks.background_build import FIGURES, WITH, WITHOUT, main, middle, ratios


def report(interval_ms: float, latency_ms: float) -> dict[str, Any]:
    values = {"interval": interval_ms, "latency": latency_ms}
    stages = {stage: dict.fromkeys(FIGURES, value) for stage, value in values.items()}
    return {"stages": stages, "about": {"engine": "engine: x"}, "events": []}


def test_ratios_are_taken_round_by_round() -> None:
    reports = {
        WITHOUT: [report(10, 4), report(30, 8), report(20, 4)],
        WITH: [report(20, 4), report(30, 8), report(24, 8)],
    }
    assert ratios(reports)["interval"] == dict.fromkeys(FIGURES, 1.2)  # of 2, 1, 1.2
    assert ratios(reports)["latency"] == dict.fromkeys(FIGURES, 1.0)
    assert middle(reports[WITH])["interval"] == dict.fromkeys(FIGURES, 24)


def test_a_build_that_never_came_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background_build, "live", lambda *_: report(10, 4))
    assert main(["--seconds", "1", "--rounds", "1"]) == 1
    assert "error: no engine was built in time" in capsys.readouterr().err
