"""What settings may be: the choices of the flags, and what names of files mean."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SIZES: Final = {"256": 256, "512": 512, "native": None}
VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm")
DRIVER_SUFFIXES: Final = (
    *VIDEO_SUFFIXES, ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv",
    ".csv", ".tsv",
)  # fmt: skip
"""Of files that drive, and are no photos."""
PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
FRAMINGS: Final = ("crop", "photo", "call")
CALL_SIZES: Final = {"1280x720": (1280, 720), "1920x1080": (1920, 1080)}
QUALITIES: Final = ("best", "fast")
GAZES: Final = ("driver", "camera")
FACES: Final = ("largest", "left", "right")


def is_still(path: Path) -> bool:
    """Whether an output's name means one picture: `portrait.png`, not a folder or `out-%05d.png`."""
    return path.suffix.lower() in PICTURE_SUFFIXES and "%" not in path.name and not path.is_dir()
