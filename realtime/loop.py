"""The live loop: a picture for each camera frame, and one in time where no camera frame comes.

    capture thread ─ Slot ─► tracker thread ─ Slot ─► this loop: hold or ease, mix, animate, send

Each slot holds the newest item only, so nothing queues up and a slow stage costs frames, never delay.
Whatever happens before it, the loop sends at the output rate: the driver's face, or the face held or eased to
rest, and never a picture of the driver.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from icface.attributes import FloatArray, neutral
from realtime.attribute_source import Recorder
from realtime.capture import Stop
from realtime.controls import Controls
from realtime.driver import Sample
from realtime.hotkeys import key_name
from realtime.mixer import Mixer
from realtime.outputs import Outputs
from realtime.performer import Performer
from realtime.scheduler import DeadlineScheduler
from realtime.slot import Closed, Slot
from realtime.timing import Stats

logger = logging.getLogger(__name__)


class Conditioner(Protocol):
    """What stands between the driver and the mixer: `icface.face.continuity.Continuity`, or `Unchanged`."""

    def update(self, attributes: FloatArray | None, time_s: float) -> FloatArray: ...


class Unchanged:
    """For attributes from a file: as they are, and the last ones again where none come."""

    def __init__(self, first: FloatArray) -> None:
        self._last = first

    def update(self, attributes: FloatArray | None, time_s: float) -> FloatArray:
        """(20,): the argument, or the last that was none of None."""
        if attributes is not None:
            self._last = attributes
        return self._last


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When the loop stops waiting for a driver's frame."""

    period_s: float
    """Time between two output frames."""
    grace: float = 0.25
    """Part of a period that a driver's frame may be late before the last one is shown again."""
    stale_periods: float = 3.0
    """So many periods after a driver's frame came it no longer counts: the camera has stopped."""
    stale_gaps: float = 1.5
    """Where they come more slowly (a slow machine tracks fewer): so many of the usual gaps, if that is longer."""
    stale_max_s: float = 1.5
    """And at most so long."""


class LiveLoop:
    """Animates and sends until the driver ends, somebody stops it, or the last sink is lost.

    Args:
        samples: what drives, newest only.
        set_tracker_rate: called with True to track every second frame only, with False to track all.
    """

    def __init__(
        self,
        *,
        samples: Slot[Sample],
        conditioner: Conditioner,
        mixer: Mixer,
        performer: Performer,
        outputs: Outputs,
        controls: Controls,
        scheduler: DeadlineScheduler,
        stats: Stats,
        stop: Stop,
        pace: Pace,
        recorder: Recorder | None = None,
        poll_key: Callable[[], str | None] | None = None,
        set_tracker_rate: Callable[[bool], None] | None = None,
        duration_s: float | None = None,
        frames: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._samples = samples
        self._conditioner = conditioner
        self._mixer = mixer
        self._performer = performer
        self._outputs = outputs
        self._controls = controls
        self._scheduler = scheduler
        self._stats = stats
        self._stop = stop
        self._pace = pace
        self._recorder = recorder
        self._poll_key = poll_key
        self._set_tracker_rate = set_tracker_rate
        self._duration_s = duration_s
        self._frames = frames
        self._clock = clock
        self._last: Sample | None = None
        self._last_serial = -1
        self._last_came_s = 0.0
        self._gap_s = 0.0
        self._shown = neutral()
        self._rest = False

    def run(self) -> None:
        """Send frames until the end.

        Raises:
            DeviceError: the camera was lost and did not come back, or the last sink is lost.
        """
        start_s = due_s = self._clock()
        sent = 0
        sample: Sample | None = None
        while not self._stop.is_set():
            now_s = self._clock()
            # A driver's frame sets the beat; without one it goes on from the last beat.
            due_s = now_s if sample is not None else max(due_s, now_s - self._pace.period_s)
            self._step(sample, now_s, sent)
            sent += 1
            self._press_keys()
            if self._frames is not None and sent >= self._frames:
                return
            if self._duration_s is not None and self._clock() - start_s >= self._duration_s:
                return
            wait_s = due_s + (1 + self._pace.grace) * self._pace.period_s - self._clock()
            try:
                sample = self._samples.get(max(0.0, wait_s))
            except Closed:
                return
            if sample is None:
                due_s += self._pace.period_s

    def _step(self, sample: Sample | None, now_s: float, number: int) -> None:
        """Make and send one picture."""
        if sample is not None:
            self._stats.count("dropped_before_animation", sample.serial - self._last_serial - 1)
            if self._last is not None:
                gap_s = min(now_s - self._last_came_s, self._pace.stale_max_s)
                self._gap_s = self._gap_s + (gap_s - self._gap_s) / 4 if self._gap_s else gap_s
            self._last_came_s = now_s
            self._last_serial = sample.serial
            self._last = sample
        driver = self._conditioner.update(self._current(now_s), now_s)
        attributes = self._mixer.mix(driver)
        if self._must_repeat():
            picture = self._performer.again()
            self._stats.count("repeated")
        else:
            picture, changed = self._performer.perform(attributes)
            self._shown = attributes
            if not changed:
                self._stats.count("held")
        with self._stats.time("send"):
            self._outputs.send(picture, number, now_s)
        done_s = self._clock()
        self._stats.sent(self._scheduler.level)
        if sample is not None:
            self._stats.stages["latency"].add(done_s - sample.time_s)
        if self._recorder is not None:
            self._recorder.add(self._shown, now_s, present=self._current(now_s) is not None)
        if not self._rest and self._scheduler.observe(done_s - now_s, done_s):
            self._change_level()

    def _current(self, now_s: float) -> FloatArray | None:
        """The driver's newest attributes, or None where there is no face or the frame is too old to count."""
        pace = self._pace
        stale_s = max(
            pace.stale_periods * pace.period_s, min(pace.stale_gaps * self._gap_s, pace.stale_max_s)
        )
        if self._last is None or now_s - self._last_came_s > stale_s:
            return None
        return self._last.attributes

    def _must_repeat(self) -> bool:
        """Whether the last picture is to be sent again: frozen, or every second one when time is short."""
        self._rest = not self._rest and self._scheduler.repeats
        return self._rest or self._controls.frozen

    def _change_level(self) -> None:
        level = self._scheduler.level
        logger.info("load: now at %s", level)
        self._stats.event(f"level: {level}")
        self._performer.small = self._scheduler.halves_size
        if self._set_tracker_rate is not None:
            self._set_tracker_rate(self._scheduler.halves_tracking)

    def _press_keys(self) -> None:
        key = self._outputs.poll_key() or (self._poll_key() if self._poll_key is not None else None)
        if key is not None:
            self._controls.press(key_name(key))
