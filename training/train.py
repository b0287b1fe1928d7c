"""Train networks: `python training/train.py --config training/configs/paper.toml --data DATA --out runs/paper`.

The same command goes on where it was interrupted. Several GPUs of one machine: `--devices 8`; several machines: under
`torchrun` or `fabric run`, which decide how many processes there are. docs/training.md walks through it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import msgspec
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from icface.command import Parser, run_command
from icface.cpu import has_bf16
from icface.errors import ConfigError
from icface.files import write_file
from training.learning.config import load_config
from training.learning.kinds import build_task
from training.learning.runtime import Runtime
from training.learning.trainer import STATE, Trainer

logger = logging.getLogger("training")

LOCK = "run.lock"


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(
        description="Train G_N and G_A as ICface does, the patch corrector, or image translation; the config says what."
    )
    add = result.add_argument
    add("--config", type=Path, required=True, help="settings, a TOML file; see training/configs")
    add(
        "--data",
        type=Path,
        required=True,
        help="folder of the data set, of pairs of patches, or of A/, B/ and pairs/",
    )
    add("--out", type=Path, required=True, help="folder of the run; a run in it goes on")
    change = "change a setting, as optimizer.rate=1e-4"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=change)
    add("--portraits", type=Path, help="data set of portraits, for the method `unpaired` (default: --data)")
    add("--identity", type=Path, metavar="WEIGHTS", help="LightCNN-29 v2 weights for the identity loss")
    perceptual = "SqueezeNet with taps, an ONNX file, for the perceptual loss of patches"
    add("--perceptual", type=Path, metavar="ONNX", help=perceptual)
    add("--validation", type=Path, help="pairs of patches to validate on (default: those of --data)")
    add("--start", type=Path, metavar="MODEL", help="a trained model whose weights a new run takes up")
    tail = "end the run after so many more steps, in which the rate falls along half a cosine"
    add("--finish", type=int, metavar="STEPS", help=tail)
    add("--minutes", type=float, help="stop after about so long, to go on later")
    add("--accelerator", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    count = "how many; auto: all GPUs, or one CPU, or a launcher's (default: auto)"
    add("--devices", default="auto", help=count)
    add("--nodes", type=int, default=1, help="machines (default: 1, or a launcher's)")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


@contextmanager
def _terminable() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether the run was asked to stop, by Ctrl-C or a termination."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:  # amid a step: one network may then be a step further than another
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
    """Keep other trainings out of the folder, until the end or the death of this one."""
    lock, refused = FileLock(out / LOCK), ""
    if fabric.global_rank == 0:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            refused = f"another training runs in {out}; wait for its end, or choose another --out"
        except OSError as error:
            refused = f"cannot write to {out}: {error}"
    # All processes give up together.
    refused = fabric.broadcast(refused)
    if refused:
        raise ConfigError(refused)
    try:
        yield
    finally:
        lock.release()


def _check_flags(flags: argparse.Namespace) -> None:
    for name in ("threads", "nodes", "finish"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it has to be at least 1")
    if flags.minutes is not None and not flags.minutes >= 0:
        raise ConfigError(f"--minutes is {flags.minutes}; it cannot be negative")


def _launch(flags: argparse.Namespace, precision: str) -> Fabric:
    """The processes that train together: as many as the flags say, or as many as a launcher has started."""
    # `fabric run` hands its own flags to Fabric and has its processes joined; torchrun leaves both to us.
    by_fabric = os.environ.get("LT_CLI_USED", "0") == "1"
    started = int(os.environ.get("WORLD_SIZE", "1"))
    here = os.environ.get("LOCAL_WORLD_SIZE")
    devices, nodes = flags.devices, flags.nodes
    if here is not None and not by_fabric:
        devices = here if devices == "auto" else devices
        nodes = started // int(here) if nodes == 1 else nodes
    chosen: dict[str, Any] = {"devices": devices, "num_nodes": nodes, "precision": precision}
    try:
        fabric = Fabric(accelerator=flags.accelerator, **chosen)
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


def train(flags: argparse.Namespace) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
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
        runtime = Runtime(fabric, channels_last=config.channels_last)
        # Every process starts from the same weights.
        torch.manual_seed(config.seed)
        trainer = Trainer(build_task(config, flags, runtime), flags.out, runtime, flags.start)
        if flags.finish is not None:
            trainer.finish(flags.finish)
        if fabric.global_rank == 0:
            settings = msgspec.json.format(msgspec.json.encode(config, order="sorted"), indent=2)
            write_file(flags.out / "config.json", settings + b"\n")
        with _terminable() as stopped:
            try:
                done = trainer.run(flags.minutes, stopped)
            except KeyboardInterrupt:
                done = False
    if not done and fabric.global_rank == 0:
        state = flags.out / STATE
        goes_on = f"stopped; the same command goes on from {state}"
        logger.info(goes_on if state.exists() else "stopped before the first step; nothing is kept yet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return run_command(parser(), train, argv, stopped="stopped before the first step", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
