"""What networks start from."""

from __future__ import annotations

import pytest
import torch

from icface.networks import Discriminator, ICface
from icface.networks.config import DiscriminatorConfig, GeneratorConfig, NetworksConfig
from training.runtime import initialise


@pytest.mark.parametrize("width", [8, 64])
def test_ds_signal_survives_its_nine_layers(width: int) -> None:
    """From N(0, .02) a narrow D starts with the same judgement for all images, and stays there."""
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=width), 64)
    initialise(network)
    with torch.inference_mode():
        features = network.trunk(torch.rand(8, 3, 64, 64) * 2 - 1)
    size = float(features.square().mean().sqrt())
    assert 0.2 < size < 5


def test_generators_start_narrow() -> None:
    torch.manual_seed(0)
    networks = ICface(NetworksConfig(size_px=64, generator=GeneratorConfig(width=16, blocks=2)))
    initialise(networks)
    for name, weight in networks.named_parameters():
        if weight.ndim == 4:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1), name
        elif name.endswith("bias"):
            assert not weight.detach().any(), name
