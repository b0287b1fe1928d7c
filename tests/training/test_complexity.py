"""Sizes and computation of the networks, against the paper's release and counts by hand."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.networks.complexity import count_macs, count_parameters
from training.networks.lightcnn import LightCNN29


def on_meta(*shape: int) -> Tensor:
    return torch.zeros(*shape, device="meta")


def test_layers_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 6, (3, 5), stride=2, padding=(1, 2), groups=2),  # 9×11 → 5×6
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 2, 3, stride=2),  # 5×6 → 11×13
        nn.Flatten(),
        nn.Linear(2 * 11 * 13, 7),
    )
    # Weights and biases; gain and shift of the norm.
    assert count_parameters(network) == (6 * 2 * 15 + 6) + (6 + 6) + (6 * 2 * 9 + 2) + (286 * 7 + 7)
    # Places made × weights; places taken × weights; weights.
    assert count_macs(network, torch.zeros(1, 4, 9, 11)) == 30 * 6 * 2 * 15 + 30 * 6 * 2 * 9 + 286 * 7
    assert count_macs(network, torch.zeros(3, 4, 9, 11)) == 3 * (30 * 180 + 30 * 108 + 2002)


def test_a_layer_used_twice_counts_twice() -> None:
    layer = nn.Conv2d(3, 3, 1)
    assert count_macs(nn.Sequential(layer, layer), torch.zeros(1, 3, 4, 4)) == 2 * 16 * 9
    assert count_parameters(nn.Sequential(layer, layer)) == 12


def test_counting_leaves_a_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    network[0].eval()
    count_macs(network, torch.rand(2, 3, 4, 4))
    assert not network[0].training and network[1].training and network.training
    assert int(network[1].get_buffer("num_batches_tracked")) == 0
    assert not network[0]._forward_hooks

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("broken")

    broken = Broken()
    with pytest.raises(ValueError, match="broken"):
        count_macs(broken, torch.rand(2, 3, 4, 4))
    assert broken.training and not broken.layer._forward_hooks


def test_released_generator() -> None:
    """The authors' release: 31.44 M parameters, 36.5 GMAC for an image of 128²."""
    with torch.device("meta"):
        generator = Generator(GeneratorConfig())
    assert round(count_parameters(generator) / 1e6, 2) == 31.44
    assert round(count_macs(generator, on_meta(1, 3, 128, 128), on_meta(1, COUNT)) / 1e9, 1) == 36.5


@pytest.mark.parametrize(
    ("width", "blocks", "gmac"), [(64, 9, 13.4), (64, 6, 9.8), (32, 9, 3.7), (32, 6, 2.8), (16, 6, 0.86)]
)
def test_smaller_generators(width: int, blocks: int, gmac: float) -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(width=width, blocks=blocks))
    macs = count_macs(generator, on_meta(1, 3, 128, 128), on_meta(1, COUNT))
    assert macs / 1e9 == pytest.approx(gmac, abs=0.05 if gmac > 1 else 0.005)


def convolutions(table: Iterable[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Parameters and MACs of (channels, out channels, kernel, side of the output)."""
    rows = list(table)
    return (
        sum(i * o * k * k + o for i, o, k, _ in rows),
        sum(i * o * k * k * side**2 for i, o, k, side in rows),
    )


def test_discriminator_by_its_table() -> None:
    """Width 256: nine 3×3 convolutions to 128×8×8, a 4×4 patch head, 20 attributes and 939 identities."""
    trunk = [
        (3, 256, 3, 128), (256, 256, 3, 64),
        (256, 512, 3, 64), (512, 512, 3, 32),
        (512, 1024, 3, 32), (1024, 1024, 3, 16),
        (1024, 2048, 3, 16),
        (2048, 2048, 3, 16),
        (2048, 128, 3, 8),
    ]  # fmt: skip
    parameters, macs = convolutions([*trunk, (128, 1, 4, 7)])
    heads = 128 * 8 * 8 * (20 + 939)
    with torch.device("meta"):
        network = Discriminator(DiscriminatorConfig(identities=939), 128)
    assert count_parameters(network) == parameters + heads + 20 + 939
    assert count_macs(network, on_meta(1, 3, 128, 128)) == macs + heads
    with torch.device("meta"):
        released = Discriminator(DiscriminatorConfig(identities=939, layers="release"), 128)
    # Five convolutions without a bias.
    assert count_parameters(network) - count_parameters(released) == 512 + 512 + 1024 + 1024 + 2048


def test_lightcnn_by_its_table() -> None:
    """(Channels, maxima, kernel, side); each convolution makes two candidates for a maximum. Without the classifier."""
    table = [
        (1, 48, 5, 128),
        *[(48, 48, 3, 64)] * 2, (48, 48, 1, 64), (48, 96, 3, 64),
        *[(96, 96, 3, 32)] * 4, (96, 96, 1, 32), (96, 192, 3, 32),
        *[(192, 192, 3, 16)] * 6, (192, 192, 1, 16), (192, 128, 3, 16),
        *[(128, 128, 3, 16)] * 8, (128, 128, 1, 16), (128, 128, 3, 16),
    ]  # fmt: skip
    parameters, macs = convolutions((i, 2 * o, k, side) for i, o, k, side in table)
    with torch.device("meta"):
        network = LightCNN29()
    fc = 128 * 8 * 8 * 256
    assert count_parameters(network) == parameters + fc + 256 == 10_475_872
    assert count_macs(network, on_meta(1, 3, 128, 128)) == macs + fc
