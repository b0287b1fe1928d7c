"""Networks that judge pictures: CNNIQA and WaDIQaM-FR for table 1 of the paper, and LPIPS. The weights are the user's.

Sources: Kang, Ye, Li, Doermann, Convolutional neural networks for no-reference image quality assessment, CVPR 2014.
Bosse, Maniry, Müller, Wiegand, Samek, Deep neural networks for no-reference and full-reference image quality
assessment, IEEE Transactions on Image Processing 27(1), 2018. Zhang, Isola, Efros, Shechtman, Wang, The unreasonable
effectiveness of deep features, CVPR 2018.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
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

WIDTHS: Final = (3, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
"""Of WaDIQaM: channels of the pictures, and after each of the ten convolutions."""
LEAST_WEIGHT: Final = 1e-6
_AUTHORS: Final = {"fc1": "fc1_q", "fc2": "fc2_q", "fc1_a": "fc1_w", "fc2_a": "fc2_w"}
"""Names of the authors of WaDIQaM -> ours."""

_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
_SLICES: Final = ((0, 2, 64), (2, 5, 192), (5, 8, 384), (8, 10, 256), (10, 12, 256))
"""Of LPIPS: first place and end in AlexNet, and channels. Each slice ends in a ReLU whose answer is compared."""


def patches(image: Tensor) -> Tensor:
    """Patches (B·n, C, 32, 32) side by side without overlap, row by row; what is left at right and bottom is dropped."""
    channels = image.shape[1]
    cut = image.unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)  # (B, C, rows, columns, 32, 32)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels, PATCH_PX, PATCH_PX)


class CNNIQA(nn.Module):
    """How good a picture looks, by itself; lower is better where trained on LIVE's DMOS.

    One convolution, its largest and smallest answer in a patch, two hidden layers, one score. The names are those of the
    published PyTorch layout.
    """

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
        answers = self.conv1(local_normalisation(patches(grey)))  # (N, 50, 26, 26)
        both = torch.cat([answers.amax(dim=(2, 3)), answers.amin(dim=(2, 3))], dim=1)
        hidden = self.dropout(functional.relu(self.fc1(both)))
        scores: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return scores.view(len(image), -1).mean(dim=1)


def local_normalisation(patch: Tensor) -> Tensor:
    """(x − μ) / (σ + 1) with μ and σ over the 3 × 3 around each pixel, grey in [0, 1], the border mirrored.

    The window, the constant and the range are those that the published weights were trained with.
    """
    near = functional.pad(patch, (1, 1, 1, 1), mode="replicate")  # one pixel: the same as mirrored
    mean = functional.avg_pool2d(near, 3, stride=1)
    square = functional.avg_pool2d(near.square(), 3, stride=1)
    return (patch - mean) / ((square - mean.square()).clamp(min=0).sqrt() + 1)


def load_cnniqa(path: Path) -> CNNIQA:
    """The network with the user's weights; see `load_frozen`."""
    return load_frozen(CNNIQA(), read_published(path), path)


class WaDIQaM(nn.Module):
    """WaDIQaM-FR, known as DeepIQA: how much worse a picture is than its reference.

    Ten convolutions over 32 × 32 patches of both pictures; a quality and a weight for each pair of patches.

    Args:
        peak: white in the range that the weights were trained with, 1 or 255.
    """

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
        # Dropout between the two layers is for training only.
        quality = self.fc2_q(functional.relu(self.fc1_q(fused))).view(len(image), -1)
        weight = self.fc2_w(functional.relu(self.fc1_w(fused))).view(len(image), -1)
        weight = functional.relu(weight) + LEAST_WEIGHT
        score: Tensor = (quality * weight).sum(dim=1) / weight.sum(dim=1)
        return score

    def features(self, patch: Tensor) -> Tensor:
        """(N, 512) of patches (N, 3, 32, 32)."""
        for number in range(1, len(WIDTHS)):
            patch = functional.relu(getattr(self, f"conv{number}")(patch))
            if number % 2 == 0:
                patch = functional.max_pool2d(patch, 2)
        return patch.flatten(1)


def load_wadiqam(path: Path) -> WaDIQaM:
    """The network with the user's weights; see `load_frozen`.

    There are two published layouts, which also tell the range that the pictures had in training: `fc1, fc2, fc1_a, fc2_a`
    (the authors'; RGB 0 to 255) or `fc1_q, fc2_q, fc1_w, fc2_w` (RGB 0 to 1).
    """
    weights = read_published(path)
    if "fc1_a.weight" not in weights:
        return load_frozen(WaDIQaM(), weights, path)
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{_AUTHORS.get(layer, layer)}.{kind}"] = tensor
    return load_frozen(WaDIQaM(255.0), renamed, path)


class LPIPS(nn.Module):
    """LPIPS on AlexNet, version 0.1: how different two pictures look.

    Squared differences of normalised features, weighted by channel, summed over five depths.
    """

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
    """The network with the user's weights; see `load_frozen`.

    One file holds trunk and weights: `torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")`, made where the
    package `lpips` is installed.
    """
    # The package's table names each weight of `lin` twice, and holds two constants.
    extra = ("lins.", "scaling_layer.")
    weights = {name: tensor for name, tensor in read_published(path).items() if not name.startswith(extra)}
    return load_frozen(LPIPS(), weights, path)
