"""Reads the settings of a training run: a TOML file under training/configs, checked key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from icface.errors import ConfigError
from icface.networks.config import read_settings
from training.learning.paper.config import TrainConfig
from training.learning.patch.config import PatchTrainConfig
from training.learning.translation.config import TranslationConfig

AnyConfig = TrainConfig | PatchTrainConfig | TranslationConfig

KINDS: Final[dict[str, type[AnyConfig]]] = {
    "icface": TrainConfig,
    "unpaired": TrainConfig,
    "patch": PatchTrainConfig,
    "translation": TranslationConfig,
}
"""Settings of each method."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> AnyConfig:
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
    method = raw.get("method", "icface")
    if method not in KINDS:
        raise ConfigError(f"{path}: method is {method!r}; choose {', '.join(KINDS)}")
    try:
        return read_settings(KINDS[method], raw)
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
