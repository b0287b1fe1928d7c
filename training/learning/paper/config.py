"""Settings of a run that trains the paper's networks."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from icface.errors import ConfigError
from icface.networks import NetworksConfig
from training.dataset.index import Scale
from training.learning.settings import RunConfig, Share, Weight

Adversarial = Literal["log", "saturating", "lsgan"]
"""Forms of equation 1. `log` and `saturating` are the paper's logarithms, the same for D. For a generator `log` is
non-saturating (−log C1, the default), and `saturating` is minimax as the paper writes it (log(1 − C1)). `lsgan` has
squares."""
Norm = Literal["l2", "l1"]
Reduction = Literal["mean", "sum"]


class LossConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the generators and D are trained for; equations 1–5 of the paper."""

    adversarial: Adversarial = "log"
    attribute_norm: Norm = "l2"
    """Norm of L_FA: `l2` as in the paper, `l1` as in training code beside the release."""
    identity_reduction: Reduction = "mean"
    """How equation 3's differences become a number: `mean` of each feature's elements, or their `sum`, the L1 norm as
    the paper writes it. docs/paper-numbers.md has the reason and the λ2 that fits each."""
    attributes: Weight = 10.0
    """λ1."""
    identity: Weight = 10.0
    """λ2; without weights of an identity network it has to be 0."""
    reconstruction: Weight = 10.0
    """λ3."""
    r1: Weight = 0.0
    """Weight of D's gradient penalty ½‖∇D‖² on real images. 0 as in the paper; training code beside the release has
    .05 ‖∇D‖², which is .1 here."""
    anchor: Weight = 0.0
    """Weight of G_N's distance to driving frames that happen to be neutral. It is not in the paper. Without an identity
    network nothing else keeps G_N's picture from becoming a code that only G_A can read."""


class SamplingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the two frames of a pair are drawn from a track."""

    mode: Literal["uniform", "expression", "pose"] = "uniform"
    """`expression` and `pose` prefer driving frames that differ from the source in those."""
    flip: bool = True
    """Whether half of the pairs are mirrored, pictures and attributes."""


class UnpairedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The paired + unpaired method (ACCV 2018)."""

    paired_share: Share = 0.1
    """Part of the steps that take paired batches only, at the start."""
    unpaired_per_paired: Weight = 1.0
    """Unpaired steps for each paired one after that."""
    cycle: Weight = 10.0
    """Weight of the L1 cycle; the identity terms take half of it."""


class TrainConfig(RunConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run."""

    method: Literal["icface", "unpaired"] = "icface"
    """`icface`, or `unpaired`: with portraits without a known second picture."""
    attribute_scale: Scale = "full-shape"
    """Scale that the data set has to have: that of `prepare.py --scale`. The model keeps it."""
    networks: NetworksConfig = NetworksConfig()
    losses: LossConfig = LossConfig()
    sampling: SamplingConfig = SamplingConfig()
    unpaired: UnpairedConfig = UnpairedConfig()

    def __post_init__(self) -> None:
        if self.method == "unpaired" and not self.networks.neutraliser:
            raise ConfigError("the method unpaired needs the neutraliser; set networks.neutraliser = true")
