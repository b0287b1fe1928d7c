"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LONGEST_NAME: Final = 180
"""Bytes of a file's name that its hidden name takes over. Most systems allow 255 in all."""


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a file; OSError where it cannot be read, is no file, or has more than `most_bytes`.

    A pipe would wait for ever, and some devices never end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes / 1e6:g} MB", str(path))
    return content


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a new path to write to. After the block the new file takes the place of `path`.

    A missing folder is made. After an exception `path` is as it was, and the new file is gone. OSError: it cannot be
    written or moved.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is there and is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _beside(path, "part")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            # A crash of the machine could leave an empty file under the final name.
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file by `replacing_file`; text in UTF-8."""
    with replacing_file(path) as unfinished:
        unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new empty folder to fill. After the block it takes the place of `path`, whatever was there before.

    After an exception `path` is as it was, and the new folder is gone. OSError: it cannot be made or moved.
    """
    unfinished, before = _beside(path, "part"), _beside(path, "before")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if path.exists():
            path.rename(before)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if before.exists() and not path.exists():
            before.rename(path)
        shutil.rmtree(before, ignore_errors=True)


def _beside(path: Path, what: str) -> Path:
    """A hidden name in the same folder that nobody uses: no other process or thread, and no file of the user's."""
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    for number in itertools.count():
        beside = path.with_name(f".{name}.{os.getpid()}-{threading.get_ident()}-{number}.{what}")
        if not os.path.lexists(beside):
            return beside
    raise AssertionError("there are always more numbers")
