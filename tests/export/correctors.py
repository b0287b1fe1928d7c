"""A patch corrector with random weights that change a picture plainly, and its bundle."""

from __future__ import annotations

from pathlib import Path

import torch

from export.pack_edge import pack
from icface.bundle import Bundle
from icface.networks.patch import PatchConfig, PatchCorrector
from tests.export import models  # noqa: F401 - it lets torch write several graphs in less time


def random_corrector(config: PatchConfig | None = None) -> PatchCorrector:
    """Always the same; its conditions are spread as those of faces are."""
    torch.manual_seed(7)
    model = PatchCorrector(config or PatchConfig(channels=(8, 8, 12, 16), hidden=16))
    bias = model.head.bias
    assert bias is not None
    with torch.no_grad():
        model.head.weight.mul_(20)
        bias.normal_(0, 0.4)
        model.mean.uniform_(-0.2, 0.2)
        model.deviation.uniform_(0.05, 0.2)
    return model.eval().requires_grad_(False)


def pack_random(out: Path, *, calms: bool = False) -> Bundle:
    """The edge bundle with a small random corrector, and perhaps such a neutraliser."""
    small = PatchConfig(channels=(8, 8, 8, 8), hidden=8, opens_eyes=True)
    neutraliser = random_corrector(small) if calms else None
    return pack(out, random_corrector(), neutraliser, licence="MIT", provenance="random numbers")
