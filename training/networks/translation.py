"""The networks of image translation: two mappings between domains A and B, and the discriminators that judge them.

Source: CycleGAN (arXiv 1703.10593), whose public template the authors of arXiv 1805.03189 took: Johnson's residual
generator and a PatchGAN that sees 70×70 pixels (arXiv 1611.07004).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from torch import Tensor, nn

from icface.networks.checkpoint import load_weights, read_described, save_described
from icface.networks.config import GeneratorConfig
from icface.networks.generator import Generator

_HEADER: Final = "icface-translation"


class TranslatorConfig(GeneratorConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mapping. The defaults are the template's `resnet_9blocks`."""

    width: Annotated[int, Meta(ge=1)] = 64
    blocks: Annotated[int, Meta(ge=0)] = 9
    norm: Literal["instance", "batch", "none"] = "instance"
    padding: Literal["reflect", "zero"] = "reflect"
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    head_kernel: Literal[3, 5, 7] = 7

    def __post_init__(self) -> None:
        """Instance normalisation is allowed here: no attributes enter, which it would take away."""


class Translators(nn.Module):
    """Both mappings, each (B, 3, H, W) RGB in [−1, 1] to the same. H and W are multiples of 4."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.to_b = Generator(config, attributes=0)
        """G_A of the release: A to B."""
        self.to_a = Generator(config, attributes=0)
        """G_B: B to A."""


class PatchGan(nn.Module):
    """Says of each part of 70×70 pixels whether it is real: D_A and D_B with 3 channels, D_C and D_D with 6."""

    def __init__(self, width: int, in_channels: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for (channels, out_channels), stride in zip(pairwise(widths), (2, 2, 1), strict=True):
            # Instance normalisation would take a bias away.
            layers += [
                nn.Conv2d(channels, out_channels, 4, stride, 1, bias=False),
                nn.InstanceNorm2d(out_channels),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H/8 − 2, W/8 − 2), 1 where (B, C, H, W) in [−1, 1] looks real; H and W are at least 32."""
        verdicts: Tensor = self.layers(image)
        return verdicts


class TranslatorInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is and where it comes from."""

    network: TranslatorConfig
    size_px: int
    """Side of the pictures that it was trained on."""
    provenance: str
    """What it was trained on."""
    licence: str
    """The licence under which it may be used."""
    step: int
    """How many training steps made it."""


def save_translators(path: Path, model: Translators, info: TranslatorInfo) -> None:
    """Write both mappings. The file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    save_described(path, model, _HEADER, info)


def load_translators(path: Path) -> tuple[Translators, TranslatorInfo]:
    """Read both mappings, ready to be run (`eval`, no gradients).

    Raises:
        ConfigError: the file is missing, damaged or something else, or a weight is not a finite number.
    """
    what = (
        "a model of image translation; training/train.py writes one with a config whose method is translation"
    )
    info, tensors = read_described(path, _HEADER, TranslatorInfo, what)
    model = Translators(info.network)
    load_weights(model, tensors, str(path))
    return model.eval().requires_grad_(False), info
