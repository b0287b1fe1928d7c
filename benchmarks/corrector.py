"""How much room a learned corrector has: what ships, and beside it the same with a network after the warp.

    python benchmarks/corrector.py [--gmac 1.2] [--size 512] [--frames 400] [--rounds 3] [--json FILE]

The network is a small U-Net. It sees the warped picture and the mask of eyes and mouth at 256 × 256, and its result is
added to the frame at the frame's own size. Its weights are random and small: speed does not depend on them. It becomes
the host variant's graph of a bundle that is written for the occasion, so everything runs as in `icface-live`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.clips import remux
from benchmarks.fps import LEGS, LIVE_FPS, REPOSITORY, middle, run_leg, table
from export.edge_graph import SHAPES, EdgeWarp, example_inputs
from export.writing import frame_of, planes_of, rounded, write_bundle, written
from icface.bundle import DEFAULT_BUNDLE, MANIFEST, WARPED, Bundle
from icface.command import Parser, run_command
from realtime.config import SIZES, LiveConfig
from realtime.metrics import machine
from training.networks.complexity import count_macs

SIDE_PX = 256
"""Side of what the network sees."""
CHANNELS = (24, 48, 96)
"""After each halving of the side."""
STRENGTH = 0.02
"""What the network's result is multiplied with: the picture stays the one that ships."""


