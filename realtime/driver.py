"""What drives, one sample a frame: from the tracker's thread, or from a CSV as if it were one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from icface.arrays import Frame
from icface.attributes import AttributeTrack, FloatArray
from realtime.camera import CapturedFrame
from realtime.capture import Stop
from realtime.slot import Closed, Lane, Slot
from realtime.timing import Stats

if TYPE_CHECKING:
    from icface.face.tracker import DriverState

POLL_S = 0.1
"""How long a thread waits before it looks whether it was asked to stop."""


@dataclass(frozen=True)
class Sample:
    """What a driver's frame said."""

    index: int
    """Of the captured frame."""
    serial: int
    """Counts samples from 0; a gap is one that nobody took."""
    time_s: float
    """When the frame was captured."""
    attributes: FloatArray | None
    """(20,) not mirrored; None: no face."""


class Tracker(Protocol):
    """The part of `icface.face.tracker.FaceTracker` that is used."""

    def read(self, frame: Frame, time_s: float) -> DriverState | None: ...
    def set_neutral(self) -> None: ...


class TrackerFeed:
    """Turns frames into samples; `run` is the body of a thread, which alone touches the tracker."""

    def __init__(
        self,
        frames: Lane[CapturedFrame],
        samples: Lane[Sample],
        tracker: Tracker,
        stats: Stats,
        stop: Stop,
        *,
        neutral_after_s: float | None = None,
    ) -> None:
        self._frames = frames
        self._samples = samples
        self._tracker = tracker
        self._stats = stats
        self._stop = stop
        self._neutral_after_s = neutral_after_s
        self._neutral_asked = threading.Event()
        self._first_s: float | None = None
        self._half_rate = False

    def set_half_rate(self, half: bool) -> None:
        """Track every second frame only, or all; from any thread."""
        self._half_rate = half

    def ask_neutral(self) -> None:
        """Take the driver's face as neutral from the next frame on; from any thread."""
        self._neutral_asked.set()

    def run(self) -> None:
        """Track until the frames end, then close both sides; with the exception, where one ended it."""
        try:
            self._track()
            self._samples.close()
        except Closed:
            self._samples.close()
        except BaseException as error:  # a thread's top: kept, and raised in whoever reads the samples
            self._samples.close(error)
        finally:
            self._frames.close()

    def _track(self) -> None:
        last_index = -1
        serial = 0
        while not self._stop.is_set():
            captured = self._frames.get(POLL_S)
            if captured is None or (self._half_rate and captured.index == last_index + 1):
                continue
            self._stats.count("dropped_before_tracking", captured.index - last_index - 1)
            last_index = captured.index
            if self._is_neutral_due(captured.time_s):
                self._tracker.set_neutral()
            with self._stats.time("track"):
                state = self._tracker.read(captured.frame, captured.time_s)
            self._stats.count("tracked")
            if state is not None:
                self._stats.count("faces")
            sample = Sample(
                captured.index, serial, captured.time_s, None if state is None else state.attributes
            )
            serial += 1
            while not self._samples.put(sample, POLL_S):
                if self._stop.is_set():
                    return

    def _is_neutral_due(self, time_s: float) -> bool:
        if self._first_s is None:
            self._first_s = time_s
        due = self._neutral_after_s is not None and time_s - self._first_s >= self._neutral_after_s
        if due:
            self._neutral_after_s = None
        asked = self._neutral_asked.is_set()
        self._neutral_asked.clear()
        return due or asked


class CsvFeed:
    """Plays a track at its own timestamps into a slot; `run` is the body of a thread."""

    def __init__(
        self,
        track: AttributeTrack,
        samples: Slot[Sample],
        stats: Stats,
        stop: Stop,
        *,
        period_s: float,
        loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._track = track
        self._samples = samples
        self._stats = stats
        self._stop = stop
        self._period_s = period_s
        self._loop = loop
        self._clock = clock

    def run(self) -> None:
        """Play, then close the slot; with the exception, where one ended it."""
        try:
            self._play()
            self._samples.close()
        except Closed:
            pass
        except BaseException as error:  # a thread's top: kept, and raised in whoever reads the samples
            self._samples.close(error)

    def _play(self) -> None:
        start_s = self._clock()
        serial = 0
        while True:
            for time_s, values in zip(self._track.times_s, self._track.values, strict=True):
                due_s = start_s + float(time_s)
                wait_s = due_s - self._clock()
                if wait_s > 0:
                    self._stop.wait(wait_s)
                if self._stop.is_set():
                    return
                self._samples.put(Sample(serial, serial, due_s, values))
                self._stats.count("captured")
                serial += 1
            if not self._loop:
                return
            start_s += float(self._track.times_s[-1]) + self._period_s
