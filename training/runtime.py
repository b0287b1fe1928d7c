"""Where a step runs: device, precision, and gradients averaged over all processes. Lightning Fabric underneath.

Gradients are averaged after `backward`, not inside it as DDP would: in a GAN one network runs several times before a
step, some of them without gradients, and DDP's hooks make each such step a special case. At these sizes the overlap
that is lost is a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from training.config import OptimizerConfig


class Runtime:
    """One process's view of a run.

    Args:
        fabric: launched.
        channels_last: memory layout of images and convolutions.
    """

    def __init__(self, fabric: Fabric, *, channels_last: bool = False) -> None:
        self._fabric = fabric
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.device = fabric.device
        self.rank: int = fabric.global_rank
        self.processes: int = fabric.world_size

    def place(self, module: nn.Module) -> nn.Module:
        """The module on the device, in the run's memory layout."""
        return module.to(self.device, memory_format=self._format)  # type: ignore[call-overload, no-any-return]

    def put(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the device; images in the run's memory layout."""
        return {
            name: tensor.to(self.device, non_blocking=True, memory_format=self._format)
            if tensor.ndim == 4
            else tensor.to(self.device, non_blocking=True)
            for name, tensor in batch.items()
        }

    def autocast(self) -> AbstractContextManager[None]:
        """Forward passes in the run's precision."""
        return self._fabric.autocast()  # type: ignore[no-any-return]

    def minimise(self, loss: Tensor, optimizer: Optimizer) -> None:
        """One step of one optimiser, on the mean gradient of all processes."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.processes > 1:
            self._average(parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.step()

    def mean(self, value: Tensor) -> Tensor:
        """A number's mean over all processes."""
        return self._fabric.all_reduce(value) if self.processes > 1 else value  # type: ignore[no-any-return]

    def _average(self, parameters: Iterable[nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One message instead of one a tensor.
        flat = self._fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]))
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()


def initialise(module: nn.Module) -> None:
    """Starting weights; biases are 0.

    With batch normalisation N(0, .02), as DCGAN and the authors' release start; torch's own start is wider in narrow
    networks and made the 32-channel generator diverge. Without it, as in D, He's, which keep the signal's size: nine
    layers from N(0, .02) leave a hundred-millionth of it at width 8, and such a D never learned anything.
    """
    parts = list(module.modules())
    has_norm = any(isinstance(part, nn.BatchNorm2d) for part in parts)
    for part in parts:
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if has_norm:
                nn.init.normal_(part.weight, 0.0, 0.02)
            else:
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser that the settings name."""
    if config.name == "rmsprop":
        return RMSprop(parameters, lr=config.rate, alpha=0.99)
    return Adam(parameters, lr=config.rate, betas=(0.5, 0.999))
