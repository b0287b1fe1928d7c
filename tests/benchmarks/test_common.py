"""What the benchmarks share: turns, flags, the file of figures, and that each runs as a file from any folder."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common import (
    REPOSITORY,
    Frame,
    benchmark_parser,
    check_counts,
    shapes,
    take_turns,
    write_figures,
)
from icface.errors import ConfigError


def test_ways_take_turns_and_the_first_frames_do_not_count() -> None:
    made: list[tuple[str, int]] = []

    def way(name: str) -> Frame:
        return lambda i: made.append((name, i))

    times = take_turns({"a": way("a"), "b": way("b")}, frames=2, rounds=2)
    once = [("a", i) for i in (0, 1, 2, 0, 1)] + [("b", i) for i in (0, 1, 2, 0, 1)]
    assert made == once * 2
    assert all(len(taken) == 2 for rounds in times.values() for taken in rounds)


def test_shared_flags_keep_their_defaults_unless_told_otherwise() -> None:
    flags = benchmark_parser("A benchmark.", "source", "json", rounds=7).parse_args([])
    assert flags.source == REPOSITORY / "examples/source.jpg" and flags.source.is_file()
    assert flags.json is None and flags.rounds == 7
    assert vars(flags).keys() == {"source", "json", "rounds"}


@pytest.mark.parametrize("flag", ["frames", "rounds", "threads"])
def test_counts_below_one_are_refused(flag: str) -> None:
    check_counts(argparse.Namespace(**{flag: 1}))
    with pytest.raises(ConfigError, match=f"--{flag} 0: at least 1 is needed"):
        check_counts(argparse.Namespace(**{flag: 0}))


def test_shapes_of_generators() -> None:
    assert shapes("32x6,128x9") == [(32, 6), (128, 9)]
    for text in ("32", "32x", "axb", "1x2x3", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="expected channels x blocks"):
            shapes(text)


def test_figures_are_written_with_their_machine(tmp_path: Path) -> None:
    write_figures(None, {"fps": 30})
    write_figures(tmp_path / "figures.json", {"fps": 30})
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert document["fps"] == 30 and document["machine"]


@pytest.mark.parametrize("name", ["mixer", "panel"])
def test_a_benchmark_runs_as_a_file_where_the_repository_is_not_installed(name: str) -> None:
    """An installation for developers has the repository on Python's path; it is taken away."""
    folder = REPOSITORY / "benchmarks"
    code = (
        "import runpy, sys; from pathlib import Path; "
        "sys.path = [sys.argv[2], *(each for each in sys.path if each and not (Path(each) / 'benchmarks').exists())]; "
        "script, sys.argv = sys.argv[1], ['benchmark', '--help']; runpy.run_path(script, run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(folder / f"{name}.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["contact_sheet", "fps", "startup"])
def test_a_benchmark_runs_as_a_file_from_any_folder(name: str, tmp_path: Path) -> None:
    """Whatever lies in that folder is not imported."""
    for module in ("icface", "realtime", "benchmarks", "numpy"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('taken from the working directory')")
    command = [sys.executable, str(REPOSITORY / f"benchmarks/{name}.py"), "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout
