"""Train the generators: `python training/train.py --config training/configs/paper.toml --data DATA --out runs/paper`.

The same command goes on where it was interrupted. On several GPUs or machines: `--devices 8 --nodes 2` under torchrun
or `fabric run`. docs/training.md walks through it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from icface.errors import ConfigError, ICFaceError
from icface.networks import ModelInfo, save_model
from training.checkpoints import Progress, load_state, save_state
from training.config import TrainConfig, load_config
from training.dataset import FaceTracks, PairConfig, PairDataset, PortraitDataset
from training.ema import Average
from training.journal import Journal, grid
from training.methods import build_method
from training.runtime import Runtime
from training.validation import Validation

logger = logging.getLogger("training")

STATE = "last.safetensors"
MODEL, BEST = "model.safetensors", "best.safetensors"


class Trainer:
    """One run: everything opened, then `run`.

    Args:
        config: settings.
        data: folder that training/prepare.py made.
        out: folder of the run; a state in it is taken up.
        fabric: launched.
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
        _check_data(config, tracks, data)
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
            _check_data(config, faces, portraits or data)
            self._datasets.append(PortraitDataset(faces, "train", seed=config.seed))
        # Every process starts from the same weights.
        torch.manual_seed(config.seed)
        network = None
        if identity is not None:
            from icface.networks.lightcnn import load_lightcnn

            network = load_lightcnn(identity)
        self._method = build_method(config, self._runtime, network)
        self._average = Average(self._method.model(), config.ema)
        self._validation = Validation(tracks, config, self._runtime)
        self._data_digest = hashlib.sha256((data / "index.json").read_bytes()).hexdigest()
        self._progress = Progress()
        state = out / STATE
        if state.exists():
            self._progress = load_state(state, config, self._data_digest, self._method, self._average)
            logger.info("going on after step %d of %d", self._progress.step, config.steps)
        self._journal = Journal(out, self._progress.step) if self._runtime.rank == 0 else None

    def run(self, minutes: float | None = None) -> bool:
        """Train to the end, or for about that long; the state is kept either way.

        Returns:
            Whether all steps are done.

        Raises:
            ConfigError: a loss is no finite number any more, or the state cannot be written.
        """
        config, progress = self._config, self._progress
        end_s = None if minutes is None else time.monotonic() + 60 * minutes
        saved = progress.step
        try:
            for step, batch in self._batches(progress.step):
                if end_s is not None and time.monotonic() > end_s:
                    break
                losses = self._step(step, batch)
                progress.step = step
                if step % config.log_every == 0:
                    self._log(step, losses)
                if step % config.pictures_every == 0:
                    self._show(step, batch)
                if step % config.validate_every == 0 or step == config.steps:
                    self._validate()
                if step % config.save_every == 0 or step == config.steps:
                    self._save()
                    saved = step
        finally:
            if self._journal is not None:
                self._journal.close()
            # Also after ctrl-C, but never after a failure: the weights are the cause then.
            if saved != progress.step and not isinstance(sys.exc_info()[1], Exception):
                self._save()
        return progress.step >= config.steps

    def _batches(self, done: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """(step counted from 1, batch) from where the run is; what is in a batch depends on its step alone."""
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
                persistent_workers=False,
            )
            for dataset in self._datasets
        ]
        for offset, parts in enumerate(zip(*loaders, strict=True)):
            yield (
                done + offset + 1,
                runtime.put({name: tensor for part in parts for name, tensor in part.items()}),
            )

    def _step(self, step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        config = self._config
        # Dropout follows from the step, too, and is another one in each process.
        torch.manual_seed(hash((config.seed, step, self._runtime.rank)) % 2**63)
        for optimizer in self._method.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.rate * config.rate_factor(step - 1)
        losses = self._method.step(batch)
        values = torch.stack(list(losses.values()))
        if not bool(torch.isfinite(values).all()):
            names = [name for name, loss in losses.items() if not bool(torch.isfinite(loss))]
            kept = self._out / STATE
            raise ConfigError(
                f"step {step}: the loss {', '.join(names)} is not a finite number any more; "
                + (f"the last good state is {kept}; " if kept.exists() else "")
                + "use a lower optimizer.rate, precision 32-true, or other data"
            )
        if config.ema > 0:
            self._average.update(step)
        return losses

    def _log(self, step: int, losses: dict[str, Tensor]) -> None:
        means = {name: float(self._runtime.mean(loss)) for name, loss in losses.items()}
        if self._journal is not None:
            self._journal.numbers(step, "train", means)

    def _show(self, step: int, batch: dict[str, Tensor]) -> None:
        if self._journal is not None:
            self._journal.picture(step, "train", grid(self._shown(), batch))

    def _validate(self) -> None:
        """Every process measures all pairs, so that none waits for another."""
        numbers, batch = self._validation.measure(self._shown())
        best = self._progress.best is None or numbers["l1"] < self._progress.best
        if best:
            self._progress.best = numbers["l1"]
        if self._journal is None:
            return
        self._journal.numbers(self._progress.step, "validation", numbers)
        self._journal.picture(self._progress.step, "validation", grid(self._shown(), batch))
        if best:
            self._write(BEST)

    def _save(self) -> None:
        if self._runtime.rank == 0:
            self._write(MODEL)
            path = self._out / STATE
            save_state(path, self._config, self._data_digest, self._progress, self._method, self._average)

    def _shown(self) -> Any:
        """The generators that count: averaged, if there is averaging."""
        return self._average.module if self._config.ema > 0 else self._method.model()

    def _write(self, name: str) -> None:
        save_model(self._out / name, self._shown(), replace(self._info, step=self._progress.step))


def _check_data(config: TrainConfig, tracks: FaceTracks, folder: Path) -> None:
    size_px = config.networks.size_px
    if tracks.size_px != size_px:
        raise ConfigError(
            f"{folder} holds crops of {tracks.size_px} pixels, the settings say {size_px}; "
            f"prepare it with --size {size_px}, or --set networks.size_px={tracks.size_px}"
        )
    wanted, found = config.networks.discriminator.identities, len(tracks.index.splits["train"])
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"{folder} has {found} identities to train on, D's head {wanted}; "
            f"--set networks.discriminator.identities={found}"
        )


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = argparse.ArgumentParser(description="Train G_N and G_A as ICface does.")
    add = result.add_argument
    add("--config", type=Path, required=True, help="settings, a TOML file; see training/configs")
    add("--data", type=Path, required=True, help="folder that training/prepare.py made")
    add("--out", type=Path, required=True, help="folder of the run; a run in it goes on")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, as optimizer.rate=1e-4",
    )
    add("--portraits", type=Path, help="data set of portraits, for the method `unpaired` (default: --data)")
    add("--identity", type=Path, metavar="WEIGHTS", help="LightCNN-29 v2 weights for the identity loss")
    add("--minutes", type=float, help="stop after about so long, to go on later")
    add("--accelerator", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    add("--devices", default="auto", help="how many, or auto (default: auto; on a CPU 1)")
    add("--nodes", type=int, default=1, help="machines (default: 1)")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


@contextmanager
def _terminable() -> Iterator[None]:
    """A termination is like ctrl-C: the state is kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def train(flags: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ICFaceError: in one line, what failed and what to do.
    """
    config = load_config(flags.config, flags.set)
    if flags.threads is not None:
        torch.set_num_threads(flags.threads)
    devices = flags.devices
    if devices == "auto" and not torch.cuda.is_available():
        devices = 1
    try:
        fabric = Fabric(
            accelerator=flags.accelerator, devices=devices, num_nodes=flags.nodes, precision=config.precision
        )
        fabric.launch()
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(f"--accelerator {flags.accelerator} --devices {flags.devices}: {error}") from error
    trainer = Trainer(config, flags.data, flags.out, fabric, flags.portraits, flags.identity)
    if fabric.global_rank == 0:
        (flags.out / "config.json").write_text(json.dumps(json.loads(config.to_json()), indent=2) + "\n")
    with _terminable():
        try:
            done = trainer.run(flags.minutes)
        except KeyboardInterrupt:
            done = False
    if not done and fabric.global_rank == 0:
        logger.info("stopped; the same command goes on from %s", flags.out / STATE)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    try:
        flags = parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        return train(flags)
    except (ICFaceError, OSError) as error:
        if flags.verbose > 1:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("error: stopped before the first step", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
