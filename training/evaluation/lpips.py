"""LPIPS on AlexNet, version 0.1: how different two pictures look. The weights are the user's.

One file holds trunk and weights: `torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")`, made where the
package `lpips` is installed.
Source: Zhang, Isola, Efros, Shechtman, Wang, The unreasonable effectiveness of deep features, CVPR 2018.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from training.networks.foreign import load_frozen, read_published

_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
_SLICES: Final = ((0, 2, 64), (2, 5, 192), (5, 8, 384), (8, 10, 256), (10, 12, 256))
"""First place and end in AlexNet, and channels. Each slice ends in a ReLU whose answer is compared."""


class LPIPS(nn.Module):
    """Squared differences of normalised features, weighted by channel, summed over five depths."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        # AlexNet. The places of its layers name its weights.
        layers: tuple[nn.Module, ...] = (
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )
        self.net = nn.ModuleDict()
        for number, (first, end, channels) in enumerate(_SLICES):
            part = OrderedDict((str(place), layers[place]) for place in range(first, end))
            self.net[f"slice{number + 1}"] = nn.Sequential(part)
            # Place 0 is the dropout of its training.
            head = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", nn.ModuleDict({"model": head}))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) of images (B, 3, H, W) in [−1, 1], 31 pixels a side or more."""
        a, b = (a - self.shift) / self.scale, (b - self.shift) / self.scale
        total = torch.zeros(len(a), device=a.device)
        for number, part in enumerate(self.net.values()):
            a, b = part(a), part(b)
            weigh = self.get_submodule(f"lin{number}.model")
            total = total + weigh((_normalised(a) - _normalised(b)).square()).mean(dim=(1, 2, 3))
        return total


def _normalised(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def load_lpips(path: Path) -> LPIPS:
    """The network with the user's weights, ready to measure.

    Raises:
        ConfigError: they are not there, or not for this network.
    """
    # The package's table names each weight of `lin` twice, and holds two constants.
    extra = ("lins.", "scaling_layer.")
    weights = {name: tensor for name, tensor in read_published(path).items() if not name.startswith(extra)}
    return load_frozen(LPIPS(), weights, path)
