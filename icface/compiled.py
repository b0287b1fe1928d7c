"""Loops that numba compiles when their module is imported. The code is kept on disk, so only the first start pays."""

from __future__ import annotations

import os
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
    """Let numba keep its code beside ours, or else in the cache folder; False where neither can be written.

    It is no shared folder: whoever writes there decides what runs here.
    """
    if nb.config.CACHE_DIR or _is_writable(Path(__file__).parent / "__pycache__"):
        return True
    folder = cache_folder() / "compiled"
    if not _is_writable(folder):
        return False
    nb.config.CACHE_DIR = str(folder)
    return True


def _is_writable(folder: Path) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_KEPT = _find_a_place()
