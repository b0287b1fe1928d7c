"""The paper family's frames: what the export gains over the networks as they were released.

    python benchmarks/paper.py [--width 32] [--blocks 6] [--model RUN/best.safetensors] [--json FILE]

One frame takes one G_A. The release runs G_N as well for each frame. The ways to make a frame take turns, round by
round, so that the ratios hold on a machine that drifts. Weights are random unless a model is given, because speed does
not depend on them.
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
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from benchmarks.common import Frame, benchmark_parser, check_counts, take_turns, write_figures
from export.pack_paper import pack
from icface.attributes import COUNT, FloatArray
from icface.command import Parser, run_command
from icface.engines import Engine, open_engine
from icface.errors import EngineError
from icface.networks import ModelInfo, load_model
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface

ENGINES = ("openvino", "onnxruntime")
BUNDLES = {"as shipped": True, "unsplit": False}
"""Name: whether the first convolution is split."""
RELEASE = "torch, G_N and G_A (the release)"


def requests(count: int) -> FloatArray:
    """(count, 1, 20) attributes, another for every frame."""
    return np.random.default_rng(1).random((count, 1, COUNT), dtype=np.float32)


def random_model(
    width: int, blocks: int, size_px: int = 128, padding: str = "reflect", head_kernel: int = 7
) -> tuple[ICface, ModelInfo]:
    """Networks that nobody trained."""
    generator = GeneratorConfig(width=width, blocks=blocks, padding=padding, head_kernel=head_kernel)
    networks = NetworksConfig(size_px=size_px, generator=generator)
    torch.manual_seed(0)
    info = ModelInfo(networks=networks, provenance="random weights", licence="none", step=0)
    return ICface(networks).eval().requires_grad_(False), info


def by_torch(model: ICface, asked: FloatArray, *, neutralise: bool) -> Frame:
    """torch eager, float image in and out."""
    image = torch.rand(1, 3, model.config.size_px, model.config.size_px) * 2 - 1
    attributes = torch.from_numpy(asked)
    if neutralise:
        return lambda i: model(image, attributes[i % len(asked)])
    neutral = model.neutralise(image)
    return lambda i: model.animate(neutral, attributes[i % len(asked)])


def ways(
    model: ICface, info: ModelInfo, folder: Path, threads: int, stack: ExitStack
) -> tuple[dict[str, Frame], dict[str, str]]:
    """Every way to make a frame, by name, and the reasons why some are left out."""
    asked = requests(64)

    def frame(engine: Engine, i: int) -> object:
        return engine.animate({"attributes": asked[i % len(asked)]})

    found: dict[str, Frame] = {}
    left_out: dict[str, str] = {}
    for number, (name, split) in enumerate(BUNDLES.items()):
        bundle = pack(model, info, folder / f"{number}.icface", name=name, split=split)
        for engine_name in ENGINES:
            try:
                engine = open_engine(engine_name, bundle, threads=threads)
            except EngineError as error:
                left_out[f"{engine_name}, {name}"] = str(error)
                continue
            stack.callback(engine.close)
            engine.set_source(bundle.golden_tensors())
            found[f"{engine_name}, {name}"] = partial(frame, engine)
    found["torch, G_A alone"] = by_torch(model, asked, neutralise=False)
    found[RELEASE] = by_torch(model, asked, neutralise=True)
    return found, left_out


def figures(times: dict[str, list[list[float]]]) -> dict[str, dict[str, float]]:
    """p50 and p95 over all rounds, and the median over the rounds of what share of the release's time it takes."""
    release = [statistics.median(taken) for taken in times[RELEASE]]
    result = {}
    for name, rounds in times.items():
        every = np.concatenate(rounds)
        shares = [statistics.median(taken) / whole for taken, whole in zip(rounds, release, strict=True)]
        result[name] = {
            "p50_ms": round(float(np.percentile(every, 50)), 3),
            "p95_ms": round(float(np.percentile(every, 95)), 3),
            "of_release": round(statistics.median(shares), 4),
        }
    return result


def ratios(times: dict[str, list[list[float]]]) -> dict[str, float]:
    """Medians over the rounds of what splitting gains, engine by engine (below 1: it gains)."""
    result = {}
    for engine in ENGINES:
        for other in list(BUNDLES)[1:]:
            pair = (f"{engine}, as shipped", f"{engine}, {other}")
            if all(name in times for name in pair):
                shares = [
                    statistics.median(a) / statistics.median(b)
                    for a, b in zip(times[pair[0]], times[pair[1]], strict=True)
                ]
                result[f"{engine}: as shipped / {other}"] = round(statistics.median(shares), 3)
    return result


def table(result: dict[str, dict[str, float]]) -> str:
    """For people."""
    lines = [f"{'':<40}{'p50':>9}{'p95':>9}   ms   of the release's time"]
    for name, row in result.items():
        lines.append(f"{name:<40}{row['p50_ms']:>9.2f}{row['p95_ms']:>9.2f}{row['of_release']:>12.3f}")
    return "\n".join(lines)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "threads", "json", frames=40, rounds=5)
    add = parser.add_argument
    add("--model", type=Path, help="a checkpoint; else random weights of this shape:")
    add("--size", type=int, default=128, help="side of the crop (default: %(default)s)")
    add("--width", type=int, default=32, help="of the generators (default: %(default)s)")
    add("--blocks", type=int, default=6, help="of the generators (default: %(default)s)")
    add("--padding", default="reflect", help="reflect or zero (default: %(default)s)")
    add("--head-kernel", type=int, default=7, help="of the last convolution (default: %(default)s)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    if flags.model is not None:
        model, info = load_model(flags.model)
    else:
        model, info = random_model(flags.width, flags.blocks, flags.size, flags.padding, flags.head_kernel)
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        found, left_out = ways(model, info, Path(name), flags.threads, stack)
        with torch.inference_mode():
            times = take_turns(found, frames=flags.frames, rounds=flags.rounds)
    result, gains = figures(times), ratios(times)
    generator = info.networks.generator
    print(
        f"{info.networks.size_px} px, width {generator.width}, {generator.blocks} blocks, {generator.padding} padding, "
        f"head {generator.head_kernel}×{generator.head_kernel}; {flags.threads} threads"
    )
    print(table(result))
    for name, ratio in gains.items():
        print(f"{name}: {ratio:.3f} x the time")
    for name, why in left_out.items():
        print(f"{name} left out: {why}")
    document = {
        "networks": info.networks.to_dict(),
        "threads": flags.threads,
        "frames": flags.frames,
        "rounds": flags.rounds,
        "torch": torch.__version__,
        "ways": result,
        "ratios": gains,
        "left_out": left_out,
    }
    write_figures(flags.json, document)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
