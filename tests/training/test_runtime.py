"""What networks start from, and what a step does with gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import SGD

from icface.networks import Discriminator, ICface
from icface.networks.config import DiscriminatorConfig, GeneratorConfig, NetworksConfig
from training.learning.runtime import WIDE_D, DivergedError, Runtime, initialise


def features_rms(network: Discriminator) -> float:
    with torch.inference_mode():
        features = network.trunk(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    return float(features.square().mean().sqrt())


@pytest.mark.parametrize("width", [8, 24, 48])
def test_signal_survives_a_narrow_ds_nine_layers(width: int) -> None:
    """From N(0, .02) a narrow D starts with the same judgement for all images, and at width 8 stays there."""
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=width), 64)
    initialise(network)
    assert 0.2 < features_rms(network) < 5


@pytest.mark.parametrize(("width", "signal"), [(WIDE_D, 4e-4), (128, 4e-3)])
@pytest.mark.parametrize("channels", [3, 6])
def test_a_wide_d_starts_as_in_the_release(width: int, signal: float, channels: int) -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=width), 64, in_channels=channels)
    initialise(network)
    check_narrow(network)
    if channels == 3:
        assert features_rms(network) == pytest.approx(signal, rel=0.3)


def test_published_d_starts_as_in_the_release() -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=256), 32)
    initialise(network)
    check_narrow(network)


def test_generators_start_narrow() -> None:
    torch.manual_seed(0)
    networks = ICface(NetworksConfig(size_px=64, generator=GeneratorConfig(width=16, blocks=2)))
    initialise(networks)
    check_narrow(networks)


def check_narrow(network: nn.Module) -> None:
    for name, weight in network.named_parameters():
        if weight.ndim in (2, 4):
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1), name
        elif name.endswith("bias"):
            assert not weight.detach().any(), name


def weight_of(value: float) -> tuple[nn.Parameter, SGD]:
    weight = nn.Parameter(torch.tensor([value]))
    return weight, SGD([weight], lr=0.5)


def alone() -> Runtime:
    return Runtime(Fabric(accelerator="cpu", devices=1))


def with_another(loss: float, gradient: float) -> Runtime:
    """One of two processes; the other one has that loss and gradient."""

    def all_reduce(flat: Tensor) -> Tensor:
        return (flat + torch.tensor([loss, gradient])) / 2

    fabric = SimpleNamespace(device=torch.device("cpu"), global_rank=0, world_size=2, all_reduce=all_reduce)
    return Runtime(cast(Any, fabric))


def test_a_step() -> None:
    weight, optimizer = weight_of(3.0)
    loss = (weight**2).sum()
    alone().minimise(loss, optimizer, {"square": loss})
    assert weight.item() == 3.0 - 0.5 * 6.0


def test_gradients_are_averaged() -> None:
    weight, optimizer = weight_of(3.0)
    loss = (weight**2).sum()
    with_another(loss=1.0, gradient=2.0).minimise(loss, optimizer, {"square": loss})
    assert weight.item() == 3.0 - 0.5 * 4.0


def test_a_finite_loss_with_a_gradient_that_is_not_moves_nothing() -> None:
    weight, optimizer = weight_of(0.0)
    loss = weight.sqrt().sum()
    assert loss.item() == 0.0
    with pytest.raises(DivergedError, match="the gradient of the losses root is not a finite number"):
        alone().minimise(loss, optimizer, {"root": loss})
    assert weight.item() == 0.0


def test_a_loss_that_is_no_number_is_named() -> None:
    weight, optimizer = weight_of(float("nan"))
    weight.data.fill_(1.0)
    good, bad = (weight**2).sum(), (weight.detach() * float("nan")).sum()
    with pytest.raises(DivergedError, match="the loss bad is not a finite number"):
        alone().minimise(good + bad, optimizer, {"good": good, "bad": bad})
    assert weight.item() == 1.0


@pytest.mark.parametrize(("here", "there"), [(False, False), (True, False), (False, True)])
def test_what_is_so_in_one_process_is_known_in_all(here: bool, there: bool) -> None:
    fabric = SimpleNamespace(
        device=torch.device("cpu"),
        global_rank=0,
        world_size=2,
        all_reduce=lambda flag: (flag + float(there)) / 2,
    )
    assert Runtime(cast(Any, fabric)).any(here) == (here or there)
    assert alone().any(here) == here


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 0.0), (1.0, float("inf"))])
def test_processes_stop_together(loss: float, gradient: float) -> None:
    """What is wrong in another process stops this one, too; it would wait for ever otherwise."""
    weight, optimizer = weight_of(3.0)
    here = (weight**2).sum()
    with pytest.raises(DivergedError, match="is not a finite number"):
        with_another(loss, gradient).minimise(here, optimizer, {"square": here})
    assert weight.item() == 3.0
