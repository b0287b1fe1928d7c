"""Settings that every training run has, whatever it trains."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]

LEAST_RATE = 0.02
"""Share of the rate that is left at the end of a cosine."""


class OptimizerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How weights are moved."""

    name: Literal["rmsprop", "adam"] = "rmsprop"
    """`rmsprop` (the paper's, α .99) or `adam`."""
    betas: tuple[Decay, Decay] = (0.5, 0.999)
    """Adam's β."""
    rate: Annotated[float, Meta(gt=0)] = 2e-4
    """Learning rate at the start."""
    schedule: Literal["linear", "cosine", "step", "constant"] = "linear"
    """What it does after `constant_share`. `linear`: fall to 0; `cosine`: fall along half a cosine; `step`: × .1;
    `constant`: nothing."""
    constant_share: Share = 0.5
    """Part of the steps before the rate falls; the paper: 100 of 200 epochs."""
    most_norm: Annotated[float, Meta(gt=0)] | None = None
    """Longer gradients are shortened to this norm. None: never."""


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run."""

    optimizer: OptimizerConfig = OptimizerConfig()
    steps: Positive = 500_000
    """Optimisation steps in all."""
    batch_size: Positive = 16
    """Pairs a step on each device."""
    ema: Decay = 0.999
    """Decay of the averaged networks, which are what is validated and exported; 0: no averaging."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """As Lightning Fabric names it."""
    channels_last: bool = False
    """Memory layout; faster with bf16."""
    seed: Natural = 20
    """Decides weights, pairs, dropout and noise."""
    workers: Natural = 4
    """Processes that read pairs; 0: none but the main one."""
    log_every: Positive = 50
    """Steps between lines and TensorBoard scalars."""
    pictures_every: Positive = 1000
    """Steps between image grids."""
    save_every: Positive = 1000
    """Steps between checkpoints to resume from."""
    validate_every: Positive = 2000
    """Steps between validations on identities that are not trained on."""
    validation_pairs: Positive = 64
    """Pairs of each validation, always the same ones."""
    provenance: str = ""
    """What the data are, in words; goes with the model."""
    licence: str = "not stated"
    """Under which the model may be used; follows from the data."""

    def rate_factor(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0."""
        schedule, constant = self.optimizer.schedule, self.optimizer.constant_share * self.steps
        if schedule == "constant" or step < constant:
            return 1.0
        if schedule == "step":
            return 0.1
        if schedule == "cosine":
            return cosine((step - constant) / max(1.0, self.steps - constant))
        return max(0.0, (self.steps - step) / max(1.0, self.steps - constant))


def cosine(done: float) -> float:
    """Factor of the learning rate when that share of its fall is done."""
    return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * min(1.0, done))) / 2
