"""Recorded tracks of attributes: listed, edited in memory, saved. Each is a CSV in the user's folder of recordings."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from icface.attributes import ALL_NAMES, INDEX, LOWEST, AttributeTrack
from icface.errors import ConfigError, ICFaceError
from realtime.drivers.table import load_table
from realtime.recorder import Recorder

_NAME: Final = re.compile(r"[^\W_][\w .()+-]{0,59}")
"""Of a track: letters, digits and a few signs, so that it is a file's name on every system and no path."""


LONGEST_STEM: Final = 45
"""Letters of a new track's name, so that there is room for a number and for ` edit 1`."""
LONGEST_SAVED: Final = 50
"""Letters of a file's name that an edited track keeps before ` edit 999`."""


class Tracks:
    """The tracks of a folder by name. One thread calls everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where they lie, and where recordings go."""
        self._open: dict[str, AttributeTrack] = {}
        self._edited: set[str] = set()

    def names(self) -> list[str]:
        """All tracks, the newest first."""
        changed_s: dict[str, float] = {}
        for path in self.folder.glob("*.csv"):
            if _NAME.fullmatch(path.stem):
                with suppress(OSError):  # a link to a file that is gone
                    changed_s[path.stem] = path.stat().st_mtime
        return sorted(changed_s, key=lambda name: -changed_s[name])

    def path(self, name: str) -> Path:
        """The file of a track, there or not; raises ConfigError where the name is none."""
        if not _NAME.fullmatch(name) or name.rstrip(" .") != name:
            raise ConfigError(f"{name!r} is no name for a track; use letters, digits, spaces and - . ( )")
        return self.folder / f"{name}.csv"

    def get(self, name: str) -> AttributeTrack:
        """A track as it was edited last; raises ConfigError where it is not there or cannot be read."""
        if name not in self._open:
            path = self.path(name)
            if not path.is_file():
                raise ConfigError(f"there is no track {name!r}")
            self._open[name] = load_table(path)
        return self._open[name]

    def edit(self, name: str, attribute: str, start: int, values: Sequence[float]) -> AttributeTrack:
        """Replace the values of an attribute from row `start` on; gives the new track.

        Raises:
            ConfigError: an unknown attribute, rows that are not there, or a value that is no number.
        """
        track = self.get(name)
        if attribute not in INDEX:
            raise ConfigError(f"there is no attribute {attribute!r}; there are: {', '.join(ALL_NAMES)}")
        column, new = INDEX[attribute], np.asarray(values, dtype=np.float32)
        if not 0 <= start <= start + len(new) <= len(track):
            raise ConfigError(f"rows {start} to {start + len(new)} of {name}: it has {len(track)}")
        if not np.isfinite(new).all():
            raise ConfigError(f"the curve of {attribute} has values that are no numbers")
        edited = track.values.copy()
        edited[start : start + len(new), column] = np.clip(new, LOWEST[column], 1.0)
        self._open[name] = replace(track, values=edited)
        self._edited.add(name)
        return self._open[name]

    def forget(self, name: str) -> None:
        """Read the file anew next time."""
        self._open.pop(name, None)
        self._edited.discard(name)

    def save(self, name: str) -> str:
        """Write an edited track beside the recording, which stays as it was; gives the new name."""
        if name not in self._edited:
            return name
        track, stem = self.get(name), re.sub(r" edit \d+$", "", name)
        stem = stem[:LONGEST_SAVED].rstrip(" .")
        number = 1
        while self.path(f"{stem} edit {number}").exists():
            number += 1
        saved = f"{stem} edit {number}"
        write_track(self.path(saved), track)
        self._open[saved] = track
        self.forget(name)
        return saved


def free(path: Path, taken: Container[str] = ()) -> Path:
    """This path, or with a number behind its name: one that no file has, and that is none of the names taken."""
    numbered = (f"{path.stem} ({number}){path.suffix}" for number in itertools.count(2))
    paths = map(path.with_name, itertools.chain([path.name], numbered))
    return next(path for path in paths if path.name not in taken and not os.path.lexists(path))


def write_track(path: Path, track: AttributeTrack) -> None:
    """Write a track as `--record-attributes` does, whole or not at all; raises ICFaceError."""
    unfinished = path.with_name(f".{path.name}.part")
    recorder = Recorder(unfinished)
    try:
        for values, time_s, present in zip(track.values, track.times_s, track.present, strict=True):
            recorder.add(values, float(time_s), present=bool(present))
        recorder.close()
        unfinished.replace(path)
    except OSError as error:
        raise ICFaceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def packed(track: AttributeTrack) -> bytes:
    """A track for the page: number of rows and of attributes (uint32), then times and values by row (float32)."""
    head = np.array(track.values.shape, dtype="<u4").tobytes()
    return head + track.times_s.astype("<f4").tobytes() + track.values.astype("<f4").tobytes()
