"""Processes that work beside the main one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def worker_pool(
    workers: int | None, begin: Callable[..., None] | None = None, *told: Any
) -> ProcessPoolExecutor:
    """A pool of fresh processes; each calls `begin(*told)` first.

    A worker ends as soon as the main process is gone, even if that was killed. Else it would go on with what it has.

    Args:
        workers: how many; None: one a core.
    """
    return ProcessPoolExecutor(
        workers or os.cpu_count(), multiprocessing.get_context("spawn"), _begin, (begin, told)
    )


def _begin(begin: Callable[..., None] | None, told: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*told)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
