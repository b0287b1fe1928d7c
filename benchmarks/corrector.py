"""How much room a learned corrector has: what ships, and beside it the same with a network after the warp.

    python -m benchmarks.corrector [--gmac 1.2] [--size 512] [--frames 400] [--rounds 3] [--json FILE]

The network is a small U-Net over the warped picture and the mask of eyes and mouth, seen at 256 × 256, whose residual is
added to the frame at its full size. Its weights are random and small: speed does not depend on them. It is the host
variant's graph of a bundle that is written for the occasion, so everything runs as it would in `icface-live`.
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

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from benchmarks.clips import remux
from benchmarks.fps import LEGS, LIVE_FPS, REPOSITORY, middle, run_leg, table
from export.packing import write_bundle
from export.running import session_of
from icface.bundle import DEFAULT_BUNDLE, MANIFEST, WARPED, Bundle
from icface.errors import ICFaceError
from realtime.config import SIZES, LiveConfig
from realtime.timing import machine

SIDE_PX = 256
"""Side of what the network sees."""
CHANNELS = (24, 48, 96)
"""After each halving of the side."""
OPSET = 17


class _Graph:
    """Nodes and random constants of the network."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.macs = 0
        self._rng = np.random.default_rng(7)

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def convolution(self, value: str, channels: tuple[int, int], side_px: int, stride: int = 1) -> str:
        """3 × 3, from a picture `side_px` wide; He's weights, so that values stay in range."""
        spread = (2 / (9 * channels[0])) ** 0.5
        weight = self._rng.normal(0, spread, (channels[1], channels[0], 3, 3)).astype(np.float32)
        bias = self.constant(np.zeros(channels[1], dtype=np.float32))
        self.macs += weight.size * (side_px // stride) ** 2
        settings = {"kernel_shape": [3, 3], "strides": [stride] * 2, "pads": [1] * 4}
        return self.node("Conv", [value, self.constant(weight), bias], **settings)

    def resized(self, value: str, size: str) -> str:
        """(1, C, h, w) to the height and width of `size` (2,)."""
        shape = self.node("Shape", [value])
        first = self.node("Slice", [shape, self.constant(np.array([0])), self.constant(np.array([2]))])
        whole = self.node("Concat", [first, size], axis=0)
        return self.node("Resize", [value, "", "", whole], mode="linear")

    def doubled(self, value: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        asymmetric = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [value, "", scales], mode="nearest", **asymmetric)


def build_corrector(gmac: float) -> tuple[onnx.ModelProto, float]:
    """The network as a graph, and the multiplications it makes for a frame, in 10⁹.

    Inputs: `warped` (H, W, 3) and `inner_alpha` (H, W), uint8. Output: `frame` (H, W, 3) uint8. Blocks are added at an
    eighth of the side until there are about `gmac`.
    """
    g = _Graph()
    two = g.constant(np.array([SIDE_PX, SIDE_PX], dtype=np.int64))

    def planes(name: str, axes: list[int]) -> str:
        value = g.node("Cast", [name], to=TensorProto.FLOAT)
        if len(axes) == 1:
            value = g.node("Transpose", [value], perm=[2, 0, 1])
        value = g.node("Unsqueeze", [value, g.constant(np.array(axes, dtype=np.int64))])
        return g.node("Mul", [value, g.constant(np.array(1 / 255, dtype=np.float32))])

    full, mask = planes(WARPED, [0]), planes("inner_alpha", [0, 1])
    shape = g.node("Shape", [full])
    size = g.node("Slice", [shape, g.constant(np.array([2])), g.constant(np.array([4]))])
    value = g.node("Concat", [g.resized(full, two), g.resized(mask, two)], axis=1)
    side, width, skips = SIDE_PX, 4, []
    for channels in CHANNELS:
        value = g.node("Relu", [g.convolution(value, (width, channels), side, stride=2)])
        side, width = side // 2, channels
        skips.append((value, width))
    up = sum(a * b * 9 * (side * 2 ** (i + 1)) ** 2 for i, (a, b) in enumerate(((96, 48), (48, 24))))
    while g.macs + up < gmac * 1e9:
        inner = g.node("Relu", [g.convolution(value, (width, width), side)])
        value = g.node("Add", [value, g.convolution(inner, (width, width), side)])
    for skip, channels in reversed(skips[:-1]):
        value = g.doubled(value)
        side *= 2
        value = g.node("Relu", [g.node("Add", [g.convolution(value, (width, channels), side), skip])])
        width = channels
    residual = g.node("Tanh", [g.convolution(value, (width, 3), side)])
    # A fiftieth: the picture stays the one that ships.
    residual = g.node("Mul", [g.resized(residual, size), g.constant(np.array(0.02, dtype=np.float32))])
    value = g.node("Add", [full, residual])
    value = g.node("Mul", [value, g.constant(np.array(255, dtype=np.float32))])
    value = g.node("Floor", [g.node("Add", [value, g.constant(np.array(0.5, dtype=np.float32))])])
    limits = [g.constant(np.array(limit, dtype=np.float32)) for limit in (0, 255)]
    value = g.node("Squeeze", [g.node("Clip", [value, *limits]), g.constant(np.array([0], dtype=np.int64))])
    g.node("Cast", [g.node("Transpose", [value], perm=[1, 2, 0])], "frame", to=TensorProto.UINT8)

    picture = ["height", "width", 3]
    graph = helper.make_graph(
        g.nodes,
        "corrector",
        [
            helper.make_tensor_value_info(WARPED, TensorProto.UINT8, picture),
            helper.make_tensor_value_info("inner_alpha", TensorProto.UINT8, picture[:2]),
        ],
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, picture)],
        g.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="icface-live"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model, g.macs / 1e9


