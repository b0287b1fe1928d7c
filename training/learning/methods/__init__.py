"""Ways to train the generators: one module each. A method holds its networks and makes one step at a time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from icface.networks import ICface
from training.learning.config import TrainConfig
from training.learning.runtime import Runtime

if TYPE_CHECKING:
    from training.networks.lightcnn import LightCNN29

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
            DivergedError: a loss or a gradient is not a finite number. The state in memory is useless then.
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

    Raises:
        ConfigError: identity is to be kept, but nothing measures it.
    """
    module = importlib.import_module(f"training.learning.methods.{config.method}")
    method: Method = module.build(config, runtime, identity)
    return method
