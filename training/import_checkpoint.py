"""Turn the paper's authors' checkpoints into a model of ours: `latest_net_GN.pth` and `latest_net_G.pth`.

    python training/import_checkpoint.py --generator-neutral latest_net_GN.pth --generator-animate latest_net_G.pth \\
        --out original.safetensors

The files of the first release have a third one, the image encoder before both: `--image-encoder latest_net_I_E.pth`.

This is for those who have the files. We may not hand them on, and their licence allows non-commercial use only; the model
keeps that sentence. No code of a file is run, and every weight must find its place.

The layout is that of the residual generators of pix2pix and CycleGAN, one list of layers, numbered:

    0 pad   1 conv7   2 norm   3 ReLU          10 … 9+n   n residual blocks, each a list `conv_block`
    4 conv3 stride 2  5 norm   6 ReLU          10+n  transposed conv  11+n norm  12+n ReLU
    7 conv3 stride 2  8 norm   9 ReLU          13+n  transposed conv  14+n norm  15+n ReLU  16+n pad  17+n conv7

    conv_block: 0 pad  1 conv3  2 norm  3 ReLU  (4 dropout)  then pad, conv3, norm

The encoder's list `features`: 0 conv3  1 conv3  2 batch norm  3 ReLU  4 conv3  5 batch norm  6 ReLU  7 conv3  (tanh)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import Tensor

from icface.attributes import COUNT
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.networks import (
    EncoderConfig,
    Generator,
    GeneratorConfig,
    ICface,
    ModelInfo,
    NetworksConfig,
    save_model,
)
from icface.networks.checkpoint import load_weights
from icface.networks.config import INSTANCE_NORM
from training.networks.complexity import count_parameters
from training.networks.foreign import read_published

LICENCE: Final = "non-commercial (original release)"

NOTICE: Final = """\
********************************************************************************
  NON-COMMERCIAL USE ONLY. The authors of ICface release their weights for
  non-commercial use; that holds for this model, for every bundle packed from
  it and for what you train from it. The licence is written into the file.
********************************************************************************"""


def import_model(neutral: Path, animate: Path, encoder: Path | None = None) -> tuple[ICface, ModelInfo]:
    """G_N, G_A and I_E, if there is one, from their files in the authors' layout as one model.

    Raises:
        ConfigError: a file cannot be read, or its first weight that does not fit.
    """
    files = {str(path): read_published(path) for path in (neutral, animate)}
    configs = {where: read_config(weights, where) for where, weights in files.items()}
    config, other = configs[str(neutral)], configs[str(animate)]
    if config != other:
        raise ConfigError(
            f"{neutral} and {animate} are of different shapes, while G_N and G_A have the same: "
            f"{_described(config)}; {_described(other)}"
        )
    published = None if encoder is None else read_published(encoder)
    shape = None if published is None else read_encoder_config(published, str(encoder))
    networks = NetworksConfig(generator=config, image_encoder=shape)
    model = ICface(networks)
    if model.image_encoder is not None and published is not None:
        load_weights(model.image_encoder, renamed_encoder(published), str(encoder))
    assert model.generator_neutral is not None
    for path, generator in ((neutral, model.generator_neutral), (animate, model.generator_animate)):
        load_weights(generator, renamed_weights(files[str(path)], config, str(path)), str(path))
    about = {"attribute_scale": "openface", "provenance": "imported by the user", "licence": LICENCE}
    return model.eval(), ModelInfo(networks=networks, step=0, **about)


def read_config(weights: Mapping[str, Tensor], where: str) -> GeneratorConfig:
    """The generator's numbers, from the names and shapes of its weights.

    Raises:
        ConfigError: it is not such a generator, or it has instance norm.
    """
    first = weights.get("model.1.weight")
    if first is None or first.ndim != 4 or not first.numel():
        raise ConfigError(
            f"{where} has no first convolution model.1.weight: it is not a generator of the authors' layout "
            f"(its first weight is {next(iter(weights))})"
        )
    if first.shape[1] != 3 + COUNT:
        raise ConfigError(
            f"{where}: model.1.weight takes {first.shape[1]} channels; here it is RGB and {COUNT} attributes"
        )
    has_norm = "model.2.weight" in weights
    # In this layout a convolution before a norm has a bias only where the norm is instance norm, which in turn has no
    # weights, and in old torch has statistics.
    if not has_norm and ("model.1.bias" in weights or "model.2.running_mean" in weights):
        raise ConfigError(
            f"{where} is of instance norm (model.1 has a bias, model.2 no weight): {INSTANCE_NORM}"
        )
    return GeneratorConfig(
        width=first.shape[0],
        blocks=next(n for n in count() if not any(name.startswith(_block(n)) for name in weights)),
        norm="batch" if has_norm else "none",
        # Dropout has no weights, but moves the second convolution from place 5 to 6, and its norm to 7.
        dropout=0.0 if _block(0) + "5.weight" in weights else 0.5,
    )


def read_encoder_config(weights: Mapping[str, Tensor], where: str) -> EncoderConfig:
    """I_E's numbers, from the shapes of its weights.

    Raises:
        ConfigError: it is not such an encoder.
    """
    first, last = (weights.get(f"features.{number}.weight") for number in (0, 7))
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or 0 in (len(first), len(last)):
        raise ConfigError(
            f"{where} is not an image encoder of the authors' first release, four convolutions features.0, 1, 4 and 7 "
            f"(its first weight is {next(iter(weights))})"
        )
    if len(last) != 3:
        raise ConfigError(
            f"{where}: features.7.weight gives {len(last)} channels; the generators here take 3"
        )
    return EncoderConfig(kind="release", depth=0, width=len(first), channels=3)


def renamed_encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under our names; those that have no place keep theirs."""
    renamed = {name.replace("features.", "layers.", 1): tensor for name, tensor in weights.items()}
    for norm in ("layers.2", "layers.5"):
        # torch before 0.4.1 did not write the counter, and nothing here reads it.
        renamed.setdefault(f"{norm}.num_batches_tracked", torch.zeros((), dtype=torch.int64))
    return renamed


