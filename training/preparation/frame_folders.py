"""Folders of numbered pictures as clips: VoxCeleb's face crops, or frames that were cut out of videos before.

The number at the end of a name, as in `0000025.jpg`, counts frames from the video's first. A name that is a decimal
number alone, as `12.48.png`, is a time in seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from icface.arrays import Frame
from icface.errors import SourceError
from icface.images import load_photo

IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif")
_SECONDS: Final = re.compile(r"\d+\.\d+")
_COUNT: Final = re.compile(r"\d+$")
_SCALE: Final = re.compile(r"\d\.\d+")
"""VoxCeleb's crops lie in identity/1.6/video: 1.6 is how much larger than the face they are, and no video."""


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, by name; empty where it cannot be listed."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if name[0] != "." and Path(name).suffix.lower() in IMAGES]


def video_of(between: Sequence[str], folder: str) -> str:
    """Name of the video, from the folders between a person's and the pictures' own."""
    return "/".join(part for part in between if not _SCALE.fullmatch(part)) or folder


def times_of(pictures: Sequence[Path], frame_rate: float) -> list[float]:
    """Seconds from the video's first frame of each picture.

    Raises:
        SourceError: a name has no number, or two have the same.
    """
    times: dict[float, Path] = {}
    for path in pictures:
        count = _COUNT.search(path.stem)
        if count is None:
            raise SourceError(f"{path.name} has no number at the end of its name that tells its time")
        time_s = float(path.stem) if _SECONDS.fullmatch(path.stem) else int(count[0]) / frame_rate
        other = times.setdefault(time_s, path)
        if other is not path:
            raise SourceError(f"{other.name} and {path.name} have the same number, which tells their time")
    return list(times)


def in_order(folder: Path, frame_rate: float) -> list[tuple[float, Path]]:
    """The pictures of a folder by their times in seconds from the video's first frame.

    Raises:
        SourceError: see `times_of`, or there is no picture.
    """
    pictures = pictures_in(folder)
    if not pictures:
        raise SourceError("it has no pictures any more")
    return sorted(zip(times_of(pictures, frame_rate), pictures, strict=True))


def read_frames(folder: Path, frame_rate: float) -> Iterator[tuple[Frame, float]]:
    """Frames (H, W, 3) RGB and their times in seconds since the first picture.

    Raises:
        SourceError: see `in_order`; in the end, where pictures could not be read, which are left out.
    """
    pictures = in_order(folder, frame_rate)
    bad: list[str] = []
    for time_s, path in pictures:
        try:
            yield load_photo(path).frame, time_s - pictures[0][0]
        except SourceError:
            bad.append(path.name)
    if bad:
        raise SourceError(f"{len(bad)} of {len(pictures)} pictures cannot be read: {', '.join(bad[:3])}")
