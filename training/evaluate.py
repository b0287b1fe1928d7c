"""Measure models on people they were not trained on, and draw the paper's figures.

    python training/evaluate.py --data DATA --model run/model.safetensors --model icface/models/edge.icface --out REPORT

A model is a checkpoint (.safetensors) or a bundle (a folder). REPORT gets report.md, report.json and pictures. Other
methods take part by their pictures:

    python training/evaluate.py --data DATA --list-cases cases.csv
    python training/evaluate.py --data DATA --model run/model.safetensors --frames X2Face=x2face --out REPORT
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from icface.command import Parser, run_command
from icface.errors import ConfigError
from training.evaluation.embedding import COLOURS, RANGES, SIZES_PX
from training.evaluation.evaluation import JUDGES, Evaluation, list_cases
from training.evaluation.model_report import replacing_report
from training.evaluation.tasks import SOURCES

logger = logging.getLogger(__name__)

NUMBERS: Final = {
    "max_frames": (1, 1_000_000),
    "max_tracks": (1, 1_000_000),
    "sweep_sources": (1, 1_000_000),
    "identity_size": SIZES_PX,
    "seed": (0, 2**32 - 1),
    "threads": (1, 4096),
}
"""Smallest and largest value of the flags that are numbers."""


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(
        description="Measure models on people they were not trained on.",
        synonyms={"--source": "--source-frame"},
    )
    add = result.add_argument
    add("--data", type=Path, required=True, help="folder that training/prepare.py made")
    models = "checkpoint or bundle; repeatable"
    add("--model", type=Path, default=[], action="append", metavar="PATH", help=models)
    frames = "pictures that another method made of the cases of --list-cases; repeatable"
    add("--frames", default=[], action="append", metavar="NAME=FOLDER", help=frames)
    add("--out", type=Path, help="folder of the report; an older report in it is replaced")
    listed = (
        "write the cases, for other methods to read: a table, and their pictures beside it; measure nothing"
    )
    add("--list-cases", type=Path, metavar="CSV", help=listed)
    add("--split", default="test", help="test, validation or train (default: %(default)s)")
    add("--only", choices=("tables", "figures"), help="leave the other out")
    source = "a clip's source: a frame drawn by the seed (default), or its most neutral, expressive or turned, or first"
    add("--source-frame", choices=SOURCES, default="random", help=source)
    add("--max-frames", type=int, default=24, help="driving frames a clip (default: %(default)s)")
    clips = "clips, from as many people as possible (default: %(default)s)"
    add("--max-tracks", type=int, default=16, help=clips)
    swept = "sources whose attributes are swept (default: %(default)s)"
    add("--sweep-sources", type=int, default=8, help=swept)
    for name, (_, told) in JUDGES.items():
        add(f"--{name}", type=Path, metavar="WEIGHTS", help=told)
    values = "signed, -1 to 1 (default); unit, 0 to 1; bytes, 0 to 255 (default of uint8)"
    add("--identity-range", choices=RANGES, help=f"values that an .onnx takes: {values}")
    channels = "channels that an .onnx takes (default: rgb, or gray where it has one)"
    add("--identity-colour", choices=COLOURS, help=channels)
    side = "side of what an .onnx takes, where it leaves it open (default: that of the crops)"
    add("--identity-size", type=int, metavar="PX", help=side)
    tables = "OpenFace's CSV files of the frames that --save-frames wrote"
    add("--openface-source", type=Path, nargs="+", default=[], metavar="CSV", help=tables)
    add("--save-frames", action="store_true", help="write outputs and drivers to REPORT/frames, for OpenFace")
    add("--seed", type=int, default=20, help="chooses clips and sources (default: %(default)s)")
    add("--device", default="auto", help="where checkpoints run: auto, cpu, cuda (default: auto)")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def _check_numbers(flags: argparse.Namespace) -> None:
    for name, (least, most) in NUMBERS.items():
        value = getattr(flags, name)
        if value is not None and not least <= value <= most:
            raise ConfigError(
                f"--{name.replace('_', '-')} is {value}; a whole number from {least} to {most} is needed"
            )


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {wanted} cannot be used: {error}") from error
    return wanted


def evaluate(flags: argparse.Namespace, command: str) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
    _check_numbers(flags)
    if flags.list_cases is not None:
        list_cases(flags)
        return
    if not flags.model and not flags.frames:
        raise ConfigError(
            "there is nothing to measure; give --model PATH, or --frames NAME=FOLDER of another method"
        )
    if flags.only == "figures" and not flags.model:
        raise ConfigError("--only figures draws models; give --model PATH")
    if flags.out is None:
        raise ConfigError("give --out FOLDER for the report")
    if flags.threads is not None:
        torch.set_num_threads(flags.threads)
    with ExitStack() as stack:
        evaluation = Evaluation(flags, _device(flags.device), stack)
        with replacing_report(flags.out) as folder:
            evaluation.run(folder, command)
    logger.info("%s", flags.out / "report.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "training/evaluate.py", *map(str, arguments)])
    return run_command(parser(), lambda flags: evaluate(flags, command), arguments, level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
