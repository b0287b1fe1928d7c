"""Tune the corrector that ships to one person, by pairs of her face; the held ones say how far.

The whole network learns, at a rate that falls, and what is kept is an average of its weights. It is validated on frames
of the last quarter before the first step and every so many steps, and the best weights are taken: where nothing improves,
those that ship.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric import Fabric

from icface.cpu import has_bf16
from icface.errors import ConfigError
from icface.files import replacing_file
from icface.networks import save_corrector
from training.learning.config import load_config
from training.learning.journal import LOG
from training.learning.patch.config import PatchTrainConfig
from training.learning.patch.task import PatchTask
from training.learning.runtime import Runtime
from training.learning.trainer import BEST, Trainer
from training.personal.pairs import HELD, LEARN, Progress
from training.personal.start import corrector_of

CONFIG: Final = Path(__file__).resolve().parents[1] / "configs/personal.toml"
WARM_STEPS: Final = 6
"""Steps after which it is known how long one takes."""
MOST_STEPS: Final = 1200
PATIENCE: Final = 250
"""It ends when so many steps brought nothing."""
SHARE_OF_TIME: Final = 0.92
"""The falling rate ends a little before the time does, so that a slower machine still gets there."""


def tune(
    pairs: Path,
    out: Path,
    minutes: float,
    progress: Progress,
    *,
    perceptual: Path | None = None,
    accelerator: str = "auto",
) -> str:
    """Tune the corrector; the same call goes on where it was interrupted.

    Args:
        pairs: folder that `make_pairs` wrote.
        out: where the weights go, a safetensors file. The run lies beside it, in a folder of the same name.
        minutes: how long it may take, about.
        progress: is told the share of the time that is over.
        perceptual: weights of SqueezeNet, which then judges and teaches, too.
        accelerator: auto, cpu, cuda or mps.

    Returns:
        A sentence: what was won, or that the weights that ship were kept.

    Raises:
        ConfigError: the pairs cannot be used, or `out` cannot be written.
    """
    if not minutes > 0:
        raise ConfigError(f"{minutes} minutes: a time above 0 is needed")
    begun_s = time.monotonic()
    run = out.with_suffix(".run")
    start = run / "start.safetensors"
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {run}: {error.strerror or error}") from error
    network, info = corrector_of()
    save_corrector(start, network, info)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=_precision(accelerator))  # type: ignore[arg-type]
    config = _settings(fabric, info.provenance, perceptual)
    torch.manual_seed(config.seed)
    with _quiet(), _all_cores(fabric):
        runtime = Runtime(fabric, channels_last=config.channels_last)
        task = PatchTask(config, pairs / LEARN, runtime, pairs / HELD, perceptual)
        trainer = Trainer(task, run, runtime, start)
        watch = _Watch(trainer, begun_s, 60 * minutes, progress)
        _train(trainer, watch, config.validate_every)
    with replacing_file(out) as unfinished:
        unfinished.write_bytes((run / BEST).read_bytes())
    progress(1.0)
    return told(run, task.judged_by)


class _Watch:
    """Looks at the clock before each step."""

    def __init__(self, trainer: Trainer, begun_s: float, most_s: float, progress: Progress) -> None:
        self._trainer, self._progress = trainer, progress
        self.begun_s, self.most_s = begun_s, most_s

    def left_s(self) -> float:
        return self.begun_s + self.most_s - time.monotonic()

    def is_over(self) -> bool:
        """Whether to stop before the next step."""
        self._progress(min(1.0, max(0.0, 1 - self.left_s() / self.most_s)))
        return self.left_s() <= 0 or self._trainer.since_best >= PATIENCE


def _train(trainer: Trainer, watch: _Watch, validate_every: int) -> None:
    """A few steps tell how many fit into the time; over these the rate falls."""
    if not trainer.is_ending:
        trainer.run(0.0)  # validates the start
        validated_s = time.monotonic() - watch.begun_s
        first_s = time.monotonic()
        trainer.run(stopped=lambda: watch.is_over() or trainer.step >= WARM_STEPS)
        step_s = (time.monotonic() - first_s) / max(1, trainer.step) + validated_s / validate_every
        fitting = int(SHARE_OF_TIME * watch.left_s() / step_s)
        trainer.finish(max(1, min(MOST_STEPS, fitting)))
    trainer.run(stopped=watch.is_over)


def _settings(fabric: Fabric, provenance: str, perceptual: Path | None) -> PatchTrainConfig:
    shares = [] if perceptual is None else ["losses.perceptual=0.5"]
    config = load_config(CONFIG, shares)
    assert isinstance(config, PatchTrainConfig)
    changes: dict[str, Any] = {
        "precision": fabric._precision.precision,
        "provenance": f"tuned to frames of one person; before that: {provenance}",
    }
    import msgspec

    return msgspec.structs.replace(config, **changes)
