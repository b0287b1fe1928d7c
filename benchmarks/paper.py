"""The paper family's frames: what the export gains over the networks as they were released.

    python benchmarks/paper.py [--width 32] [--blocks 6] [--model RUN/best.safetensors] [--json FILE]

One frame is one G_A; the release runs G_N as well for each. The ways of making it take turns, round by round, so that
the ratios hold on a machine that drifts. Weights are random unless a model is given: speed does not depend on
them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.pack_paper import pack
from icface.attributes import COUNT
from icface.command import Parser, run_command
from icface.engines import open_engine
from icface.errors import ConfigError, EngineError
from icface.networks import ModelInfo, load_model
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface
from realtime.timing import machine, usable_cores

ENGINES = ("openvino", "onnxruntime")
BUNDLES = {"as shipped": True, "unsplit": False}
"""Name: whether the first convolution is split."""
RELEASE = "torch, G_N and G_A (the release)"

Frame = Callable[[int], object]
"""Makes the frame of that number."""


def requests(count: int) -> np.ndarray:
    """(count, 1, 20) attributes, another for every frame."""
    return np.random.default_rng(1).random((count, 1, COUNT), dtype=np.float32)


def by_torch(model: ICface, asked: np.ndarray, *, neutralise: bool) -> Frame:
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
    """Every way of making a frame, by name; and why some are left out."""
    asked = requests(64)
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
            found[f"{engine_name}, {name}"] = lambda i, engine=engine: engine.animate(  # type: ignore[misc]
                {"attributes": asked[i % len(asked)]}
            )
    found["torch, G_A alone"] = by_torch(model, asked, neutralise=False)
    found[RELEASE] = by_torch(model, asked, neutralise=True)
    return found, left_out


def measure(found: dict[str, Frame], *, frames: int, rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds of every frame, by name and round; each round is begun with frames that do not count."""
    times: dict[str, list[list[float]]] = {name: [] for name in found}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, make in found.items():
                for i in range(3):
                    make(i)
                taken = []
                for i in range(frames):
                    start = time.perf_counter()
                    make(i)
                    taken.append((time.perf_counter() - start) * 1e3)
                times[name].append(taken)
    return times


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


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, help="a checkpoint; else random weights of this shape:")
    p.add_argument("--size", type=int, default=128, help="side of the crop (default: %(default)s)")
    p.add_argument("--width", type=int, default=32, help="of the generators (default: %(default)s)")
    p.add_argument("--blocks", type=int, default=6, help="of the generators (default: %(default)s)")
    p.add_argument("--padding", default="reflect", help="reflect or zero (default: %(default)s)")
    p.add_argument(
        "--head-kernel", type=int, default=7, help="of the last convolution (default: %(default)s)"
    )
    p.add_argument("--threads", type=int, default=usable_cores(), help="(default: %(default)s)")
    p.add_argument("--frames", type=int, default=40, help="a round and way (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=5, help="times each way is measured (default: %(default)s)")
    p.add_argument("--json", type=Path, help="write the figures here as well")
    return p


def _model(flags: argparse.Namespace) -> tuple[ICface, ModelInfo]:
    if flags.model is not None:
        return load_model(flags.model)
    generator = GeneratorConfig(
        width=flags.width, blocks=flags.blocks, padding=flags.padding, head_kernel=flags.head_kernel
    )
    networks = NetworksConfig(size_px=flags.size, generator=generator)
    torch.manual_seed(0)
    info = ModelInfo(networks=networks, provenance="random weights", licence="none", step=0)
    return ICface(networks).eval().requires_grad_(False), info


def _run(flags: argparse.Namespace) -> None:
    if min(flags.threads, flags.frames, flags.rounds) < 1:
        raise ConfigError("--threads, --frames and --rounds must be at least 1")
    model, info = _model(flags)
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        found, left_out = ways(model, info, Path(name), flags.threads, stack)
        times = measure(found, frames=flags.frames, rounds=flags.rounds)
    result, gains = figures(times), ratios(times)
    generator = info.networks.generator
    print(
        f"{info.networks.size_px} px, width {generator.width}, {generator.blocks} blocks, {generator.padding} padding, "
        f"head {generator.head_kernel}×{generator.head_kernel}; "
        f"{flags.threads} threads"
    )
    print(table(result))
    for name, ratio in gains.items():
        print(f"{name}: {ratio:.3f} x the time")
    for name, why in left_out.items():
        print(f"{name} left out: {why}")
    if flags.json is not None:
        document: dict[str, Any] = {
            "networks": info.networks.to_dict(),
            "threads": flags.threads,
            "frames": flags.frames,
            "rounds": flags.rounds,
            "machine": machine(),
            "torch": torch.__version__,
            "ways": result,
            "ratios": gains,
            "left_out": left_out,
        }
        flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return run_command(parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
