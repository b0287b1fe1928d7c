"""All settings of a training run: a TOML file under training/configs, checked key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from icface.errors import ConfigError
from icface.networks import NetworksConfig
from icface.networks.config import read_settings

Adversarial = Literal["log", "saturating", "lsgan"]
"""Forms of equation 1. `log` and `saturating` are the paper's logarithms, the same for D. For a generator `log` is
non-saturating (−log C1, the default), and `saturating` is minimax as the paper writes it (log(1 − C1)). `lsgan` has
squares."""
Norm = Literal["l2", "l1"]
Positive = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class LossConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the generators and D are trained for; equations 1–5 of the paper."""

    adversarial: Adversarial = "log"
    attribute_norm: Norm = "l2"
    """Norm of L_FA: `l2` as published, `l1` as in a later draft."""
    attributes: Weight = 10.0
    """λ1."""
    identity: Weight = 10.0
    """λ2; without weights of an identity network it has to be 0."""
    reconstruction: Weight = 10.0
    """λ3."""
    r1: Weight = 0.0
    """Weight of D's gradient penalty on real images; .05 in a later draft."""
    anchor: Weight = 0.0
    """Weight of G_N's distance to driving frames that happen to be neutral. It is not in the paper. Without an identity
    network nothing else keeps G_N's picture from becoming a code that only G_A can read."""


class OptimizerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How weights are moved."""

    name: Literal["rmsprop", "adam"] = "rmsprop"
    """`rmsprop` (the paper's, α .99) or `adam` (β .5, .999)."""
    rate: Annotated[float, Meta(gt=0)] = 2e-4
    """Learning rate at the start."""
    schedule: Literal["linear", "step", "constant"] = "linear"
    """`linear`: constant, then falling to 0; `step`: × .1 after `constant_share`; `constant`."""
    constant_share: Share = 0.5
    """Part of the steps before the rate falls; the paper: 100 of 200 epochs."""


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


class TrainConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run."""

    method: Literal["icface", "unpaired"] = "icface"
    """`icface`, or `unpaired`: with portraits without a known second picture."""
    networks: NetworksConfig = NetworksConfig()
    losses: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    sampling: SamplingConfig = SamplingConfig()
    unpaired: UnpairedConfig = UnpairedConfig()
    steps: Positive = 500_000
    """Optimisation steps in all."""
    batch_size: Positive = 16
    """Pairs a step on each device."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    """Decay of the averaged generators, which are what is validated and exported; 0: no averaging."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """As Lightning Fabric names it."""
    channels_last: bool = False
    """Memory layout; faster with bf16."""
    seed: Natural = 20
    """Decides weights, pairs and dropout."""
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

    def __post_init__(self) -> None:
        if self.method == "unpaired" and not self.networks.neutraliser:
            raise ConfigError("the method unpaired needs the neutraliser; set networks.neutraliser = true")

    def rate_factor(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0."""
        schedule, constant = self.optimizer.schedule, self.optimizer.constant_share * self.steps
        if schedule == "constant" or step < constant:
            return 1.0
        if schedule == "step":
            return 0.1
        return max(0.0, (self.steps - step) / max(1.0, self.steps - constant))


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file, and overrides such as `optimizer.rate=1e-4`; quotes of their values may be left out.

    Raises:
        ConfigError: unreadable, or a setting that is unknown or out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    for override in overrides:
        _apply(raw, override)
    try:
        return read_settings(TrainConfig, raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, as optimizer.rate=1e-4")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, name = key.strip().split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {override!r}: {table} is not a table of settings")
    raw[name] = value
