"""WaDIQaM-FR, known as DeepIQA: how much worse a picture is than its reference. Table 1 of the paper.

The weights are the user's, in one of two published layouts, which also tell the range that the pictures had in
training: `fc1, fc2, fc1_a, fc2_a` (the authors'; RGB 0 to 255) or `fc1_q, fc2_q, fc1_w, fc2_w` (RGB 0 to 1).
Source: Bosse, Maniry, Müller, Wiegand, Samek, Deep neural networks for no-reference and full-reference image quality
assessment, IEEE Transactions on Image Processing 27(1), 2018.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.evaluation.cnniqa import patches
from training.networks.foreign import load_frozen, read_published

WIDTHS: Final = (3, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
"""Channels of the pictures, and after each of the ten convolutions."""
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
        for number, (before, channels) in enumerate(pairwise(WIDTHS), start=1):
            setattr(self, f"conv{number}", nn.Conv2d(before, channels, 3, padding=1))
        for head in "qw":
            setattr(self, f"fc1_{head}", nn.Linear(3 * WIDTHS[-1], WIDTHS[-1]))
            setattr(self, f"fc2_{head}", nn.Linear(WIDTHS[-1], 1))

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Weighted mean score (B,) of images against references, both (B, 3, H, W) in [−1, 1]."""
        seen, known = (self.features(patches((x + 1) / 2 * self.peak)) for x in (image, reference))
        fused = torch.cat([seen - known, seen, known], dim=1)
        quality = self._head("q", fused).view(len(image), -1)
        weight = functional.relu(self._head("w", fused)).view(len(image), -1) + LEAST_WEIGHT
        return (quality * weight).sum(dim=1) / weight.sum(dim=1)

    def features(self, patch: Tensor) -> Tensor:
        """(N, 512) of patches (N, 3, 32, 32)."""
        for number in range(1, len(WIDTHS)):
            patch = functional.relu(getattr(self, f"conv{number}")(patch))
            if number % 2 == 0:
                patch = functional.max_pool2d(patch, 2)
        return patch.flatten(1)

    def _head(self, head: str, fused: Tensor) -> Tensor:
        # Dropout between the two layers is for training only.
        result: Tensor = getattr(self, f"fc2_{head}")(functional.relu(getattr(self, f"fc1_{head}")(fused)))
        return result


def load_wadiqam(path: Path) -> WaDIQaM:
    """The network with the user's weights, in either layout, ready to measure.

    Raises:
        ConfigError: they are not there, or not for this network.
    """
    weights = read_published(path)
    if "fc1_a.weight" not in weights:
        return load_frozen(WaDIQaM(), weights, path)
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{_AUTHORS.get(layer, layer)}.{kind}"] = tensor
    return load_frozen(WaDIQaM(255.0), renamed, path)
