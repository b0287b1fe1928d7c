"""The whole state of a run in one safetensors file, so that it goes on as if it had never stopped.

Dropout and the choice of pairs follow from the seed and the step alone, so the step number is all the random state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from torch import Tensor

from icface.errors import ConfigError
from icface.networks.checkpoint import load_weights, read_tensors, write_tensors
from training.learning.config import TrainConfig
from training.learning.ema import Average
from training.learning.gan import Gan

_HEADER: Final = "icface-training"

# These may differ between a run and its continuation: they change nothing that is learned.
FREE: Final = (
    *("workers", "log_every", "pictures_every", "save_every", "validate_every"),
    *("provenance", "licence"),
)


class Progress(Struct):
    """How far a run is."""

    step: int = 0
    """Steps done."""
    best: float | None = None
    """Lowest validation L1 so far."""


class _Header(Struct, kw_only=True):
    config: str
    data: str
    processes: int
    step: int
    best: float | None


def save_state(
    path: Path,
    config: TrainConfig,
    data: str,
    processes: int,
    progress: Progress,
    method: Gan,
    average: Average,
) -> None:
    """Write the state. The file appears whole or not at all.

    Args:
        path: the file.
        config: settings of the run.
        data: digest of the data set's index.
        processes: how many train together. With the batch size and the step they decide which pairs come next.
        progress: how far it is.
        method: with its networks and optimisers.
        average: the slow generators.

    Raises:
        ConfigError: it cannot be written, or a value is not a finite number; an older state stays.
    """
    tensors = {f"average/{name}": tensor for name, tensor in average.module.state_dict().items()}
    for name, module in method.modules.items():
        tensors |= {f"module/{name}/{key}": tensor for key, tensor in module.state_dict().items()}
    for name, optimizer in method.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{index}/{key}": value for key, value in values.items()}
    header = _Header(
        config=msgspec.json.encode(config).decode(),
        data=data,
        processes=processes,
        step=progress.step,
        best=progress.best,
    )
    write_tensors(path, tensors, {_HEADER: msgspec.json.encode(header).decode()})


def load_state(
    path: Path, config: TrainConfig, data: str, processes: int, method: Gan, average: Average
) -> Progress:
    """Put a saved state into a fresh method and average.

    Raises:
        ConfigError: the file is damaged, or of a run with other settings, other data or another number of processes.
    """
    tensors, metadata = read_tensors(path)
    try:
        header = msgspec.json.decode(metadata[_HEADER], type=_Header)
        before = msgspec.json.decode(header.config, type=TrainConfig)
    except (KeyError, msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"{path} is not the state of a run of this version ({error})") from error
    old, new = (_flat(msgspec.to_builtins(settings)) for settings in (before, config))
    for name in old | new:
        if name not in FREE and old.get(name) != new.get(name):
            raise ConfigError(
                f"{path} is a run with {name} = {old.get(name)}, not {new.get(name)}; "
                "go on with the same settings, or choose another --out"
            )
    if header.data != data:
        raise ConfigError(f"{path} is a run on other data; give the same --data, or choose another --out")
    if header.processes != processes:
        raise ConfigError(
            f"{path} is a run of {header.processes} processes, not {processes}, which would see other pairs; "
            "go on with as many, or choose another --out"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, key = name.rpartition("/")
        parts.setdefault(part, {})[key] = tensor
    load_weights(average.module, parts.get("average", {}), str(path))
    for name, module in method.modules.items():
        load_weights(module, parts.get(f"module/{name}", {}), str(path))
    for name, optimizer in method.optimizers.items():
        prefix = f"optimizer/{name}/"
        state = {
            int(part.removeprefix(prefix)): values
            for part, values in parts.items()
            if part.startswith(prefix)
        }
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    return Progress(header.step, header.best)


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their whole names, as `networks.generator.width`."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        result |= _flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return result
