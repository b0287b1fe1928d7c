"""The paper family's two graphs, from the networks in torch.

`neutralise`: a crop → G_N's image, and of it what G_A's first convolution makes before any attribute is known.
`animate`: this and the attributes → a frame. Pixels go in and come out as uint8 RGB; everything else is inside.

The attributes enter G_A as 20 constant planes beside the picture, so the first convolution is the sum of a part that
depends on the source alone (the *stem*, kept) and of a part that depends on the attributes alone:

* with reflection padding the planes are constant beyond the border as well: one number a channel;
* with zero padding the response differs within 3 pixels of the border, where it depends on how many of the kernel's
  rows and columns lie inside: 7 × 7 cases a channel, laid out by index. Exact, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from export.torch_graph import GraphBuilder
from icface.arrays import Array
from icface.attributes import COUNT
from icface.networks.generator import Generator
from icface.networks.icface import ICface

REACH = 3
"""Of the first convolution's kernel, 7 wide."""


class PaperGraphs(NamedTuple):
    """Both graphs of a model, and the tensor that leads from one to the other."""

    neutralise: onnx.ModelProto
    animate: onnx.ModelProto
    cache: str
    """Its name: `stem`, or `picture` where the first convolution was not split."""
    cache_shape: tuple[int, ...]
    folded: bool
    """Whether the normalisation after the first convolution is part of it."""


def build_paper_graphs(model: ICface, *, split: bool = True, fold: bool = True) -> PaperGraphs:
    """Both graphs.

    Args:
        model: trained; run as in `eval`.
        split: keep the source's part of G_A's first convolution; else all of G_A is computed for every frame.
        fold: batch normalisations put into the convolutions.

    Returns:
        `neutralise`: crop (S, S, 3) uint8 → neutral (S, S, 3) uint8 and the cache tensor (1, C, S, S) float32;
        `animate`: the cache tensor and attributes (1, 20) float32 → frame (S, S, 3) uint8. In both, the value
        `image` (1, 3, S, S) is the picture before it is rounded.
    """
    side = model.config.size_px
    pixels = ("uint8", (side, side, 3))
    animated = model.generator_animate
    width, in_channels = animated.stem.out_channels, animated.stem.in_channels - COUNT
    name = "stem" if split else "picture"
    shape = (1, width if split else in_channels, side, side)

    first = GraphBuilder(fold=fold)
    image = _image(first, "crop")
    if model.generator_neutral is not None:
        seen = _encoded(first, model, image)
        asked = first.constant(model.neutral_attributes.numpy()[None])
        stem = _stem(first, model.generator_neutral, seen)
        image = _decoded(
            first, model.generator_neutral, _answered(first, model.generator_neutral, stem, asked, side)
        )
    image = first.named(image, "image")
    _pixels(first, image, "neutral")
    seen = _encoded(first, model, image)
    first.named(_stem(first, animated, seen) if split else seen, name)

    second = GraphBuilder(fold=fold)
    if split:
        stem = _answered(second, animated, name, "attributes", side)
    else:
        stem = _whole_stem(second, animated, name, "attributes", side)
    _pixels(second, second.named(_decoded(second, animated, stem), "image"), "frame")

    cache = {name: ("float32", shape)}
    return PaperGraphs(
        first.model("paper_neutralise", {"crop": pixels}, {"neutral": pixels, **cache}),
        second.model("paper_animate", {**cache, "attributes": ("float32", (1, COUNT))}, {"frame": pixels}),
        name,
        shape,
        fold,
    )


def _image(builder: GraphBuilder, crop: str) -> str:
    """(1, 3, S, S) in [−1, 1] of a frame."""
    planes = builder.node(
        "Transpose", [builder.node("Cast", [crop], to=onnx.TensorProto.FLOAT)], perm=[2, 0, 1]
    )
    batch = builder.node("Unsqueeze", [planes, builder.constant(np.array([0], dtype=np.int64))])
    scaled = builder.node("Div", [batch, builder.constant(np.array(127.5))])
    return builder.node("Sub", [scaled, builder.constant(np.array(1.0))])


def _pixels(builder: GraphBuilder, image: str, frame: str) -> str:
    """The frame of an image, rounded to nearest."""
    levels = builder.node("Mul", [image, builder.constant(np.array(127.5))])
    # 127.5 for the range, .5 to round.
    levels = builder.node("Floor", [builder.node("Add", [levels, builder.constant(np.array(128.0))])])
    limits = [builder.constant(np.array(limit, dtype=np.float32)) for limit in (0, 255)]
    levels = builder.node("Clip", [levels, *limits])
    planes = builder.node("Squeeze", [levels, builder.constant(np.array([0], dtype=np.int64))])
    pixels = builder.node("Transpose", [planes], perm=[1, 2, 0])
    return builder.node("Cast", [pixels], frame, to=onnx.TensorProto.UINT8)


