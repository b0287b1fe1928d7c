"""Loops that numba compiles when their module is imported. The code is kept on disk, so only the first start pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba as nb

_Loop = TypeVar("_Loop", bound=Callable[..., None])


def compiled(*arguments: Any) -> Callable[[_Loop], _Loop]:
    """Compile a function for these argument types. Without the GIL, the tracker runs beside it."""
    compiler: Callable[[_Loop], _Loop] = nb.njit(
        nb.void(*arguments), nogil=True, cache=True, boundscheck=False, error_model="numpy"
    )
    return compiler
