"""LightCNN-29 v2: the published layout loads, and gives what the published network computes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from icface.errors import ConfigError
from training.networks.complexity import count_parameters
from training.networks.lightcnn import LightCNN29, load_lightcnn

# By group: channels, residual blocks before it, channels after it.
GROUPS = ((48, 1, 96), (96, 2, 192), (192, 3, 128), (128, 4, 128))


def published_weights() -> OrderedDict[str, Tensor]:
    """Random values under the published names, from the layer table and not from our network."""
    generator = torch.Generator().manual_seed(5)
    held: OrderedDict[str, Tensor] = OrderedDict()

    def convolution(name: str, channels: int, maxima: int, kernel: int) -> None:
        shape = (2 * maxima, channels, kernel, kernel)
        # The larger of two halves keeps about this scale.
        scale = (channels * kernel**2) ** -0.5
        held[f"module.{name}.filter.weight"] = scale * torch.randn(shape, generator=generator)
        held[f"module.{name}.filter.bias"] = 0.1 * torch.randn(shape[0], generator=generator)

    convolution("conv1", 1, 48, 5)
    for number, (channels, blocks, out_channels) in enumerate(GROUPS, start=1):
        for block in range(blocks):
            convolution(f"block{number}.{block}.conv1", channels, channels, 3)
            convolution(f"block{number}.{block}.conv2", channels, channels, 3)
        convolution(f"group{number}.conv_a", channels, channels, 1)
        convolution(f"group{number}.conv", channels, out_channels, 3)
    held["module.fc.weight"] = 8192**-0.5 * torch.randn(256, 8192, generator=generator)
    held["module.fc.bias"] = torch.randn(256, generator=generator)
    held["module.fc2.weight"] = torch.randn(11, 256, generator=generator)
    return held


def published_features(held: dict[str, Tensor], grey: Tensor) -> tuple[Tensor, Tensor]:
    """The published network, layer after layer, on grey images (B, 1, 128, 128) in [0, 1]."""

    def mfm(x: Tensor, name: str) -> Tensor:
        weight = held[f"module.{name}.filter.weight"]
        both = functional.conv2d(x, weight, held[f"module.{name}.filter.bias"], padding=weight.shape[2] // 2)
        half = both.shape[1] // 2
        return torch.where(both[:, :half] > both[:, half:], both[:, :half], both[:, half:])

    def pool(x: Tensor) -> Tensor:
        quads = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])
        return quads.amax(0) + quads.mean(0)

    x = pool(mfm(grey, "conv1"))
    for number, (_, blocks, _) in enumerate(GROUPS, start=1):
        for block in range(blocks):
            x = x + mfm(mfm(x, f"block{number}.{block}.conv1"), f"block{number}.{block}.conv2")
        x = mfm(mfm(x, f"group{number}.conv_a"), f"group{number}.conv")
        if number != 3:
            x = pool(x)
    return x, x.flatten(1) @ held["module.fc.weight"].T + held["module.fc.bias"]


@pytest.fixture(scope="module")
def weights() -> OrderedDict[str, Tensor]:
    return published_weights()


@pytest.fixture(scope="module")
def path(weights: OrderedDict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the authors' training script writes."""
    file = tmp_path_factory.mktemp("lightcnn") / "LightCNN_29Layers_V2_checkpoint.pth.tar"
    torch.save({"epoch": 80, "arch": "LightCNN-29v2", "state_dict": weights, "prec1": 97.5}, file)
    return file


@pytest.fixture(scope="module")
def network(path: Path) -> LightCNN29:
    return load_lightcnn(path)


def test_parameters() -> None:
    """By hand, (in · k² + 1) · 2 out a convolution:

    conv1 2 496; block1 83 136, group1 4 704 + 83 136; block2 664 320, group2 18 624 + 332 160;
    block3 3 983 616, group3 74 112 + 442 624; block4 2 361 344, group4 33 024 + 295 168; fc 2 097 408.
    """
    assert count_parameters(LightCNN29()) == 10_475_872


