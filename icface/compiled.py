"""Loops that numba compiles when their module is imported. The code is kept on disk, so only the first start pays."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba as nb

from icface.source_cache import cache_folder

_Loop = TypeVar("_Loop", bound=Callable[..., None])


def compiled(*arguments: Any) -> Callable[[_Loop], _Loop]:
    """Compile a function for these argument types. Without the GIL, the tracker runs beside it."""
    compiler: Callable[[_Loop], _Loop] = nb.njit(
        nb.void(*arguments), nogil=True, cache=_KEPT, boundscheck=False, error_model="numpy"
    )
    return compiler


def _find_a_place() -> bool:
    """Let numba keep its code beside ours, or else in the cache folder, or else in a private temporary folder.

    It gives False where none can be written. Then each start compiles anew.
    """
    config: Any = nb.config  # its names are made at run time
    if config.CACHE_DIR or _is_writable(Path(__file__).parent / "__pycache__"):
        return True
    folder = cache_folder() / "compiled"
    if not _is_writable(folder):
        if not hasattr(os, "getuid"):  # Windows has no folder that is read-only to its own user
            return False
        folder = Path(tempfile.gettempdir()) / f"icface-live-{os.getuid()}"
        if not (_is_writable(folder) and _is_private(folder)):
            return False
    config.CACHE_DIR = str(folder)
    return True


def _is_private(folder: Path) -> bool:
    """Whether nobody else can write to it: who writes there decides what runs here."""
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_KEPT = _find_a_place()