def _encoded(builder: GraphBuilder, model: ICface, image: str) -> str:
    """What the generators see of an image."""
    return image if model.image_encoder is None else builder.module(model.image_encoder, image)


def _weights(builder: GraphBuilder, generator: Generator) -> tuple[Array, Array | None]:
    """Weights and bias of the first convolution, with its batch normalisation where that is folded."""
    stem, norm = generator.stem, generator.stem_norm
    weight = stem.weight.detach().double().numpy()
    bias = None if stem.bias is None else stem.bias.detach().double().numpy()
    if not builder.fold or generator.config.norm != "batch":
        return weight, bias
    mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    scale = norm.weight.detach().double().numpy() / np.sqrt(variance + norm.eps)
    folded = ((0.0 if bias is None else bias) - mean) * scale + norm.bias.detach().double().numpy()
    return weight * scale[:, None, None, None], folded


def _stem(builder: GraphBuilder, generator: Generator, picture: str) -> str:
    """The part of the first convolution that depends on the picture."""
    weight, bias = _weights(builder, generator)
    return _padded_convolution(builder, generator, picture, weight[:, :-COUNT], bias)


def _padded_convolution(
    builder: GraphBuilder, generator: Generator, value: str, weight: Array, bias: Array | None
) -> str:
    if generator.config.padding == "reflect":
        return builder.convolution(builder.reflected(value, REACH), weight, bias)
    return builder.convolution(value, weight, bias, padding=REACH)


def _answered(builder: GraphBuilder, generator: Generator, stem: str, attributes: str, side: int) -> str:
    """The first convolution's output: the stem, and the part that depends on the attributes (1, 20)."""
    weight = _weights(builder, generator)[0][:, -COUNT:]
    width = len(weight)
    if generator.config.padding == "reflect":
        table, cases = weight.sum((2, 3)), 1
    else:
        table, cases = border_cases(weight), 2 * REACH + 1
    # (20, C · cases²)
    by_attribute = np.ascontiguousarray(np.moveaxis(table, 1, 0)).reshape(COUNT, -1)
    answer = builder.node("MatMul", [attributes, builder.constant(by_attribute)])
    shape = builder.constant(np.array([1, width, cases, cases], dtype=np.int64))
    answer = builder.node("Reshape", [answer, shape])
    if cases > 1:
        places = builder.constant(case_of_place(side))
        for axis in (2, 3):
            answer = builder.node("Gather", [answer, places], axis=axis)
    return builder.node("Add", [stem, answer])


def border_cases(weight: Array) -> Array:
    """What a convolution (O, I, 7, 7) over planes of ones gives, zeros beyond the border: (O, I, 7, 7), by how far
    a pixel is from the first row and column (cases 0–2), from the last (4–6), or further inside (3)."""
    size = 2 * REACH + 1
    inside = np.zeros((size, size))  # case, row of the kernel
    for case in range(size):
        inside[case, max(0, REACH - case) : min(size, size + REACH - case)] = 1
    return np.einsum("oiyx,cy,dx->oicd", weight, inside, inside)


def case_of_place(side: int) -> NDArray[np.int64]:
    """(side,) which of the seven cases a row or column is."""
    places = np.arange(side)
    return np.where(places < REACH, places, np.maximum(REACH, places - side + 2 * REACH + 1)).astype(np.int64)


def _whole_stem(builder: GraphBuilder, generator: Generator, picture: str, attributes: str, side: int) -> str:
    """The first convolution as it is trained: over the picture and the attributes' planes."""
    shape = builder.constant(np.array([1, COUNT, 1, 1], dtype=np.int64))
    column = builder.node("Reshape", [attributes, shape])
    size = builder.constant(np.array([1, COUNT, side, side], dtype=np.int64))
    joined = builder.node("Concat", [picture, builder.node("Expand", [column, size])], axis=1)
    weight, bias = _weights(builder, generator)
    return _padded_convolution(builder, generator, joined, weight, bias)


def _decoded(builder: GraphBuilder, generator: Generator, stem: str) -> str:
    """From the first convolution's output to the image; as `Generator.decode`."""
    value = stem if builder.fold else builder.module(nn.Sequential(generator.stem_norm), stem)
    value = builder.node("Relu", [value])
    for part in (generator.down, generator.blocks, generator.up, generator.head):
        value = builder.module(part, value)
    return value