def test_published_checkpoint_gives_the_published_features(
    network: LightCNN29, weights: OrderedDict[str, Tensor]
) -> None:
    image = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(6)) * 2 - 1
    found = network(image)
    pool, fc = published_features(weights, network.prepare(image))
    assert found.pool.shape == (2, 128, 8, 8) and found.fc.shape == (2, 256)
    assert float((found.pool - pool).abs().max()) < 1e-4 * float(pool.abs().max())
    assert float((found.fc - fc).abs().max()) < 1e-4 * float(fc.abs().max())
    assert float((found.fc[0] - found.fc[1]).abs().max()) > 1e-2, "the pictures matter"


def test_grey_by_hand(network: LightCNN29) -> None:
    """Luma .299 R + .587 G + .114 B of (x + 1) / 2."""
    image = torch.full((1, 3, 128, 128), -1.0)
    image[0, 0, 0, 0] = 1.0  # red
    image[0, 1, 0, 1] = 1.0  # green
    image[0, 2, 0, 2] = 1.0  # blue
    image[0, :, 0, 3] = 1.0  # white
    image[0, :, 0, 4] = torch.tensor([0.5, -0.5, 0.0])
    grey = network.prepare(image)
    assert grey.shape == (1, 1, 128, 128)
    mixed = 0.299 * 0.75 + 0.587 * 0.25 + 0.114 * 0.5
    assert grey[0, 0, 0, :6].tolist() == pytest.approx([0.299, 0.587, 0.114, 1.0, mixed, 0.0], abs=1e-6)


@pytest.mark.parametrize("size_px", [64, 256])
def test_other_sizes_are_brought_to_128(network: LightCNN29, size_px: int) -> None:
    """A ramp stays a ramp: centres of pixels keep their places."""
    ramp = ((torch.arange(size_px) + 0.5) / size_px * 2 - 1).expand(1, 3, size_px, size_px)
    grey = network.prepare(ramp)
    assert grey.shape == (1, 1, 128, 128)
    inner = (torch.arange(4, 124) + 0.5) / 128
    assert float((grey[0, 0, 64, 4:124] - inner).abs().max()) < 1e-4
    assert network(ramp).fc.shape == (1, 256)


def test_frozen_but_transparent(network: LightCNN29) -> None:
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    image = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    features = network(image)
    (gradient,) = torch.autograd.grad(features.fc.sum() + features.pool.sum(), image)
    assert torch.isfinite(gradient).all() and float((gradient.abs() > 0).float().mean()) > 0.9


def test_safetensors_without_the_classifier(
    weights: OrderedDict[str, Tensor], network: LightCNN29, tmp_path: Path
) -> None:
    """The other wrappings of published weights are in test_foreign.py."""
    path = tmp_path / "weights.safetensors"
    save_file({n.removeprefix("module."): t for n, t in weights.items() if "fc2" not in n}, path)
    found = load_lightcnn(path).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())


def first_version(weights: dict[str, Tensor]) -> None:
    """It ends in a maximum, too."""
    weights["fc.filter.weight"] = torch.zeros(512, 8192)
    del weights["fc.weight"]


def broken(weights: dict[str, Tensor]) -> None:
    weights["fc.bias"] = weights["fc.bias"].clone()
    weights["fc.bias"][3] = float("nan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first_version, ["lacks the weight fc.weight"]),
        (
            lambda w: w.update({"block1.1.conv1.filter.weight": torch.zeros(96, 48, 3, 3)}),
            ["block1.1.conv1.filter.weight"],
        ),
        (
            lambda w: w.update({"conv1.filter.weight": torch.zeros(96, 3, 5, 5)}),
            ["conv1.filter.weight", "(96, 3, 5, 5)", "(96, 1, 5, 5)"],
        ),
        (broken, ["fc.bias"]),
    ],
    ids=["first version", "one block more", "three channels", "not a number"],
)
def test_another_network_is_refused(
    weights: OrderedDict[str, Tensor],
    change: Callable[[dict[str, Tensor]], None],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    change(held)
    monkeypatch.setattr("training.networks.lightcnn.read_published", lambda path: held)
    with pytest.raises(ConfigError) as caught:
        load_lightcnn(Path("weights.pth"))
    line = str(caught.value)
    assert "\n" not in line and "weights.pth" in line
    assert all(word in line for word in words)
