"""Where a step runs: device, precision, and gradients averaged over all processes, by Lightning Fabric.

Gradients are averaged after `backward`, not inside it as DDP would: in a GAN one network runs several times before a
step, sometimes without gradients, and DDP's hooks make each such step a special case. The overlap that is lost is a few
milliseconds at these sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from icface.errors import ConfigError
from icface.networks import Discriminator
from training.learning.settings import OptimizerConfig

WIDE_D = 64
"""From this width on D starts as in the release; see `initialise`."""


class DivergedError(ConfigError):
    """A loss or a gradient is not a finite number any more. No weight has moved by it."""


class Runtime:
    """One process's view of a run whose Fabric is launched."""

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
        return self._fabric.autocast()

    def minimise(
        self,
        total: Tensor,
        optimizer: Optimizer,
        terms: Mapping[str, Tensor],
        most_norm: float | None = None,
    ) -> None:
        """One step of one optimiser, on the mean gradient of all processes, no longer than `most_norm`.

        `terms` are the losses in `total`.

        Raises:
            DivergedError: the total or its gradient is not a finite number in some process. All processes raise, and
                no weight has moved.
        """
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        mean = total.detach()
        if self.processes > 1:
            # One message instead of one a tensor.
            flat = self.mean(torch.cat([mean.reshape(1), *(part.flatten() for part in gradients)]))
            mean, *means = flat.split([1, *(part.numel() for part in gradients)])
            for gradient, averaged in zip(gradients, means, strict=True):
                gradient.copy_(averaged.view_as(gradient))
        # A finite loss may have an infinite gradient, and one step with it makes every weight NaN. The loss is looked at
        # too, because the gradient of |NaN| is 0.
        norm = nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm + mean)):
            bad = [name for name, loss in terms.items() if not bool(torch.isfinite(loss))]
            what = f"the loss {', '.join(bad)}" if bad else f"the gradient of the losses {', '.join(terms)}"
            raise DivergedError(f"{what} is not a finite number any more")
        if most_norm is not None:
            for gradient in gradients:
                gradient.mul_((most_norm / (norm + 1e-6)).clamp(max=1))
        optimizer.step()

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return torch.as_tensor(self._fabric.all_reduce(value)) if self.processes > 1 else value

    def of_first(self, value: int) -> int:
        """The first process's value."""
        return int(self._fabric.broadcast(value))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process; all get the same answer."""
        if self.processes == 1:
            return flag
        return float(self.mean(torch.tensor(float(flag), device=self.device))) > 0


def initialise(module: nn.Module) -> None:
    """Starting weights; biases are 0.

    N(0, .02), as DCGAN and the authors' releases start, with normalisation and in a D from width `WIDE_D` on;
    torch's own start is wider in narrow networks and made the 32-channel generator diverge.

    Without normalisation a narrow network starts from He's weights, which keep the signal's size. What D's nine layers
    leave of it (root mean square of the features of random 64² images, measured):

        width         8     16    24    32    48    64    128   256
        N(0, .02)   6e-8   1e-6  4e-6  3e-5  8e-5  4e-4  4e-3   .11
        He           .28    .38   .27   .50   .30   .48   .30   .53

    From N(0, .02) C2 never learned anything at width 8, and up to 48 RMSprop took longer than from He's. In wide ones
    He's do harm: RMSprop's first step is ten times the rate in every weight, which adds up over the channels, and the
    larger the signal, the more. After D's first step with the settings of `paper.toml` and random 64² images, the
    generators' adversarial loss (1.4 where D is undecided) is 1.4 from N(0, .02) and 6.1 from He's at width 64, 2.9 and
    33 at 128, 590 and 8200 at 256.
    """
    parts = list(module.modules())
    as_released = any(isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d) for part in parts) or (
        isinstance(module, Discriminator) and module.config.width >= WIDE_D
    )
    for part in parts:
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if as_released:
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
    return Adam(parameters, lr=config.rate, betas=config.betas)
