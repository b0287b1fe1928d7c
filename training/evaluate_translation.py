"""Measure image translation: `python training/evaluate_translation.py --data DATA --model runs/x/best.safetensors`.

It prints PSNR, SSIM and L1 of outputs against the true counterparts of DATA/test, in both directions, beside those of the
input itself. With `--out` it writes the table, a sheet of pictures and every output. `--pictures FOLDER --to b` has the
models translate other pictures instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
import torch

from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.files import write_file
from icface.quality import psnr_db
from training.evaluation.similarity import l1, ssim
from training.learning.translation.pictures import as_image, files_of, find_pairs, read_picture, write_picture
from training.networks.translation import load_translators
from training.preparation.markdown import number, table

SHEET_COLUMNS: Final = 8
TILE_PX: Final = 192
INPUT: Final = "the input itself"

Translate = Callable[[Frame, str], Frame]
"""A frame (S, S, 3) RGB, and the domain that it is brought to, `a` or `b`."""


class Model:
    """One trained model under a name.

    Raises:
        ConfigError: the file is missing, damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"{path.parent.name}/{path.stem}" if path.parent.name else path.stem
        self._translators, info = load_translators(path)
        self.size_px = info.size_px

    @torch.no_grad()
    def __call__(self, frame: Frame, to: str) -> Frame:
        """See `Translate`."""
        mapping = self._translators.to_b if to == "b" else self._translators.to_a
        image = mapping(as_image(frame)[None])[0]
        levels = ((image + 1) * 127.5).round().clamp(0, 255).byte()
        return np.ascontiguousarray(levels.numpy().transpose(1, 2, 0))


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(description="Measure models of image translation on pairs that were not trained on.")
    add = result.add_argument
    given = result.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", type=Path, help="folder whose test/A and test/B are compared with")
    given.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="translate these instead; needs --to and --out"
    )
    add("--to", choices=("a", "b"), help="domain that --pictures are brought to")
    add("--model", type=Path, nargs="+", required=True, help="models, as training/train.py writes them")
    add("--out", type=Path, help="folder for the table, a sheet and every output")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def evaluate(flags: argparse.Namespace) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
    if flags.threads is not None:
        if flags.threads < 1:
            raise ConfigError(f"--threads is {flags.threads}; it has to be at least 1")
        torch.set_num_threads(flags.threads)
    models = [Model(path) for path in flags.model]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"two models are named alike: {', '.join(names)}; a name is the folder and the file"
        )
    if flags.pictures is not None:
        translate(models, flags.pictures, flags.to, flags.out)
        return
    sizes = {model.size_px for model in models}
    if len(sizes) > 1:
        raise ConfigError(
            f"the models have sizes of {sorted(sizes)} pixels, and are measured at one; give others apart"
        )
    pairs = find_pairs(flags.data / "test")
    if not pairs:
        raise ConfigError(
            f"{flags.data / 'test'} has no pairs; put them into its A and B, with the same names"
        )
    (size_px,) = sizes
    frames = [(read_picture(a, size_px), read_picture(b, size_px)) for a, b in pairs]
    methods: dict[str, Translate] = {INPUT: lambda frame, _: frame} | {model.name: model for model in models}
    outputs = {
        name: [(method(b, "a"), method(a, "b")) for a, b in frames] for name, method in methods.items()
    }
    text = as_text(frames, outputs)
    print(text)
    if flags.out is None:
        return
    write_picture(flags.out / "sheet.png", sheet(frames, outputs))
    write_file(flags.out / "report.md", text + "\n")
    for name in names:
        for (a, b), (to_a, to_b) in zip(pairs, outputs[name], strict=True):
            write_picture(flags.out / name / "A" / f"{b.stem}.png", to_a)
            write_picture(flags.out / name / "B" / f"{a.stem}.png", to_b)


def translate(models: Sequence[Model], folder: Path, to: str | None, out: Path | None) -> None:
    """Write what each model makes of all pictures of a folder, with the same names."""
    if to is None or out is None:
        raise ConfigError("--pictures needs --to a or --to b, and --out FOLDER")
    files = files_of(folder)
    if not files:
        raise ConfigError(f"{folder} has no pictures")
    for model in models:
        for path in files:
            made = model(read_picture(path, model.size_px), to)
            write_picture(out / model.name / path.relative_to(folder).with_suffix(".png"), made)


def as_text(frames: Sequence[tuple[Frame, Frame]], outputs: dict[str, list[tuple[Frame, Frame]]]) -> str:
    """A table in Markdown: means over the pairs, in each direction."""
    rows = []
    for name, made in outputs.items():
        cells: list[str] = [name]
        for domain in (1, 0):  # B first: what A becomes
            true_made = [(pair[domain], own[domain]) for pair, own in zip(frames, made, strict=True)]
            for measure, digits in ((_psnr_db, 2), (ssim, 3), (l1, 4)):
                cells.append(
                    number(float(np.mean([measure(found, true) for true, found in true_made])), digits)
                )
        rows.append(cells)
    measures = ("PSNR, dB", "SSIM", "L1")
    head = [f"{len(frames)} pairs", *(f"A→B {m}" for m in measures), *(f"B→A {m}" for m in measures)]
    return table(head, rows)


def _psnr_db(found: Frame, true: Frame) -> float:
    # Of equal pictures it is infinite, and so would the mean be.
    return min(psnr_db(found, true), 99.0)


def sheet(frames: Sequence[tuple[Frame, Frame]], outputs: dict[str, list[tuple[Frame, Frame]]]) -> Frame:
    """A picture (H, W, 3) RGB: rows of A, B and each model's B; then B, A and each model's A."""
    chosen = range(min(SHEET_COLUMNS, len(frames)))
    rows = []
    for given, wanted in ((0, 1), (1, 0)):
        rows += [[frames[i][given] for i in chosen], [frames[i][wanted] for i in chosen]]
        rows += [[made[i][wanted] for i in chosen] for name, made in outputs.items() if name != INPUT]
    tiles = [
        np.hstack([cv2.resize(f, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC) for f in row])
        for row in rows
    ]
    return np.asarray(np.vstack(tiles), dtype=np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), evaluate, argv, stopped="stopped")


if __name__ == "__main__":
    sys.exit(main())
