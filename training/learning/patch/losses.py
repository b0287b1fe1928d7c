"""Losses of the patch corrector, each a small function. `task.py` weighs them.

Source: perceptual distance: LPIPS without its learned weights (arXiv 1801.03924), on SqueezeNet 1.1; feature matching:
pix2pixHD (arXiv 1711.11585).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from icface.geometry.patch import PATCH_PX
from training.learning.patch.pairs import face_ellipse


class Window(NamedTuple):
    """A part of the patch that is looked at closely."""

    top: int
    left: int
    height: int
    width: int

    def of(self, patch: Tensor) -> Tensor:
        """(B, C, 192, 192) to (B, C, height, width)."""
        return patch[..., self.top : self.top + self.height, self.left : self.left + self.width]


MOUTH: Final = Window(80, 40, 112, 112)
EYES: Final = Window(32, 16, 64, 160)
JUDGED: Final = {"lips": Window(104, 44, 80, 104), "eyes": EYES}
"""What the judge may see."""
DETAIL_PX: Final = 8
"""Side of the windows whose detail is compared."""


def attention() -> Tensor:
    """How much each pixel counts beside the openings, (1, 1, 192, 192): mouth, lids and brows more, background little."""
    weight = 0.1 + 0.4 * torch.from_numpy(face_ellipse()) + 0.4 * near(MOUTH) + 0.3 * near(EYES)
    return weight[None, None]


def near(window: Window) -> Tensor:
    """(192, 192): 1 in the ellipse of a window, falling to 0 around it."""
    rows, columns = torch.meshgrid(torch.arange(PATCH_PX), torch.arange(PATCH_PX), indexing="ij")
    down = (rows - window.top - window.height / 2) / (window.height / 2)
    right = (columns - window.left - window.width / 2) / (window.width / 2)
    return ((1.2 - torch.hypot(down, right)) / 0.4).clamp(0, 1)


def weighted_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over pixels of the absolute difference, each pixel with its weight (B, 1, H, W)."""
    return ((output - target).abs() * weight).mean()


def gradient_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """`weighted_l1` of the differences between neighbours, down and right, summed."""
    difference = output - target
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs() * weight[:, :, 1:]
    right = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs() * weight[:, :, :, 1:]
    return down.mean() + right.mean()


def detail_distance(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean difference of how much detail small windows have, each with its weight (B, 1, H, W).

    A window's detail is the mean of the differences between neighbours, down and right. Where in it a line lies does not
    count, so a target that is off by a pixel does not ask for blur.
    """
    apart = _detail(output) - _detail(target)
    return (apart.abs() * functional.avg_pool2d(weight, DETAIL_PX, DETAIL_PX // 2)).mean()


def _detail(picture: Tensor) -> Tensor:
    down = functional.pad((picture[:, :, 1:] - picture[:, :, :-1]).abs(), (0, 0, 0, 1))
    right = functional.pad((picture[:, :, :, 1:] - picture[:, :, :, :-1]).abs(), (0, 1, 0, 0))
    return functional.avg_pool2d(down + right, DETAIL_PX, DETAIL_PX // 2)


def perceptual_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared distance of the directions of features (B, C, H, W), summed over the layers; (B,)."""
    layers = [
        (_direction(a) - _direction(b)).square().sum(1).mean((1, 2))
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(layers).sum(0)


def _direction(features: Tensor) -> Tensor:
    features = features.float()
    return features * (features.square().sum(1, keepdim=True) + 1e-5).rsqrt()


def feature_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """L1 of the judge's features, summed over its layers."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]).sum()


def judge_loss(on_real: Tensor, on_fake: Tensor, is_real: Tensor) -> Tensor:
    """LSGAN for the judge: ½ (real − 1)² + ½ fake². Only targets that are photos, `is_real` (B,), count as real."""
    of_real = (on_real - 1).square().mean((1, 2, 3))
    return 0.5 * (of_real * is_real).sum() / is_real.sum().clamp(min=1) + 0.5 * on_fake.square().mean()


def judged_loss(on_fake: Tensor) -> Tensor:
    """LSGAN for the corrector: ½ (fake − 1)²."""
    return 0.5 * (on_fake - 1).square().mean()
