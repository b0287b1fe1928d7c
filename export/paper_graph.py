"""The paper family's graphs, as torch modules around the networks.

`neutralise`: a crop → G_N's image, and of it what G_A's first convolution makes before any attribute is known.
`animate`: this and the attributes → a frame. Pixels go in and come out as uint8 RGB; everything else is inside.

The attributes enter G_A as 20 constant planes beside the picture, so the first convolution is the sum of a part that
depends on the source alone (the *stem*, kept) and of a part that depends on the attributes alone. That part is one
number a channel where the padding reflects, because the planes go on beyond the border. With zero padding it differs
within 3 pixels of the border: there are 7 × 7 cases a channel. Both are exact.

In half precision the network between the stem and tanh is float16. Float32 stay: the stem and the product of the
attributes, tanh, and the way to pixels.
"""

from __future__ import annotations

import copy
import itertools
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.writing import frame_of, planes_of, written
from icface.attributes import COUNT
from icface.networks.generator import Generator
from icface.networks.icface import ICface

REACH: Final = 3
"""Of the first convolution's kernel, 7 wide."""
LARGEST_HALF: Final = 65504.0


class PaperGraphs(NamedTuple):
    """The graphs of a model as ONNX files, and the tensor that leads from the first to the others."""

    neutralise: bytes
    animate: bytes
    animate_fp16: bytes | None
    """None where half precision does not hold one of the weights."""
    cache: str
    """Name of the tensor: `stem`, or `picture` where the first convolution was not split."""
    cache_shape: tuple[int, ...]


def build_paper_graphs(model: ICface, *, split: bool = True) -> PaperGraphs:
    """Write the graphs of a model.

    Args:
        split: keep the source's part of G_A's first convolution; else all of G_A is computed for every frame.

    Returns:
        `neutralise`: crop (S, S, 3) uint8 → neutral (S, S, 3) uint8 and the cache tensor (1, C, S, S) float32;
        `animate`: the cache tensor and attributes (1, 20) float32 → frame (S, S, 3) uint8. The inputs and outputs of
        `animate_fp16` are the same.
    """
    side = model.config.size_px
    exact = folded(model)
    first = Neutralise(exact, split=split)
    crop = torch.zeros(side, side, 3, dtype=torch.uint8)
    with torch.no_grad():
        cached = first(crop)[1]
    name = "stem" if split else "picture"
    tensors = {name: cached, "attributes": torch.zeros(1, COUNT)}

    def animate(precision: torch.dtype) -> bytes:
        whole = (Animate if split else AnimateWhole)(exact.generator_animate, side, precision)
        return written(whole, "paper_animate", tensors, ["frame"])

    return PaperGraphs(
        written(first, "paper_neutralise", {"crop": crop}, ["neutral", name]),
        animate(torch.float32),
        animate(torch.float16) if fits_half(exact.generator_animate) else None,
        name,
        tuple(cached.shape),
    )


def folded(model: ICface) -> ICface:
    """A copy in float64 whose batch normalisations are part of the convolutions before them."""
    exact = copy.deepcopy(model).double().eval().requires_grad_(False)
    for part in exact.modules():
        if isinstance(part, Generator) and isinstance(part.stem_norm, nn.BatchNorm2d):
            part.stem = fuse_conv_bn_eval(part.stem, part.stem_norm)
            part.stem_norm = nn.Identity()
        elif isinstance(part, nn.Sequential):
            for place, (layer, norm) in enumerate(itertools.pairwise(part)):
                if isinstance(norm, nn.BatchNorm2d):
                    transposed = isinstance(layer, nn.ConvTranspose2d)
                    part[place] = fuse_conv_bn_eval(cast(nn.Conv2d, layer), norm, transpose=transposed)
                    part[place + 1] = nn.Identity()
    return exact


class Neutralise(nn.Module):
    """From a crop (S, S, 3) uint8 to G_N's image (S, S, 3) uint8 and the tensor that `Animate` or `AnimateWhole` takes.

    The model is from `folded`.
    """

    neutral_attributes: Tensor

    def __init__(self, model: ICface, *, split: bool = True) -> None:
        super().__init__()
        side = model.config.size_px
        self.encoder = lowered(model.image_encoder or nn.Identity(), torch.float32)
        generator = model.generator_neutral
        self.neutral = None if generator is None else Animate(generator, side)
        self.register_buffer("neutral_attributes", model.neutral_attributes.float()[None])
        self.stem = SplitStem(model.generator_animate, side) if split else None

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        image = planes_of(crop) / 127.5 - 1
        if self.neutral is not None:
            kept = self.neutral.stem.of_picture(self.encoder(image))
            image = self.neutral.image(kept, self.neutral_attributes)
        picture = self.encoder(image)
        return pixels_of(image), picture if self.stem is None else self.stem.of_picture(picture)


