"""Weights that others published: read without running anything that is in the file."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from icface.errors import ConfigError
from icface.networks.checkpoint import read_tensors

_PREFIX: Final = "module."
"""What torch's DataParallel puts before every name."""

# A damaged file fails wherever the damage lies: in the archive, in its index, while a tensor is put together.
_DAMAGE: Final = (
    pickle.UnpicklingError,
    struct.error,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)


def read_published(path: Path) -> dict[str, Tensor]:
    """Weights by name, from a safetensors file or one of `torch.save`: a state dict, alone or under `state_dict`.

    The prefix `module.` is taken off; whatever lies beside `state_dict` (optimiser, epoch) is left.

    Raises:
        ConfigError: it cannot be read, holds more than tensors and plain values, or is no such dict.
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
            raise ConfigError(
                f"{path}: {name} is a sparse, quantised or complex tensor; plain ones are taken"
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ConfigError(
                f"{path}: {name} claims {tuple(tensor.shape)}, more numbers than the file holds"
            )
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
            # About the file's age and make; what it cannot read it refuses.
            warnings.simplefilter("ignore")
            # weights_only knows tensors and plain containers, and calls nothing that a file names.
            return torch.load(file, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        # Torch's own message goes on for paragraphs, and advises to switch the safety off.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is not None and isinstance(error, pickle.UnpicklingError):
            raise ConfigError(
                f"{path} is refused: it names {named[1]}, to be called while it is read, and weights need no code; "
                "save it as a plain dict of tensors"
            ) from error
        raise ConfigError(f"{path} is no file of weights, or it is damaged") from error
