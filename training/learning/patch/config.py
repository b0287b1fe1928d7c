"""Settings of a run that trains the patch corrector."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from icface.networks import PatchConfig
from training.learning.settings import Natural, Positive, RunConfig, Share, Weight


class PatchLossConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the losses."""

    l1: Weight = 4.0
    opening: Weight = 2.0
    """How much more the openings of eyes and mouth count in L1."""
    gradient: Weight = 1.0
    detail: Weight = 0.0
    """How much is to be seen in small windows, wherever in them it lies."""
    residual: Weight = 0.02
    """Keeps the correction small where it does not help."""
    perceptual: Weight = 0.5
    """Needs --perceptual; 0 goes without."""
    adversarial: Weight = 0.1
    features: Weight = 1.0
    """Distance of the judge's features of output and target."""


class PatchSamplingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pairs are drawn how often, and how they are varied."""

    shares: dict[str, Weight] = {}
    """Shares of the sets, by name; their sum does not matter. None named: every record counts the same."""
    dropped: Share = 0.04
    """Part of each set that is left out: the records in which geometry misses the target most."""
    jitter_px: Natural = 6
    shown_target: Share = 0.35
    """Part of the set kind `opened` in which the network sees the target itself, and has to leave it alone."""
    blurred: Share = 0.3
    noise: Weight = 0.2
    """Of the conditions, in standard deviations."""


class PatchTrainConfig(RunConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run."""

    method: Literal["patch"] = "patch"
    network: PatchConfig = PatchConfig()
    judged: tuple[Literal["lips", "eyes"], ...] = ("lips",)
    """What the judge sees."""
    judge_width: Positive = 32
    """Channels of the judge's first layer; 0 adversarial and features make it idle."""
    losses: PatchLossConfig = PatchLossConfig()
    sampling: PatchSamplingConfig = PatchSamplingConfig()
