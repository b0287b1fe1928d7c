"""Generators on an NVIDIA GPU, one frame at a time, and how near they come to what the card can do.

    python benchmarks/gpu.py [--shapes 32x6,64x9,128x6] [--size 512] [--frames 200] [--rounds 5] [--json FILE]

Every generator runs in FP16 as a CUDA graph of torch (channels last, uint8 frames in and out as in a bundle), and by
TensorRT or TensorRT-RTX where one is installed: its engine is built as `export/build_engine.py` does. Beside the time
stand two floors (docs/performance.md): its multiplications at the rate of the card's fastest matrix product, and the
bytes that its layers must read and write at the rate of the card's fastest copy; both rates are measured here.
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
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.common import Frame, benchmark_parser, check_counts, shapes, take_turns, write_figures
from benchmarks.paper import requests
from export.edge_golden import golden_inputs
from export.edge_graph import SHAPES, EdgeWarp
from export.pack_paper import pack
from export.paper_graph import Animate, folded
from icface.arrays import Tensors
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.engines import open_engine
from icface.engines.base import Job
from icface.engines.building import build
from icface.engines.samples import collect
from icface.errors import EngineError
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface
from training.networks.complexity import count_macs

BYTES = 2
"""Of a value in FP16."""
LIBRARIES = ("tensorrt", "tensorrt_rtx")
WARM_UP = 20
MATRIX = 8192
COPY_BYTES = 1 << 30


def layer_bytes(network: nn.Module, *inputs: Tensor) -> int:
    """What the convolutions of a network read and write for one run, in FP16: weights, inputs and outputs, each once.

    Activations and sums between them are taken as fused into the convolutions, as TensorRT does, so this is a floor.
    """
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal total
        weights = sum(parameter.numel() for parameter in layer.parameters())
        total += BYTES * (weights + given[0].numel() + made.numel())

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    handles = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, kinds)]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total


def floors_ms(macs: int, moved_bytes: int, flops_per_s: float, bytes_per_s: float) -> dict[str, float]:
    """The least time that the arithmetic takes, and that the memory takes."""
    return {"arithmetic_ms": 2e3 * macs / flops_per_s, "bandwidth_ms": 1e3 * moved_bytes / bytes_per_s}


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The median of what one run takes on the GPU."""
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def card() -> dict[str, Any]:
    """What the GPU reaches: FP16 operations a second in a large matrix product, bytes a second in a large copy."""
    a = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.float16)
    b = torch.empty(COPY_BYTES, device="cuda", dtype=torch.uint8)
    c = torch.empty_like(b)
    for _ in range(3):
        torch.matmul(a, a)
        c.copy_(b)
    return {
        "name": torch.cuda.get_device_name(),
        "flops_per_s": 2 * MATRIX**3 / seconds(lambda: torch.matmul(a, a), 10),
        "bytes_per_s": 2 * COPY_BYTES / seconds(lambda: c.copy_(b), 10),
    }


def captured(make: Callable[[], Tensor], fixed: list[tuple[Tensor, Tensor]]) -> Frame:
    """A frame as one CUDA graph: uploads from page-locked memory, the network, and back.

    Args:
        make: from tensors on the GPU to the frame there.
        fixed: page-locked tensors, and where they go on the GPU.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(side):
        for _ in range(3):
            out = make()
    torch.cuda.current_stream().wait_stream(side)
    host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        for source, target in fixed:
            target.copy_(source, non_blocking=True)
        host.copy_(make(), non_blocking=True)

    def frame(number: int) -> Tensor:
        graph.replay()
        torch.cuda.synchronize()
        return host

    return frame


def paper(shape: str, folder: Path, size_px: int = 128) -> tuple[Bundle, Frame, dict[str, int]]:
    """A generator of random weights: its bundle, its frames by torch, and what it computes and moves."""
    width, blocks = map(int, shape.split("x"))
    networks = NetworksConfig(size_px=size_px, generator=GeneratorConfig(width=width, blocks=blocks))
    torch.manual_seed(0)
    model = ICface(networks).eval().requires_grad_(False)
    info = ModelInfo(networks=networks, provenance="random weights", licence="none", step=0)
    bundle = pack(model, info, folder / f"{shape}.icface", name=shape)
    frame = Animate(folded(model).generator_animate, size_px)
    example = (torch.zeros(1, width, size_px, size_px), torch.zeros(1, 20))
    cost = {"macs": count_macs(frame, *example), "bytes": layer_bytes(frame, *example)}
    half = Animate(folded(model).generator_animate, size_px, torch.float16)
    on_gpu = half.cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stem = example[0].to("cuda", memory_format=torch.channels_last)
    asked, target = torch.from_numpy(requests(1)[0]).pin_memory(), torch.zeros(1, 20, device="cuda")
    return bundle, captured(lambda: on_gpu(stem, target), [(asked, target)]), cost


def edge_inputs(size_px: int) -> dict[str, NDArray[Any]]:
    """The edge family's tensors for a frame `size_px` wide, from the golden ones."""
    golden = golden_inputs()
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    position = np.stack([x, y], axis=-1)
    picture = np.resize(golden["skin"], (size_px, size_px, 4))
    weights = np.full((size_px, size_px), 128, dtype=np.uint8)
    return {
        "skin": np.ascontiguousarray(picture, dtype=np.uint8),
        "plate": np.ascontiguousarray(picture[..., :3], dtype=np.uint8),
        "inner": np.asarray(golden["inner"], dtype=np.uint8),
        "skin_map": position,
        "inner_map": position / 8,
        "inner_alpha": weights,
        "inner_shade": weights,
    }


