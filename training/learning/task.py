"""What a run trains. The trainer knows no more of it than this."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from training.learning.settings import RunConfig

Batch = Mapping[str, Tensor]


def digest_of(path: Path | None) -> str:
    """Of a file's content; empty where none is given."""
    if path is None:
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Task(ABC):
    """Data, networks and one step on them. Everything is made when it is created, on the runtime's device."""

    config: RunConfig
    modules: Mapping[str, nn.Module]
    """Everything that is saved to go on, by name."""
    optimizers: Mapping[str, Optimizer]
    digests: dict[str, str]
    """Of data and networks that are given, by their flags' names without the dashes: a run does not go on with others."""
    judged_by: str
    """Which number of a validation decides what is best; the lowest is."""

    @abstractmethod
    def model(self) -> nn.Module:
        """What is averaged, validated and exported; the trained module itself, not a copy."""

    @abstractmethod
    def datasets(self) -> Sequence[Dataset[dict[str, Tensor]]]:
        """Each gives a part of a batch; an item depends on its number alone."""

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimisation step of all networks; gives the losses, unweighted and detached, one number each.

        Raises:
            DivergedError: a loss or a gradient is not a finite number. The state in memory is useless then.
        """

    @abstractmethod
    def validate(self, shown: Any) -> tuple[dict[str, float], Batch]:
        """Numbers on data that are not trained on, and a batch of them for a picture."""

    @abstractmethod
    def picture(self, shown: Any, batch: Batch) -> tuple[str, Tensor]:
        """What a picture shows, in words, and the picture (3, H, W) RGB in [0, 1]."""

    @abstractmethod
    def save(self, path: Path, shown: Any, step: int) -> None:
        """Write the model, as what reads models takes it."""

    def start_from(self, path: Path) -> None:
        """Take up the weights of a trained model.

        Raises:
            ConfigError: they do not fit.
        """
        raise NotImplementedError
