"""The two loops. Both take what drives and make one picture after another with `Reenactment.step`.

    live:          camera thread ──slot──► tracker thread ──slot──► condition, mirror, animate, compose, send, record
    file to file:  decoder thread ─lane──► tracker thread ──lane──► the same

A slot holds the newest item only. So live nothing queues up, and a slow stage costs frames, never delay. A lane holds a
few items in order. So from file to file every frame comes once, and output frame i answers driver frame i.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from icface.attributes import FloatArray
from icface.errors import DeviceError, ICFaceError
from realtime.config import LiveConfig
from realtime.drivers import POLL_S, Sample
from realtime.hotkeys import Controls
from realtime.metrics import Metrics
from realtime.scheduler import DeadlineScheduler
from realtime.slot import Closed, Lane, Slot
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
    config: LiveConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send a picture for each sample, and one in time where none comes.

    It ends with the driver, at a limit or when somebody stops it. Until then it sends at the output rate: the driver's
    face, or that face held or eased to rest. It never sends a picture of the driver.

    Raises:
        DeviceError: the camera was lost and did not come back, or the last sink is lost.
    """
    metrics, period_s = reenactment.metrics, scheduler.period_s
    newest = _Newest(period_s, metrics)
    sample: Sample | None = None
    repeat = False
    start_s = due_s = clock()
    while not controls.stop.is_set():
        now_s = clock()
        # A driver's frame sets the beat. Without one, the beat goes on from the last.
        due_s = now_s if sample is not None else max(due_s, now_s - period_s)
        if sample is not None:
            newest.take(sample, now_s)
        repeat = scheduler.repeats and not repeat
        reenactment.step(newest.attributes(now_s), now_s, repeat=repeat)
        done_s = clock()
        if sample is not None:
            metrics.stages["latency"].add(done_s - sample.time_s)
        if not repeat and scheduler.observe(done_s - now_s, done_s):
            metrics.level = scheduler.level
            metrics.event(f"level: {scheduler.level}")
            logger.info("load: now at %s", scheduler.level)
        controls.poll()
        if config.is_over(metrics.counters["sent"], clock() - start_s):
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
        """(SIZE,), or None where there is no face or the sample is too old to count."""
        stale_s = max(STALE_PERIODS * self._period_s, min(STALE_GAPS * self._gap_s, STALE_MAX_S))
        if self._sample is None or now_s - self._came_s > stale_s:
            return None
        return self._sample.attributes


def run_offline(
    reenactment: Reenactment,
    samples: Lane[Sample],
    controls: Controls,
    config: LiveConfig,
    total: int | None = None,
) -> bool:
    """Send one picture for each sample, face or no face, until they end or a limit is reached.

    It gives True where they came to their own end.

    A limit in seconds counts the driver's own time. A terminal shows a progress bar, of `total` samples if that is known.

    Raises:
        ICFaceError: a sink failed, a thread failed, or the run was stopped before its end.
    """
    from tqdm import tqdm

    expected = total if config.frames is None or total is None else min(total, config.frames)
    counters = reenactment.metrics.counters
    with tqdm(total=expected, unit="frame", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
        while True:
            try:
                sample = samples.get(POLL_S)
            except Closed:
                ended = True
                break
            if controls.stop.is_set():
                raise ICFaceError(stopped_after(counters["sent"], total))
            if sample is None:
                continue
            if config.is_over(counters["sent"], sample.time_s):
                ended = False
                break
            reenactment.step(sample.attributes, sample.time_s)
            controls.poll()
            bar.update()
    if reenactment.outputs.lost:
        raise DeviceError(f"not everything was written: {reenactment.outputs.lost[0]}")
    return ended


def stopped_after(sent: int, total: int | None = None) -> str:
    """What to say where the user stopped a run before its end."""
    if sent == 0:
        return "stopped before the first frame; nothing was written"
    done = f"{sent}" if total is None else f"{sent} of {total}"
    return f"stopped after {done} frames; what was being written holds these"
