"""The benchmark of the paper family: its arithmetic by hand, and one quick run of everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.paper import BUNDLES, ENGINES, RELEASE, Frame, figures, main, measure, ratios


def test_shares_are_taken_round_by_round() -> None:
    """The machine was three times slower in the second round; the shares are those of each round."""
    times = {
        RELEASE: [[10.0, 10.0, 10.0], [30.0, 30.0, 30.0]],
        "openvino, as shipped": [[1.0, 2.0, 3.0], [6.0, 6.0, 6.0]],
        "openvino, unsplit": [[4.0, 4.0, 4.0], [24.0, 24.0, 24.0]],
    }
    result = figures(times)
    assert result["openvino, as shipped"]["of_release"] == 0.2  # 2/10 and 6/30
    assert result["openvino, as shipped"]["p50_ms"] == 4.5  # of 1 2 3 6 6 6
    assert result[RELEASE]["of_release"] == 1.0
    assert ratios(times) == {"openvino: as shipped / unsplit": 0.375}  # the median of 2/4 and 6/24


def test_ways_take_turns_and_the_first_frames_do_not_count() -> None:
    made: list[tuple[str, int]] = []
    found: dict[str, Frame] = {name: lambda i, name=name: made.append((name, i)) for name in ("a", "b")}  # type: ignore[misc]
    times = measure(found, frames=2, rounds=2)
    once = [("a", i) for i in (0, 1, 2, 0, 1)] + [("b", i) for i in (0, 1, 2, 0, 1)]
    assert made == once * 2
    assert all(len(taken) == 2 for rounds in times.values() for taken in rounds)


def test_every_way_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    flags = [
        "--size",
        "32",
        "--width",
        "4",
        "--blocks",
        "1",
        "--frames",
        "2",
        "--rounds",
        "1",
        "--threads",
        "1",
    ]
    assert main([*flags, "--json", str(tmp_path / "figures.json")]) == 0
    document = json.loads((tmp_path / "figures.json").read_text())
    assert set(document["ways"]) == {
        *(f"{engine}, {bundle}" for engine in ENGINES for bundle in BUNDLES),
        "torch, G_A alone",
        RELEASE,
    }
    assert not document["left_out"] and document["threads"] == 1
    assert f"{RELEASE}" in capsys.readouterr().out


def test_a_model_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none.safetensors")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot read")
