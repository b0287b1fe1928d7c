"""End to end on a clip: tracker, generator and compose, stage by stage, as fast as it goes and at 30 FPS.

    python benchmarks/fps.py [--clip C] [--source S] [--size 512] [--engine auto] [--model BUNDLE] [--json FILE]
                             [--vs engine=NAME | size=N | model=BUNDLE | quality=fast]... [--plot FILE]

Three legs: `null` (file in, nothing written), `file` (file in, video out) and `live` (the clip played as a
30 FPS camera: capture to send, and the share of the CPU). With --vs the legs of each variant run in turn with
those of the first, round by round, and the ratios of the medians are printed. Machines drift, ratios do not.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import statistics
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from benchmarks.clips import remux
from benchmarks.common import REPOSITORY as REPOSITORY
from benchmarks.common import benchmark_parser, check_counts, write_figures
from benchmarks.plots import save_stages
from icface.command import Parser, run_command
from icface.errors import ConfigError
from realtime.choices import QUALITIES, SIZES
from realtime.config import LiveConfig
from realtime.metrics import STAGES, Metrics
from realtime.session import run

LEGS = ("null", "file", "live")
LIVE_FPS = 30


def variant(base: LiveConfig, text: str) -> LiveConfig:
    """The settings with `size=256`, `engine=NAME`, `model=BUNDLE` or `quality=fast`.

    Raises:
        ConfigError: the text is none of these.
    """
    name, _, value = text.partition("=")
    if name == "size" and value in SIZES:
        return replace(base, size_px=SIZES[value])
    if name == "engine" and value:
        return replace(base, engine=value)
    if name == "model" and value:
        return replace(base, model=Path(value))
    if name == "quality" and value in QUALITIES:
        return replace(base, quality=value)
    known = f"engine=NAME, model=BUNDLE, size={'|'.join(SIZES)} or quality={'|'.join(QUALITIES)}"
    raise ConfigError(f"--vs {text}: expected {known}")


def run_leg(leg: str, config: LiveConfig, camera: Path, folder: Path) -> dict[str, Any]:
    """One leg's report, as `--stats` gives it."""
    outputs = (folder / "out.mp4",) if leg == "file" else ()
    # An engine that was asked for by name may be built before a leg. Nothing is built beside one.
    config = replace(
        config,
        drivers=(str(camera),),
        outputs=outputs,
        null=not outputs,
        overwrite=True,
        pace=leg == "live",
        build=leg != "live",
    )
    stats = Metrics()
    run(config, stats, threading.Event())
    return stats.report()


def middle(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of a leg's figures over the rounds."""
    latencies = [report["stages"].get("latency") for report in reports]
    return {
        "fps": statistics.median(report["fps"] for report in reports),
        "cpu_share": statistics.median(report["cpu_share"] for report in reports),
        "frames": reports[0]["frames"],
        "levels": reports[-1]["levels"],
        "stages": {
            stage: {
                key: statistics.median(report["stages"][stage][key] for report in reports)
                for key in ("mean_ms", "p50_ms", "p95_ms", "p99_ms")
            }
            for stage in STAGES
            if all(stage in report["stages"] for report in reports)
        },
        "rounds_fps": [report["fps"] for report in reports],
        "rounds_latency_p95_ms": [latency["p95_ms"] for latency in latencies if latency],
    }


def table(name: str, leg: str, figures: dict[str, Any]) -> str:
    """One leg for people."""
    rounds = ", ".join(f"{fps:.1f}" for fps in figures["rounds_fps"])
    lines = [
        f"{name}, {leg}: {figures['fps']:.1f} FPS (rounds: {rounds}), {figures['cpu_share']:.0%} of the CPU"
    ]
    for stage, s in figures["stages"].items():
        cells = "".join(f"{s[key]:9.2f}" for key in ("mean_ms", "p50_ms", "p95_ms", "p99_ms"))
        lines.append(f"  {stage:<10}{cells}   ms: mean p50 p95 p99")
    return "\n".join(lines)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(
        __doc__, "clip", "source", "size", "engine", "model", "json", frames=400, rounds=3
    )
    parser.add_argument("--framing", choices=("crop", "photo"), default="crop")
    parser.add_argument("--legs", nargs="+", choices=LEGS, default=LEGS)
    parser.add_argument(
        "--vs", action="append", default=[], metavar="KEY=VALUE", help="compare with a variant"
    )
    parser.add_argument("--plot", type=Path, help="draw the stages (.png, .svg)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    first = f"size={flags.size} engine={flags.engine}" + (f" model={flags.model}" if flags.model else "")
    base = LiveConfig(
        sources=(flags.source,),
        size_px=SIZES[flags.size],
        engine=flags.engine,
        model=flags.model,
        framing=flags.framing,
        frames=flags.frames,
    )
    variants = {first: base, **{text: variant(base, text) for text in flags.vs}}
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = remux(flags.clip, folder / "clip.mp4", fps=Fraction(LIVE_FPS), frames=flags.frames)
        for _ in range(flags.rounds):
            for leg in flags.legs:
                for label, config in variants.items():
                    reports.setdefault((label, leg), []).append(run_leg(leg, config, clip, folder))

    figures = {key: middle(rounds) for key, rounds in reports.items()}
    engines = {label: reports[label, flags.legs[0]][0]["about"]["engine"] for label in variants}
    ratios: dict[str, dict[str, float]] = {}
    for label, engine in engines.items():
        print(f"{label}: {engine}")
    for (label, leg), leg_figures in figures.items():
        print(table(label, leg, leg_figures))
        if label != first and leg != "live":
            ratio = leg_figures["fps"] / figures[first, leg]["fps"]
            ratios.setdefault(label, {})[leg] = round(ratio, 3)
            print(f"  {label} gives {ratio:.2f} x the FPS of {first}")
    document = {
        "clip": flags.clip.name,
        "source": flags.source.name,
        "frames": flags.frames,
        "engines": engines,
        "legs": {f"{label} / {leg}": value for (label, leg), value in figures.items()},
        "fps_ratios": ratios,
    }
    write_figures(flags.json, document)
    if flags.plot is not None:
        save_stages(flags.plot, figures)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
