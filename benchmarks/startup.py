"""From the command to its first frame: without a cached source, and with one.

    python benchmarks/startup.py [--rounds 5] [--clip C] [--source S] [--size 512] [--model BUNDLE] [--engine NAME]

Starts `icface-live` anew each time, the clip as its camera, and takes the time until it says that the first
frame was sent. `cold` has an empty cache folder each time, `warm` the same one again. The first run is not counted: it
loads the files of Python and the libraries into the system's memory, and builds the engine where that is needed. Built
engines are copied to the empty folders.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence

from benchmarks.common import REPOSITORY, benchmark_parser, check_counts, write_figures
from icface.command import Parser, run_command
from icface.errors import ICFaceError

TIMEOUT_S = 120


def first_frame_s(flags: argparse.Namespace, cache: Path, *, build: bool = False) -> float:
    """Seconds until the first frame was sent. With `build`, it is a run from file to file, which builds first.

    Raises:
        ICFaceError: the command failed.
    """
    command = [sys.executable, "-m", "realtime.cli", "-v", "--null", "--frames", "2", "--size", flags.size]
    command += ["--source", str(flags.source), "--camera", str(flags.clip), "--engine", flags.engine]
    command += [] if build else ["--pace", "--no-build"]
    command += ["--model", str(flags.model)] if flags.model else []
    start_s = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "ICFACE_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    sent_s = None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "first frame sent" in line:
            sent_s = time.monotonic() - start_s
    if process.wait(TIMEOUT_S) != 0 or sent_s is None:
        raise ICFaceError("".join(lines[-3:]).strip() or "the command ended without a word")
    return sent_s


def arguments() -> Parser:
    """All flags."""
    return benchmark_parser(__doc__, "clip", "source", "size", "model", "engine", "json", rounds=5)


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    times_s: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        warm = Path(name) / "warm"
        first_frame_s(flags, warm, build=True)
        for i in range(flags.rounds):
            cold = Path(name) / f"cold{i}"
            if (warm / "engines").is_dir():
                shutil.copytree(warm / "engines", cold / "engines")
            times_s["cold"].append(first_frame_s(flags, cold))
            times_s["warm"].append(first_frame_s(flags, warm))
    for kind, values in times_s.items():
        rounds = ", ".join(f"{value:.2f}" for value in values)
        print(f"{kind}: first frame after {statistics.median(values):.2f} s (rounds: {rounds})")
    write_figures(flags.json, {"seconds": times_s, "size": flags.size, "engine": flags.engine})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