class Animate(nn.Module):
    """From the stem (1, C, S, S) and attributes (1, 20) to a frame (S, S, 3) uint8, by a generator from `folded`.

    The precision is that of the network between the stem and tanh.
    """

    def __init__(self, generator: Generator, side_px: int, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.stem = SplitStem(generator, side_px)
        self.rest = Rest(generator, precision)

    def image(self, stem: Tensor, attributes: Tensor) -> Tensor:
        """(1, 3, S, S) in [−1, 1]."""
        image: Tensor = self.rest(self.stem(stem, attributes))
        return image

    def forward(self, stem: Tensor, attributes: Tensor) -> Tensor:
        return pixels_of(self.image(stem, attributes))


class AnimateWhole(nn.Module):
    """From the picture (1, C, S, S) and attributes (1, 20) to a frame; the first convolution is not split."""

    def __init__(self, generator: Generator, side_px: int, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.stem = lowered(nn.Sequential(generator.pad, generator.stem), precision)
        self.rest = Rest(generator, precision)
        self.precision = precision

    def forward(self, picture: Tensor, attributes: Tensor) -> Tensor:
        planes = attributes[:, :, None, None].expand(-1, -1, *picture.shape[2:])
        return pixels_of(self.rest(self.stem(torch.cat([picture, planes], dim=1).to(self.precision))))


class SplitStem(nn.Module):
    """The first convolution of a generator, the picture's part and the attributes' part each by itself."""

    table: Tensor
    places: Tensor

    def __init__(self, generator: Generator, side_px: int) -> None:
        super().__init__()
        stem = generator.stem
        self.picture = nn.Conv2d(stem.in_channels - COUNT, stem.out_channels, 2 * REACH + 1)
        self.picture.weight = nn.Parameter(stem.weight[:, :-COUNT].float(), requires_grad=False)
        bias = torch.zeros(stem.out_channels) if stem.bias is None else stem.bias.float()
        self.picture.bias = nn.Parameter(bias, requires_grad=False)
        self.pad = generator.pad
        table = border_cases(generator).float()
        self.cases = table.shape[-1]
        self.register_buffer("table", table.reshape(COUNT, -1))
        self.register_buffer("places", case_of_place(side_px))

    def of_picture(self, picture: Tensor) -> Tensor:
        """The part that depends on the picture."""
        part: Tensor = self.picture(self.pad(picture))
        return part

    def forward(self, stem: Tensor, attributes: Tensor) -> Tensor:
        """The convolution's output (1, C, S, S), from the picture's part and attributes (1, 20)."""
        answer = (attributes @ self.table).reshape(1, -1, self.cases, self.cases)
        if self.cases > 1:
            answer = answer.index_select(2, self.places).index_select(3, self.places)
        return stem + answer


def border_cases(generator: Generator) -> Tensor:
    """What the first convolution makes of each attribute's plane of ones, (20, C, K, K).

    With zero padding K is 7: a row or column lies 0, 1 or 2 pixels from the first one (cases 0–2) or from the last one
    (4–6), or further inside (3). With reflection padding all are the same, and K is 1.
    """
    side = 2 * REACH + 1
    planes = torch.eye(COUNT, dtype=generator.stem.weight.dtype)[:, :, None, None].expand(-1, -1, side, side)
    table = nn.functional.conv2d(generator.pad(planes), generator.stem.weight[:, -COUNT:])
    return table if generator.config.padding == "zero" else table[..., :1, :1]


def case_of_place(side_px: int) -> Tensor:
    """(side_px,) which of the seven cases each row or column is."""
    places = torch.arange(side_px)
    return torch.where(places < REACH, places, (places - side_px + 2 * REACH + 1).clamp(min=REACH))


class Rest(nn.Module):
    """From the first convolution's output to the image (1, 3, S, S) in [−1, 1]; as `Generator.decode`."""

    def __init__(self, generator: Generator, precision: torch.dtype) -> None:
        super().__init__()
        layers = (generator.down, generator.blocks, generator.up, generator.head[:-1])
        self.layers = lowered(nn.Sequential(nn.ReLU(), *layers), precision)
        self.precision = precision

    def forward(self, stem: Tensor) -> Tensor:
        values: Tensor = self.layers(stem.to(self.precision))
        return values.float().tanh()


def lowered(module: nn.Module, precision: torch.dtype) -> nn.Module:
    """A copy of a module in float32 or float16."""
    return copy.deepcopy(module).to(precision)


def fits_half(module: nn.Module) -> bool:
    """Whether half precision holds all weights of a module."""
    return all(bool((weight.abs() <= LARGEST_HALF).all()) for weight in module.parameters())


def pixels_of(image: Tensor) -> Tensor:
    """(S, S, 3) uint8 of an image (1, 3, S, S) in [−1, 1]."""
    return frame_of(image * 127.5 + 127.5)
