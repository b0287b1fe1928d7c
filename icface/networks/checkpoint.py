"""A trained model on disk: one safetensors file with the generators' weights, and in its header what they are.

Nothing in it can run code, and a file that does not fit in every name, shape and number is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT
from icface.networks.config import NetworksConfig, from_dict
from icface.networks.icface import ICface

FORMAT: Final = 1
_HEADER: Final = "icface"
_SCALES: Final = ("full-shape", "openface")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a model is and where it comes from."""

    networks: NetworksConfig
    attribute_scale: str = "full-shape"
    """`full-shape` or `openface`: which attributes it was trained on."""
    alignment: str = ALIGNMENT
    """How the faces were cropped."""
    provenance: str
    """What it was trained on."""
    licence: str
    """Under which it may be used."""
    step: int
    """Training steps behind it."""

    def __post_init__(self) -> None:
        if self.attribute_scale not in _SCALES:
            raise ConfigError(f"attribute scale {self.attribute_scale!r}: {' or '.join(_SCALES)} is known")


def save_model(path: Path, model: ICface, info: ModelInfo) -> None:
    """Write a model; the file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    # The discriminator that a generator was trained against is not part of it; its numbers are.
    header = {"format": FORMAT, **vars(info), "networks": info.networks.to_dict()}
    write_tensors(path, model.state_dict(), {_HEADER: json.dumps(header)})


def load_model(path: Path) -> tuple[ICface, ModelInfo]:
    """Read a model, ready to be run (`eval`, no gradients).

    Raises:
        ConfigError: missing, damaged, not one of ours, or a weight that is no finite number.
    """
    tensors, metadata = read_tensors(path)
    if _HEADER not in metadata:
        raise ConfigError(
            f"{path} is not an ICface model; one is written by training/train.py or training/import_checkpoint.py"
        )
    try:
        info = _info(json.loads(metadata[_HEADER]))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: its header is damaged ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    model = ICface(info.networks)
    load_weights(model, tensors, str(path))
    return model.eval().requires_grad_(False), info


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module: each name once, each shape right, each number finite.

    Raises:
        ConfigError: with the first that is not.
    """
    wanted = module.state_dict()
    for name in wanted:
        if name not in tensors:
            raise ConfigError(f"{where} lacks the weight {name}")
    for name, tensor in tensors.items():
        if name not in wanted:
            raise ConfigError(f"{where} has the weight {name}, which this network has not")
        if tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{where}: {name} is {tuple(tensor.shape)}, while the network takes {tuple(wanted[name].shape)}"
            )
        if not _is_finite(tensor):
            raise ConfigError(
                f"{where}: {name} holds values that are not finite numbers; its training failed"
            )
    module.load_state_dict(tensors, strict=True)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _info(raw: Any) -> ModelInfo:
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise ConfigError(f"it is of another format than {FORMAT}, which this version reads")
    return from_dict(ModelInfo, raw)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header texts of a safetensors file.

    Raises:
        ConfigError: it cannot be read or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return tensors, metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file that appears whole or not at all.

    Raises:
        ConfigError: it cannot be written (no space, no permission), or a value is no finite number; an older file of
            that name stays as it was.
    """
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ConfigError(f"{path} is not written: {name} holds values that are not finite numbers")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # safetensors lets nobody but the owner read; an empty file of ours has what the umask gives.
        unfinished.touch()
        mode = unfinished.stat().st_mode
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, unfinished, metadata
        )
        unfinished.chmod(mode)
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise ConfigError(f"cannot write {path}: {error}") from error
