"""Ways to train the generators: one module each. A method holds its networks and makes one step at a time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from icface.networks import ICface
from training.config import TrainConfig
from training.runtime import Runtime

if TYPE_CHECKING:
    from icface.networks.lightcnn import LightCNN29

Batch = Mapping[str, Tensor]


class Method(Protocol):
    """What the training loop asks of a method."""

    modules: dict[str, nn.Module]
    """Everything that is trained, by name."""
    optimizers: dict[str, Optimizer]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimisation step of all networks.

        Args:
            batch: `source`, `driving` (B, 3, S, S) in [−1, 1], `source_attributes`, `driving_attributes` (B, 20),
                `identity` (B,); with portraits also `portrait`, `portrait_attributes`, `random_attributes`.

        Returns:
            The losses, unweighted and detached, one number each.

        Raises:
            DivergedError: a loss or a gradient is no finite number; the state in memory is of no use then.
        """
        ...

    def model(self) -> ICface:
        """What is averaged, validated and exported; the trained modules themselves, not a copy."""
        ...


def build_method(config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> Method:
    """The method that the settings name, with fresh networks on the runtime's device.

    Args:
        config: settings.
        runtime: device, precision and processes.
        identity: the frozen identity network, if there are weights for it.
    """
    method: Method = importlib.import_module(f"training.methods.{config.method}").build(
        config, runtime, identity
    )
    return method


@torch.no_grad()
def pseudo_neutral(generators: ICface, runtime: Runtime, images: Tensor) -> Tensor:
    """G_A(images, FA_N), which G_N's neutral images are compared with: (B, 3, S, S) float32 without gradients.

    As it is shipped: without dropout, and without a trace in the statistics of batch norm, which are to be those of
    what G_A is given later, G_N's images.
    """
    before = generators.training
    generators.eval()
    with runtime.autocast():
        made = generators.animate(images, generators.neutral_attributes.expand(len(images), -1)).float()
    generators.train(before)
    return made
