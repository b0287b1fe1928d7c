"""Tune the corrector that ships to one person, by pairs of her face; the held ones say how far.

The whole network learns, at a rate that falls, and what is kept is an average of its weights. It is validated on frames
of the last quarter before the first step and every so many steps, and the best weights are taken: where nothing improves,
those that ship.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, Final

import msgspec
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
from training.learning.runtime import DivergedError, Runtime
from training.learning.trainer import BEST, Trainer
from training.personal.bar import Progress
from training.personal.pairs import HELD, LEARN
from training.personal.start import corrector_of

logger = logging.getLogger(__name__)

CONFIG: Final = Path(__file__).resolve().parents[1] / "configs/personal.toml"
WARM_STEPS: Final = 6
"""Steps after which it is known how long one takes."""
MOST_STEPS: Final = 120
"""After 1000 the error of the held frames was a tenth lower, and skin, stubble and lashes were soft."""
PATIENCE: Final = 100
"""It ends when so many steps brought nothing."""
NAMES: Final = {"l1": "the mean error of mouth and eyes in levels", "perceptual": "the perceptual distance"}
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
        progress: is told the share of the steps that is done, or of the time that is over.
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
    config = _settings(accelerator, info.provenance, perceptual)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)
    torch.manual_seed(config.seed)
    runtime = Runtime(fabric, channels_last=config.channels_last)
    task = PatchTask(config, pairs / LEARN, runtime, pairs / HELD, perceptual)
    trainer = Trainer(task, run, runtime, start)
    try:
        trainer.run(stopped=_Watch(trainer, begun_s, 60 * minutes, progress, config.validate_every))
    except ConfigError as error:
        if not isinstance(error.__cause__, DivergedError):
            raise
        logger.warning("the tuning failed at step %d; the best weights before that are taken", trainer.step)
    with replacing_file(out) as unfinished:
        unfinished.write_bytes((run / BEST).read_bytes())
    progress(1.0)
    return told(run, task.judged_by)


class _Watch:
    """Looks at the clock before each step, and says whether to stop.

    A few steps tell how many fit into the time. Over these the rate falls.
    """

    def __init__(
        self, trainer: Trainer, begun_s: float, most_s: float, progress: Progress, validate_every: int
    ) -> None:
        self._trainer, self._progress, self._validate_every = trainer, progress, validate_every
        self._begun_s, self._most_s, self._opened_s = begun_s, most_s, time.monotonic()
        self._first: tuple[int, float] | None = None
        """The first step of this call, and when it began."""

    def __call__(self) -> bool:
        now_s = time.monotonic()
        left_s = self._begun_s + self._most_s - now_s
        over = min(1.0, max(0.0, 1 - left_s / self._most_s))
        self._progress(max(over, self._trainer.share) if self._trainer.is_ending else over)
        if self._first is None:
            self._first = self._trainer.step, now_s
        done = self._trainer.step - self._first[0]
        if not self._trainer.is_ending and done >= WARM_STEPS:
            # With the time to open everything, so it is a little too much.
            validation_s = self._first[1] - self._begun_s
            step_s = (now_s - self._first[1]) / done + validation_s / self._validate_every
            self._trainer.finish(max(1, min(MOST_STEPS, int(SHARE_OF_TIME * left_s / step_s))))
        return left_s <= 0 or self._trainer.since_best >= PATIENCE


def _settings(accelerator: str, provenance: str, perceptual: Path | None) -> PatchTrainConfig:
    config = load_config(CONFIG, [] if perceptual is None else ["losses.perceptual=0.5"])
    assert isinstance(config, PatchTrainConfig)
    changes: dict[str, Any] = {
        "precision": "bf16-mixed" if _is_fast_in_bf16(accelerator) else "32-true",
        "provenance": f"tuned to frames of one person; before that {provenance}",
        "licence": "MIT",
    }
    return msgspec.structs.replace(config, **changes)


def _is_fast_in_bf16(accelerator: str) -> bool:
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return accelerator in ("auto", "cpu") and has_bf16() is True


def told(run: Path, judged_by: str) -> str:
    """What a run won, in a sentence."""
    lines = [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]
    validations = [line for line in lines if line["group"] == "validation"]
    begun = max(number for number, line in enumerate(validations) if line["step"] == 0)
    first, best = validations[begun], min(validations[begun:], key=lambda line: float(line[judged_by]))
    if best["step"] == 0:
        return "on the frames held back nothing was better than the weights that ship; they are kept"
    return (
        f"on the frames held back, {NAMES[judged_by]} went from {first[judged_by]:.3g} to {best[judged_by]:.3g} "
        f"after {best['step']} steps of {validations[-1]['step']}"
    )
