"""From the command to its first frame: without a cached source, and with one.

    python -m benchmarks.startup [--rounds 5] [--clip C] [--source S] [--size 512] [--model BUNDLE] [--engine NAME]

Starts `icface-live` anew each time, the clip as its camera, and takes the time until it says that the first
frame was sent. `cold`: an empty cache folder each time; `warm`: the same one again. The files of Python and
the libraries are in the system's memory in both (the first run, which loads them, and builds the engine where it
needs that, is not counted; engines that are built are taken over to the empty folders).
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from realtime.timing import machine

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120


def first_frame_s(flags: argparse.Namespace, cache: Path, *, build: bool = False) -> float:
    """Seconds until the first frame was sent; with `build` as a run from file to file, which builds first.

    Raises:
        RuntimeError: the command failed.
    """
    command = [
        sys.executable,
        "-m",
        "realtime.cli",
        "-v",
        "--source",
        str(flags.source),
        "--camera",
        str(flags.clip),
    ]
    command += ["--null", "--frames", "2", "--size", flags.size, "--engine", flags.engine]
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
        raise RuntimeError("".join(lines[-3:]).strip() or "the command ended without a word")
    return sent_s


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 with one line where it cannot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, default=REPOSITORY / "examples/driver.mp4")
    parser.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg")
    parser.add_argument("--size", default="512")
    parser.add_argument("--model", type=Path, help="a bundle (default: the one that ships)")
    parser.add_argument("--engine", default="auto", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    flags = parser.parse_args(argv)
    times_s: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        warm = Path(name) / "warm"
        try:
            first_frame_s(flags, warm, build=True)
            for i in range(flags.rounds):
                cold = Path(name) / f"cold{i}"
                if (warm / "engines").is_dir():
                    shutil.copytree(warm / "engines", cold / "engines")
                times_s["cold"].append(first_frame_s(flags, cold))
                times_s["warm"].append(first_frame_s(flags, warm))
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    for kind, values in times_s.items():
        rounds = ", ".join(f"{value:.2f}" for value in values)
        print(f"{kind}: first frame after {statistics.median(values):.2f} s (rounds: {rounds})")
    if flags.json is not None:
        document = {"seconds": times_s, "size": flags.size, "engine": flags.engine, "machine": machine()}
        flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
