"""Settings of a run that translates images."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from icface.errors import ConfigError
from training.learning.settings import Natural, Positive, RunConfig, Share, Weight
from training.networks.translation import TranslatorConfig


class TranslationLossConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the losses beside the adversarial ones, which weigh 1. docs/training.md says where each comes from."""

    cycle: Weight = 10.0
    """Of L1 between a picture and itself, there and back."""
    unchanged: Weight = 5.0
    """Of L1 between a picture and what the mapping to its own domain makes of it; 0 saves a third of the time."""
    reconstruction: Weight = 0.0
    """Of L1 between an output and its true counterpart, in paired steps. The release has none; pix2pix takes 100."""


class TranslationConfig(RunConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run."""

    method: Literal["translation"] = "translation"
    size_px: Annotated[int, Meta(ge=32, multiple_of=4)] = 256
    """Side of the pictures that the networks see."""
    load_px: Positive = 286
    """Side to which pictures are resized, whatever their shape. A part of `size_px` is cut from a random place."""
    flip: bool = True
    """Whether half of the pictures are mirrored, both of a pair."""
    generator: TranslatorConfig = TranslatorConfig()
    judge_width: Positive = 64
    """Channels of the first layer of each discriminator (ndf)."""
    pair_rate: Share = 0.5
    """Rate of the pair discriminators, as a share of the others'."""
    pool: Natural = 50
    """Older outputs that D_A and D_B are shown at times; 0: only new ones."""
    paired_first: Natural = 2500
    """Steps at the start that take pairs only."""
    paired_later: Share = 0.0
    """Share of paired steps after that. 1: pairs are all that is trained on."""
    losses: TranslationLossConfig = TranslationLossConfig()

    def __post_init__(self) -> None:
        if self.load_px < self.size_px:
            raise ConfigError(f"load_px is {self.load_px}; it has to be at least size_px, {self.size_px}")
