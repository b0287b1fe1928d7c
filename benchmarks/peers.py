"""The generator that ships beside the networks it is compared with, in one run, as ratios.

    python -m benchmarks.peers [--source S] [--size 512] [--engine auto] [--frames 20] [--rounds 5] [--json FILE]

The release of ICface (128 channels, 6 blocks) runs as it ships: torch, FP32, G_N and G_A for every frame of 128×128
pixels. It is written here from the paper, and its weights are random: speed does not depend on them. What ships makes
frames of `--size` pixels from prepared photos. Tracking is not counted on either side. The ways take turns, round by
round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks.paper import RELEASE, by_torch, figures, measure, table
from icface.arrays import Frame
from icface.attributes import COUNT, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ICFaceError
from icface.images import load_photo
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from realtime.timing import machine, usable_cores

REPOSITORY = Path(__file__).resolve().parents[1]
REACH = 0.25
"""How far the attributes that are asked for leave the neutral ones."""


def requests(count: int) -> np.ndarray:
    """(count, 20) attributes, another for every frame, around neutral."""
    drawn = np.random.default_rng(1).uniform(-REACH, REACH, (count, COUNT))
    return np.clip(neutral() + drawn, 0.0, 1.0).astype(np.float32)


def release() -> ICface:
    """The published configuration, with weights that nobody trained."""
    torch.manual_seed(0)
    networks = NetworksConfig(size_px=128, generator=GeneratorConfig(width=128, blocks=6, norm="batch"))
    return ICface(networks).eval().requires_grad_(False)


def shipped(flags: argparse.Namespace, cache: Path, stack: ExitStack) -> tuple[str, Frame]:
    """Frames as `icface-live` makes them, and what makes them."""
    bundle = Bundle.load(flags.model or DEFAULT_BUNDLE)
    reenactor = Reenactor(
        bundle, flags.engine, flags.size, threads=flags.threads, source_cache=SourceCache(cache)
    )
    stack.callback(reenactor.close)
    reenactor.set_source(reenactor.prepare_source(load_photo(flags.source)))
    asked = requests(64)
    return reenactor.describe(), lambda i: reenactor.animate(asked[i % len(asked)])


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg", help="photo of a face")
    p.add_argument("--model", type=Path, help="a bundle (default: the one that ships)")
    p.add_argument("--engine", default="auto", help="(default: %(default)s)")
    p.add_argument("--size", type=int, default=512, help="side of its frames (default: %(default)s)")
    p.add_argument("--threads", type=int, default=usable_cores(), help="of both (default: %(default)s)")
    p.add_argument("--frames", type=int, default=20, help="a round and way (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=5, help="times each way is measured (default: %(default)s)")
    p.add_argument("--json", type=Path, help="write the figures here as well")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    flags = parser().parse_args(argv)
    if min(flags.threads, flags.frames, flags.rounds) < 1:
        parser().error("--threads, --frames and --rounds must be at least 1")
    torch.set_num_threads(flags.threads)
    try:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            engine, frame = shipped(flags, Path(name), stack)
            ours = f"what ships, {flags.size} px"
            asked = requests(64)[:, None]
            found = {ours: frame, RELEASE: by_torch(release(), asked, neutralise=True)}
            result = figures(measure(found, frames=flags.frames, rounds=flags.rounds))
    except ICFaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    faster = 1 / result[ours]["of_release"]
    print(f"{engine}; {flags.threads} threads, torch {torch.__version__}")
    print(table(result))
    print(f"{faster:.1f} x faster per frame than the release as it ships")
    if flags.json is not None:
        document = {
            "engine": engine,
            "threads": flags.threads,
            "frames": flags.frames,
            "rounds": flags.rounds,
            "machine": machine(),
            "torch": torch.__version__,
            "ways": result,
            "times_faster": round(faster, 2),
        }
        try:
            flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"error: cannot write {flags.json}: {error.strerror or error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
