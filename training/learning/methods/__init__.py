"""Ways to train the generators: one module each. A method holds its networks and makes one step at a time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from icface.networks import ICface
from training.learning.config import TrainConfig
from training.learning.runtime import Runtime

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
    method: Method = importlib.import_module(f"training.learning.methods.{config.method}").build(
        config, runtime, identity
    )
    return method


@torch.no_grad()
def pseudo_neutral(generators: ICface, runtime: Runtime, images: Tensor) -> Tensor:
    """G_A(images, FA_N), which G_N's neutral images are compared with: (B, 3, S, S) float32 without gradients.

    Without dropout, and without a trace in the statistics of batch norm, which are to be those of what G_A is given
    later, G_N's images. It is normalised by the statistics of its own batch, as in training: by the running ones, which
    lag behind the weights and are of other images, the neutral face was off, and a small model never moved its lips.
    """
    before = {part: part.training for part in generators.modules()}
    norms = [part for part in generators.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    try:
        generators.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 0.0  # the running statistics stay
        with runtime.autocast():
            made = generators.animate(images, generators.neutral_attributes.expand(len(images), -1)).float()
        return made
    finally:
        for norm, count in zip(norms, counts, strict=True):
            norm.num_batches_tracked.copy_(count)
        for part, training in before.items():
            part.training = training
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
