"""Each layer that the exporter knows, against torch; and what it refuses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional

from export.torch_graph import GraphBuilder
from icface.errors import ConfigError

SHAPE = (1, 4, 9, 8)

LAYERS: dict[str, nn.Module] = {
    "convolution": nn.Conv2d(4, 6, 3, padding=1),
    "with a stride, without a bias": nn.Conv2d(4, 6, 5, stride=2, padding=2, bias=False),
    "transposed": nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
    "transposed without a bias": nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1, bias=False),
    "reflected": nn.ReflectionPad2d(3),
    "zeros": nn.ZeroPad2d(2),
    "largest": nn.MaxPool2d(2),
    "largest with a border": nn.MaxPool2d(3, stride=2, padding=1),
    "averaged": nn.AvgPool2d(2),
    "averaged with a border": nn.AvgPool2d(3, stride=2, padding=1),
    "averaged without its border": nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "doubled": nn.Upsample(scale_factor=2),
    "normalised": nn.BatchNorm2d(4, eps=0.1),
    "relu": nn.ReLU(inplace=True),
    "leaky": nn.LeakyReLU(0.2),
    "tanh": nn.Tanh(),
    "nothing": nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Dropout2d(0.5)),
}


class Hourglass(nn.Module):
    """Functions instead of layers, a skip, a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.interpolate(functional.relu(self.inner(x)), scale_factor=2, mode="nearest")
        y = torch.cat([y, torch.relu(functional.interpolate(x, scale_factor=2))], dim=1)
        y += torch.add(y, y)
        return y + y


def exported(module: nn.Module, *, fold: bool = True) -> onnx.ModelProto:
    """The graph of a module; sizes by torch."""
    builder = GraphBuilder(fold=fold)
    builder.named(builder.module(nn.Sequential(module), "x"), "y")
    with torch.no_grad():
        shape = tuple(module(torch.zeros(SHAPE)).shape)
    return builder.model("layer", {"x": ("float32", SHAPE)}, {"y": ("float32", shape)})


def check(module: nn.Module, graph: onnx.ModelProto) -> None:
    """Against torch, by the ONNX project's own evaluator."""
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (found,) = ReferenceEvaluator(graph).run(None, {"x": x})
    with torch.no_grad():
        expected = module(torch.from_numpy(x.copy())).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def randomised(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    for tensor, low, high in (
        (norm.weight, -1.5, 1.5), (norm.bias, -1, 1), (norm.running_mean, -1, 1), (norm.running_var, 0.2, 3),
    ):  # fmt: skip
        assert tensor is not None
        nn.init.uniform_(tensor, low, high)
    return norm


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_means_the_same(name: str) -> None:
    module = LAYERS[name].eval()
    check(module, exported(module))


def test_functions_mean_the_same() -> None:
    module = Hourglass().eval()
    check(module, exported(module))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.ConvTranspose2d(4, 6, 3, stride=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False),
    ],
    ids=["with a bias", "without", "transposed, with a bias", "transposed, without"],
)
def test_a_normalisation_disappears_into_the_convolution_before_it(convolution: nn.Module) -> None:
    module = nn.Sequential(convolution, randomised(nn.BatchNorm2d(6)), nn.ReLU()).eval()
    folded, kept = exported(module), exported(module, fold=False)
    check(module, folded)
    check(module, kept)
    assert [node.op_type for node in folded.graph.node][1:] == ["Relu"]
    assert Counter(node.op_type for node in kept.graph.node)["BatchNormalization"] == 1


def test_one_that_others_read_before_stays() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(4, 2, 1), randomised(nn.BatchNorm2d(2))

        def forward(self, x: Tensor) -> Tensor:
            raw = self.convolution(x)
            return raw + self.norm(raw)

    module = Forked().eval()
    check(module, exported(module))


def test_names_of_outputs() -> None:
    """A value takes its name where it is made and read; a second name, or an input's, is a copy."""
    builder = GraphBuilder()
    doubled = builder.node("Add", ["x", "x"])
    fourfold = builder.node("Add", [doubled, doubled])
    assert builder.named(doubled, "two") == "two"
    builder.named(fourfold, "four")
    builder.named("two", "again")
    builder.named("x", "one")
    kind = ("float32", (1,))
    graph = builder.model("names", {"x": kind}, dict.fromkeys(("one", "two", "four", "again"), kind))
    found = ReferenceEvaluator(graph).run(None, {"x": np.array([3.0], np.float32)})
    assert [value.item() for value in found] == [3, 6, 12, 6]
    assert Counter(node.op_type for node in graph.graph.node) == {"Add": 2, "Identity": 2}


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


class Method(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class Resized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(4, 4))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Softplus(), "Softplus cannot be exported"),
        (nn.Conv2d(4, 4, 3, groups=2), "groups"),
        (nn.Conv2d(4, 4, 3, dilation=2), "dilation"),
        (nn.Conv2d(4, 4, 3, padding_mode="reflect"), "padding modes"),
        (nn.Conv2d(4, 4, 3, stride=(1, 2)), r"the setting \(1, 2\)"),
        (nn.Conv2d(4, 4, 3, padding="same"), "the setting 'same'"),
        (nn.ReflectionPad2d((1, 1, 2, 2)), "the setting"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
        (nn.MaxPool2d(2, dilation=2), "dilation"),
        (nn.AvgPool2d(2, divisor_override=3), "divisor"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "'bilinear' cannot be exported"),
        (Resized(), "scale_factor"),
        (Product(), "mul cannot be exported"),
        (Method(), "sigmoid cannot be exported"),
    ],
)
def test_what_is_not_known_is_refused(layer: nn.Module, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GraphBuilder().module(nn.Sequential(layer), "value")
