"""LightCNN-29 v2, the frozen identity network of L_I. It tells whether the person stays when expression and pose change.

Source: Wu, He, Sun and Tan, "A Light CNN for Deep Face Representation with Noisy Labels" (arXiv 1511.02683). Modules
have the names of the weights that its authors publish (MIT), so that these load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.foreign import load_frozen, read_published

SIZE_PX = 128
"""Side of the images that it was trained on."""


class IdentityFeatures(NamedTuple):
    """The features that the identity loss compares."""

    pool: Tensor
    """f^p (B, 128, 8, 8): the last pooling."""
    fc: Tensor
    """f^fc (B, 256): the embedding, not normalised."""


class LightCNN29(nn.Module):
    """10.48 M parameters. It has neither dropout nor statistics, so `train` and `eval` are the same."""

    grey: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = MaxFeatureMap(1, 48, 5)
        self.block1 = _residuals(48, 1)
        self.group1 = _group(48, 96)
        self.block2 = _residuals(96, 2)
        self.group2 = _group(96, 192)
        self.block3 = _residuals(192, 3)
        self.group3 = _group(192, 128)
        self.block4 = _residuals(128, 4)
        self.group4 = _group(128, 128)
        self.fc = nn.Linear(128 * (SIZE_PX // 16) ** 2, 256)
        self.register_buffer("grey", torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> IdentityFeatures:
        """Features of images (B, 3, H, W) in [−1, 1]; gradients flow back into them."""
        x = _pool(self.conv1(self.prepare(image)))
        x = _pool(self.group1(self.block1(x)))
        x = _pool(self.group2(self.block2(x)))
        x = self.group3(self.block3(x))
        x = _pool(self.group4(self.block4(x)))
        return IdentityFeatures(x, self.fc(x.flatten(1)))

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [−1, 1] to what the network was trained on: luma (B, 1, 128, 128) in [0, 1]."""
        grey = ((image + 1) / 2 * self.grey).sum(dim=1, keepdim=True)
        if grey.shape[2:] == (SIZE_PX, SIZE_PX):
            return grey
        return functional.interpolate(
            grey, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False, antialias=True
        )


class MaxFeatureMap(nn.Module):
    """A convolution to twice the channels. The larger value of each pair is kept."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, 2 * out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.filter(x).chunk(2, dim=1)
        return torch.maximum(first, second)


class Residual(nn.Module):
    """Two 3×3, whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = MaxFeatureMap(channels, channels, 3)
        self.conv2 = MaxFeatureMap(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(self.conv1(x))
        return result


def load_lightcnn(path: Path) -> LightCNN29:
    """The network with its published weights, frozen: `LightCNN_29Layers_V2_checkpoint.pth.tar` or safetensors.

    Raises:
        ConfigError: it cannot be read, could run code, or is not LightCNN-29 v2.
    """
    # The published file also has the layer that names the training set's people.
    weights = {name: tensor for name, tensor in read_published(path).items() if not name.startswith("fc2.")}
    return load_frozen(LightCNN29(), weights, path)


def _group(channels: int, out_channels: int) -> nn.Sequential:
    """A 1×1 layer, then a 3×3 layer."""
    first, second = MaxFeatureMap(channels, channels, 1), MaxFeatureMap(channels, out_channels, 3)
    return nn.Sequential(OrderedDict([("conv_a", first), ("conv", second)]))


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels) for _ in range(count)))


def _pool(x: Tensor) -> Tensor:
    """Half the size: maximum plus mean of each 2×2."""
    return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