def whole_graph(warp: onnx.ModelProto, corrector: onnx.ModelProto) -> onnx.ModelProto:
    """Both one after the other: the graph variant, for engines that keep the warp on a device."""
    made = onnx.ModelProto()
    made.CopyFrom(warp)
    for node in made.graph.node:
        node.output[:] = [WARPED if name == "frame" else name for name in node.output]
    kept = {"inner_alpha", "frame", WARPED}
    renamed = onnx.compose.add_prefix_graph(
        corrector.graph, "correct/", rename_inputs=False, rename_outputs=False
    )
    for node in renamed.node:
        for names in (node.input, node.output):
            names[:] = [
                name.removeprefix("correct/") if name.removeprefix("correct/") in kept else name
                for name in names
            ]
    made.graph.node.extend(renamed.node)
    made.graph.initializer.extend(renamed.initializer)
    return made


def pack(out: Path, gmac: float) -> tuple[Bundle, float]:
    """What ships with a network of about `gmac` after its warp, as a bundle; and what it really takes."""
    entries = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text(encoding="utf-8"))
    for name in ("format_version", "files"):
        del entries[name]
    shipped = Bundle.load(DEFAULT_BUNDLE)
    corrector, found = build_corrector(gmac)
    golden = dict(shipped.golden_tensors())
    feeds = {WARPED: golden["frame"], "inner_alpha": golden["inner_alpha"]}
    (golden["frame"],) = session_of(corrector).run(["frame"], feeds)
    entries["name"] = f"edge geometry and a random corrector of {found:.2f} GMAC"
    entries["variants"]["host"] |= {"graph": "correct.onnx", "graph_inputs": ["inner_alpha"]}
    whole = whole_graph(onnx.load_from_string(shipped.file("animate.onnx").read_bytes()), corrector)
    files = {
        "animate.onnx": whole.SerializeToString(),
        "correct.onnx": corrector.SerializeToString(),
        "golden.safetensors": save({name: np.ascontiguousarray(value) for name, value in golden.items()}),
    }
    return write_bundle(out, entries, files), found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 with one line where it cannot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gmac", type=float, default=1.2, help="of the network (default: %(default)s)")
    parser.add_argument("--clip", type=Path, default=REPOSITORY / "examples/driver.mp4")
    parser.add_argument("--source", type=Path, default=REPOSITORY / "examples/source.jpg")
    parser.add_argument("--size", choices=SIZES, default="512")
    parser.add_argument("--legs", nargs="+", choices=LEGS, default=("null", "live"))
    parser.add_argument("--frames", type=int, default=400, help="frames a leg (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times each leg runs (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    flags = parser.parse_args(argv)
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    try:
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
    except (ICFaceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures = {key: middle(rounds) for key, rounds in reports.items()}
    for (label, leg), leg_figures in figures.items():
        print(f"{label}: {reports[label, leg][0]['about']['engine']}")
        print(table(label, leg, leg_figures))
    if flags.json is not None:
        legs = {f"{label} / {leg}": value for (label, leg), value in figures.items()}
        document = {"gmac": round(gmac, 3), "size": flags.size, "legs": legs, "machine": machine()}
        flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