def convolution(channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3 × 3, with He's weights, so that values stay in range."""
    made = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(made.weight)
    assert made.bias is not None
    nn.init.zeros_(made.bias)
    return made


class Block(nn.Module):
    """Two convolutions whose result is added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels, channels), nn.ReLU(), convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class Network(nn.Module):
    """The U-Net: (1, 4, SIDE_PX, SIDE_PX) to (1, 3, SIDE_PX / 2, SIDE_PX / 2), with blocks at an eighth of the side."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.down = nn.ModuleList(
            convolution(*pair, stride=2) for pair in ((4, first), (first, second), (second, third))
        )
        self.blocks = nn.Sequential(*(Block(third) for _ in range(blocks)))
        self.up = nn.ModuleList(convolution(*pair) for pair in ((third, second), (second, first)))
        self.head = convolution(first, 3)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for layer in self.down:
            x = torch.relu(layer(x))
            skips.append(x)
        x = self.blocks(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = torch.relu(layer(functional.interpolate(x, scale_factor=2.0)) + skip)
        return torch.tanh(self.head(x))


class Corrector(nn.Module):
    """From the warped frame (H, W, 3) and `inner_alpha` (H, W), both uint8, to the frame (H, W, 3) uint8.

    Args:
        gmac: multiplications for a frame in 10⁹; blocks are added until there are so many.
    """

    def __init__(self, gmac: float) -> None:
        super().__init__()
        torch.manual_seed(7)
        without, with_one = (_gmac(Network(blocks)) for blocks in (0, 1))
        self.network = Network(max(0, math.ceil((gmac - without) / (with_one - without))))

    @property
    def gmac(self) -> float:
        """What the network really takes."""
        return _gmac(self.network)

    def forward(self, warped: Tensor, inner_alpha: Tensor) -> Tensor:
        return frame_of(self.levels(planes_of(warped), inner_alpha))

    def levels(self, warped: Tensor, inner_alpha: Tensor) -> Tensor:
        """The frame before it is rounded; it and `warped` are (1, 3, H, W) in 0 … 255."""
        seen = torch.cat([warped, inner_alpha.float()[None, None]], dim=1) / 255
        residual = self.network(functional.interpolate(seen, size=(SIDE_PX, SIDE_PX), mode="bilinear"))
        whole = functional.interpolate(residual, size=warped.shape[2:], mode="bilinear")
        return warped + 255 * STRENGTH * whole


class CorrectedWarp(nn.Module):
    """The warp and the corrector one after the other; inputs and output as of `EdgeWarp`."""

    def __init__(self, corrector: Corrector) -> None:
        super().__init__()
        self.warp, self.corrector = EdgeWarp(finish=rounded), corrector

    def forward(
        self,
        skin: Tensor,
        plate: Tensor,
        inner: Tensor,
        skin_map: Tensor,
        inner_map: Tensor,
        inner_alpha: Tensor,
        inner_shade: Tensor,
    ) -> Tensor:
        warped = self.warp(skin, plate, inner, skin_map, inner_map, inner_alpha, inner_shade)
        return frame_of(self.corrector.levels(warped, inner_alpha))


def _gmac(network: Network) -> float:
    return count_macs(network, torch.zeros(1, 4, SIDE_PX, SIDE_PX)) / 1e9


def pack(out: Path, gmac: float) -> tuple[Bundle, float]:
    """What ships with a network of about `gmac` after its warp, as a bundle; and what the network really takes."""
    entries = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text(encoding="utf-8"))
    for name in ("format_version", "files"):
        del entries[name]
    corrector = Corrector(gmac).eval().requires_grad_(False)
    golden = dict(Bundle.load(DEFAULT_BUNDLE).golden_tensors())
    golden["frame"] = corrector(
        *(torch.from_numpy(golden[name]) for name in ("frame", "inner_alpha"))
    ).numpy()
    entries["name"] = f"edge geometry and a random corrector of {corrector.gmac:.2f} GMAC"
    entries["variants"]["host"] |= {"graph": "correct.onnx", "graph_inputs": ["inner_alpha"]}
    examples = example_inputs()
    given = {WARPED: torch.zeros(14, 16, 3, dtype=torch.uint8), "inner_alpha": examples["inner_alpha"]}
    shapes = {WARPED: ("height", "width", 3), "inner_alpha": SHAPES["inner_alpha"]}
    files = {
        "animate.onnx": written(CorrectedWarp(corrector), "corrected_warp", examples, ["frame"], SHAPES),
        "correct.onnx": written(corrector, "corrector", given, ["frame"], shapes),
        "golden.safetensors": save({name: np.ascontiguousarray(value) for name, value in golden.items()}),
    }
    return write_bundle(out, entries, files), corrector.gmac


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gmac", type=float, default=1.2, help="of the network (default: %(default)s)")
    p.add_argument("--clip", type=Path, default=REPOSITORY / "examples/driver.mp4")
    p.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg")
    p.add_argument("--size", choices=SIZES, default="512")
    p.add_argument("--legs", nargs="+", choices=LEGS, default=("null", "live"))
    p.add_argument("--frames", type=int, default=400, help="frames a leg (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=3, help="times each leg runs (default: %(default)s)")
    p.add_argument("--json", type=Path, help="write the figures here as well")
    return p


def _run(flags: argparse.Namespace) -> None:
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, gmac = pack(folder / "corrected.icface", flags.gmac)
        clip = remux(flags.clip, folder / "clip.mp4", fps=Fraction(LIVE_FPS), frames=flags.frames)
        base = LiveConfig(sources=(flags.source,), size_px=SIZES[flags.size], frames=flags.frames)
        configs = {"what ships": base, f"with {gmac:.2f} GMAC": replace(base, model=bundle.path)}
        for _ in range(flags.rounds):
            for leg in flags.legs:
                for label, config in configs.items():
                    reports.setdefault((label, leg), []).append(run_leg(leg, config, clip, folder))
    figures = {key: middle(rounds) for key, rounds in reports.items()}
    for (label, leg), leg_figures in figures.items():
        print(f"{label}: {reports[label, leg][0]['about']['engine']}")
        print(table(label, leg, leg_figures))
    if flags.json is not None:
        legs = {f"{label} / {leg}": value for (label, leg), value in figures.items()}
        document = {"gmac": round(gmac, 3), "size": flags.size, "legs": legs, "machine": machine()}
        flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    return run_command(parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
