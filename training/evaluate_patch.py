"""Measure patch correctors: `python training/evaluate_patch.py --data PAIRS --model runs/face/best.safetensors`.

It prints a table for geometry alone and for each model, and with `--out` draws sheets of target, warped frame and
corrected one. docs/models/edge.md says what the columns are.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
import torch
from torch import Tensor

from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.networks import PatchCorrector, load_corrector
from training.learning.patch.metrics import Correct, Pairs, corrected, load_pairs, measure, table
from training.learning.patch.pairs import interest
from training.networks.squeezenet import load_squeezenet

logger = logging.getLogger("training")

SHEET_COLUMNS = 6
TILE_PX = 384


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(description="Measure patch correctors against geometry alone.")
    add = result.add_argument
    add("--data", type=Path, required=True, help="folder of pairs that were not trained on")
    add("--sets", nargs="+", default=[], metavar="NAME", help="sets of it (default: all)")
    add("--model", type=Path, nargs="+", default=[], help="correctors, as training/train.py writes them")
    add("--perceptual", type=Path, metavar="ONNX", help="SqueezeNet with taps, for the perceptual distance")
    add("--out", type=Path, help="folder for sheets of pictures")
    add("--sheets", type=int, default=2, help="how many of each model (default: 2)")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def evaluate(flags: argparse.Namespace) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
    if flags.threads is not None:
        torch.set_num_threads(flags.threads)
    pairs = load_pairs(flags.data, flags.sets)
    taps = None if flags.perceptual is None else load_squeezenet(flags.perceptual)
    models: dict[str, Correct | None] = {"geometry": None}
    for path in flags.model:
        models[str(path)] = correction(load_corrector(path)[0])
    for name, correct in models.items():
        print(f"\n{name}\n" + as_text(table(pairs, measure(pairs, correct, taps))))
    if flags.out is None:
        return
    flags.out.mkdir(parents=True, exist_ok=True)
    hardest = np.argsort(-interest(pairs.conditions.numpy()))
    for number, path in enumerate(flags.model):
        for sheet_number in range(flags.sheets):
            first = sheet_number * SHEET_COLUMNS
            chosen = pairs.part(hardest[first : first + SHEET_COLUMNS].copy())
            if not len(chosen.target):
                break
            file = flags.out / f"{path.stem}_{number}_{sheet_number}.png"
            if not cv2.imwrite(str(file), sheet(chosen, models[str(path)])[..., ::-1]):
                raise ConfigError(f"cannot write {file}")


def correction(model: PatchCorrector) -> Correct:
    """A model as what is measured, at full strength."""
    return lambda patch, conditions: corrected(model, patch, conditions)


def as_text(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A table in Markdown."""
    columns = list(next(iter(rows.values())))
    digits = {"n": 0, "l1": 2, "inside": 1, "psnr_db": 1}
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = (f"{row[column]:.{digits.get(column, 3)}f}" for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@torch.no_grad()
def sheet(pairs: Pairs, correct: Correct | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture (H, W, 3) RGB: a column a pair, with target, warped frame and corrected one."""
    patch, target = pairs.patch.float() / 255, pairs.target.float() / 255
    rows = [target, patch[:, :3]]
    if correct is not None:
        rows.append(correct(patch, pairs.conditions))
    return np.vstack([np.hstack([_tile(picture) for picture in row]) for row in rows])


def _tile(picture: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    levels = (picture.clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)
    return np.asarray(cv2.resize(levels, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), evaluate, argv, stopped="stopped", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
