"""One training run: it opens everything, trains, and keeps what it needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch
from lightning_fabric import Fabric
from msgspec.structs import replace
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from icface.errors import ConfigError
from icface.networks import ICface, ModelInfo, save_model
from training.dataset.index import INDEX_FILE
from training.dataset.pairs import PairConfig, PairDataset, PortraitDataset
from training.dataset.reading import FaceTracks
from training.learning.checkpoints import State, load_state, save_state
from training.learning.config import TrainConfig
from training.learning.ema import Average
from training.learning.journal import Journal
from training.learning.methods import build_method
from training.learning.runtime import DivergedError, Runtime
from training.learning.validation import validate, validation_pairs
from training.networks.lightcnn import load_lightcnn

logger = logging.getLogger(__name__)

STATE = "last.safetensors"
MODEL, BEST = "model.safetensors", "best.safetensors"


class Trainer:
    """One run: everything opened, then `run`.

    Args:
        data: folder that training/prepare.py made.
        out: folder of the run; a state in it is taken up.
        portraits: data set of portraits for the method `unpaired`; None takes them from `data`.
        identity: weights of the identity network.

    Raises:
        ConfigError: settings, data or the state in `out` do not fit each other.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        out: Path,
        fabric: Fabric,
        portraits: Path | None = None,
        identity: Path | None = None,
    ) -> None:
        self._config = config
        self._out = out
        tracks = FaceTracks(data)
        _check_data(config, tracks)
        self._info = ModelInfo(
            networks=config.networks,
            attribute_scale=tracks.attribute_scale,
            provenance=config.provenance or f"trained on {data.name}",
            licence=config.licence,
            step=0,
        )
        self._runtime = Runtime(fabric, channels_last=config.channels_last)
        pairs = PairConfig(sampling=config.sampling.mode, flip=config.sampling.flip, seed=config.seed)
        self._datasets: list[Dataset[dict[str, Tensor]]] = [PairDataset(tracks, "train", pairs)]
        if config.method == "unpaired":
            faces = tracks if portraits is None else FaceTracks(portraits)
            _check_data(config, faces)
            self._datasets.append(PortraitDataset(faces, "train", seed=config.seed))
        # Every process starts from the same weights.
        torch.manual_seed(config.seed)
        network = None if identity is None else load_lightcnn(identity)
        self._method = build_method(config, self._runtime, network)
        self._average = Average(self._method.model(), config.ema)
        # The generators that are shown and kept: the averaged ones, if there is averaging.
        self._shown: ICface = self._average.module if config.ema > 0 else self._method.model()
        self._validation_pairs = validation_pairs(tracks)
        self._state = State(
            config=msgspec.json.encode(config).decode(),
            data=hashlib.sha256((data / INDEX_FILE).read_bytes()).hexdigest(),
            processes=self._runtime.processes,
            step=0,
            best=None,
        )
        if (out / STATE).exists():
            load_state(out / STATE, self._state, self._method, self._average)
            logger.info("going on after step %d of %d", self._state.step, config.steps)
        if self._runtime.any(fabric.broadcast(self._state.step) != self._state.step):
            raise ConfigError(
                f"the processes find different states in {out}; all machines have to share that folder"
            )
        self._journal = Journal(out, self._state.step) if self._runtime.rank == 0 else None

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
            for step, batch in self._batches(state.step):
                # All stop together: a process that goes on alone would wait for the others' gradients.
                if runtime.any(stopped() or (end_s is not None and time.monotonic() > end_s)):
                    break
                losses = self._step(step, batch)
                state.step = step
                if step % config.log_every == 0:
                    means = {name: float(runtime.mean(loss)) for name, loss in losses.items()}
                    if journal is not None:
                        journal.numbers(step, "train", means)
                if step % config.pictures_every == 0 and journal is not None:
                    journal.pictures(step, "train", self._shown, batch)
                if step % config.validate_every == 0 or step == config.steps:
                    self._validate()
                if step % config.save_every == 0 or step == config.steps:
                    self._save()
                    saved = step
        finally:
            if journal is not None:
                journal.close()
            # Also after a second Ctrl-C. Never after a failure: the weights may be its cause.
            if saved != state.step and not isinstance(sys.exc_info()[1], Exception):
                self._save()
        return state.step >= config.steps

    def _batches(self, done: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """(step counted from 1, batch) from where the run is. A batch depends on its step alone."""
        config, runtime = self._config, self._runtime
        size, stride = config.batch_size, config.batch_size * runtime.processes
        numbers = [
            range(step * stride + runtime.rank * size, step * stride + (runtime.rank + 1) * size)
            for step in range(done, config.steps)
        ]
        loaders = [
            DataLoader(
                dataset,
                batch_sampler=numbers,  # type: ignore[arg-type]
                num_workers=config.workers,
                pin_memory=runtime.device.type == "cuda",
            )
            for dataset in self._datasets
        ]
        for step, parts in enumerate(zip(*loaders, strict=True), start=done + 1):
            yield step, runtime.put({name: tensor for part in parts for name, tensor in part.items()})

    def _step(self, step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        config = self._config
        # Dropout follows from the step, too, and differs between processes.
        torch.manual_seed(hash((config.seed, step, self._runtime.rank)) % 2**63)
        for optimizer in self._method.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.rate * config.rate_factor(step - 1)
        try:
            losses = self._method.step(batch)
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
        numbers, batch = validate(self._shown, self._validation_pairs, self._config, self._runtime)
        best = self._state.best is None or numbers["l1"] < self._state.best
        if best:
            self._state.best = numbers["l1"]
        if self._journal is None:
            return
        self._journal.numbers(self._state.step, "validation", numbers)
        self._journal.pictures(self._state.step, "validation", self._shown, batch)
        if best:
            self._write(BEST)

    def _save(self) -> None:
        if self._runtime.rank == 0:
            self._write(MODEL)
            save_state(self._out / STATE, self._state, self._method, self._average)

    def _write(self, name: str) -> None:
        save_model(self._out / name, self._shown, replace(self._info, step=self._state.step))


def _check_data(config: TrainConfig, tracks: FaceTracks) -> None:
    size_px = config.networks.size_px
    if tracks.size_px != size_px:
        raise ConfigError(
            f"{tracks.folder} holds crops of {tracks.size_px} pixels, the settings say {size_px}; "
            f"prepare it with --size {size_px}, or --set networks.size_px={tracks.size_px}"
        )
    wanted, found = config.networks.discriminator.identities, len(tracks.index.splits["train"])
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"{tracks.folder} has {found} identities to train on, D's head {wanted}; "
            f"--set networks.discriminator.identities={found}"
        )
