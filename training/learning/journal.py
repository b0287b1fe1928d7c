"""Writes down how a run goes: TensorBoard scalars and pictures, and the numbers as JSON lines."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from icface.errors import ConfigError
from icface.files import write_file

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class Journal:
    """Numbers and pictures of a run, in its folder. Lines of an interrupted run after `step` are dropped.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
            _drop_beyond(folder / LOG, step)
            self._lines = (folder / LOG).open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error}") from error
        self._last = (time.monotonic(), step)

    def numbers(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """A line of numbers."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)
        self._lines.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self._lines.flush()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if group == "train":
            now, (before, last) = time.monotonic(), self._last
            shown += f", {(now - before) / max(1, step - last):.2f} s a step"
            self._last = (now, step)
        logger.info("%s %d: %s", group, step, shown)

    def picture(self, step: int, group: str, caption: str, picture: Tensor) -> None:
        """A picture (3, H, W) RGB in [0, 1]."""
        self._writer.add_image(f"{group}/{caption}", picture.clamp(0, 1).cpu(), step)

    def close(self) -> None:
        self._writer.close()
        self._lines.close()


def _drop_beyond(path: Path, step: int) -> None:
    """Keep the lines up to a step: those after it are written again, and a killed run's last one may be half."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        write_file(path, "".join(line for line in lines if _is_until(line, step)))


def _is_until(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
