"""A process that reads what others made gives up what it does not need, by Linux's Landlock.

It keeps: reading the system, the program and the files it is given; writing into named folders. It gives up: the home
folder, writing anywhere else, starting programs, TCP connections, and sockets and signals of other processes. A process
cannot take any of it back, and neither can what it starts.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same numbers on every processor."""
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38

# Rights of files, by their bits, as of version 1 but where said.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGE_FOLDER: Final = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
"""Since versions 2, 3 and 5."""
_BIND, _CONNECT = 1 << 0, 1 << 1
"""TCP, since version 4."""
_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
"""Of processes outside, since version 6."""

_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def confine(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Keep this process to what its module says, from now on; gives False where the system cannot.

    Args:
        read: files and folders that are read, beside the system's and the program's own.
        write: folders that are read and written, with all inside of them.
    """
    # Linux confines the thread that asks, and those that it starts.
    if not sys.platform.startswith("linux") or len(os.listdir("/proc/self/task")) > 1:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    files = _EXECUTE | _WRITE_FILE | _READ_FILE | _READ_DIR | _CHANGE_FOLDER
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        files |= right if version >= since else 0
    ruleset = _Ruleset(
        files, _BIND | _CONNECT if version >= 4 else 0, _SOCKETS | _SIGNALS if version >= 6 else 0
    )
    known_bytes = 8 if version < 4 else 16 if version < 6 else 24
    handle = library.syscall(_CREATE_RULESET, ctypes.byref(ruleset), known_bytes, 0)
    if handle < 0:
        return False
    try:
        reading = _READ_FILE | _READ_DIR
        allowed = [(path, reading) for path in (*_system(), *_program(), *read)]
        allowed += [(Path("/dev"), reading | _WRITE_FILE | _IOCTL)]  # /dev/null, and GPUs
        allowed += [(path, files & ~_EXECUTE) for path in write]
        for path, rights in allowed:
            _allow(library, handle, path, rights & files)
        if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.syscall(_RESTRICT_SELF, handle, 0):
            return False
    finally:
        os.close(handle)
    return True


def _allow(library: ctypes.CDLL, handle: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH)
    except OSError:  # what is not there is not needed
        return
    try:
        beneath = _Beneath(rights if path.is_dir() else rights & _OF_A_FILE, opened)
        library.syscall(_ADD_RULE, handle, _PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(opened)


def _system() -> Iterator[Path]:
    """Everything but the home folder: on the way down to it, all that lies beside."""
    home = Path.home().resolve()
    temporary = Path(tempfile.gettempdir()).resolve()  # other programs leave private files there
    if home == home.parent:  # a service without a home
        yield home
    for folder in home.parents:
        for path in map(Path.resolve, folder.iterdir()):  # a link beside may lead to it
            if not home.is_relative_to(path) and not temporary.is_relative_to(path):
                yield path


def _program() -> Iterator[Path]:
    """Where Python finds itself and its packages, which may lie in the home folder."""
    for text in (sys.prefix, sys.base_prefix, *sys.path):
        if text:
            yield Path(text)
