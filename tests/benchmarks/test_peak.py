"""The benchmark of the peak: its arithmetic by hand, and one quick run of everything."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from benchmarks import peak
from benchmarks.peak import LENGTH, chains, generators, main, shares

pytest.importorskip("openvino")


def test_shares_are_taken_round_by_round_of_the_best_chain() -> None:
    """The machine was half as fast in the second round; the share is the same."""
    times = {"fp32, a": [10.0, 20.0], "fp32, b": [5.0, 10.0], "small fp32": [4.0, 8.0], "bf16, c": [0.1, 0.1]}
    gmac = {"fp32, a": 1.0, "fp32, b": 1.0, "small fp32": 0.4, "bf16, c": 9.0}
    fastest, found = shares(times, gmac, "fp32")
    assert fastest == {"fp32, a": 75.0, "fp32, b": 150.0}  # medians of 100 and 50, of 200 and 100
    assert found == {
        "small fp32": {"gmac": 0.4, "ms": 6.0, "gmac_per_s": 75.0, "share_of_peak": 0.5},  # 100/200, 50/100
    }


def test_what_is_multiplied(tmp_path: Path) -> None:
    """A chain by hand; of a generator all but its first convolution, which is done once a photo."""
    found = chains("fp32", 1)
    assert found["fp32, 64 channels at 64"][1] == pytest.approx(LENGTH * 9 * 64 * 64 * 64 * 64 / 1e9)
    graph, _, gmac = generators([(8, 1)], tmp_path)["8x1"]
    side = 128 * 128
    down = 8 * 16 * 9 * side / 4 + 16 * 32 * 9 * side / 16
    block = 2 * 32 * 32 * 9 * side / 16
    up = 32 * 16 * 9 * side / 16 + 16 * 8 * 9 * side / 4  # a transposed convolution: by the places it takes
    head = 8 * 3 * 49 * side
    assert gmac == pytest.approx((down + block + up + head) / 1e9)
    assert [value.name for value in onnx.load_from_string(graph).graph.output] == ["frame"]


def test_everything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peak, "CHAINS", ((8, 16), (16, 8)))
    flags = [
        "--shapes",
        "4x1",
        "--precisions",
        "fp32,int8",
        "--frames",
        "1",
        "--rounds",
        "1",
        "--threads",
        "1",
    ]
    assert main([*flags, "--json", str(tmp_path / "peak.json")]) == 0
    document = json.loads((tmp_path / "peak.json").read_text())
    assert set(document["generators"]) == {"4x1 fp32", "4x1 int8"} and len(document["peak"]) == 4
    assert all(row["share_of_peak"] > 0 for row in document["generators"].values())
    assert "of the best" in capsys.readouterr().out
