"""Train the generators: `python training/train.py --config training/configs/paper.toml --data DATA --out runs/paper`.

The same command goes on where it was interrupted. Several GPUs of one machine: `--devices 8`; several machines: under
`torchrun` or `fabric run`, which decide how many processes there are. docs/training.md walks through it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from icface.cpu import has_bf16
from icface.errors import ConfigError, ICFaceError
from icface.networks import ModelInfo, save_model
from training.checkpoints import Progress, load_state, save_state
from training.config import TrainConfig, load_config
from training.dataset import FaceTracks, PairConfig, PairDataset, PortraitDataset
from training.ema import Average
from training.journal import Journal, grid
from training.methods import build_method
from training.runtime import DivergedError, Runtime
from training.validation import Validation

logger = logging.getLogger("training")

STATE = "last.safetensors"
MODEL, BEST = "model.safetensors", "best.safetensors"
LOCK = "run.lock"


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
            self._progress = load_state(
                state, config, self._data_digest, self._runtime.processes, self._method, self._average
            )
            logger.info("going on after step %d of %d", self._progress.step, config.steps)
        if self._runtime.any(fabric.broadcast(self._progress.step) != self._progress.step):
            raise ConfigError(
                f"the processes find different states in {out}; all machines have to share that folder"
            )
        self._journal = Journal(out, self._progress.step) if self._runtime.rank == 0 else None

    def run(self, minutes: float | None = None, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end, for about that long, or until it is stopped; the state is kept each time.

        Args:
            minutes: for how long; None is to the end.
            stopped: asked before each step. Between two steps all networks are equally far.

        Returns:
            Whether all steps are done.

        Raises:
            ConfigError: a loss or a gradient is no finite number any more, or the state cannot be written.
        """
        config, progress, runtime = self._config, self._progress, self._runtime
        end_s = None if minutes is None else time.monotonic() + 60 * minutes
        saved = progress.step
        try:
            for step, batch in self._batches(progress.step):
                # Together: a process that goes on alone would wait for the others' gradients for ever.
                if runtime.any(stopped() or (end_s is not None and time.monotonic() > end_s)):
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
            # Also after a second ctrl-C, but never after a failure: the weights are the cause then.
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
        try:
            losses = self._method.step(batch)
        except DivergedError as error:
            kept = self._out / STATE
            raise ConfigError(
                f"step {step}: {error}; "
                + (f"the last good state is {kept}; " if kept.exists() else "")
                + "use a lower optimizer.rate, precision 32-true, or other data"
            ) from error
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
            save_state(
                self._out / STATE,
                self._config,
                self._data_digest,
                self._runtime.processes,
                self._progress,
                self._method,
                self._average,
            )

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
    add(
        "--devices",
        default="auto",
        help="how many; auto: all GPUs, or one CPU, or a launcher's (default: auto)",
    )
    add("--nodes", type=int, default=1, help="machines (default: 1, or a launcher's)")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


@contextmanager
def _terminable() -> Iterator[Callable[[], bool]]:
    """Gives whether the run was asked to stop, by ctrl-C or a termination.

    Asked twice, it stops amid a step: what it keeps then may have one network a step further than another.
    """
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(out: Path, fabric: Fabric) -> Iterator[None]:
    """Meanwhile no other training, of however many processes, writes into the folder; one that dies lets go.

    Raises:
        ConfigError: another one does, or the folder cannot be written.
    """
    lock, refused = FileLock(out / LOCK), ""
    if fabric.global_rank == 0:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            refused = f"another training runs in {out}; wait for its end, or choose another --out"
        except OSError as error:
            refused = f"cannot write to {out}: {error}"
    # All give up together.
    refused = fabric.broadcast(refused)
    if refused:
        raise ConfigError(refused)
    try:
        yield
    finally:
        lock.release()


def _check_flags(flags: argparse.Namespace) -> None:
    for name in ("threads", "nodes"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it has to be at least 1")
    if flags.minutes is not None and not flags.minutes >= 0:
        raise ConfigError(f"--minutes is {flags.minutes}; it cannot be negative")


def _launch(flags: argparse.Namespace, precision: str) -> Fabric:
    """The processes that train together: as many as the flags say, or as many as a launcher has started.

    Raises:
        ConfigError: there is no such device, or flags and launcher contradict each other.
    """
    # `fabric run` hands its own flags to Fabric and has its processes joined; torchrun leaves both to us.
    by_fabric = os.environ.get("LT_CLI_USED", "0") == "1"
    started = int(os.environ.get("WORLD_SIZE", "1"))
    here = os.environ.get("LOCAL_WORLD_SIZE")
    devices, nodes = flags.devices, flags.nodes
    if here is not None and not by_fabric:
        devices = here if devices == "auto" else devices
        nodes = started // int(here) if nodes == 1 else nodes
    try:
        fabric = Fabric(accelerator=flags.accelerator, devices=devices, num_nodes=nodes, precision=precision)
        if not by_fabric:
            fabric.launch()
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(f"--accelerator {flags.accelerator} --devices {flags.devices}: {error}") from error
    # Each would train by itself, into the same folder.
    if started > 1 and fabric.world_size != started:
        raise ConfigError(
            f"a launcher started {started} processes, but --devices {flags.devices} --nodes {flags.nodes} makes "
            f"{fabric.world_size} train together; leave both flags to the launcher"
        )
    return fabric


def train(flags: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ICFaceError: in one line, what failed and what to do.
    """
    _check_flags(flags)
    config = load_config(flags.config, flags.set)
    if flags.threads is not None:
        torch.set_num_threads(flags.threads)
    fabric = _launch(flags, config.precision)
    if fabric.device.type == "cpu" and config.precision == "bf16-mixed" and has_bf16() is False:
        logger.warning(
            "this processor has no bfloat16 of its own: --set precision=32-true is several times faster here"
        )
    with _alone(flags.out, fabric):
        trainer = Trainer(config, flags.data, flags.out, fabric, flags.portraits, flags.identity)
        if fabric.global_rank == 0:
            (flags.out / "config.json").write_text(json.dumps(json.loads(config.to_json()), indent=2) + "\n")
        with _terminable() as stopped:
            try:
                done = trainer.run(flags.minutes, stopped)
            except KeyboardInterrupt:
                done = False
    if not done and fabric.global_rank == 0:
        state = flags.out / STATE
        if state.exists():
            logger.info("stopped; the same command goes on from %s", state)
        else:
            logger.info("stopped before the first step; nothing is kept yet")
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
