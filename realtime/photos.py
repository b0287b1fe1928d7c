"""The photos of a run: the first is prepared at once, the others in the background."""

from __future__ import annotations

import logging
import queue
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

    Args:
        paths: of the photos at the start.
        prepare: makes a photo ready to be shown, from its number.

    Raises SourceError where a file is missing.
    """

    def __init__(self, paths: Sequence[Path], prepare: Callable[[int], P]) -> None:
        for path in paths:
            if not path.is_file():
                raise SourceError(f"{path} is not there, or is no file; check the name given with --source")
        self._paths = list(paths)
        self._prepare = prepare
        self._ready: dict[int, P] = {}
        self._problems: dict[int, str] = {}
        self._waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._prepare_others, name="photos", daemon=True)

    @property
    def paths(self) -> Sequence[Path]:
        """The files, by number. They only ever grow more."""
        return self._paths

    def problem(self, number: int) -> str:
        """Why a photo cannot be used; empty where it can, or is still being prepared."""
        return self._problems.get(number, "")

    def ready(self, number: int) -> P | None:
        """A photo that is prepared; None otherwise. Says nothing."""
        return self._ready.get(number)

    def first(self) -> P:
        """Prepare the first and give it; raises as `prepare`."""
        self._ready[0] = self._prepare(0)
        return self._ready[0]

    def start_others(self) -> None:
        """Begin to prepare the rest; returns at once."""
        for number in range(1, len(self._paths)):
            self._waiting.put(number)
        self._thread.start()

    def add(self, path: Path) -> int:
        """One more photo, prepared in its turn; gives its number. One thread calls this, after `start_others`."""
        self._paths.append(path)
        self._waiting.put(len(self._paths) - 1)
        return len(self._paths) - 1

    def _prepare_others(self) -> None:
        while (number := self._waiting.get()) is not None and not self._stop.is_set():
            try:
                self._ready[number] = self._prepare(number)
            except ICFaceError as error:
                self._fail(number, str(error))
            except MemoryError:
                self._fail(number, "the memory of this machine is used up; take a smaller photo")
            except Exception as error:  # a thread's top: a defect costs this photo alone
                self._fail(number, f"unexpected {type(error).__name__}: {error}")

    def _fail(self, number: int, why: str) -> None:
        self._problems[number] = why
        logger.warning("source %d cannot be used: %s", number + 1, why)

    def get(self, number: int) -> P | None:
        """Give a photo, or None with a log line that says why not. Never waits."""
        if number in self._ready:
            return self._ready[number]
        if number >= len(self._paths):
            logger.info("there is no source %d; there are %d", number + 1, len(self._paths))
        else:
            why = self._problems.get(number, "it is still being prepared; try again in a second")
            logger.info("source %d cannot be shown: %s", number + 1, why)
        return None

    def close(self) -> None:
        """Stop preparing. Waits for the photo at hand, within CLOSE_TIMEOUT_S."""
        self._stop.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)
