"""WaDIQaM-FR, known as DeepIQA: how much worse a picture is than its reference. Table 1 of the paper.

The weights are the user's, in one of two published layouts, which also tell the range that the pictures had in
training: `fc1, fc2, fc1_a, fc2_a` (the authors'; RGB 0 to 255) or `fc1_q, fc2_q, fc1_w, fc2_w` (RGB 0 to 1).
Source: Bosse, Maniry, Müller, Wiegand, Samek, Deep neural networks for no-reference and full-reference image quality
assessment, IEEE Transactions on Image Processing 27(1), 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from icface.networks.checkpoint import load_weights
from training.evaluation.cnniqa import patches
from training.networks.foreign import read_published

CHANNELS: Final = (32, 64, 128, 256, 512)
LEAST_WEIGHT: Final = 1e-6
_AUTHORS: Final = {"fc1": "fc1_q", "fc2": "fc2_q", "fc1_a": "fc1_w", "fc2_a": "fc2_w"}


class WaDIQaM(nn.Module):
    """Ten convolutions over 32 × 32 patches of both pictures; a quality and a weight for each pair of patches.

    Args:
        peak: white in the range that the weights were trained with, 1 or 255.
    """

    conv10: nn.Conv2d
    fc1_q: nn.Linear
    fc2_q: nn.Linear
    fc1_w: nn.Linear
    fc2_w: nn.Linear

    def __init__(self, peak: float = 1.0) -> None:
        super().__init__()
        self.peak = peak
        before = 3
        for stage, channels in enumerate(CHANNELS):
            setattr(self, f"conv{2 * stage + 1}", nn.Conv2d(before, channels, 3, padding=1))
            setattr(self, f"conv{2 * stage + 2}", nn.Conv2d(channels, channels, 3, padding=1))
            before = channels
        for head in "qw":
            setattr(self, f"fc1_{head}", nn.Linear(3 * before, before))
            setattr(self, f"fc2_{head}", nn.Linear(before, 1))

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Weighted mean score (B,) of images against references, both (B, 3, H, W) in [−1, 1]."""
        seen, known = (self.features(patches((x + 1) / 2 * self.peak)) for x in (image, reference))
        fused = torch.cat([seen - known, seen, known], dim=1)
        quality = self._head("q", fused).view(len(image), -1)
        weight = functional.relu(self._head("w", fused)).view(len(image), -1) + LEAST_WEIGHT
        return (quality * weight).sum(dim=1) / weight.sum(dim=1)

    def features(self, patch: Tensor) -> Tensor:
        """(N, 512) of patches (N, 3, 32, 32)."""
        for stage in range(len(CHANNELS)):
            for place in (1, 2):
                patch = functional.relu(getattr(self, f"conv{2 * stage + place}")(patch))
            patch = functional.max_pool2d(patch, 2)
        return patch.flatten(1)

    def _head(self, head: str, fused: Tensor) -> Tensor:
        # Dropout between the two layers is for training only.
        result: Tensor = getattr(self, f"fc2_{head}")(functional.relu(getattr(self, f"fc1_{head}")(fused)))
        return result


def load_wadiqam(path: Path) -> WaDIQaM:
    """The network with the user's weights, ready to measure.

    Raises:
        ConfigError: they are not there, or not for this network.
    """
    tensors = read_published(path)
    of_authors = "fc1_a.weight" in tensors
    if of_authors:
        tensors = {_renamed(name): tensor for name, tensor in tensors.items()}
    network = WaDIQaM(255.0 if of_authors else 1.0)
    load_weights(network, tensors, str(path))
    return network.eval().requires_grad_(False)


def _renamed(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{_AUTHORS.get(layer, layer)}.{kind}"
