"""Notices a stage that does not come back, names it, and ends the run in order.

It looks once a second. A stage that is in the same pass at LOOKS looks in a row has stopped. Looks are counted, and not
seconds, so a machine that slept for an hour is no stopped stage.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from icface.errors import ICFaceError
from realtime.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
LOOKS: Final = 30
"""No pass of a stage takes so many seconds: the longest is the first frame of an engine that compiles, a few seconds."""
ON_THE_MAIN_THREAD: Final = ("animate", "compose", "send", "record", "controls")

_WHAT: Final = {
    "capture": ("reading the driver", "is its disk or device still there? Use another, or plug it in again"),
    "track": ("tracking the face", "run: icface-live doctor tracker"),
    "animate": ("the engine", "choose another with --engine; run: icface-live doctor engine"),
    "compose": ("composing the picture", "run again with another --framing"),
    "send": ("an output", "is its disk or device still there? Use another output"),
    "record": ("writing the attributes", "is the disk still there? Write to another"),
    "controls": ("a window or what was asked of the run", "run it without --window"),
}


class StoppedError(ICFaceError):
    """A stage did not come back."""

    def __init__(self, stage: str) -> None:
        what, remedy = _WHAT[stage]
        super().__init__(
            f"{what} (stage {stage}) has not come back for {LOOKS * LOOK_EVERY_S:.0f} s, so the run ends; {remedy}"
        )
        self.stage = stage


class Watchdog:
    """Watches the stages of a run, on a thread of its own; a context manager.

    Leaving it raises StoppedError where a stage has stopped, instead of what else ends the run.

    Args:
        metrics: of the run; its stages and those of its drivers count their passes there.
        stop: set when a stage has stopped. A loop that still runs ends by it.
        abandon: called where the stage that stopped holds the main thread, which can do nothing more. It finishes the
            files and ends the process. None: nothing is done but to say so.
    """

    def __init__(
        self,
        metrics: Metrics,
        stop: threading.Event,
        abandon: Callable[[StoppedError], None] | None = None,
    ) -> None:
        self._metrics = metrics
        self._stop = stop
        self._abandon = abandon
        self._seen: dict[tuple[Metrics, str], tuple[int, int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.error: StoppedError | None = None
        """What has stopped."""

    def look(self) -> None:
        """Look once at every stage."""
        # Drivers may join. The first one counts in the metrics of the run.
        for metrics in {self._metrics, *(each for _, each in self._metrics.drivers)}:
            for stage, passes in metrics.passes.items():
                before, looks = self._seen.get((metrics, stage), (-1, 0))
                # Odd: it is at work. The same number: in the same pass as at the last look.
                looks = looks + 1 if passes % 2 and passes == before else 0
                self._seen[metrics, stage] = passes, looks
                if looks >= LOOKS and self.error is None:
                    self._end(stage)

    def _end(self, stage: str) -> None:
        self.error = StoppedError(stage)
        self._stop.set()
        if stage in ON_THE_MAIN_THREAD and self._abandon is not None:
            self._abandon(self.error)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S) and self.error is None:
            self.look()

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self.error is not None:
            raise self.error from None