def renamed_weights(weights: Mapping[str, Tensor], config: GeneratorConfig, where: str) -> dict[str, Tensor]:
    """The weights under our names, each used once.

    Raises:
        ConfigError: with the first that is missing, unknown or of another shape.
    """
    with torch.device("meta"):  # names and shapes are all that is wanted
        wanted = Generator(config).state_dict()
    places = _places(config)
    theirs = {}
    for ours in wanted:
        layer, _, kind = ours.rpartition(".")
        theirs[f"{places[layer]}.{kind}"] = ours
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name not in theirs:
            raise ConfigError(f"{where}: {name} has no place in {_described(config)}")
        shape = wanted[theirs[name]].shape
        if tensor.shape != shape:
            raise ConfigError(
                f"{where}: {name} is {tuple(tensor.shape)}, in {_described(config)} it is {tuple(shape)}"
            )
        found[theirs[name]] = tensor
    for name, ours in theirs.items():
        if ours in found:
            continue
        # Without norm, the layout's convolutions have no bias; ours have.
        biasless = config.norm == "none" and name.endswith(".bias") and not ours.startswith("head.")
        # The counter of a batch norm: torch before 0.4.1 did not write it, and nothing here reads it.
        if not biasless and not name.endswith(".num_batches_tracked"):
            raise ConfigError(f"{where} lacks {name}, which {_described(config)} has")
        found[ours] = torch.zeros_like(wanted[ours], device="cpu")
    return found


def _block(number: int) -> str:
    """What the names of a residual block's weights begin with."""
    return f"model.{10 + number}.conv_block."


def _places(config: GeneratorConfig) -> dict[str, str]:
    """Our layer → theirs."""
    second = 6 if config.dropout > 0 else 5
    up = 10 + config.blocks
    numbered = {
        "stem": 1, "stem_norm": 2, "down.0": 4, "down.1": 5, "down.3": 7, "down.4": 8,
        "up.0": up, "up.1": up + 1, "up.3": up + 3, "up.4": up + 4, "head.1": up + 7,
    }  # fmt: skip
    result = {ours: f"model.{number}" for ours, number in numbered.items()}
    for i in range(config.blocks):
        for layer, number in ((1, 1), (2, 2), (6, second), (7, second + 1)):
            result[f"blocks.{i}.layers.{layer}"] = f"{_block(i)}{number}"
    return result


def _described(config: GeneratorConfig) -> str:
    norm, dropout = "batch" if config.norm == "batch" else "no", "dropout" if config.dropout else "no dropout"
    return f"a generator of width {config.width}, {config.blocks} blocks, {norm} norm, {dropout}"


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(
        description="Turn the ICface authors' checkpoints (non-commercial use only) into a model of ours."
    )
    add = result.add_argument
    add("--generator-neutral", type=Path, required=True, metavar="FILE", help="G_N: latest_net_GN.pth")
    add("--generator-animate", type=Path, required=True, metavar="FILE", help="G_A: latest_net_G.pth")
    encoder = "I_E of the first release: latest_net_I_E.pth; leave it out where there is none"
    add("--image-encoder", type=Path, metavar="FILE", help=encoder)
    add("--out", type=Path, required=True, metavar="MODEL", help="the model, a .safetensors file")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def import_checkpoint(flags: argparse.Namespace) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
    model, info = import_model(flags.generator_neutral, flags.generator_animate, flags.image_encoder)
    save_model(flags.out, model, info)
    print(NOTICE)
    size = count_parameters(model.generator_animate) / 1e6
    print(f"{flags.out}: G_N and G_A, each {_described(info.networks.generator)}, {size:.2f} M parameters")
    if info.networks.image_encoder is not None:
        print(f"Before both I_E, of width {info.networks.image_encoder.width}.")
    print("Attributes on OpenFace's scale, 128 px. Next: python export/pack_paper.py", flags.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), import_checkpoint, argv)


if __name__ == "__main__":
    sys.exit(main())
