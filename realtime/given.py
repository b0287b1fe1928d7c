"""What `--driver` names: a camera, a video, a table, a photo, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["camera", "video", "table", "photo", "none"]
NONE: Final = "none"
BROWSER: Final = "browser"
"""The camera of a browser that is at the panel, with `--panel-webrtc`."""
_TABLES: Final = (".csv", ".tsv")
PNG_HEAD: Final = 65536
PHOTOS: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")


@dataclass(frozen=True)
class Given:
    """One driver as it was named."""

    name: str
    kind: Kind

    @property
    def path(self) -> Path | None:
        """The file; None of a camera."""
        return None if self.kind in ("camera", "none") else Path(self.name)

    @property
    def label(self) -> str:
        """For people: a file's name without its folder."""
        return self.name if self.path is None else self.path.name

    @property
    def is_tracked(self) -> bool:
        """Whether a face is looked for in its frames, one after another."""
        return self.kind in ("camera", "video")


def _is_animated_png(path: Path) -> bool:
    """Whether a file is a PNG that plays: the chunk that says so stands before its picture."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(PNG_HEAD)
    except OSError:
        return False
    return head.startswith(b"\x89PNG") and b"acTL" in head.partition(b"IDAT")[0]


def read_driver(text: str) -> Given:
    """What was named. Tables and photos are known by the end of their name; a file that is there else is a video."""
    suffix = Path(text).suffix.lower()
    if text == NONE:
        return Given(text, "none")
    if suffix in _TABLES:
        return Given(text, "table")
    if suffix in PHOTOS and not _is_animated_png(Path(text)):
        return Given(text, "photo")
    return Given(text, "video" if Path(text).is_file() else "camera")
