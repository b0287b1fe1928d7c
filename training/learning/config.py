"""All settings of a training run: a TOML file under training/configs, checked key by key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from icface.errors import ConfigError
from icface.networks import NetworksConfig
from icface.networks.config import from_dict
from training.dataset.pairs import SAMPLINGS

METHODS: Final = ("icface", "unpaired")
ADVERSARIAL: Final = ("log", "saturating", "lsgan")
OPTIMIZERS: Final = ("rmsprop", "adam")
SCHEDULES: Final = ("linear", "step", "constant")
PRECISIONS: Final = ("32-true", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the generators and D are trained for; equations 1–5 of the paper."""

    adversarial: str = "log"
    """`log` as in the paper, `saturating` in its minimax form, or `lsgan`."""
    attribute_norm: str = "l2"
    """Norm of L_FA: `l2` as published, `l1` as in a later draft."""
    attributes: float = 10.0
    """λ1."""
    identity: float = 10.0
    """λ2; without weights of an identity network it has to be 0."""
    reconstruction: float = 10.0
    """λ3."""
    r1: float = 0.0
    """Weight of D's gradient penalty on real images; .05 in a later draft."""
    anchor: float = 0.0
    """Weight of G_N's distance to driving frames that happen to be neutral. It is not in the paper. Without an identity
    network nothing else keeps G_N's picture from becoming a code that only G_A can read."""

    def __post_init__(self) -> None:
        choose("losses.adversarial", self.adversarial, ADVERSARIAL)
        choose("losses.attribute_norm", self.attribute_norm, ("l2", "l1"))
        for name in ("attributes", "identity", "reconstruction", "r1", "anchor"):
            if getattr(self, name) < 0:
                raise ConfigError(f"losses.{name} is {getattr(self, name)}; a weight is not negative")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights are moved."""

    name: str = "rmsprop"
    """`rmsprop` (the paper's, α .99) or `adam` (β .5, .999)."""
    rate: float = 2e-4
    """Learning rate at the start."""
    schedule: str = "linear"
    """`linear`: constant, then falling to 0; `step`: × .1 after `constant_share`; `constant`."""
    constant_share: float = 0.5
    """Part of the steps before the rate falls; the paper: 100 of 200 epochs."""

    def __post_init__(self) -> None:
        choose("optimizer.name", self.name, OPTIMIZERS)
        choose("optimizer.schedule", self.schedule, SCHEDULES)
        if not self.rate > 0:
            raise ConfigError(f"optimizer.rate is {self.rate}; it has to be positive")
        if not 0 <= self.constant_share <= 1:
            raise ConfigError(f"optimizer.constant_share is {self.constant_share}; a share is from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the two frames of a pair are drawn from a track."""

    mode: str = "uniform"
    """`uniform`; `expression` or `pose` prefer driving frames that differ from the source in those."""
    flip: bool = True
    """Whether half of the pairs are mirrored, pictures and attributes."""

    def __post_init__(self) -> None:
        choose("sampling.mode", self.mode, SAMPLINGS)


@dataclass(frozen=True, kw_only=True)
class UnpairedConfig:
    """The paired + unpaired method (ACCV 2018)."""

    paired_share: float = 0.1
    """Part of the steps that take paired batches only, at the start."""
    unpaired_per_paired: float = 1.0
    """Unpaired steps for each paired one after that."""
    cycle: float = 10.0
    """Weight of the L1 cycle; the identity terms take half of it."""

    def __post_init__(self) -> None:
        if not 0 <= self.paired_share <= 1:
            raise ConfigError(f"unpaired.paired_share is {self.paired_share}; a share is from 0 to 1")
        if self.unpaired_per_paired < 0 or self.cycle < 0:
            raise ConfigError("unpaired.unpaired_per_paired and unpaired.cycle are not negative")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run."""

    method: str = "icface"
    """`icface`, or `unpaired`: with portraits of which no second picture is known."""
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    unpaired: UnpairedConfig = field(default_factory=UnpairedConfig)
    steps: int = 500_000
    """Optimisation steps in all."""
    batch_size: int = 16
    """Pairs a step on each device."""
    ema: float = 0.999
    """Decay of the averaged generators, which are what is validated and exported; 0: no averaging."""
    precision: str = "32-true"
    """Lightning Fabric's name: `32-true` or `bf16-mixed`."""
    channels_last: bool = False
    """Memory layout; faster with bf16."""
    seed: int = 20
    """Decides weights, pairs and dropout."""
    workers: int = 4
    """Processes that read pairs; 0: none but the main one."""
    log_every: int = 50
    """Steps between lines and TensorBoard scalars."""
    pictures_every: int = 1000
    """Steps between image grids."""
    save_every: int = 1000
    """Steps between checkpoints to resume from."""
    validate_every: int = 2000
    """Steps between validations on identities that are not trained on."""
    validation_pairs: int = 64
    """Pairs of each validation, always the same ones."""
    provenance: str = ""
    """What the data are, in words; goes with the model."""
    licence: str = "not stated"
    """Under which the model may be used; follows from the data."""

    def __post_init__(self) -> None:
        choose("method", self.method, METHODS)
        choose("precision", self.precision, PRECISIONS)
        for name in ("steps", "batch_size", "log_every", "pictures_every", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}; a decay is from 0 to below 1")
        if self.workers < 0 or self.validation_pairs < 1:
            raise ConfigError("workers is not negative, validation_pairs is at least 1")
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

    def to_json(self) -> str:
        """JSON, which checkpoints carry."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """What `to_json` gave.

        Raises:
            ConfigError: it does not fit this version.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"the settings are damaged: {error}") from error
        return from_dict(cls, raw)


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file.

    Args:
        path: the file.
        overrides: `key=value` each, as `optimizer.rate=1e-4`; values as TOML writes them, quotes may be left out.

    Raises:
        ConfigError: unreadable, or a setting that is unknown or out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    for override in overrides:
        _apply(raw, override)
    try:
        return from_dict(TrainConfig, raw)
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


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError where the value is not among the choices."""
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is unknown; choose {', '.join(choices)}")
