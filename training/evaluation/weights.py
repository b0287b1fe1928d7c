"""Weights of measuring networks that others trained and the user brings along: read strictly, never run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from icface.errors import ConfigError
from icface.networks.checkpoint import read_tensors

_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
_DAMAGED: Final = (
    pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError,
    zipfile.BadZipFile,
)  # fmt: skip


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or a torch file; `module.` before every name is dropped.

    Raises:
        ConfigError: missing, damaged, or a torch file that holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files are written in other ways; what matters is an error
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise ConfigError(
            f"{path} is no file of weights alone (a torch state_dict or safetensors); whole pickled models are refused: "
            "save their state_dict"
        ) from error
    for name in _WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(name), Mapping):
            raw = raw[name]
    if not isinstance(raw, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in raw.items()
    ):
        raise ConfigError(f"{path} holds no table of weights by name")
    return {key.removeprefix("module."): value for key, value in raw.items()}
