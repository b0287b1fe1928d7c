"""The driver that is a table: attributes from a CSV that `Recorder`, a spreadsheet or OpenFace wrote."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import AttributeTrack
from icface.errors import ConfigError
from icface.face.continuity import HOLD_S, Continuity
from icface.tables import read_csv
from realtime.drivers import Driver, Sample
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot, filling

logger = logging.getLogger(__name__)

MAX_FRAMES: Final = 2_000_000
"""Of a table with its missing rows. A day at 25 frames a second has as many."""
SAME_TIME: Final = 0.1
"""Where more of the rows have the time of the row before, times are rounded."""
ROUNDED: Final = 0.75
"""A row may be this part of a period away from its frame."""
_USUAL_FPS: Final = (
    *(Fraction(whole) for whole in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)),
    *(Fraction(whole * 1000, 1001) for whole in (24, 30, 60, 120)),
)


def load_table(path: Path, *, face: int | None = None) -> AttributeTrack:
    """Read a CSV as `icface.tables.read_csv`, and give it one row a frame, at the constant rate of `frame_rate`.

    Rows of an OpenFace file that have no face are filled as with a camera: hold, ease, return. Our own files already
    hold what was shown. Rows that are missing are filled in: a short gap by straight lines, a longer one as if no face
    was seen.

    Raises:
        ConfigError: as `read_csv` and `frame_rate`.
    """
    table = read_csv(path, face=face)
    fps = float(frame_rate(table.times_s))
    frames = _frame_numbers(table.times_s, fps)
    count = int(frames[-1]) + 1
    if count > MAX_FRAMES:
        raise ConfigError(
            f"{path} lasts {count / fps / 3600:.0f} h by its timestamps; cut it into shorter files"
        )
    whole = np.array_equal(frames, np.arange(len(table)))
    if whole and (table.filled or table.present.all()):
        return table
    if not whole:
        kept = np.flatnonzero(np.diff(frames, prepend=-1) > 0)  # the first of several rows of a frame
        gap = int(np.diff(frames[kept]).max(initial=1)) - 1
        logger.info(
            "%s has %d rows for %d frames; the longest gap is %.2g s", path.name, len(table), count, gap / fps
        )
        frames = frames[kept]
        table = replace(table, values=table.values[kept], present=table.present[kept])
    return _filled(table, frames, count, fps)


def _frame_numbers(times_s: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """(N,) the frame of each row, never decreasing, from its time."""
    rows = np.arange(len(times_s))
    gaps_s = np.diff(times_s)
    # Times may be rounded so far that several rows have the same.
    resolution_s = gaps_s[gaps_s > 0].min(initial=math.inf) if (gaps_s == 0).any() else 0.0
    tolerance_s = max(ROUNDED * (1 / fps), resolution_s)
    if (np.abs(times_s - rows / fps) <= tolerance_s).all():
        return rows
    numbers = np.rint(times_s * fps).astype(np.int64)
    for i in range(1, len(numbers)):
        # A camera trembles: two rows less than a period apart are two frames, where the next one is free.
        ahead = int(numbers[i - 1]) + 1
        if numbers[i] < ahead <= times_s[i] * fps + 1:
            numbers[i] = ahead
    return np.asarray(np.maximum.accumulate(numbers))


def _filled(table: AttributeTrack, frames: NDArray[np.int64], count: int, fps: float) -> AttributeTrack:
    """A track of `count` frames at `fps` from rows that are frames `frames` (N,), each once and in order."""
    everything = np.arange(count)
    row = np.searchsorted(frames, everything, side="right") - 1
    exact = frames[row] == everything
    after = np.minimum(row + 1, len(frames) - 1)
    gap = (frames[after] - frames[row]) / fps
    share = (everything - frames[row]) / np.maximum(frames[after] - frames[row], 1)
    between = table.present[row] & table.present[after] & (gap <= HOLD_S)
    values = table.values[row] + (share * between)[:, None] * (table.values[after] - table.values[row])
    present = np.where(exact, table.present[row], between)
    shown = present | (exact & table.filled)
    times_s = everything / fps
    continuity = Continuity()
    held = [
        continuity.update(value if is_shown else None, float(time_s))
        for time_s, value, is_shown in zip(times_s, values.astype(np.float32), shown, strict=True)
    ]
    return replace(table, times_s=times_s, values=np.stack(held), present=present, filled=True)


def frame_rate(times_s: NDArray[np.float64]) -> Fraction:
    """The constant rate that fits timestamps (N,): a usual one exactly, or one rounded to 1/1000 FPS.

    A single row, or rows that all have the same time, get 25. Raises ConfigError for less than 1 or more than 240.
    """
    gaps_s = np.diff(times_s)
    if not (gaps_s > 0).any():
        return Fraction(25)
    usual_s = float(np.quantile(gaps_s[gaps_s > 0], 0.5, method="lower"))
    if np.count_nonzero(gaps_s == 0) > SAME_TIME * len(gaps_s):
        usual_s = float(times_s[-1] - times_s[0]) / len(gaps_s)  # rounded so far that rows share a time
    else:
        # Timestamps are often rounded (33 ms for 30 FPS), so all gaps decide, but for those where rows are missing.
        usual_s = float(gaps_s[(gaps_s > usual_s / 2) & (gaps_s < usual_s * 1.5)].mean())
    fps = 1.0 / usual_s
    if not 1 <= fps <= 240:
        raise ConfigError(
            f"the attributes have {fps:.3g} rows a second by their timestamps; expected 1 to 240, and "
            "times in seconds"
        )
    # 30 and 29.97 are .1 % apart, so only rates within .02 % count as the same.
    close = (rate for rate in _USUAL_FPS if abs(fps / float(rate) - 1) < 2e-4)
    return next(close, Fraction(round(fps * 1000), 1000))


class TableDriver(Driver):
    """A table of attributes, from `load_table`. `loop` starts it again at its end; live only."""

    def __init__(
        self,
        table: AttributeTrack,
        metrics: Metrics,
        *,
        loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._table = table
        self._metrics = metrics
        self._loop = loop
        self._clock = clock
        self.fps = frame_rate(table.times_s)
        self.frame_count = len(table)

    def play(self, stop: threading.Event) -> Slot[Sample]:
        samples: Slot[Sample] = Slot()
        self._lanes.append(samples)
        self._start("attributes", self.fill, samples, stop)
        return samples

    def read_in_order(self) -> Lane[Sample]:
        # Each row is a frame, at the constant rate that fits the timestamps.
        samples: Lane[Sample] = Lane(len(self._table))
        for i, values in enumerate(self._table.values):
            samples.put(Sample(i, i / float(self.fps), values))
        samples.close()
        return samples

    def fill(self, samples: Slot[Sample], stop: threading.Event) -> None:
        """Play the rows into a slot, then close it. It is the body of a thread."""
        rows, times_s = len(self._table), self._table.times_s
        lap_s = float(times_s[-1]) + float(1 / self.fps)
        with filling(samples):
            start_s = self._clock()
            for row in itertools.count() if self._loop else range(rows):
                due_s = start_s + row // rows * lap_s + float(times_s[row % rows])
                if stop.wait(max(0.0, due_s - self._clock())):
                    return
                samples.put(Sample(row, due_s, self._table.values[row % rows]))
                self._metrics.count("captured")
