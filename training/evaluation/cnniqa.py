"""CNNIQA: how good a picture looks, by itself. Table 1 of the paper; lower is better where trained on LIVE's DMOS.

The weights are the user's; the names of the published PyTorch layout (`conv1`, `fc1`, `fc2`, `fc3`) are ours.
Source: Kang, Ye, Li, Doermann, Convolutional neural networks for no-reference image quality assessment, CVPR 2014.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.foreign import load_frozen, read_published

PATCH_PX: Final = 32
KERNELS: Final = 50
NODES: Final = 800
_GREY: Final = (0.299, 0.587, 0.114)


class CNNIQA(nn.Module):
    """One convolution, its largest and smallest answer in a patch, two hidden layers, one score."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, KERNELS, 7)
        self.fc1 = nn.Linear(2 * KERNELS, NODES)
        self.fc2 = nn.Linear(NODES, NODES)
        self.fc3 = nn.Linear(NODES, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        """Mean score (B,) over all patches of an image (B, 3, H, W) in [−1, 1]."""
        weights = torch.tensor(_GREY, device=image.device).view(1, 3, 1, 1)
        grey = ((image + 1) / 2 * weights).sum(dim=1, keepdim=True)
        scores = self.score(local_normalisation(patches(grey)))
        return scores.view(len(image), -1).mean(dim=1)

    def score(self, normalised: Tensor) -> Tensor:
        """(N,) of locally normalised patches (N, 1, 32, 32)."""
        answers = self.conv1(normalised)  # (N, 50, 26, 26)
        both = torch.cat([answers.amax(dim=(2, 3)), answers.amin(dim=(2, 3))], dim=1)
        hidden = self.dropout(functional.relu(self.fc1(both)))
        result: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return result[:, 0]


def patches(image: Tensor) -> Tensor:
    """Patches (B·n, C, 32, 32) side by side without overlap, row by row; what is left at right and bottom is dropped."""
    channels = image.shape[1]
    cut = image.unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)  # (B, C, rows, columns, 32, 32)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, PATCH_PX, PATCH_PX)


def local_normalisation(patch: Tensor) -> Tensor:
    """(x − μ) / (σ + 1) with μ and σ over the 3 × 3 around each pixel, grey in [0, 1], the border mirrored.

    The window, the constant and the range are those that the published weights were trained with.
    """
    near = functional.pad(patch, (1, 1, 1, 1), mode="replicate")  # one pixel: the same as mirrored
    mean = functional.avg_pool2d(near, 3, stride=1)
    square = functional.avg_pool2d(near.square(), 3, stride=1)
    return (patch - mean) / ((square - mean.square()).clamp(min=0).sqrt() + 1)


def load_cnniqa(path: Path) -> CNNIQA:
    """The network with the user's weights, ready to measure.

    Raises:
        ConfigError: they are not there, or not for this network.
    """
    return load_frozen(CNNIQA(), read_published(path), path)
