"""The benchmark against the release: one quick run, and what it compares with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import peers
from benchmarks.paper import RELEASE, random_model
from benchmarks.peers import main, release


def test_both_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A small network in the release's place: the release takes half a second a frame.
    monkeypatch.setattr(peers, "release", lambda: random_model(width=8, blocks=1)[0])
    threads = torch.get_num_threads()
    flags = ["--size", "128", "--frames", "2", "--rounds", "1", "--threads", str(threads)]
    assert main([*flags, "--json", str(tmp_path / "figures.json")]) == 0
    document = json.loads((tmp_path / "figures.json").read_text())
    assert set(document["ways"]) == {"what ships, 128 px", RELEASE}
    assert document["times_faster"] == pytest.approx(
        1 / document["ways"]["what ships, 128 px"]["of_release"], rel=0.02
    )
    assert f"{document['times_faster']:.1f} x faster" in capsys.readouterr().out


def test_it_is_compared_with_the_published_configuration() -> None:
    network = release()
    for generator in (network.generator_neutral, network.generator_animate):
        assert generator is not None
        assert round(sum(weight.numel() for weight in generator.parameters()) / 1e6, 2) == 31.44


def test_a_photo_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", str(tmp_path / "none.jpg")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
