"""LPIPS on AlexNet, version 0.1: how different two pictures look. The weights are the user's.

One file holds trunk and weights: `torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")`, made where the
package `lpips` is installed.
Source: Zhang, Isola, Efros, Shechtman, Wang, The unreasonable effectiveness of deep features, CVPR 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from icface.networks.checkpoint import load_weights
from training.networks.foreign import read_published

_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
# Places of AlexNet's layers, which name its weights, in five slices, each ending in a ReLU whose answer is compared.
_CONVOLUTIONS: Final = {
    0: (3, 64, 11, 4, 2), 3: (64, 192, 5, 1, 2), 6: (192, 384, 3, 1, 1), 8: (384, 256, 3, 1, 1), 10: (256, 256, 3, 1, 1),
}  # fmt: skip
_POOLS: Final = (2, 5)
_SLICES: Final = ((0, 2), (2, 5), (5, 8), (8, 10), (10, 12))


class LPIPS(nn.Module):
    """Squared differences of normalised features, weighted by channel, summed over five depths."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Module()
        for number, (first, end) in enumerate(_SLICES):
            part = nn.Sequential()
            for place in range(first, end):
                part.add_module(str(place), _layer(place))
            self.net.add_module(f"slice{number + 1}", part)
            head = nn.Module()
            channels = _CONVOLUTIONS[max(p for p in _CONVOLUTIONS if p < end)][1]
            # Place 0 is the dropout of its training.
            head.add_module("model", nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False)))
            self.add_module(f"lin{number}", head)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) of images (B, 3, H, W) in [−1, 1], 31 pixels a side or more."""
        a, b = (a - self.shift) / self.scale, (b - self.shift) / self.scale
        total = torch.zeros(len(a), device=a.device)
        for number in range(len(_SLICES)):
            part = self.net.get_submodule(f"slice{number + 1}")
            a, b = part(a), part(b)
            weigh = self.get_submodule(f"lin{number}.model")
            total = total + weigh((_normalised(a) - _normalised(b)).square()).mean(dim=(1, 2, 3))
        return total


def _layer(place: int) -> nn.Module:
    if place in _CONVOLUTIONS:
        before, channels, kernel, stride, padding = _CONVOLUTIONS[place]
        return nn.Conv2d(before, channels, kernel, stride=stride, padding=padding)
    return nn.MaxPool2d(3, 2) if place in _POOLS else nn.ReLU()


def _normalised(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def load_lpips(path: Path) -> LPIPS:
    """The network with the user's weights, ready to measure.

    Raises:
        ConfigError: they are not there, or not for this network.
    """
    network = LPIPS()
    # The package's table names each weight of `lin` twice, and holds two constants.
    tensors = {
        name: tensor
        for name, tensor in read_published(path).items()
        if not name.startswith(("lins.", "scaling_layer."))
    }
    load_weights(network, tensors, str(path))
    return network.eval().requires_grad_(False)
