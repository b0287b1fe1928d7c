"""Files as others publish their weights, and files that only look so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class Command:
    """Unpickling it runs a shell command that leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._trace}",)


def save_with_code(path: Path, trace: Path, held: dict[str, Any], *, archive: bool = True) -> None:
    """As `torch.save` writes `held`, with a command hidden beside the weights."""
    torch.save({**held, "epoch": Command(trace)}, path, _use_new_zipfile_serialization=archive)
    # So that a test cannot pass because the command does nothing.
    torch.load(path, weights_only=False)
    assert trace.exists()
    trace.unlink()