def edge(size_px: int) -> tuple[Bundle, Frame, dict[str, int]]:
    """What ships, as a graph: its frames by torch, and what it moves; it hardly multiplies."""
    bundle = Bundle.load(DEFAULT_BUNDLE)
    tensors = {name: torch.from_numpy(value) for name, value in edge_inputs(size_px).items()}
    on_gpu = {name: value.to("cuda") for name, value in tensors.items()}
    moving = [(tensors[spec.name].pin_memory(), on_gpu[spec.name]) for spec in bundle.graph.motion]
    moved = sum(value.numel() * value.element_size() for value in tensors.values()) + 3 * size_px**2
    frame = captured(lambda: EdgeWarp()(*(on_gpu[name] for name in SHAPES)), moving)
    return bundle, frame, {"macs": 2 * 4 * 3 * size_px**2, "bytes": moved}


def by_library(name: str, bundle: Bundle, inputs: Tensors, size_px: int, stack: ExitStack) -> Frame:
    """Frames by TensorRT; built first.

    Raises:
        EngineError: the library is not here, or refuses.
    """
    job = Job(bundle=bundle, backend=name, precision="fp16", size_px=size_px)
    build(job, lambda: collect(bundle, rows=24))
    engine = open_engine(f"{name}:fp16", bundle)
    stack.callback(engine.close)
    engine.set_source(inputs)
    return lambda _: engine.animate(inputs)


def percentiles(times: dict[str, list[list[float]]]) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of each way over all rounds."""
    return {
        name: {f"p{p}_ms": round(float(np.percentile(np.concatenate(rounds), p)), 4) for p in (50, 95, 99)}
        for name, rounds in times.items()
    }


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json", frames=200, rounds=5)
    parser.add_argument(
        "--shapes", type=shapes, default="32x6,64x9,128x6", help="channels x blocks (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=int, default=512, help="side of the edge frames (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark.

    Raises:
        EngineError: there is no GPU.
    """
    check_counts(flags)
    if not torch.cuda.is_available():
        raise EngineError(
            "there is no NVIDIA GPU here that torch can use; python benchmarks/peak.py measures a CPU"
        )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        write_figures(flags.json, _run(flags, Path(name), stack))


def _run(flags: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    gpu = card()
    found: dict[str, Frame] = {}
    cost: dict[str, dict[str, int]] = {}
    left_out: dict[str, str] = {}
    models = {
        shape: paper(shape, folder) for shape in (f"{width}x{blocks}" for width, blocks in flags.shapes)
    }
    models[f"edge {flags.size}"] = edge(flags.size)
    for model, (bundle, by_torch, its_cost) in models.items():
        cost[model] = its_cost
        found[f"{model}, torch CUDA graph"] = by_torch
        inputs = edge_inputs(flags.size) if bundle.family == "edge" else bundle.golden_tensors()
        for library in LIBRARIES:
            try:
                found[f"{model}, {library}"] = by_library(library, bundle, inputs, flags.size, stack)
            except EngineError as error:
                left_out[f"{model}, {library}"] = str(error)
    times = percentiles(take_turns(found, frames=flags.frames, rounds=flags.rounds, warm_up=WARM_UP))
    print(
        f"{gpu['name']}: {gpu['flops_per_s'] / 1e12:.0f} TFLOP/s in FP16, {gpu['bytes_per_s'] / 1e9:.0f} GB/s"
    )
    rows = {}
    for name, taken in times.items():
        model = name.split(",")[0]
        floor = floors_ms(cost[model]["macs"], cost[model]["bytes"], gpu["flops_per_s"], gpu["bytes_per_s"])
        rows[name] = {**taken, **{key: round(value, 5) for key, value in floor.items()}, **cost[model]}
        print(
            f"{name:<32}{taken['p50_ms']:>8.3f}{taken['p95_ms']:>8.3f}{taken['p99_ms']:>8.3f} ms p50 p95 p99;"
            f" floors {floor['arithmetic_ms']:.4f} (arithmetic) {floor['bandwidth_ms']:.4f} (memory)"
        )
    for name, why in left_out.items():
        print(f"{name} left out: {why}")
    return {
        "gpu": gpu,
        "frames": rows,
        "left_out": left_out,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
