"""How near patches come to the photos, with geometry alone and corrected: mouth and eyes apart, open and closed apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from icface.arrays import Array
from icface.errors import ConfigError
from icface.geometry.patch import MEASURE_NAMES, MEASURES, PATCH_PX
from icface.networks.patch import PatchCorrector, widened
from icface.quality import psnr_of_error_db
from training.learning.patch.losses import EYES, MOUTH, Window, perceptual_distance
from training.learning.patch.pairs import STORED_PX, PairSet, as_planes, read_index, read_set, relit
from training.networks.squeezenet import SqueezeNet

OPEN_GAP: Final = 0.04
"""From this gap between the lips on, in IOD, a mouth counts as open."""
CLOSED_SHARE: Final = 0.6
"""Lids that are open less than this share of the photo's count as closing."""
BATCH: Final = 16

Correct = Callable[[Tensor, Tensor], Tensor]
"""Patches (B, 4, 192, 192) in [0, 1] and conditions (B, 28) to corrected ones (B, 3, 192, 192)."""


def corrected(model: PatchCorrector, patch: Tensor, conditions: Tensor) -> Tensor:
    """A corrector's output at full strength: patches (B, 4, 192, 192) in [0, 1] to (B, 3, 192, 192)."""
    keep, add = model(patch, conditions, torch.ones(len(patch), 3, device=patch.device))
    result: Tensor = keep * patch[:, :3] + add
    return result


class Scores(NamedTuple):
    """Of one window of each of N patches; (N,) each, colours in levels of 255."""

    l1: Array
    inside: Array
    """L1 in the widened opening; NaN where there is none."""
    squared: Array
    ssim: Array
    perceptual: Array
    """NaN without SqueezeNet."""

    def row(self, chosen: NDArray[np.bool_]) -> dict[str, float]:
        """Means over the chosen patches; PSNR (dB) is the mean of each patch's."""
        psnr = [psnr_of_error_db(max(float(error), 1e-6), peak=255.0) for error in self.squared[chosen]]
        inside, seen = self.inside[chosen], np.isfinite(self.inside[chosen])
        return {
            "n": float(chosen.sum()),
            "l1": float(self.l1[chosen].mean()),
            "inside": float(inside[seen].mean()) if seen.any() else float("nan"),
            "psnr_db": float(np.mean(psnr)),
            "ssim": float(self.ssim[chosen].mean()),
            "perceptual": float(self.perceptual[chosen].mean()),
        }


class Pairs(NamedTuple):
    """N pairs as they are, without jitter; targets in the warped frame's light."""

    target: Tensor
    """(N, 3, 192, 192) uint8."""
    patch: Tensor
    """(N, 4, 192, 192) uint8."""
    conditions: Tensor
    """(N, 28) float32."""

    def part(self, chosen: Any) -> Pairs:
        """Some of them."""
        return Pairs(*(tensor[chosen] for tensor in self))


def load_pairs(folder: Path, names: Sequence[str] = (), most: int | None = None) -> Pairs:
    """Pairs of some sets of a folder, or of all; at most so many, spread evenly.

    Raises:
        ConfigError: there are none, or a set cannot be read.
    """
    parts = [read_set(folder, name) for name in names or read_index(folder).sets]
    every = [(part, record) for part in parts for record in range(len(part.rows))]
    if not every:
        raise ConfigError(f"{folder} has no pairs")
    chosen = np.linspace(0, len(every) - 1, min(len(every), most or len(every))).astype(int)
    loaded = [_pair(*every[index]) for index in chosen]
    return Pairs(*(torch.stack(tensors) for tensors in zip(*loaded, strict=True)))


def _pair(part: PairSet, record: int) -> tuple[Tensor, Tensor, Tensor]:
    room = (STORED_PX - PATCH_PX) // 2
    cut = np.ascontiguousarray(part.pixels[record, room:-room, room:-room])
    target = relit(cut[..., :3], cut[..., 3:6], np.ascontiguousarray(cut[..., 6]))
    return as_planes(target), as_planes(cut[..., 3:]), torch.from_numpy(part.conditions[record])


@torch.no_grad()
def measure(pairs: Pairs, correct: Correct | None, taps: SqueezeNet | None) -> dict[str, Scores]:
    """Scores of the `mouth` and the `eyes` of each pair; `correct` None measures geometry."""
    found: dict[str, list[Scores]] = {"mouth": [], "eyes": []}
    for start in range(0, len(pairs.target), BATCH):
        target, patch, conditions = pairs.part(slice(start, start + BATCH))
        target, patch = target.float() / 255, patch.float() / 255
        output = patch[:, :3] if correct is None else correct(patch, conditions).clamp(0, 1)
        opening = widened(patch[:, 3:])
        for name, window in (("mouth", MOUTH), ("eyes", EYES)):
            found[name].append(_scores(output, target, opening, window, taps))
    return {name: Scores(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in found.items()}


def table(pairs: Pairs, scores: dict[str, Scores]) -> dict[str, dict[str, float]]:
    """Rows of means: mouths and eyes, open and closed; only those that some pair shows."""
    conditions = pairs.conditions.numpy()
    gap = conditions[:, MEASURE_NAMES.index("mouth_gap")]
    sides = [MEASURE_NAMES.index(f"{side}_gap") for side in ("right", "left")]
    lids, of_photo = conditions[:, sides], conditions[:, [MEASURES + side for side in sides]]
    closing = np.any(lids < CLOSED_SHARE * of_photo, axis=1)
    rows: list[tuple[str, str, NDArray[np.bool_]]] = [
        ("mouth, open", "mouth", gap >= OPEN_GAP),
        ("mouth, closed", "mouth", gap < OPEN_GAP),
        ("eyes, closing", "eyes", closing),
        ("eyes, open", "eyes", ~closing),
    ]
    return {name: scores[window].row(chosen) for name, window, chosen in rows if chosen.any()}


def _scores(
    output: Tensor, target: Tensor, opening: Tensor, window: Window, taps: SqueezeNet | None
) -> Scores:
    output, target, opening = (window.of(picture) for picture in (output, target, opening))
    difference = 255 * (output - target)
    inside = (difference.abs().mean(1, keepdim=True) * opening).sum((1, 2, 3)) / opening.sum((1, 2, 3))
    if taps is None:
        distance = torch.full((len(output),), float("nan"))
    else:
        distance = perceptual_distance(taps(output), taps(target))
    found = (
        difference.abs().mean((1, 2, 3)), inside, difference.square().mean((1, 2, 3)), ssim(output, target), distance,
    )  # fmt: skip
    return Scores(*(value.cpu().numpy().astype(np.float64) for value in found))


def ssim(first: Tensor, second: Tensor, side: int = 7) -> Tensor:
    """Structural similarity of the brightness of RGB pictures (B, 3, H, W) in [0, 1], in flat windows; (B,).

    Source: Wang et al., IEEE TIP 2004.
    """
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    x, y = ((picture.cpu() * luma).sum(1, keepdim=True) for picture in (first, second))

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, side, 1)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.mean((1, 2, 3))
