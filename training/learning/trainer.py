"""One training run: it opens everything, trains, and keeps what it needs to go on as if it had never stopped."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from icface.errors import ConfigError
from training.learning.checkpoints import State, load_state, save_state
from training.learning.ema import Average
from training.learning.journal import Journal
from training.learning.runtime import DivergedError, Runtime
from training.learning.settings import cosine
from training.learning.task import Task

logger = logging.getLogger(__name__)

STATE = "last.safetensors"
MODEL, BEST = "model.safetensors", "best.safetensors"


class Trainer:
    """One run of a task, then `run`.

    Args:
        out: folder of the run; a state in it is taken up.
        start: a trained model whose weights a new run takes up. It is validated first, so that the best of the run is
            never worse.

    Raises:
        ConfigError: settings, data or the state in `out` do not fit each other.
    """

    def __init__(self, task: Task, out: Path, runtime: Runtime, start: Path | None = None) -> None:
        self._task, self._out, self._runtime = task, out, runtime
        self._config = config = task.config
        goes_on = (out / STATE).exists()
        self._begins_with_model = start is not None and not goes_on
        if start is not None and not goes_on:
            task.start_from(start)
        self._average = Average(task.model(), config.ema)
        # The networks that are shown and kept: the averaged ones, if there is averaging.
        self._shown = self._average.module if config.ema > 0 else task.model()
        self._state = State(
            config=msgspec.json.encode(config).decode(),
            data=task.digests,
            processes=runtime.processes,
            step=0,
            best=None,
        )
        if goes_on:
            load_state(out / STATE, self._state, task, self._average)
            logger.info("going on after step %d of %d", self._state.step, self._last())
        if runtime.any(runtime.of_first(self._state.step) != self._state.step):
            raise ConfigError(
                f"the processes find different states in {out}; all machines have to share that folder"
            )
        self._journal = Journal(out, self._state.step) if runtime.rank == 0 else None

    def finish(self, steps: int) -> None:
        """End the run after so many more steps, in which the rate falls along half a cosine; once is enough.

        While it runs, `stopped` may call this.
        """
        if self._state.tail is None:
            self._state.tail = (self._state.step, steps)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._state.step

    @property
    def share(self) -> float:
        """Share of the steps that is done, 0 to 1."""
        return min(1.0, self._state.step / max(1, self._last()))

    @property
    def since_best(self) -> int:
        """Steps since the validation that was the best so far."""
        return self._state.step - self._state.best_step

    @property
    def is_ending(self) -> bool:
        """Whether `finish` was called, now or before the run was stopped."""
        return self._state.tail is not None

    def _last(self) -> int:
        return self._config.steps if self._state.tail is None else sum(self._state.tail)

    def _rate_factor(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0."""
        if self._state.tail is None:
            return self._config.rate_factor(step)
        start, steps = self._state.tail
        return self._config.rate_factor(start) * cosine((step - start) / steps)

    def run(self, minutes: float | None = None, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end, for about that long, or until it is stopped; the state is kept each time.

        Args:
            minutes: for how long; None is to the end.
            stopped: asked before each step. Between two steps all networks are equally far.

        Returns:
            Whether all steps are done.

        Raises:
            ConfigError: a loss or a gradient is not a finite number any more, or the state cannot be written.
        """
        config, state, runtime, journal = self._config, self._state, self._runtime, self._journal
        end_s = None if minutes is None else time.monotonic() + 60 * minutes
        saved = state.step
        try:
            if self._begins_with_model and state.step == 0:
                self._validate()
            for step, batch in self._batches(state.step):
                # All stop together: a process that goes on alone would wait for the others' gradients.
                if runtime.any(stopped() or (end_s is not None and time.monotonic() > end_s)):
                    break
                if step > self._last():
                    break
                losses = self._step(step, batch)
                state.step = step
                if step % config.log_every == 0:
                    means = {name: float(runtime.mean(loss)) for name, loss in losses.items()}
                    if journal is not None:
                        journal.numbers(step, "train", means)
                if step % config.pictures_every == 0 and journal is not None:
                    journal.picture(step, "train", *self._task.picture(self._shown, batch))
                if step % config.validate_every == 0 or step == self._last():
                    self._validate()
                if step % config.save_every == 0 or step == self._last():
                    self._save()
                    saved = step
        finally:
            if journal is not None:
                journal.close()
            # Also after a second Ctrl-C. Never after a failure: the weights may be its cause.
            if saved != state.step and not isinstance(sys.exc_info()[1], Exception):
                self._save()
        return state.step >= self._last()

    def _batches(self, done: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """(step counted from 1, batch) from where the run is. A batch depends on its step alone."""
        config, runtime = self._config, self._runtime
        size, stride = config.batch_size, config.batch_size * runtime.processes
        numbers = [
            range(step * stride + runtime.rank * size, step * stride + (runtime.rank + 1) * size)
            for step in range(done, self._last())
        ]
        loaders = [
            DataLoader(
                dataset,
                batch_sampler=numbers,  # type: ignore[arg-type]
                num_workers=config.workers,
                pin_memory=runtime.device.type == "cuda",
            )
            for dataset in self._task.datasets()
        ]
        for step, parts in enumerate(zip(*loaders, strict=True), start=done + 1):
            yield step, runtime.put({name: tensor for part in parts for name, tensor in part.items()})

    def _step(self, step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        config = self._config
        # Dropout follows from the step, too, and differs between processes.
        torch.manual_seed(hash((config.seed, step, self._runtime.rank)) % 2**63)
        for optimizer in self._task.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = (
                    config.optimizer.rate * self._rate_factor(step - 1) * group.get("rate_share", 1.0)
                )
        try:
            losses = self._task.step(batch)
        except DivergedError as error:
            state = self._out / STATE
            kept = f"the last good state is {state}; " if state.exists() else ""
            advice = "use a lower optimizer.rate, precision 32-true, or other data"
            raise ConfigError(f"step {step}: {error}; {kept}{advice}") from error
        if config.ema > 0:
            self._average.update(step)
        return losses

    def _validate(self) -> None:
        """Every process measures all pairs, so no process waits for another."""
        numbers, batch = self._task.validate(self._shown)
        found, before = numbers[self._task.judged_by], self._state.best
        best = before is None or found < before
        if best:
            self._state.best, self._state.best_step = found, self._state.step
        if self._journal is None:
            return
        step = self._state.step
        self._journal.numbers(step, "validation", numbers)
        self._journal.picture(step, "validation", *self._task.picture(self._shown, batch))
        if best:
            self._write(BEST)

    def _save(self) -> None:
        if self._runtime.rank == 0:
            self._write(MODEL)
            save_state(self._out / STATE, self._state, self._task, self._average)

    def _write(self, name: str) -> None:
        self._task.save(self._out / name, self._shown, self._state.step)
