"""A slow copy of the networks that are kept. It is steadier than the trained ones, so it is validated and exported."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Exponential moving average of a network's weights; statistics of batch norm are taken as they are.

    `decay` is the share that stays at each update; 0 follows at once.
    """

    def __init__(self, trained: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(trained).eval().requires_grad_(False)
        self._trained = trained
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow after step `step`, counted from 1. Early on it follows fast, to forget the start."""
        decay = min(self._decay, step / (step + 10))
        for slow, fast in zip(self.module.parameters(), self._trained.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)
        for kept, now in zip(self.module.buffers(), self._trained.buffers(), strict=True):
            kept.copy_(now)
