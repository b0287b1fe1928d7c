"""What the network costs: a bundle with it (`--quality best`) and without it (`fast`), in turn, in the same rounds.

python benchmarks/corrector.py [--model BUNDLE] [--size 512] [--frames 400] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.clips import remux
from benchmarks.fps import LEGS, LIVE_FPS, REPOSITORY, middle, run_leg, table
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError
from realtime.choices import QUALITIES, SIZES
from realtime.config import LiveConfig
from realtime.metrics import machine


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, default=DEFAULT_BUNDLE, help="a bundle (default: what ships)")
    p.add_argument("--clip", type=Path, default=REPOSITORY / "examples/driver.mp4")
    p.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg")
    p.add_argument("--size", choices=SIZES, default="512")
    p.add_argument("--legs", nargs="+", choices=LEGS, default=("null", "live"))
    p.add_argument("--frames", type=int, default=400, help="frames a leg (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=3, help="times each leg runs (default: %(default)s)")
    p.add_argument("--json", type=Path, help="write the figures here as well")
    return p


def _run(flags: argparse.Namespace) -> None:
    if Bundle.load(flags.model).correct is None:
        advice = "pack one with export/pack_edge.py --weights, and give it as --model"
        raise ConfigError(f"{flags.model} has no network to leave out; {advice}")
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = remux(flags.clip, folder / "clip.mp4", fps=Fraction(LIVE_FPS), frames=flags.frames)
        base = LiveConfig(
            sources=(flags.source,), size_px=SIZES[flags.size], frames=flags.frames, model=flags.model
        )
        for _ in range(flags.rounds):
            for leg in flags.legs:
                for quality in QUALITIES:
                    report = run_leg(leg, replace(base, quality=quality), clip, folder)
                    reports.setdefault((quality, leg), []).append(report)
    figures = {key: middle(rounds) for key, rounds in reports.items()}
    for (quality, leg), leg_figures in figures.items():
        print(f"{quality}: {reports[quality, leg][0]['about']['engine']}")
        print(table(quality, leg, leg_figures))
    if flags.json is not None:
        legs = {f"{quality} / {leg}": value for (quality, leg), value in figures.items()}
        document = {"size": flags.size, "legs": legs, "machine": machine()}
        flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return run_command(parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
