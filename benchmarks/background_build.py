"""Does building an engine beside it disturb the live loop? The same clip live, while one is built, and without.

    python benchmarks/background_build.py --model BUNDLE [--engine NAME] [--seconds 30] [--rounds 3] [--json FILE]

Each round begins with an empty cache folder and plays the clip as a 30 FPS camera, first without building, then with:
the portable engine runs while the better one is built at low priority, and the loop changes over when it is ready. Of
both: the time between two pictures and the latency, p50, p95, p99 and the longest; what counts is their ratio.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import os
import statistics
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from benchmarks.clips import remux
from benchmarks.common import benchmark_parser, check_counts, write_figures
from benchmarks.fps import LIVE_FPS
from icface.command import Parser, run_command
from icface.errors import ICFaceError
from realtime.config import LiveConfig
from realtime.session import run
from realtime.timing import Stats

STAGES = ("interval", "latency")
FIGURES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
WITHOUT, WITH = "no build", "build beside"


def live(config: LiveConfig, cache: Path) -> dict[str, Any]:
    """One run's report, its cache folder empty before."""
    os.environ["ICFACE_CACHE_DIR"] = str(cache)
    stats = Stats()
    run(config, stats, threading.Event())
    return stats.report()


def middle(reports: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds."""
    return {
        stage: {
            figure: round(statistics.median(report["stages"][stage][figure] for report in reports), 2)
            for figure in FIGURES
        }
        for stage in STAGES
    }


def ratios(reports: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """With a build as a multiple of without, round by round; the median."""
    pairs = list(zip(reports[WITH], reports[WITHOUT], strict=True))
    return {
        stage: {
            figure: round(
                statistics.median(a["stages"][stage][figure] / b["stages"][stage][figure] for a, b in pairs),
                3,
            )
            for figure in FIGURES
        }
        for stage in STAGES
    }


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "model", "clip", "source", "json", rounds=3)
    parser.add_argument(
        "--engine", default="auto", help="what is to be built (default: what is worth it here)"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run (default: %(default)g)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark.

    Raises:
        ICFaceError: no engine was built in time.
    """
    check_counts(flags)
    reports: dict[str, list[dict[str, Any]]] = {WITHOUT: [], WITH: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = round(LIVE_FPS * flags.seconds)
        clip = remux(flags.clip, folder / "clip.mp4", fps=Fraction(LIVE_FPS), frames=frames)
        config = LiveConfig(
            sources=(flags.source,), camera=str(clip), null=True, pace=True, model=flags.model,
            duration_s=flags.seconds,
        )  # fmt: skip
        for i in range(flags.rounds):
            without = replace(config, engine="auto", build=False)
            reports[WITHOUT].append(live(without, folder / f"without{i}"))
            reports[WITH].append(live(replace(config, engine=flags.engine), folder / f"with{i}"))
    changed = [report["about"]["engine"] for report in reports[WITH] if report["events"]]
    if not changed:
        raise ICFaceError("no engine was built in time; give more --seconds, or an --engine that is built")
    figures, compared = {name: middle(rounds) for name, rounds in reports.items()}, ratios(reports)
    print(f"from {reports[WITHOUT][0]['about']['engine']}\nto   {changed[-1]}")
    for stage in STAGES:
        for name, found in (*figures.items(), ("ratio", compared)):
            cells = "".join(f"{found[stage][figure]:>10.2f}" for figure in FIGURES)
            print(f"{stage:<10}{name:<14}{cells}   p50 p95 p99 max{'' if name == 'ratio' else ', ms'}")
    write_figures(flags.json, {"figures": figures, "ratios": compared, "to": changed[-1]})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
