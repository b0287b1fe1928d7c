"""A driver who holds still and from one frame to the next looks elsewhere, and the output that shows it.

`schedule` and `Player` decide which of two poses is shown when. `Recorder` keeps the output. `find_steps` says when
each step was seen.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame

GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Its multiples, taken modulo 1, fill the unit interval evenly however many there are."""
HOLD_SPREAD: Final = 0.4
"""The longest hold is longer than the shortest by this part of the mean."""


@dataclass(frozen=True)
class Tick:
    """One camera frame."""

    due_s: float
    """From the beginning of the schedule."""
    hold: int
    """The number of its hold. Hold 0 is the warm-up, hold k begins with step k."""

    @property
    def pose(self) -> int:
        """The pose that is shown, 0 or 1. They take turns."""
        return self.hold % 2


def schedule(*, steps: int, fps: float, hold_s: float, warm_s: float) -> list[Tick]:
    """Every camera frame of a run, the same at each run.

    A hold is a whole number of frames. Its length varies, and it lasts .618 of a period longer than its frames would.
    So the steps fall at every phase of anything else that runs at the camera's rate. The extra time is spread over the
    hold, so that no frame is noticeably late.
    """
    ticks = []
    start_s = 0.0
    for hold in range(steps + 1):
        length_s = hold_s * (1 + HOLD_SPREAD * ((hold * math.sqrt(2)) % 1 - 0.5)) if hold else warm_s
        frames = max(2, round(length_s * fps))
        lasts_s = (frames + GOLDEN) / fps
        ticks += [Tick(start_s + lasts_s * i / frames, hold) for i in range(frames)]
        start_s += lasts_s
    return ticks


class Player:
    """Plays a schedule on time, and knows when each hold began.

    Iterating gives the number of the pose to show now. Until `ready` is set, this is the first pose, at the camera's
    rate. Then the schedule begins.
    """

    def __init__(
        self,
        ticks: Sequence[Tick],
        fps: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ticks = ticks
        self._period_s = 1 / fps
        self._clock = clock
        self._sleep = sleep
        self.ready = threading.Event()
        self.over = threading.Event()
        self.bounds_s: list[float] = []
        """When the first frame of each hold was given out. At the end, the time when the last hold ended is added."""

    def __iter__(self) -> Iterator[int]:
        due_s = self._clock()
        while not self.ready.is_set():
            yield 0
            due_s += self._period_s
            self._sleep_until(due_s)
        start_s = max(due_s, self._clock())
        for tick in self._ticks:
            self._sleep_until(start_s + tick.due_s)
            if tick.hold == len(self.bounds_s):
                self.bounds_s.append(self._clock())
            yield tick.pose
        self._sleep(self._period_s)
        self.bounds_s.append(self._clock())
        self.over.set()

    def _sleep_until(self, due_s: float) -> None:
        left_s = due_s - self._clock()
        if left_s > 0:
            self._sleep(left_s)


SMALL_PX: Final = 64
"""Frames are kept as grey pictures of this side. A head that turns moves thousands of pixels."""
CLEAR: Final = 0.15
"""The share of a step's whole change that is clearly a change. Still output trembles by 0.01 of it (measured)."""
STILL: Final = 0.25
"""The share of a hold, at its end, in which the picture must be still."""
LEAST_CHANGE: Final = 1.0
"""Grey levels, root mean square. A smaller change is not a step. Turning a head by 15° changes 17 (measured)."""
LEAST_SHARE: Final = 0.5
"""A step that changes less than this share of the usual change was not shown."""


class Recorder:
    """Output frames, small and grey, each with its time. One thread writes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.times_s: list[float] = []
        self.pictures: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Keep a frame (H, W, 3) RGB; its time is that of the call."""
        self.times_s.append(self._clock())
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA)
        self.pictures.append(small.astype(np.uint8, copy=False))


@dataclass(frozen=True)
class Step:
    """When one step was seen, in seconds since it was shown, or why it was missed."""

    onset_s: float = math.nan
    """The first frame that clearly differs from the old picture."""
    halfway_s: float = math.nan
    """The first that is nearer to the new picture than to the old one."""
    arrived_s: float = math.nan
    """The first that no longer clearly differs from the new picture."""
    missed: str = ""


def find_steps(
    bounds_s: Sequence[float], times_s: Sequence[float], pictures: Sequence[NDArray[Any]]
) -> list[Step]:
    """Time each step of a recording.

    The old and the new picture of a step are the means of the last quarters of the holds before and after it, so
    that a slow drift over the run does not matter. A step is timed only if both pictures are still and differ.

    Args:
        bounds_s: when each hold began, and when the last one ended; n + 2 times for n steps.
        times_s: when each output frame came, rising.
        pictures: these frames, all of one shape.

    Returns:
        A step for each bound except the first and the last.
    """
    times = np.asarray(times_s, dtype=np.float64)
    stacked = np.asarray(pictures, dtype=np.float32)
    held = [
        stacked[(times > end_s - STILL * (end_s - begin_s)) & (times <= end_s)]
        for begin_s, end_s in pairwise(bounds_s)
    ]
    changes = [
        _distance(before.mean(axis=0), after.mean(axis=0)) if len(before) and len(after) else 0.0
        for before, after in pairwise(held)
    ]
    # The 75th percentile is the usual change even where up to three steps in four went missing.
    least = max(LEAST_CHANGE, LEAST_SHARE * percentile(changes, 75)) if changes else LEAST_CHANGE
    steps = []
    for k, (before, after) in enumerate(pairwise(held)):
        begin_s, end_s = bounds_s[k + 1], bounds_s[k + 2]
        if not len(before) or not len(after):
            steps.append(Step(missed="no frame came"))
        elif changes[k] < least:
            steps.append(Step(missed="the picture did not change"))
        elif max(_tremble(before), _tremble(after)) > CLEAR * changes[k]:
            steps.append(Step(missed="the picture was not still"))
        else:
            inside = (times > begin_s) & (times <= end_s)
            seen = _crossings(stacked[inside], before.mean(axis=0), after.mean(axis=0))
            onset_s, halfway_s, arrived_s = (float(times[inside][at]) - begin_s for at in seen)
            steps.append(Step(onset_s, halfway_s, arrived_s))
    return steps


def _crossings(
    frames: NDArray[np.float32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[int, int, int]:
    """The frames of onset, half-way and arrival.

    Each is the first of the last row of frames that lasts to the end, so a single odd frame before the step is not
    the step. The last frame always belongs to the row, because it is one of the still frames.
    """
    clear = CLEAR * _distance(before, after)
    gone = [_distance(frame, before) for frame in frames]
    left = [_distance(frame, after) for frame in frames]
    arrived = _first_of_last_row([distance <= clear for distance in left])
    halfway = _first_of_last_row([a > b for a, b in zip(gone, left, strict=True)])
    onset = _first_of_last_row([distance > clear for distance in gone])
    return onset, halfway, arrived


def _first_of_last_row(flags: Sequence[bool]) -> int:
    """Where the last uninterrupted row of True begins that reaches the end."""
    at = len(flags) - 1
    while at > 0 and flags[at - 1]:
        at -= 1
    return at


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square, in grey levels."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _tremble(frames: NDArray[np.float32]) -> float:
    """The farthest of some frames from their mean."""
    middle = frames.mean(axis=0)
    return max(_distance(frame, middle) for frame in frames)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed. It is the nearest rank, so one of the values."""
    ranked = sorted(values)
    return ranked[max(1, math.ceil(len(ranked) * percent / 100)) - 1]
