"""How near the generators come to what this machine can compute: convolutions alone, then whole generators.

    python benchmarks/peak.py [--shapes 32x6,32x9,64x9] [--precisions fp32,bf16,int8] [--rounds 5] [--json FILE]

The peak is measured: of chains of 3 × 3 convolutions of several shapes, in each precision, the fastest counts. A
generator's share is its own multiplications a second over that. Both run in OpenVINO on the same threads and take
turns, round by round. Weights are random, because speed does not depend on them.
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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import Frame, benchmark_parser, check_counts, shapes, take_turns, write_figures
from benchmarks.paper import random_model, requests
from export.pack_paper import pack
from export.writing import written
from icface.bundle import Bundle
from icface.command import Parser, run_command
from icface.engines.precision import quantised
from icface.errors import ConfigError, ICFaceError
from icface.networks.icface import ICface
from icface.openvino_core import the_core
from training.networks.complexity import count_macs

CHAINS = ((64, 64), (128, 32), (256, 32), (512, 16))
"""Channels, and side of the picture, of the chains of convolutions: the shapes that residual blocks have."""
LENGTH = 8
"""Convolutions in a chain: enough that what surrounds them does not count."""
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def chain(channels: int, side_px: int) -> bytes:
    """`LENGTH` convolutions, each followed by a rectifier."""
    torch.manual_seed(3)
    layers: list[nn.Module] = []
    for _ in range(LENGTH):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)  # type: ignore[arg-type]
    return written(
        nn.Sequential(*layers), "chain", {"input": torch.zeros(1, channels, side_px, side_px)}, ["y"]
    )


def compiled(model: bytes, precision: str, feeds: list[dict[str, Any]], threads: int) -> Frame:
    """Runs a graph on inputs that take turns.

    Raises:
        ICFaceError: this CPU does not compute in the precision.
    """
    core = the_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ICFaceError("this CPU has no bfloat16; leave it out of --precisions")
    graph = quantised(model, feeds) if precision == "int8" else model
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    network = core.compile_model(core.read_model(graph), "CPU", settings)
    request = network.create_infer_request()
    return lambda i: request.infer(feeds[i % len(feeds)], share_inputs=True, share_outputs=True)


def chains(precision: str, threads: int) -> dict[str, tuple[Frame, float]]:
    """The chains, and the multiplications of each in 10⁹."""
    rng = np.random.default_rng(4)
    found = {}
    for channels, side_px in CHAINS:
        feeds = [{"input": np.abs(rng.normal(0, 1, (1, channels, side_px, side_px))).astype(np.float32)}]
        gmac = LENGTH * 9 * channels**2 * side_px**2 / 1e9
        run = compiled(chain(channels, side_px), precision, feeds, threads)
        found[f"{precision}, {channels} channels at {side_px}"] = (run, gmac)
    return found


def generators(
    wanted: list[tuple[int, int]], folder: Path
) -> dict[str, tuple[bytes, list[dict[str, Any]], float]]:
    """Graphs of G_A as they ship, by their shape, with inputs; and what each multiplies for a frame, in 10⁹."""
    found = {}
    for width, blocks in wanted:
        shape = f"{width}x{blocks}"
        model, info = random_model(width, blocks)
        bundle = pack(model, info, folder / f"{shape}.icface", name=shape)
        golden = bundle.golden_tensors()
        feeds = [{"stem": golden["stem"], "attributes": asked} for asked in requests(8)]
        found[shape] = (bundle.file("animate.onnx").read_bytes(), feeds, split_gmac(model, bundle))
    return found


def split_gmac(model: ICface, bundle: Bundle) -> float:
    """Multiplications of G_A for a frame, without its first convolution: that is done once a photo."""
    size_px = model.config.size_px
    whole = count_macs(model.generator_animate, torch.zeros(1, 3, size_px, size_px), torch.zeros(1, 20))
    first = model.generator_animate.stem
    return (whole - first.weight.numel() * size_px**2) / 1e9


def shares(
    times: Mapping[str, list[float]], gmac: Mapping[str, float], precision: str
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What the chains reach, in 10⁹ multiplications a second; and of each generator its time and share of the best.

    The share is the median over the rounds of both in the same round: the machine drifts, ratios hold.
    """
    speeds = {name: [gmac[name] / ms * 1e3 for ms in taken] for name, taken in times.items()}
    of_chains = {name: speed for name, speed in speeds.items() if name.startswith(f"{precision}, ")}
    best = [max(speed[i] for speed in of_chains.values()) for i in range(len(next(iter(of_chains.values()))))]
    found = {}
    for name, speed in speeds.items():
        if name.endswith(f" {precision}"):
            ratios = [value / peak for value, peak in zip(speed, best, strict=True)]
            found[name] = {
                "gmac": round(gmac[name], 3),
                "ms": round(statistics.median(times[name]), 3),
                "gmac_per_s": round(statistics.median(speed), 1),
                "share_of_peak": round(statistics.median(ratios), 3),
            }
    return {name: round(statistics.median(speed), 1) for name, speed in of_chains.items()}, found


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "threads", "json", frames=20, rounds=5)
    parser.add_argument(
        "--shapes", type=shapes, default="32x6,32x9,64x9", help="channels x blocks (default: %(default)s)"
    )
    parser.add_argument("--precisions", default="fp32,bf16,int8", help="(default: %(default)s)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    precisions = flags.precisions.split(",")
    if not set(precisions) <= set(HINTS):
        raise ConfigError(f"--precisions {flags.precisions}: choose from {', '.join(HINTS)}")
    document: dict[str, Any] = {"threads": flags.threads, "peak": {}, "generators": {}}
    with tempfile.TemporaryDirectory() as name:
        graphs = generators(flags.shapes, Path(name))
        for precision in precisions:
            found = chains(precision, flags.threads)
            for shape, (graph, feeds, gmac) in graphs.items():
                found[f"{shape} {precision}"] = (compiled(graph, precision, feeds, flags.threads), gmac)
            ways = {name: run for name, (run, _) in found.items()}
            times = take_turns(ways, frames=flags.frames, rounds=flags.rounds, warm_up=2)
            medians = {name: [statistics.median(taken) for taken in rounds] for name, rounds in times.items()}
            peak, reached = shares(medians, {name: gmac for name, (_, gmac) in found.items()}, precision)
            document["peak"] |= peak
            document["generators"] |= reached
            print("\n".join(f"{name:<32}{speed:>8.0f} GMAC/s" for name, speed in peak.items()))
            for shape, row in reached.items():
                print(
                    f"  {shape:<14}{row['gmac']:>7.2f} GMAC {row['ms']:>8.2f} ms {row['gmac_per_s']:>7.0f} GMAC/s"
                    f"{row['share_of_peak']:>7.0%} of the best"
                )
    write_figures(flags.json, document)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
