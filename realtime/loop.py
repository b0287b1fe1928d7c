"""The two loops. Both take what drives and make one picture after another with `Reenactment.step`.

    live:          camera thread ──slot──► tracker thread ──slot──► mix, animate, compose, send, record
    file to file:  decoder thread ─lane──► tracker thread ──lane──► the same

Each driver has its own threads; `drivers.several` brings them together.

A slot holds the newest item only. So live nothing queues up, and a slow stage costs frames, never delay. A lane holds a
few items in order. So from file to file every frame comes once, and output frame i answers driver frame i.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from icface.errors import DeviceError, ICFaceError
from realtime.config import LiveConfig
from realtime.drivers import Sample
from realtime.drivers.several import FileDrivers, LiveDrivers
from realtime.hotkeys import Controls
from realtime.scheduler import DeadlineScheduler
from realtime.slot import Closed
from realtime.step import Reenactment

logger = logging.getLogger(__name__)

GRACE = 0.25
"""Part of a period that a driver's frame may be late before the last one is shown again."""


def run_live(
    reenactment: Reenactment,
    drivers: LiveDrivers,
    controls: Controls,
    scheduler: DeadlineScheduler,
    config: LiveConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send a picture for each sample of the driver that sets the beat, and one in time where none comes.

    It ends with the drivers, at a limit or when somebody stops it. Until then it sends at the output rate: the driver's
    face, or that face held or eased to rest. It never sends a picture of the driver.

    Raises:
        DeviceError: the camera was lost and did not come back, or the last sink is lost.
    """
    metrics, period_s = reenactment.metrics, scheduler.period_s
    sample: Sample | None = None
    repeat = False
    start_s = due_s = clock()
    while not controls.stop.is_set():
        now_s = clock()
        # A driver's frame sets the beat. Without one, the beat goes on from the last.
        due_s = now_s if sample is not None else max(due_s, now_s - period_s)
        repeat = scheduler.repeats and not repeat
        reenactment.step(drivers.samples(now_s), now_s, repeat=repeat)
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
            sample = drivers.wait(max(0.0, due_s + (1 + GRACE) * period_s - clock()))
        except Closed:
            return
        if sample is None:
            due_s += period_s


def run_offline(
    reenactment: Reenactment,
    drivers: FileDrivers,
    controls: Controls,
    config: LiveConfig,
    total: int | None = None,
) -> bool:
    """Send one picture for each frame of the driver that sets the beat, until it ends or a limit is reached.

    It gives True where that driver came to its own end.

    A limit in seconds counts that driver's own time. A terminal shows a progress bar, of `total` frames if that is known.

    Raises:
        ICFaceError: a sink or a driver failed, a thread failed, or the run was stopped before its end.
    """
    from tqdm import tqdm

    expected = total if config.frames is None or total is None else min(total, config.frames)
    counters = reenactment.metrics.counters
    ended = True
    with tqdm(total=expected, unit="frame", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
        for samples in drivers.frames():
            if controls.stop.is_set():
                raise ICFaceError(stopped_after(counters["sent"], total))
            if samples is None:
                continue
            beat = samples[drivers.beat]
            assert beat is not None
            if config.is_over(counters["sent"], beat.time_s):
                ended = False
                break
            reenactment.step(samples, beat.time_s)
            controls.poll()
            bar.update()
    if reenactment.outputs.lost:
        raise DeviceError(f"not everything was written: {reenactment.outputs.lost[0]}")
    if drivers.lost is not None:
        raise ICFaceError(f"the output is whole, but without a driver that was lost: {drivers.lost}")
    return ended


def stopped_after(sent: int, total: int | None = None) -> str:
    """What to say where the user stopped a run before its end."""
    if sent == 0:
        return "stopped before the first frame; nothing was written"
    done = f"{sent}" if total is None else f"{sent} of {total}"
    return f"stopped after {done} frames; what was being written holds these"
