"""The whole state of a run in one safetensors file, so that it goes on as if it had never stopped.

Dropout and the choice of pairs follow from the seed and the step alone, so the step number is all the random state.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from torch import Tensor

from icface.errors import ConfigError
from icface.networks.checkpoint import load_weights, read_tensors, write_tensors
from training.learning.ema import Average
from training.learning.task import Task

_HEADER: Final = "icface-training"

# These may differ between a run and its continuation: they change nothing that is learned.
_EVERY: Final = ("log_every", "pictures_every", "save_every", "validate_every")
FREE: Final = (*_EVERY, "workers", "provenance", "licence")


class State(Struct, kw_only=True):
    """What a run is of, and how far it is."""

    config: str
    """Its settings, as JSON."""
    data: dict[str, str] | str
    """See `Task.digests`. Of runs that began with an earlier version it is that of --data alone."""
    processes: int
    """How many train together. With the batch size and the step they decide which pairs come next."""
    step: int
    """Steps done."""
    best: float | None
    """Lowest validation so far, by what the task is judged by."""
    best_step: int = 0
    """After which step that was."""
    tail: tuple[int, int] | None = None
    """Of a run that is being ended: the step at which the rate began to fall, and in how many steps it ends."""


def save_state(path: Path, state: State, task: Task, average: Average) -> None:
    """Write the state, networks, optimisers and averages. The file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written, or a value is not a finite number; an older state stays.
    """
    tensors = {f"average/{name}": tensor for name, tensor in average.module.state_dict().items()}
    for name, module in task.modules.items():
        tensors |= {f"module/{name}/{key}": tensor for key, tensor in module.state_dict().items()}
    for name, optimizer in task.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{index}/{key}": value for key, value in values.items()}
    write_tensors(path, tensors, {_HEADER: msgspec.json.encode(state).decode()})


def load_state(path: Path, state: State, task: Task, average: Average) -> None:
    """Put a saved state into a fresh one, its task and its average.

    Raises:
        ConfigError: the file is damaged, or of a run with other settings, other data or another number of processes.
    """
    tensors, metadata = read_tensors(path)
    try:
        saved = msgspec.json.decode(metadata[_HEADER], type=State)
        old, new = (
            _flat(msgspec.to_builtins(msgspec.json.decode(text, type=type(task.config))))
            for text in (saved.config, state.config)
        )
    except (KeyError, msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"{path} is not the state of a run of this version ({error})") from error
    for name in old | new:
        if name not in FREE and old.get(name) != new.get(name):
            raise ConfigError(
                f"{path} is a run with {name} = {old.get(name)}, not {new.get(name)}; "
                "go on with the same settings, or choose another --out"
            )
    _check_given(path, _table(saved.data), _table(state.data))
    if saved.processes != state.processes:
        raise ConfigError(
            f"{path} is a run of {saved.processes} processes, not {state.processes}, which would see other pairs; "
            "go on with as many, or choose another --out"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, key = name.rpartition("/")
        parts.setdefault(part, {})[key] = tensor
    load_weights(average.module, parts.get("average", {}), str(path))
    for name, module in task.modules.items():
        load_weights(module, parts.get(f"module/{name}", {}), str(path))
    for name, optimizer in task.optimizers.items():
        prefix = f"optimizer/{name}/"
        states = {int(p.removeprefix(prefix)): held for p, held in parts.items() if p.startswith(prefix)}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    state.step, state.best, state.best_step = saved.step, saved.best, saved.best_step
    state.tail = saved.tail


def _table(data: dict[str, str] | str) -> dict[str, str]:
    return {"data": data} if isinstance(data, str) else data


def _check_given(path: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise ConfigError where a flag that an old run knows of now names something else."""
    for name in old:
        if old[name] != new.get(name, ""):
            how = "with another" if old[name] else "without"
            raise ConfigError(f"{path} is a run {how} --{name}; go on with the same, or choose another --out")


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their whole names, as `networks.generator.width`."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        result |= _flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return result
