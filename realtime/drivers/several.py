"""Several drivers as one: the first sets the beat, and each picture takes what all of them say at its time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from icface.errors import ICFaceError
from realtime.drivers import POLL_S, Sample
from realtime.metrics import Metrics
from realtime.slot import Closed, Lane, Slot

logger = logging.getLogger(__name__)

STALE_PERIODS = 3.0
"""A driver's frame no longer counts after this many periods: the camera has stopped."""
STALE_GAPS = 1.5
"""A slow machine tracks fewer frames. There it counts for this many of the usual gaps, if that is longer."""
STALE_MAX_S = 1.5
"""It never counts longer than this."""
_SAME_TIME_S = 1e-3
"""Frames of several files that are so close have the same time."""

Samples = tuple[Sample | None, ...]
"""Of each driver, in order; None: it says nothing now."""


class _Losses:
    """Remembers which drivers have failed. The others go on."""

    def __init__(self, metrics: Metrics, labels: Sequence[str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self.first: ICFaceError | None = None

    def add(self, number: int, error: ICFaceError) -> None:
        """Say that a driver (counted from 0) is lost, and what becomes of it."""
        self.first = self.first or error
        label = f" ({self._labels[number]})" if number < len(self._labels) and self._labels[number] else ""
        text = f"driver {number + 1}{label} is lost: {error}"
        self._metrics.event(text)
        logger.warning("%s; what it drives eases to the photo's own, and the others go on", text)


class LiveDrivers:
    """The newest samples of drivers that play.

    Args:
        slots: of each.
        period_s: of the output.
        metrics: of the run.
        still: whether each has no length of its own.
        labels: of each, for people.
    """

    def __init__(
        self,
        slots: Sequence[Slot[Sample]],
        period_s: float,
        metrics: Metrics,
        still: Sequence[bool] = (),
        labels: Sequence[str] = (),
    ) -> None:
        self._newest: list[_Newest | None] = [_Newest(slot, period_s) for slot in slots]
        self._period_s = period_s
        self._metrics = metrics
        self._labels = list(labels)
        self._losses = _Losses(metrics, self._labels)
        lasting = list(range(len(slots)))
        # The run ends with the last driver that can end.
        self._playing = [number for number in lasting if not (still and still[number])] or lasting
        self._nobody: Slot[Sample] = Slot()
        """What is waited for while all drivers have left."""

    def join(self, number: int, slot: Slot[Sample], label: str) -> None:
        """Take a driver in as that number, counted from 0; one that has the number leaves."""
        self.leave(number)
        missing = number + 1 - len(self._newest)
        self._newest += [None] * missing
        self._labels += [""] * (number + 1 - len(self._labels))
        self._newest[number], self._labels[number] = _Newest(slot, self._period_s), label
        self._playing.append(number)

    def leave(self, number: int) -> None:
        """Let go of a driver. The run goes on, also without any."""
        if number in self._playing:
            self._playing.remove(number)
        if number < len(self._newest):
            self._newest[number] = None

    def has_ended(self, number: int) -> bool:
        """Whether that driver came to its end, or was lost. Any thread may ask."""
        newest = self._newest[number] if number < len(self._newest) else None
        return newest is not None and newest.ended

    def wait(self, timeout_s: float) -> Sample | None:
        """The next sample of the driver that sets the beat: the first that has not ended. None: none in time.

        Raises:
            Closed: all drivers have ended.
            ICFaceError: all have ended, and one of them because of this.
        """
        if not self._playing:
            self._nobody.wait(timeout_s)
            return None
        number = self._playing[0]
        beat = self._newest[number]
        assert beat is not None
        try:
            sample = beat.slot.get(timeout_s)
        except (Closed, ICFaceError) as end:
            self._playing.remove(number)
            beat.ended = True
            if not self._playing:
                raise self._losses.first or end from None
            if isinstance(end, ICFaceError):
                self._losses.add(number, end)
            return None
        if sample is not None:
            self._keep(beat, sample, is_beat=True)
        return sample

    def _keep(self, newest: _Newest, sample: Sample, *, is_beat: bool = False) -> None:
        if is_beat:
            missed = sample.serial - newest.serial - 1
            self._metrics.count("dropped_before_animation", missed)
        newest.sample = sample
        newest.is_new = True

    def samples(self, now_s: float) -> Samples:
        """What each says now. Never waits."""
        beat = self._playing[0] if self._playing else -1
        for number, newest in enumerate(self._newest):
            if newest is None or number == beat or newest.ended:
                continue
            try:
                sample = newest.slot.get(0)
            except (Closed, ICFaceError) as end:
                newest.ended = True
                if number in self._playing:
                    self._playing.remove(number)
                if isinstance(end, ICFaceError):
                    self._losses.add(number, end)
                continue
            if sample is not None:
                self._keep(newest, sample)
        return tuple(newest.at(now_s) if newest is not None else None for newest in self._newest)


class _Newest:
    """A driver's newest sample, for as long as it counts."""

    def __init__(self, slot: Slot[Sample], period_s: float) -> None:
        self.slot = slot
        self.ended = False
        self.sample: Sample | None = None
        self.is_new = False
        self._period_s = period_s
        self._came_s: float | None = None
        self._gap_s = 0.0

    @property
    def serial(self) -> int:
        return self.sample.serial if self.sample is not None else -1

    def at(self, now_s: float) -> Sample | None:
        """The sample, or None where it is too old to count. Follows the usual gap between two (EMA)."""
        if self.is_new:
            if self._came_s is not None:
                gap_s = min(now_s - self._came_s, STALE_MAX_S)
                self._gap_s = self._gap_s + (gap_s - self._gap_s) / 4 if self._gap_s else gap_s
            self._came_s, self.is_new = now_s, False
        stale_s = max(STALE_PERIODS * self._period_s, min(STALE_GAPS * self._gap_s, STALE_MAX_S))
        return self.sample if self._came_s is not None and now_s - self._came_s <= stale_s else None


class FileDrivers:
    """The samples of drivers that are read, file to file; see LiveDrivers for the arguments."""

    def __init__(
        self,
        lanes: Sequence[Lane[Sample]],
        metrics: Metrics,
        still: Sequence[bool] = (),
        labels: Sequence[str] = (),
    ) -> None:
        moving = [number for number in range(len(lanes)) if not (still and still[number])]
        self._beat = moving[0] if moving else 0
        self._lanes = lanes
        self._still = still or [False] * len(lanes)
        self._losses = _Losses(metrics, labels)
        self._now: list[Sample | None] = [None] * len(lanes)
        self._next: list[Sample | None] = [None] * len(lanes)
        self._ended = [False] * len(lanes)

    @property
    def lost(self) -> ICFaceError | None:
        """What the first driver that failed beside the beat's failed of."""
        return self._losses.first

    def frames(self) -> Iterator[Samples | None]:
        """What all drivers say at the time of each frame of the driver that sets the beat; None while none is there.

        A driver that is shorter says nothing after its end.

        Raises:
            ICFaceError: the driver that sets the beat has failed.
        """
        while True:
            try:
                beat = self._lanes[self._beat].get(POLL_S)
            except Closed:
                return
            if beat is None:
                yield None
                continue
            self._now[self._beat] = beat
            for number in range(len(self._lanes)):
                while number != self._beat and not self._is_at(number, beat.time_s):
                    yield None
            yield tuple(self._now)

    @property
    def beat(self) -> int:
        """Number of the driver that sets the beat, counted from 0."""
        return self._beat

    def _is_at(self, number: int, time_s: float) -> bool:
        """Read a driver on to that time; False where its next frame is not there yet."""
        if self._still[number] and self._now[number] is not None:
            return True
        while not self._ended[number]:
            after = self._next[number]
            if after is None:
                try:
                    after = self._next[number] = self._lanes[number].get(POLL_S)
                except (Closed, ICFaceError) as end:
                    self._ended[number] = True
                    if isinstance(end, ICFaceError):
                        self._losses.add(number, end)
                    break
                if after is None:
                    return False
            if after.time_s > time_s + _SAME_TIME_S:
                return True
            self._now[number], self._next[number] = after, None
        # The last frame lasts as long as those before it.
        now = self._now[number]
        if now is not None and time_s > now.time_s + self._period_s(number) - _SAME_TIME_S:
            self._now[number] = None
        return True

    def _period_s(self, number: int) -> float:
        now = self._now[number]
        return now.time_s / now.serial if now is not None and now.serial > 0 else 1 / 25
