"""The network's cost is measured with and without it, and a bundle that has none is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.corrector import main
from icface.bundle import MANIFEST, Bundle


@pytest.mark.slow
def test_both_qualities_in_turn(
    corrected_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "figures.json"
    flags = ["--model", str(corrected_bundle.path), "--size", "256", "--frames", "10", "--rounds", "1"]
    assert main([*flags, "--legs", "null", "--json", str(report)]) == 0
    assert set(json.loads(report.read_text())["legs"]) == {"best / null", "fast / null"}
    told = capsys.readouterr().out
    best, fast = told[told.index("best: ") :], told[told.index("fast: ") :]
    assert "corrected by" in best.splitlines()[0] and "geometry alone" not in best.splitlines()[0]
    assert "geometry alone" in fast.splitlines()[0]


@pytest.mark.slow
def test_a_bundle_without_a_network(
    corrected_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(corrected_bundle.path, tmp_path / "plain.icface")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    del manifest["correct"]
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert main(["--model", str(folder)]) != 0
    assert "has no network to leave out" in capsys.readouterr().err
