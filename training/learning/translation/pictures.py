"""Pictures of two domains, on disk and as batches.

    DATA/A/, DATA/B/                pictures whose counterparts are not known
    DATA/pairs/A/, DATA/pairs/B/    pairs: their names are the same but for the ending
    DATA/test/A/, DATA/test/B/      pairs that are not trained on

Those of the pairs also count among the unpaired ones. Subfolders are looked into.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from icface.arrays import Frame
from icface.errors import ConfigError, SourceError
from icface.images import load_photo
from training.learning.mixing import takes_pairs
from training.learning.translation.config import TranslationConfig

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

Pairs = list[tuple[Path, Path]]


class Pictures(NamedTuple):
    """The files of a data set, sorted by name."""

    a: list[Path]
    """All of A to train on."""
    b: list[Path]
    pairs: Pairs
    test: Pairs

    def digest(self) -> str:
        """Of names and sizes of what is trained on."""
        files = [*self.a, *self.b]
        told = "\n".join(f"{path.name} {path.stat().st_size}" for path in files)
        return hashlib.sha256(f"{len(self.a)} {len(self.pairs)}\n{told}".encode()).hexdigest()


def find_pictures(data: Path) -> Pictures:
    """Look for the pictures of a data set.

    Raises:
        ConfigError: there are none, or a picture of a pair is missing.
    """
    pairs, test = find_pairs(data / "pairs"), find_pairs(data / "test")
    a = [first for first, _ in pairs] + files_of(data / "A")
    b = [second for _, second in pairs] + files_of(data / "B")
    if not a or not b:
        wanted = "A" if not a else "B"
        raise ConfigError(
            f"{data} has no pictures of {wanted}; put them into {data / wanted}, or pairs into {data / 'pairs'}/A and B"
        )
    return Pictures(a, b, pairs, test)


def find_pairs(folder: Path) -> Pairs:
    """Pairs of `folder`/A and `folder`/B; none where there is no such folder.

    Raises:
        ConfigError: a picture has no counterpart.
    """
    firsts, seconds = (
        {path.relative_to(folder / name).with_suffix("").as_posix(): path for path in files_of(folder / name)}
        for name in ("A", "B")
    )
    for there, here in (("A", firsts.keys() - seconds.keys()), ("B", seconds.keys() - firsts.keys())):
        if here:
            other = "B" if there == "A" else "A"
            raise ConfigError(
                f"{folder / there} has {min(here)}, but {folder / other} has no picture of that name; "
                f"pairs need the same names in both"
            )
    return [(firsts[name], seconds[name]) for name in sorted(firsts)]


def files_of(folder: Path) -> list[Path]:
    """All pictures of a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_picture(path: Path, size_px: int) -> Frame:
    """(size_px, size_px, 3) RGB of a picture of any shape.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        frame = load_photo(path).frame
    except SourceError as error:
        raise ConfigError(str(error)) from error
    if frame.shape[:2] == (size_px, size_px):
        return frame
    how = cv2.INTER_AREA if min(frame.shape[:2]) >= size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (size_px, size_px), interpolation=how), dtype=np.uint8)


def write_picture(path: Path, frame: Frame) -> None:
    """A frame (H, W, 3) RGB as a PNG file, in a folder that may have to be made. OSError: it cannot be made.

    Raises:
        ConfigError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), frame[..., ::-1]):
        raise ConfigError(f"cannot write {path}")


def as_image(frame: Frame) -> Tensor:
    """(3, H, W) in [−1, 1] of a frame (H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 127.5 - 1


class TranslationPictures(Dataset[dict[str, Tensor]]):
    """Items `a`, `b` (3, S, S) in [−1, 1] and `paired`, whether they belong together.

    An item depends on its number alone. All items of a step are of one kind.

    Args:
        step_items: items of one step, of all processes.
    """

    def __init__(self, pictures: Pictures, config: TranslationConfig, step_items: int) -> None:
        self._pictures, self._config, self._step_items = pictures, config, step_items

    def __len__(self) -> int:
        return self._config.steps * self._step_items

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        config, pictures = self._config, self._pictures
        rng = np.random.default_rng([config.seed, number])
        step = number // self._step_items
        paired = takes_pairs(step, config.paired_first, config.paired_later)
        if paired:
            first, second = pictures.pairs[rng.integers(len(pictures.pairs))]
            cuts = [self._cut(rng)] * 2
        else:
            first, second = (files[rng.integers(len(files))] for files in (pictures.a, pictures.b))
            cuts = [self._cut(rng), self._cut(rng)]
        a, b = (self._read(path, *cut) for path, cut in zip((first, second), cuts, strict=True))
        return {"a": a, "b": b, "paired": torch.tensor(paired)}

    def _cut(self, rng: np.random.Generator) -> tuple[int, int, bool]:
        """Left, top, and whether the picture is mirrored."""
        room = self._config.load_px - self._config.size_px + 1
        left, top = rng.integers(room, size=2)
        return int(left), int(top), bool(self._config.flip and rng.random() < 0.5)

    def _read(self, path: Path, left: int, top: int, mirrored: bool) -> Tensor:
        size_px = self._config.size_px
        frame = read_picture(path, self._config.load_px)[top : top + size_px, left : left + size_px]
        return as_image(frame[:, ::-1] if mirrored else frame)
