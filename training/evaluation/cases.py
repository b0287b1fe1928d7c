"""Cases: the tasks of an evaluation as pictures that other methods can read, and the pictures that those made of them.

A case is a source and the frames that drive it. `write_cases` writes both, and a table with a line for each picture that
is to be made. Its columns are in `COLUMNS`. `Frames` reads what a method made.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.errors import ConfigError, ICFaceError
from icface.files import write_file
from icface.images import load_photo
from training.dataset.reading import FaceTracks
from training.evaluation.animators import resized
from training.evaluation.protocol import Answer, frames_of
from training.evaluation.tasks import Task

COLUMNS: Final = (
    "case", "frame", "source", "driving", "output",
    "source_clip", "source_time_s", "driving_clip", "driving_time_s",
)  # fmt: skip
"""Of the table. `source` and `driving` are relative to the table's folder, `output` to the folder of a method."""
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".webp")
MISSING: Final = 128
"""Grey level of a picture that a method did not make; no face is seen in it."""
_NAME: Final = re.compile(r"[\w. +-]+")


def case_name(tracks: FaceTracks, kind: str, task: Task) -> str:
    """`self-000-1a2b3c`: kind, number, and what tells these frames from those of other flags or data."""
    rows = (task.source, *task.driving)
    told = [
        f"{track.name}:{row - track.first}" for row in rows for track in [tracks.tracks[tracks.track_of(row)]]
    ]
    return f"{kind}-{task.number:03d}-{hashlib.sha256('|'.join(told).encode()).hexdigest()[:6]}"


def write_cases(path: Path, tracks: FaceTracks, tasks: Mapping[str, Sequence[Task]]) -> int:
    """Write the table `path`, and its pictures into a folder beside it, which has the table's name without ending.

    Gives the number of cases.

    Raises:
        ConfigError: `path` does not end in .csv.
        OSError: it cannot be written.
    """
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--list-cases {path}: the table's name has to end in .csv")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    count = 0
    for kind, group in tasks.items():
        for task in group:
            name = case_name(tracks, kind, task)
            folder = Path(path.stem) / name
            _write(path.parent / folder / "source.png", tracks.frame(task.source))
            source = (folder / "source.png").as_posix()
            for frame, row in enumerate(task.driving):
                driving = folder / "driving" / f"{frame:05d}.png"
                _write(path.parent / driving, tracks.frame(row))
                output = f"{name}/{frame:05d}.png"
                places = (*_place(tracks, task.source), *_place(tracks, row))
                table.writerow((name, frame, source, driving.as_posix(), output, *places))
            count += 1
    write_file(path, text.getvalue())
    return count


def _place(tracks: FaceTracks, row: int) -> tuple[str, str]:
    """The clip of a frame, and its seconds there."""
    name = tracks.tracks[tracks.track_of(row)].name.rpartition("#")[0]
    return name, f"{float(tracks.values_of([row]).times_s[0]):.3f}"


def _write(path: Path, frame: Frame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes())


class Frames:
    """What a method made of the cases: `FOLDER/CASE/00000.png` and so on, square pictures of any size.

    Args:
        given: `NAME=FOLDER`.

    Raises:
        ConfigError: it is not given so, the folder has no picture of any case, or one that is no square picture.
    """

    def __init__(self, given: str, tracks: FaceTracks, tasks: Mapping[str, Sequence[Task]]) -> None:
        self.name, _, folder = given.partition("=")
        self._folder, self._tracks = Path(folder), tracks
        if not _NAME.fullmatch(self.name) or not folder:
            raise ConfigError(f"--frames {given}: write NAME=FOLDER, with letters and digits for a name")
        found: dict[str, list[Path | None]] = {
            name: _pictures(self._folder / name, len(task.driving))
            for kind, group in tasks.items()
            for task in group
            for name in [case_name(tracks, kind, task)]
        }
        pictures = [path for paths in found.values() for path in paths]
        there = [path for path in pictures if path is not None]
        if not there:
            raise ConfigError(
                f"--frames {given}: {folder} has no picture of a case, such as {next(iter(found))}/00000.png; "
                "make those that --list-cases names with the same flags"
            )
        digest = hashlib.sha256()
        for path in there:
            digest.update(path.relative_to(self._folder).as_posix().encode())
            digest.update(path.read_bytes())
            self._read(path)  # what cannot be read is said before hours of measuring
        self._paths = found
        self.facts: dict[str, Any] = {
            "kind": "frames",
            "file": str(self._folder),
            "sha256": digest.hexdigest(),
            "provenance": "not known",
            "licence": "not known",
            "missing": len(pictures) - len(there),
            "wanted": len(pictures),
            "notes": [
                "pictures that another program made of the cases of --list-cases; "
                f"{len(pictures) - len(there)} of {len(pictures)} are missing"
            ],
        }

    def answer(self, kind: str, task: Task) -> Answer:
        """What the method made of a task; what is missing is grey."""
        source, driving = frames_of(self._tracks, task)
        output, made = np.full_like(driving, MISSING), np.zeros(len(driving), dtype=bool)
        for i, path in enumerate(self._paths[case_name(self._tracks, kind, task)]):
            if path is not None:
                output[i], made[i] = self._read(path), True
        return Answer(task=task, source=source, driving=driving, neutral=None, output=output, made=made)

    def _read(self, path: Path) -> Frame:
        try:
            frame = load_photo(path).frame
        except ICFaceError as error:
            raise ConfigError(f"--frames {self.name}: {error}") from error
        height, width = frame.shape[:2]
        if height != width:
            raise ConfigError(
                f"--frames {self.name}: {path} has {width}×{height} pixels; square pictures as the sources are needed"
            )
        return resized(frame, self._tracks.size_px)


def _pictures(folder: Path, count: int) -> list[Path | None]:
    """The picture of each frame; None where there is none."""
    by_number: dict[int, Path] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.suffix.lower() in ENDINGS and path.stem.isascii() and path.stem.isdigit():
            by_number.setdefault(int(path.stem), path)
    return [by_number.get(number) for number in range(count)]
