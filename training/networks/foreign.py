"""Weights that others published. They are read without running any code that the file names."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from icface.errors import ConfigError
from icface.networks.checkpoint import load_weights, read_tensors

_N = TypeVar("_N", bound=nn.Module)

_PREFIX: Final = "module."
"""torch's DataParallel puts it before every name."""


def load_frozen(network: _N, weights: Mapping[str, Tensor], path: Path) -> _N:
    """A network with published weights that were read from a path, ready to measure (`eval`, no gradients).

    Raises:
        ConfigError: they are those of another network, or damaged.
    """
    load_weights(network, weights, f"{path} (taken for {type(network).__name__})")
    return network.eval().requires_grad_(False)


def read_published(path: Path) -> dict[str, Tensor]:
    """Weights by name: a state dict, alone or under `state_dict`, from a safetensors file or one of `torch.save`.

    The prefix `module.` is removed. Entries beside `state_dict` (optimiser, epoch) are ignored.

    Raises:
        ConfigError: it cannot be read, holds more than tensors and plain values, or is not a state dict.
    """
    held = read_tensors(path)[0] if path.suffix == ".safetensors" else _unpickled(path)
    if isinstance(held, dict) and isinstance(held.get("state_dict"), dict):
        held = held["state_dict"]
    if not isinstance(held, dict) or not held:
        raise ConfigError(f"{path} holds no weights by name")
    weights: dict[str, Tensor] = {}
    for name, tensor in held.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ConfigError(f"{path}: {name!r} is not a weight; only tensors by name are taken")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
            raise ConfigError(f"{path}: {name} is a sparse, quantised or complex tensor, not a plain one")
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            shape = tuple(tensor.shape)
            raise ConfigError(f"{path}: {name} claims {shape}, more numbers than the file holds")
        short = name.removeprefix(_PREFIX)
        if short in weights:
            raise ConfigError(f"{path} has the weight {short} twice, with and without {_PREFIX}")
        weights[short] = tensor.detach()
    return weights


def _unpickled(path: Path) -> object:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with file, warnings.catch_warnings():
            # torch warns of old files. It refuses a file that it cannot read.
            warnings.simplefilter("ignore")
            # weights_only reads tensors and plain containers, and calls nothing that a file names.
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        # torch's own message fills paragraphs and advises to switch the safety off.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is not None and isinstance(error, pickle.UnpicklingError):
            raise ConfigError(
                f"{path} is refused: reading it would call {named[1]}, and weights need no code; save it as a plain "
                "dict of tensors"
            ) from error
        raise ConfigError(f"{path} is not a file of weights, or it is damaged") from error
