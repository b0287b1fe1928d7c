"""One bar over all stages, with the time that is left; and how the user ends the work."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Takes the share that is done, 0 to 1. It raises KeyboardInterrupt where the user wants the end."""

_BELIEVED: Final = 0.05
"""From this share on a stage tells by itself how long it takes."""
_FORMAT: Final = "{desc}: {percentage:3.0f}% |{bar}| {unit}"


class Bar:
    """Shows how far the work is; a context manager.

    Args:
        expected_s: the stages in their order, and about how long each takes.
        stop: set when the user wants the end; then the next `progress` raises KeyboardInterrupt.
        clock: seconds.
    """

    def __init__(
        self,
        expected_s: Mapping[str, float],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected_s = dict(expected_s)
        self._stop = stop
        self._clock = clock
        self._stage = ""
        self._begun_s = 0.0
        self._bar = tqdm(
            total=sum(expected_s.values()), bar_format=_FORMAT, disable=None, file=sys.stderr, miniters=0
        )

    def begin(self, stage: str, words: str) -> Progress:
        """Begin a stage; gives what takes its share that is done, from 0 to 1."""
        self._stage, self._begun_s = stage, self._clock()
        self._bar.set_description_str(words, refresh=False)
        if self._bar.disable:
            logger.info("%s", words)
        self.progress(0.0)
        return self.progress

    def progress(self, share: float) -> None:
        """Show that a share of the stage is done."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        stages = list(self._expected_s)
        before = sum(self._expected_s[each] for each in stages[: stages.index(self._stage)])
        self._bar.unit = _words(self.left_s(share))
        self._bar.update(before + share * self._expected_s[self._stage] - self._bar.n)

    def left_s(self, share: float) -> float:
        """How long it takes from here to the end of all stages."""
        stages = list(self._expected_s)
        after = sum(self._expected_s[each] for each in stages[stages.index(self._stage) + 1 :])
        here = self._expected_s[self._stage] * (1 - share)
        if share > _BELIEVED:
            here = (self._clock() - self._begun_s) / share * (1 - share)
        return after + here

    def __enter__(self) -> Bar:
        self._redirected = logging_redirect_tqdm()  # lines that are logged go above the bar
        self._redirected.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.leave = False
        self._bar.close()
        self._redirected.__exit__(None, None, None)


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes else "less than a minute left"
