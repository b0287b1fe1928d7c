"""Make a trained model of the paper family ready to run: `python export/pack_paper.py RUN/best.safetensors`.

Writes a bundle beside it (`RUN/best.icface`, or `--out`): both graphs, golden tensors computed by torch in float64, and
the manifest. `icface-live --model RUN/best.icface` runs it; nothing of torch is needed there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save

from export.packing import spec, write_bundle
from export.paper_graph import PaperGraphs, build_paper_graphs
from icface.arrays import Frame
from icface.attributes import COUNT
from icface.bundle import Bundle
from icface.errors import ConfigError, ICFaceError
from icface.images import load_photo
from icface.networks import ModelInfo, load_model
from icface.networks.icface import ICface


def golden_inputs(size_px: int) -> tuple[Frame, NDArray[np.float32]]:
    """A smooth picture (S, S, 3) and attributes (1, 20), all different."""
    rng = np.random.default_rng(20)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    crop = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    attributes = rng.permutation(np.linspace(0.05, 0.95, COUNT)).astype(np.float32)
    return np.asarray(crop, dtype=np.uint8), attributes[None]


def golden_tensors(model: ICface, graphs: PaperGraphs) -> dict[str, NDArray[np.generic]]:
    """Inputs of both graphs and what they must give, by the networks themselves in float64."""
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
            # What is left of the first convolution, and of the normalisation after it, without attributes.
            generator = exact.generator_animate
            nothing = torch.zeros(1, COUNT, *kept.shape[2:], dtype=torch.float64)
            kept = generator.stem(generator.pad(torch.cat([kept, nothing], dim=1)))
            if graphs.folded:
                kept = generator.stem_norm(kept)
    return {
        "crop": crop,
        "attributes": attributes,
        "neutral": _pixels(neutral),
        "frame": _pixels(frame),
        graphs.cache: np.ascontiguousarray(kept.float().numpy()),
    }


def _pixels(image: torch.Tensor) -> Frame:
    levels = ((image[0].permute(1, 2, 0) + 1) * 127.5 + 0.5).floor().clamp(0, 255)
    pixels: Frame = np.ascontiguousarray(levels.to(torch.uint8).numpy())
    return pixels


def pack(
    model: ICface, info: ModelInfo, out: Path, *, name: str, split: bool = True, fold: bool = True
) -> Bundle:
    """Write a model's bundle.

    Args:
        model: trained.
        info: what it is; its terms and provenance go into the manifest as they are.
        out: the folder; an older bundle there is replaced.
        name: shown to the user.
        split: keep the source's part of the first convolution from frame to frame.
        fold: put the batch normalisations into the convolutions.

    Raises:
        ConfigError: it cannot be written, or has a layer that cannot be exported.
    """
    size_px = info.networks.size_px
    graphs = build_paper_graphs(model, split=split, fold=fold)
    golden = golden_tensors(model, graphs)
    if not all(np.isfinite(value).all() for value in golden.values()):
        raise ConfigError(f"{name} gives values that are no numbers; its training failed")
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
            "neutralise.onnx": graphs.neutralise.SerializeToString(),
            "animate.onnx": graphs.animate.SerializeToString(),
            "golden.safetensors": save(golden),
        },
    )


def neutral_look(bundle: Bundle, photo: Path) -> Frame:
    """What G_N makes of a photo: its crop at the left, the neutral image at the right, (S, 2·S, 3).

    Raises:
        SourceError: the photo has no face that can be used.
        EngineError: the bundle does not run here.
    """
    from icface.images import cut_crop
    from icface.reenactor import Reenactor

    source = load_photo(photo)
    reenactor = Reenactor(bundle, size_px=None)
    try:
        prepared = reenactor.prepare_source(source)
    finally:
        reenactor.close()
    crop = cut_crop(source.frame, prepared.crop_to_photo, prepared.size_px[0])
    return np.hstack([crop, prepared.neutral])


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = _Parser(description="Make a trained model ready for icface-live.", allow_abbrev=False)
    p.add_argument(
        "model", type=Path, metavar="MODEL", help="a checkpoint of training/train.py (.safetensors)"
    )
    p.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the bundle (default: beside MODEL, as .icface)"
    )
    p.add_argument("--name", help="shown to the user (default: what it is, from MODEL)")
    p.add_argument(
        "--split",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the source's part of the first convolution from frame to frame (default: on)",
    )
    p.add_argument(
        "--neutral",
        type=Path,
        metavar="PHOTO",
        help="also write MODEL.neutral.png: this photo and its neutral",
    )
    p.add_argument("-v", "--verbose", action="count", default=0, help="-vv: tracebacks")
    return p


def default_name(info: ModelInfo) -> str:
    """In a few words, what the model is."""
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
    """Run the command; 1 or 2 with one line where it cannot."""
    try:
        flags = parser().parse_args(argv)
    except SystemExit as end:  # --help, a wrong flag
        return int(end.code or 0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        _run(flags)
    except ICFaceError as error:
        if flags.verbose > 1:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
