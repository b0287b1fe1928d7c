"""The live loop: a picture for each camera frame, and one in time where no camera frame comes.

    camera thread ─ slot ─► tracker thread ─ slot ─► this loop: condition, mix, animate, compose, send, record

Each slot holds the newest item only. So nothing queues up, and a slow stage costs frames, never delay. Whatever
happens before it, the loop sends at the output rate: the driver's face, or that face held or eased to rest. It never
sends a picture of the driver.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable

from icface.attributes import FloatArray
from realtime.config import Limits
from realtime.controls import Controls
from realtime.drivers import Sample
from realtime.scheduler import DeadlineScheduler
from realtime.slot import Closed, Slot
from realtime.step import Reenactment
from realtime.timing import Stats

logger = logging.getLogger(__name__)

GRACE = 0.25
"""Part of a period that a driver's frame may be late before the last one is shown again."""
STALE_PERIODS = 3.0
"""A driver's frame no longer counts after this many periods: the camera has stopped."""
STALE_GAPS = 1.5
"""A slow machine tracks fewer frames. There it counts for this many of the usual gaps, if that is longer."""
STALE_MAX_S = 1.5
"""It never counts longer than this."""


class LiveLoop:
    """Sends pictures until the driver ends, somebody stops it, a limit is reached or the last sink is lost.

    Args:
        reenactment: the step, ready to go.
        samples: what drives, newest only.
        controls: the keys, and the wish to stop.
        scheduler: what to give up when time is short.
        limits: where to end.
        clock: seconds.
    """

    def __init__(
        self,
        reenactment: Reenactment,
        samples: Slot[Sample],
        controls: Controls,
        scheduler: DeadlineScheduler,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reenactment = reenactment
        self._samples = samples
        self._controls = controls
        self._scheduler = scheduler
        self._limits = limits
        self._clock = clock
        self._newest = _Newest(scheduler.period_s, reenactment.stats)
        self._repeat = False

    def run(self) -> None:
        """Send pictures until the end.

        Raises:
            DeviceError: the camera was lost and did not come back, or the last sink is lost.
        """
        period_s = self._scheduler.period_s
        start_s = due_s = self._clock()
        sample: Sample | None = None
        for number in itertools.count():
            if self._controls.stopped:
                return
            now_s = self._clock()
            # A driver's frame sets the beat. Without one, the beat goes on from the last.
            due_s = now_s if sample is not None else max(due_s, now_s - period_s)
            self._show(sample, number, now_s)
            self._controls.poll()
            if self._limits.reached(number + 1, self._clock() - start_s):
                return
            try:
                sample = self._samples.get(max(0.0, due_s + (1 + GRACE) * period_s - self._clock()))
            except Closed:
                return
            if sample is None:
                due_s += period_s

    def _show(self, sample: Sample | None, number: int, now_s: float) -> None:
        """Make and send one picture; `sample` is what has come since the last one."""
        if sample is not None:
            self._newest.take(sample, now_s)
        self._repeat = not self._repeat and self._scheduler.repeats
        self._reenactment.step(self._newest.attributes(now_s), number, now_s, repeat=self._repeat)
        done_s = self._clock()
        stats = self._reenactment.stats
        if sample is not None:
            stats.stages["latency"].add(done_s - sample.time_s)
        if not self._repeat and self._scheduler.observe(done_s - now_s, done_s):
            stats.level = self._scheduler.level
            stats.event(f"level: {stats.level}")
            logger.info("load: now at %s", stats.level)


class _Newest:
    """The driver's newest sample, for as long as it counts."""

    def __init__(self, period_s: float, stats: Stats) -> None:
        self._period_s = period_s
        self._stats = stats
        self._sample: Sample | None = None
        self._came_s = 0.0
        self._gap_s = 0.0

    def take(self, sample: Sample, now_s: float) -> None:
        """Keep it, count the samples that nobody took, and follow the usual gap between two (EMA)."""
        last = self._sample
        self._stats.count("dropped_before_animation", sample.serial - (last.serial if last else -1) - 1)
        if last is not None:
            gap_s = min(now_s - self._came_s, STALE_MAX_S)
            self._gap_s = self._gap_s + (gap_s - self._gap_s) / 4 if self._gap_s else gap_s
        self._sample, self._came_s = sample, now_s

    def attributes(self, now_s: float) -> FloatArray | None:
        """(20,), or None where there is no face or the sample is too old to count."""
        stale_s = max(STALE_PERIODS * self._period_s, min(STALE_GAPS * self._gap_s, STALE_MAX_S))
        if self._sample is None or now_s - self._came_s > stale_s:
            return None
        return self._sample.attributes
