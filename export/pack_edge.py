"""Pack the shipped generator: `python export/pack_edge.py [--out icface/models/edge.icface]`.

It writes the animate graph, golden tensors made from noise, and the manifest with all hashes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.edge_graph import SHAPES, build_edge_graph
from export.writing import spec, write_bundle
from icface.arrays import Frame, Tensors
from icface.attributes import GAZE_NAMES, SHAPE_NAMES
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.geometry.raster import EDGE_FROM_PX, EDGE_PX

GOLDEN_SIZE_PX = (88, 72)
"""(width, height) of the golden frame. The picture that it reads is larger, so that positions are told finer apart."""


def golden_inputs() -> dict[str, NDArray[Any]]:
    """A smooth picture, bent maps with an edge, and soft weights. They are small, and the frame is sensitive to each."""
    width_px, height_px = GOLDEN_SIZE_PX
    rng = np.random.default_rng(20)

    def picture(height: int, width: int, channels: int = 3) -> Frame:
        noise = rng.integers(0, 255, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
        return np.ascontiguousarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))

    skin = picture(224, 256, 4)
    # Half of it hides the plate. The other half is multiplied by its alpha.
    skin[:, 128:, 3] = 255
    skin[..., :3] = skin[..., :3] * (skin[..., 3:] / 255)

    y, x = np.mgrid[:height_px, :width_px].astype(np.float32)
    # Steps of 1/32 pixel, which every engine hits exactly.
    bend_x = np.round((7 * np.sin(y / 11)) * 32) / 32
    bend_y = np.round((5 * np.cos(x / 7)) * 32) / 32
    distance = np.hypot(x - 45, y - 45)
    alpha = np.clip((24 - distance) * 40, 0, 255).astype(np.uint8)
    edge = np.where(np.abs(x - 12) + np.abs(y - 58) < 9, 24, 0)
    return {
        "skin": skin,
        "plate": picture(height_px, width_px),
        "inner": picture(64, 48),
        "skin_map": np.stack([x * 2.90625 + bend_x + edge, y * 3.09375 + bend_y], axis=-1).astype(np.float32),
        "inner_map": np.stack([x * 0.5, y * 0.5], axis=-1).astype(np.float32),
        "inner_alpha": alpha,
        "inner_shade": np.clip(120 + y, 0, 255).astype(np.uint8),
        "regions": np.array([[20, 20, 70, 70]], dtype=np.int32),
    }


def reference_frame(inputs: Tensors) -> Frame:
    """The contract in float64 NumPy, which every engine is held to."""

    def sample(image: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
        height, width = image.shape[:2]
        x = np.clip(positions[..., 0].astype(np.float64), 0, width - 1)
        y = np.clip(positions[..., 1].astype(np.float64), 0, height - 1)
        x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
        fx, fy = (x - x0)[..., None], (y - y0)[..., None]
        pixels = image.astype(np.float64)
        top = pixels[y0, x0] * (1 - fx) + pixels[y0, x0 + 1] * fx
        bottom = pixels[y0 + 1, x0] * (1 - fx) + pixels[y0 + 1, x0 + 1] * fx
        return np.asarray(top * (1 - fy) + bottom * fy)

    def smoothed(front: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
        jump = np.zeros(positions.shape[:2])
        across, down = (
            np.abs(np.diff(positions.astype(np.float64), axis=axis)).max(axis=2) for axis in (1, 0)
        )
        for part, step in (
            (jump[:, :-1], across),
            (jump[:, 1:], across),
            (jump[:-1], down),
            (jump[1:], down),
        ):
            np.maximum(part, step, out=part)
        share = np.clip((jump - EDGE_FROM_PX) / (EDGE_PX - EDGE_FROM_PX), 0, 1)[..., None]
        around = np.pad(front, ((1, 1), (1, 1), (0, 0)), mode="edge")
        rows = around[:-2] + 2 * around[1:-1] + around[2:]
        average = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
        return np.asarray(front + (average - front) * share)

    alpha = inputs["inner_alpha"].astype(np.float64)[..., None] / 255
    shade = inputs["inner_shade"].astype(np.float64)[..., None] / 255
    person, behind = sample(inputs["skin"], inputs["skin_map"]), sample(inputs["inner"], inputs["inner_map"])
    front = person[..., :3] + inputs["plate"] * (1 - person[..., 3:] / 255)
    front = smoothed(front, inputs["skin_map"])
    return np.floor(front * (1 - alpha) + behind * shade * alpha + 0.5).astype(np.uint8)


def pack(out: Path) -> Bundle:
    """Write the bundle's folder; ConfigError where it cannot be written."""
    inputs = golden_inputs()
    golden = {**inputs, "frame": reference_frame(inputs)}
    specs = {name: spec(name, str(inputs[name].dtype), *shape) for name, shape in SHAPES.items()}
    cache = [specs.pop(name) for name in ("skin", "plate", "inner")]
    motion = list(specs.values())
    regions = spec("regions", "int32", "count", 4)
    frame = [spec("frame", "uint8", "height", "width", 3)]
    return write_bundle(
        out,
        {
            "family": "edge",
            "name": "edge geometry",
            "size_px": None,
            "attribute_scale": "full-shape",
            "extensions": (*GAZE_NAMES, *SHAPE_NAMES),
            "alignment": "face box x 1.75, raised by 6 %, kept inside the photo",
            "motion": "icface.geometry",
            "neutralise": None,
            "variants": {
                "graph": {"graph": "animate.onnx", "cache": cache, "motion": motion, "outputs": frame},
                "host": {"graph": None, "cache": cache, "motion": [*motion, regions], "outputs": frame},
            },
            "golden": "golden.safetensors",
            "licence": "MIT",
            "provenance": "No training data: geometry from ICT-FaceKit (MIT) and MediaPipe's canonical face "
            "(Apache-2.0)",
        },
        {
            "animate.onnx": build_edge_graph(),
            "golden.safetensors": save({key: np.ascontiguousarray(value) for key, value in golden.items()}),
        },
    )


def _run(flags: argparse.Namespace) -> None:
    pack(flags.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = Parser(description="Pack the shipped generator.")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_BUNDLE, metavar="FOLDER", help="the bundle (default: what ships)"
    )
    return run_command(parser, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
