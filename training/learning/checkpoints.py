"""The whole state of a run in one safetensors file, so that it goes on as if it had never stopped.

Dropout and the choice of pairs follow from the seed and the step alone, so the step number is all the random state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from torch.optim import Optimizer

from icface.errors import ConfigError
from icface.networks import ICface
from icface.networks.checkpoint import load_weights, read_tensors, write_tensors
from training.learning.config import TrainConfig
from training.learning.ema import Average
from training.learning.methods import Method

_HEADER: Final = "icface-training"

# These may differ between a run and its continuation: they change nothing that is learned.
FREE: Final = (
    "workers",
    "log_every",
    "pictures_every",
    "save_every",
    "validate_every",
    "provenance",
    "licence",
)


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    """Steps done."""
    best: float | None = None
    """Lowest validation L1 so far."""


def save_state(
    path: Path,
    config: TrainConfig,
    data: str,
    processes: int,
    progress: Progress,
    method: Method,
    average: Average[ICface],
) -> None:
    """Write the state.

    Args:
        path: the file; it appears whole or not at all.
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
    header = {"config": config.to_json(), "data": data, "processes": processes, **vars(progress)}
    write_tensors(path, tensors, {_HEADER: json.dumps(header)})


def load_state(
    path: Path, config: TrainConfig, data: str, processes: int, method: Method, average: Average[ICface]
) -> Progress:
    """Put a saved state into a fresh method and average.

    Raises:
        ConfigError: the file is damaged, or of a run with other settings, other data or another number of processes.
    """
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata[_HEADER])
        progress = Progress(step=int(header["step"]), best=header["best"])
        before = TrainConfig.from_json(header["config"])
        processes_before = int(header["processes"])
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not the state of a run of this version ({error})") from error
    different = first_difference(before, config)
    if different is not None:
        raise ConfigError(
            f"{path} is a run with {different}; go on with the same settings, or choose another --out"
        )
    if header["data"] != data:
        raise ConfigError(f"{path} is a run on other data; give the same --data, or choose another --out")
    if processes_before != processes:
        raise ConfigError(
            f"{path} is a run of {processes_before} processes, not {processes}, which would see other pairs; "
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
        _load_optimizer(optimizer, f"optimizer/{name}", parts)
    return progress


def first_difference(before: TrainConfig, now: TrainConfig) -> str | None:
    """The first setting that matters and differs, as `name 1, not 2`; None where there is none."""
    old, new = (_flat("", json.loads(config.to_json())) for config in (before, now))
    for name, value in old.items():
        if name not in FREE and value != new.get(name):
            return f"{name} = {value}, not {new.get(name)}"
    return None


def _flat(prefix: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        return {prefix: raw}
    result: dict[str, Any] = {}
    for key, value in raw.items():
        result |= _flat(f"{prefix}.{key}" if prefix else key, value)
    return result


def _load_optimizer(optimizer: Optimizer, prefix: str, parts: dict[str, dict[str, Tensor]]) -> None:
    current = optimizer.state_dict()
    state = {
        int(part.rpartition("/")[2]): values
        for part, values in parts.items()
        if part.startswith(prefix + "/")
    }
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
