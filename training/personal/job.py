"""The folder of one job beside its output: what it was asked for, who agreed, and which stages are finished."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from icface.consent import Consent
from icface.errors import ConfigError
from icface.files import read_file, write_file

VERSION: Final = 1
"""Raise it where a stage gives something else for the same input."""
_FILE: Final = "job.json"
_MOST_BYTES: Final = 100_000


class _Kept(msgspec.Struct, kw_only=True):
    stamp: str
    consent: Consent | None = None
    done: list[str] = msgspec.field(default_factory=list)
    minutes: float | None = None
    """For which the network was tuned, where that is finished."""


@dataclass
class Job:
    """What is kept of a job."""

    folder: Path
    kept: _Kept

    @classmethod
    def open(cls, folder: Path, stamp: str) -> Job:
        """Go on with the job of a folder. Where its stamp is another, it begins anew.

        Raises:
            ConfigError: the folder is not of such a job, or cannot be written.
        """
        kept = _Kept(stamp=stamp)
        try:
            if folder.exists() and any(folder.iterdir()):
                if not (folder / _FILE).is_file():
                    raise ConfigError(f"{folder} is there and is not of this command; move it away")
                try:
                    found = msgspec.json.decode(read_file(folder / _FILE, _MOST_BYTES), type=_Kept)
                except (msgspec.DecodeError, ValueError):
                    found = None
                if found is not None and found.stamp == stamp:
                    kept = found
                else:
                    shutil.rmtree(folder)
            job = cls(folder, kept)
            job.save()
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written ({error.strerror or error}); choose another --output"
            ) from error
        return job

    @property
    def consent(self) -> Consent | None:
        """What was agreed to, where it was asked before."""
        return self.kept.consent

    @consent.setter
    def consent(self, consent: Consent) -> None:
        self.kept.consent = consent
        self.save()

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return stage in self.kept.done

    def finish(self, stage: str) -> None:
        """Note that a stage is finished."""
        self.kept.done.append(stage)
        self.save()

    def forget(self, *stages: str) -> None:
        """Note that stages are to be done again."""
        self.kept.done = [stage for stage in self.kept.done if stage not in stages]
        self.save()

    def save(self) -> None:
        """Write what is kept."""
        write_file(self.folder / _FILE, msgspec.json.encode(self.kept))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was finished yet."""
        return not self.kept.done

    def delete(self) -> None:
        """Delete the folder with all frames."""
        shutil.rmtree(self.folder, ignore_errors=True)


def stamp_of(files: Sequence[Path], *settings: object) -> str:
    """What a job is known again by: its files, by place, size and time, and its settings."""
    told = [VERSION, *map(repr, settings)]
    for path in files:
        stat = path.stat()
        told += [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()
