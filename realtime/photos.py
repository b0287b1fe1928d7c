"""The photos of a run: the first is prepared at once, the others in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from icface.errors import ICFaceError, SourceError

logger = logging.getLogger(__name__)

P = TypeVar("P")

CLOSE_TIMEOUT_S = 5.0


class Photos(Generic[P]):
    """Prepared photos by number, counted from 0. A thread of this object calls `prepare` for all but the first.

    Raises SourceError where a file is missing.
    """

    def __init__(self, paths: Sequence[Path], prepare: Callable[[int], P]) -> None:
        for path in paths:
            if not path.is_file():
                raise SourceError(f"{path} is not there, or is no file; check the name given with --source")
        self._count = len(paths)
        self._prepare = prepare
        self._ready: dict[int, P] = {}
        self._problems: dict[int, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._prepare_others, name="photos", daemon=True)

    def first(self) -> P:
        """Prepare the first and give it; raises as `prepare`."""
        self._ready[0] = self._prepare(0)
        return self._ready[0]

    def start_others(self) -> None:
        """Begin to prepare the rest; returns at once."""
        if self._count > 1:
            self._thread.start()

    def _prepare_others(self) -> None:
        for number in range(1, self._count):
            if self._stop.is_set():
                return
            try:
                self._ready[number] = self._prepare(number)
            except ICFaceError as error:
                self._problems[number] = str(error)
                logger.warning("source %d cannot be used: %s", number + 1, error)

    def get(self, number: int) -> P | None:
        """Give a photo, or None with a log line that says why not. Never waits."""
        if number in self._ready:
            return self._ready[number]
        if number >= self._count:
            logger.info("there is no source %d; there are %d", number + 1, self._count)
        else:
            why = self._problems.get(number, "it is still being prepared; try again in a second")
            logger.info("source %d cannot be shown: %s", number + 1, why)
        return None

    def close(self) -> None:
        """Stop preparing. Waits for the photo at hand, within CLOSE_TIMEOUT_S."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)
