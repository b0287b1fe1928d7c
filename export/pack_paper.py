"""Make a trained model of the paper family ready to run: `python export/pack_paper.py RUN/best.safetensors`.

It writes a bundle beside the checkpoint (`RUN/best.icface`, or `--out`): the graphs, golden tensors computed by torch in
float64, and the manifest. `icface-live --model RUN/best.icface` runs it and needs no torch.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.paper_graph import PaperGraphs, build_paper_graphs, pixels_of
from export.writing import spec, write_bundle
from icface.arrays import Frame
from icface.attributes import COUNT
from icface.bundle import Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.images import cut_crop, load_photo
from icface.networks import ModelInfo, load_model
from icface.networks.icface import ICface
from icface.reenactor import Reenactor

logger = logging.getLogger(__name__)


def golden_inputs(size_px: int) -> tuple[Frame, NDArray[np.float32]]:
    """A smooth picture (S, S, 3) and attributes (1, 20), all different."""
    rng = np.random.default_rng(20)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    crop = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    attributes = rng.permutation(np.linspace(0.05, 0.95, COUNT)).astype(np.float32)
    return np.asarray(crop, dtype=np.uint8), attributes[None]


def golden_tensors(model: ICface, graphs: PaperGraphs) -> dict[str, NDArray[Any]]:
    """Inputs of the graphs and what they must give. The networks themselves compute it, in float64 and not folded."""
    exact = ICface(model.config).eval()
    exact.load_state_dict(model.state_dict())
    exact.double()
    crop, attributes = golden_inputs(model.config.size_px)
    image = torch.from_numpy(crop.astype(np.float64) / 127.5 - 1).permute(2, 0, 1)[None]
    asked = torch.from_numpy(attributes).double()
    with torch.no_grad():
        neutral = exact.neutralise(image)
        frame = exact.animate(neutral, asked)
        kept = exact.encode(neutral)
        if graphs.cache == "stem":
            # The first convolution and the normalisation after it, without attributes.
            generator = exact.generator_animate
            nothing = torch.zeros(1, COUNT, *kept.shape[2:], dtype=torch.float64)
            kept = generator.stem_norm(generator.stem(generator.pad(torch.cat([kept, nothing], dim=1))))
    return {
        "crop": crop,
        "attributes": attributes,
        "neutral": pixels_of(neutral).contiguous().numpy(),
        "frame": pixels_of(frame).contiguous().numpy(),
        graphs.cache: np.ascontiguousarray(kept.float().numpy()),
    }


def pack(model: ICface, info: ModelInfo, out: Path, *, name: str, split: bool = True) -> Bundle:
    """Write a trained model's bundle. An older bundle in the folder `out` is replaced.

    Args:
        name: shown to the user.
        split: keep the source's part of the first convolution from frame to frame.

    Raises:
        ConfigError: the bundle cannot be written, or the model gives values that are no numbers.
    """
    size_px = info.networks.size_px
    graphs = build_paper_graphs(model, split=split)
    golden = golden_tensors(model, graphs)
    if not all(np.isfinite(value).all() for value in golden.values()):
        raise ConfigError(f"{name} gives values that are no numbers; its training failed")
    half = {} if graphs.animate_fp16 is None else {"animate.fp16.onnx": graphs.animate_fp16}
    if not half:
        logger.warning("%s has a weight above 65504, so it gets no graph in half precision", name)
    crop, neutral, frame = (spec(key, "uint8", size_px, size_px, 3) for key in ("crop", "neutral", "frame"))
    cache = spec(graphs.cache, "float32", *graphs.cache_shape)
    attributes = spec("attributes", "float32", 1, COUNT)
    return write_bundle(
        out,
        {
            "family": "paper",
            "name": name,
            "size_px": size_px,
            "attribute_scale": info.attribute_scale,
            "alignment": info.alignment,
            "motion": None,
            "neutralise": {"graph": "neutralise.onnx", "inputs": [crop], "outputs": [neutral, cache]},
            "variants": {
                "graph": {
                    "graph": "animate.onnx",
                    "graph_fp16": next(iter(half), None),
                    "cache": [cache],
                    "motion": [attributes],
                    "outputs": [frame],
                },
                "host": None,
            },
            "golden": "golden.safetensors",
            "licence": info.licence,
            "provenance": info.provenance,
            "networks": info.networks.to_dict(),
            "training_steps": info.step,
        },
        {
            "neutralise.onnx": graphs.neutralise,
            "animate.onnx": graphs.animate,
            **half,
            "golden.safetensors": save(golden),
        },
    )


def neutral_look(bundle: Bundle, photo: Path) -> Frame:
    """A photo's crop at the left and what G_N makes of it at the right, (S, 2·S, 3)."""
    source = load_photo(photo)
    with closing(Reenactor(bundle, size_px=None)) as reenactor:
        prepared = reenactor.prepare_source(source)
    crop = cut_crop(prepared.photo_frame, prepared.crop_to_photo, prepared.size_px[0])
    return np.hstack([crop, prepared.neutral])


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(description="Make a trained model ready for icface-live.")
    split = "keep the source's part of the first convolution from frame to frame (default: on)"
    neutral = "also write MODEL.neutral.png: this photo and its neutral"
    add = p.add_argument
    add("model", type=Path, metavar="MODEL", help="a checkpoint of training/train.py (.safetensors)")
    add("--out", type=Path, metavar="FOLDER", help="the bundle (default: beside MODEL, as .icface)")
    add("--name", help="shown to the user (default: a few words about MODEL)")
    add("--split", action=argparse.BooleanOptionalAction, default=True, help=split)
    add("--neutral", type=Path, metavar="PHOTO", help=neutral)
    add("-v", "--verbose", action="count", default=0, help="-vv: tracebacks")
    return p


def default_name(info: ModelInfo) -> str:
    """A model in a few words."""
    generator = info.networks.generator
    parts = [f"ICface {info.networks.size_px} px, width {generator.width}, {generator.blocks} blocks"]
    if not info.networks.neutraliser:
        parts.append("without neutraliser")
    if info.networks.image_encoder is not None:
        parts.append("with image encoder")
    return ", ".join([*parts, f"step {info.step}"])


def _run(flags: argparse.Namespace) -> None:
    model, info = load_model(flags.model)
    out: Path = flags.out or flags.model.with_suffix(".icface")
    bundle = pack(model, info, out, name=flags.name or default_name(info), split=flags.split)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {bundle.name}, {size / 1e6:.1f} MB")
    if flags.neutral is not None:
        picture = flags.model.with_suffix(".neutral.png")
        try:
            Image.fromarray(neutral_look(bundle, flags.neutral)).save(picture)
        except OSError as error:
            raise ConfigError(f"cannot write {picture}: {error.strerror or error}") from error
        print(f"{picture}: {flags.neutral.name} and its neutral face")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(parser(), _run, argv)


if __name__ == "__main__":
    sys.exit(main())
