"""Commands of training start as files, in any folder, whatever lies there; tests/e2e runs the ones with a longer way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "evaluate_patch.py",
    "evaluate_translation.py",
    "import_checkpoint.py",
    "make_edge.py",
    "make_pairs.py",
    "personalise.py",
    "render_clips.py",
    "render_translation.py",
    "assets/derive_displacements.py",
    "assets/derive_population.py",
    "assets/derive_segmenters.py",
    "assets/render_examples.py",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_starts_as_a_file_in_another_folder(command: str, repository: Path, tmp_path: Path) -> None:
    for name in ("training", "icface"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    result = subprocess.run(
        [sys.executable, str(repository / "training" / command), "--help"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout


def test_every_command_is_started_by_a_test(repository: Path) -> None:
    by_e2e = {"train.py", "prepare.py", "evaluate.py"}
    folder = repository / "training"
    found = {
        path.relative_to(folder).as_posix() for path in (*folder.glob("*.py"), *folder.glob("assets/*.py"))
    }
    assert found - {"__init__.py", "assets/__init__.py"} == {*COMMANDS, *by_e2e}
