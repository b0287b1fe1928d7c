"""The generator that ships beside the networks that it is compared with, in one run, as ratios.

    python benchmarks/peers.py [--source S] [--size 512] [--engine auto] [--frames 20] [--rounds 5] [--json FILE]

The release of ICface (128 channels, 6 blocks) runs as it was published: torch, FP32, G_N and G_A for every frame of
128×128 pixels. It is written here from the paper. Its weights are random, because speed does not depend on them. What
ships makes frames of `--size` pixels from a prepared photo. Neither side tracks a driver.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch

from benchmarks.common import Frame, benchmark_parser, check_counts, take_turns, write_figures
from benchmarks.paper import RELEASE, by_torch, figures, random_model, table
from icface.attributes import COUNT, FloatArray, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.images import load_photo
from icface.networks.icface import ICface
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache

REACH = 0.25
"""How far the attributes that are asked for differ from the neutral ones."""


def requests(count: int) -> FloatArray:
    """(count, 20) attributes, another for every frame, around neutral."""
    drawn = np.random.default_rng(1).uniform(-REACH, REACH, (count, COUNT))
    return np.clip(neutral(COUNT) + drawn, 0.0, 1.0).astype(np.float32)


def release() -> ICface:
    """The published configuration, with weights that nobody trained."""
    return random_model(width=128, blocks=6)[0]


def shipped(flags: argparse.Namespace, cache: Path, stack: ExitStack) -> tuple[str, Frame]:
    """The engine, and frames as `icface-live` makes them."""
    bundle = Bundle.load(flags.model or DEFAULT_BUNDLE)
    reenactor = Reenactor(
        bundle, flags.engine, flags.size, threads=flags.threads, source_cache=SourceCache(cache)
    )
    stack.callback(reenactor.close)
    reenactor.set_source(reenactor.prepare_source(load_photo(flags.source)))
    asked = requests(64)
    return reenactor.describe(), lambda i: reenactor.animate(asked[i % len(asked)])


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "source", "model", "engine", "threads", "json", frames=20, rounds=5)
    parser.add_argument("--size", type=int, default=512, help="side of its frames (default: %(default)s)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    torch.set_num_threads(flags.threads)
    ours = f"what ships, {flags.size} px"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, torch.inference_mode():
        engine, frame = shipped(flags, Path(name), stack)
        ways = {ours: frame, RELEASE: by_torch(release(), requests(64)[:, None], neutralise=True)}
        result = figures(take_turns(ways, frames=flags.frames, rounds=flags.rounds))
    # Rounded once, so that the printed line and the file say the same.
    faster = round(1 / result[ours]["of_release"], 2)
    print(f"{engine}; {flags.threads} threads, torch {torch.__version__}")
    print(table(result))
    print(f"{faster:.1f} x faster per frame than the release as it ships")
    document = {
        "engine": engine,
        "threads": flags.threads,
        "frames": flags.frames,
        "rounds": flags.rounds,
        "torch": torch.__version__,
        "ways": result,
        "times_faster": faster,
    }
    write_figures(flags.json, document)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
