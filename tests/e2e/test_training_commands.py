"""From clips to a live bundle with the real commands, typed in another folder: prepare, train, evaluate, pack, drive.

The networks are tiny and learn nothing; `test_training.py` shows that training teaches something.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icface.bundle import Bundle
from tests.e2e.measuring import frames, icface_live
from tests.training.footage import driver_frames, write_clip

CONFIG = """
steps = 4
batch_size = 2
workers = 0
log_every = 1
validate_every = 4
validation_pairs = 2

[networks]
size_px = 64

[networks.generator]
width = 4
blocks = 1

[networks.discriminator]
width = 4

[losses]
identity = 0.0
"""


def command(repository: Path, folder: Path, script: str, *arguments: str | Path) -> None:
    """A command as it is typed in some other folder, in which files are called like our packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(repository / script), *map(str, arguments)],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, f"{script}: {result.stdout[-1000:]}\n{result.stderr[-3000:]}"


@pytest.mark.long
def test_from_clips_to_a_live_face(repository: Path, tmp_path: Path) -> None:
    for name in ("training", "icface", "export"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    clips, data, run, report = (tmp_path / name for name in ("clips", "data", "run", "report"))
    for number, person in enumerate(("anna", "ben", "cara")):
        write_clip(clips / person / "v/1.mp4", driver_frames()[20 * number : 20 * number + 3])
    command(
        repository, tmp_path, "training/prepare.py", clips, "--out", data, "--workers", "0", "--size", "64"
    )
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    command(repository, tmp_path, "training/train.py", "--config", config, "--data", data, "--out", run)
    model, bundle = run / "model.safetensors", run / "model.icface"
    few = ["--max-frames", "2", "--max-tracks", "1", "--sweep-sources", "1", "--only", "tables"]
    command(
        repository, tmp_path, "training/evaluate.py", "--data", data, "--model", model, "--out", report, *few
    )
    assert set(json.loads((report / "report.json").read_text())["self"]) >= {"model"}
    command(repository, tmp_path, "export/pack_paper.py", model, "--out", bundle)
    assert Bundle.load(bundle).family == "paper"
    out = tmp_path / "out.mp4"
    result = icface_live(
        "--source", repository / "examples/rendered.jpg", "--model", bundle,
        "--camera", repository / "examples/driver.mp4", "--output", out, "--frames", "5",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    shown = list(frames(out))
    assert len(shown) == 5 and shown[0].shape == (512, 512, 3)
