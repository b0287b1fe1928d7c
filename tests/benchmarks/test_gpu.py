"""The benchmark on GPUs: its floors by hand, and that its networks are the bundle's; the rest needs a card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.gpu import floors_ms, layer_bytes, main


def test_floors_by_hand() -> None:
    floor = floors_ms(macs=500_000_000, moved_bytes=4_000_000, flops_per_s=1e13, bytes_per_s=1e12)
    assert floor == pytest.approx({"arithmetic_ms": 0.1, "bandwidth_ms": 0.004})


def test_bytes_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=True), nn.ReLU(), nn.ConvTranspose2d(3, 1, 2, stride=2, bias=False)
    )
    first = (3 * 2 * 9 + 3) + 2 * 6 * 5 + 3 * 4 * 3
    second = 3 * 1 * 4 + 3 * 4 * 3 + 1 * 8 * 6
    assert layer_bytes(network, torch.zeros(1, 2, 6, 5)) == 2 * (first + second)


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("error: there is no NVIDIA GPU here")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_everything_is_measured_on_a_gpu(tmp_path: Path, cache_dir: Path) -> None:
    report = tmp_path / "gpu.json"
    assert (
        main(["--shapes", "8x1", "--size", "128", "--frames", "3", "--rounds", "1", "--json", str(report)])
        == 0
    )
    document = json.loads(report.read_text())
    assert {"8x1, torch CUDA graph", "edge 128, torch CUDA graph"} <= set(document["frames"])
