"""Kinds of training: which task a config asks for, and which of the command's flags it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from training.learning.config import AnyConfig
from training.learning.paper.task import PaperTask
from training.learning.patch.config import PatchTrainConfig
from training.learning.patch.task import PatchTask
from training.learning.runtime import Runtime
from training.learning.task import Task
from training.learning.translation.config import TranslationConfig
from training.learning.translation.task import TranslationTask


class Flags(Protocol):
    """The flags of training/train.py that tasks take."""

    data: Path
    portraits: Path | None
    identity: Path | None
    perceptual: Path | None
    validation: Path | None


def build_task(config: AnyConfig, flags: Flags, runtime: Runtime) -> Task:
    """The task that the settings name."""
    if isinstance(config, PatchTrainConfig):
        return PatchTask(config, flags.data, runtime, flags.validation, flags.perceptual)
    if isinstance(config, TranslationConfig):
        return TranslationTask(config, flags.data, runtime)
    return PaperTask(config, flags.data, runtime, flags.portraits, flags.identity)
