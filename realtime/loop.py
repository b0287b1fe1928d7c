"""The live loop: a picture for each camera frame, and one in time where no camera frame comes.

    camera thread ─ slot ─► tracker thread ─ slot ─► this loop: condition, mirror, animate, compose, send, record

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
from realtime.metrics import Metrics
from realtime.scheduler import DeadlineScheduler
from realtime.slot import Closed, Slot
from realtime.step import Reenactment

logger = logging.getLogger(__name__)

GRACE = 0.25
"""Part of a period that a driver's frame may be late before the last one is shown again."""
STALE_PERIODS = 3.0
"""A driver's frame no longer counts after this many periods: the camera has stopped."""
STALE_GAPS = 1.5
"""A slow machine tracks fewer frames. There it counts for this many of the usual gaps, if that is longer."""
STALE_MAX_S = 1.5
"""It never counts longer than this."""


def run_live(
    reenactment: Reenactment,
    samples: Slot[Sample],
    controls: Controls,
    scheduler: DeadlineScheduler,
    limits: Limits,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send pictures until the driver ends, somebody stops it or a limit is reached.

    Args:
        reenactment: the step, ready to go.
        samples: what drives, newest only.
        controls: the keys, and the wish to stop.
        scheduler: what to give up when time is short.
        limits: where to end.
        clock: seconds.

    Raises:
        DeviceError: the camera was lost and did not come back, or the last sink is lost.
    """
    metrics, period_s = reenactment.metrics, scheduler.period_s
    newest = _Newest(period_s, metrics)
    sample: Sample | None = None
    repeat = False
    start_s = due_s = clock()
    for number in itertools.count():
        if controls.stopped:
            return
        now_s = clock()
        # A driver's frame sets the beat. Without one, the beat goes on from the last.
        due_s = now_s if sample is not None else max(due_s, now_s - period_s)
        if sample is not None:
            newest.take(sample, now_s)
        repeat = scheduler.repeats and not repeat
        reenactment.step(newest.attributes(now_s), number, now_s, repeat=repeat)
        done_s = clock()
        if sample is not None:
            metrics.stages["latency"].add(done_s - sample.time_s)
        if not repeat and scheduler.observe(done_s - now_s, done_s):
            metrics.level = scheduler.level
            metrics.event(f"level: {scheduler.level}")
            logger.info("load: now at %s", scheduler.level)
        controls.poll()
        if limits.reached(number + 1, clock() - start_s):
            return
        try:
            sample = samples.get(max(0.0, due_s + (1 + GRACE) * period_s - clock()))
        except Closed:
            return
        if sample is None:
            due_s += period_s


class _Newest:
    """The driver's newest sample, for as long as it counts."""

    def __init__(self, period_s: float, metrics: Metrics) -> None:
        self._period_s = period_s
        self._metrics = metrics
        self._sample: Sample | None = None
        self._came_s = 0.0
        self._gap_s = 0.0

    def take(self, sample: Sample, now_s: float) -> None:
        """Keep it, count the samples that nobody took, and follow the usual gap between two (EMA)."""
        last = self._sample
        self._metrics.count("dropped_before_animation", sample.serial - (last.serial if last else -1) - 1)
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
