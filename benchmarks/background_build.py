"""Measures whether building an engine beside the live loop disturbs it.

    python benchmarks/background_build.py [--model BUNDLE] [--engine NAME] [--seconds 30] [--rounds 3] [--json FILE]

Each round begins with an empty cache folder and plays the clip as a 30 FPS camera, first without a build and then with
one: the portable engine runs while the better one is built at low priority, and the loop changes over when it is ready.
The benchmark reports the time between two frames and the latency of both runs: p50, p95, p99 and the longest. Their ratio
is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.clips import remux
from benchmarks.fps import LIVE_FPS, REPOSITORY
from icface.command import Parser, run_command
from icface.errors import EngineError
from icface.files import write_file
from realtime.config import LiveConfig
from realtime.metrics import Metrics, machine
from realtime.session import run

STAGES = ("interval", "latency")
FIGURES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
WITHOUT, WITH = "no build", "build beside"


def live(config: LiveConfig, cache: Path) -> dict[str, Any]:
    """Run once with this cache folder, which is empty, and give the report."""
    os.environ["ICFACE_CACHE_DIR"] = str(cache)
    stats = Metrics()
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
    """The figures with a build divided by those without, round by round; the median."""
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


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 with one line where it cannot."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a bundle (default: the one that ships)")
    parser.add_argument(
        "--engine", default="auto", help="what is to be built (default: what is worth it here)"
    )
    parser.add_argument("--clip", type=Path, default=REPOSITORY / "examples/driver.mp4")
    parser.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return run_command(parser, measure, argv)


def measure(flags: argparse.Namespace) -> None:
    """Run all rounds and print the figures.

    Raises:
        EngineError: no engine was built before the end.
    """
    reports: dict[str, list[dict[str, Any]]] = {WITHOUT: [], WITH: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = round(LIVE_FPS * flags.seconds)
        clip = remux(flags.clip, folder / "clip.mp4", fps=Fraction(LIVE_FPS), frames=frames)
        config = LiveConfig(
            sources=(flags.source,), drivers=(str(clip),), null=True, pace=True, model=flags.model,
            duration_s=flags.seconds,
        )  # fmt: skip
        for i in range(flags.rounds):
            without = replace(config, engine="auto", build=False)
            reports[WITHOUT].append(live(without, folder / f"without{i}"))
            reports[WITH].append(live(replace(config, engine=flags.engine), folder / f"with{i}"))
    changed = [report["about"]["engine"] for report in reports[WITH] if report["events"]]
    if not changed:
        raise EngineError(
            "no engine was built in time; give more --seconds, or an --engine that has to be built"
        )
    figures, compared = {name: middle(rounds) for name, rounds in reports.items()}, ratios(reports)
    print(f"from {reports[WITHOUT][0]['about']['engine']}\nto   {changed[-1]}")
    for stage in STAGES:
        for name, found in (*figures.items(), ("ratio", compared)):
            cells = "".join(f"{found[stage][figure]:>10.2f}" for figure in FIGURES)
            print(f"{stage:<10}{name:<14}{cells}   p50 p95 p99 max{'' if name == 'ratio' else ', ms'}")
    if flags.json is not None:
        document = {"figures": figures, "ratios": compared, "to": changed[-1], "machine": machine()}
        write_file(flags.json, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
