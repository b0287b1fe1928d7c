"""The driver that is a table: attributes from a CSV that `Recorder`, a spreadsheet or OpenFace wrote."""

from __future__ import annotations

import csv
import itertools
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from icface import attributes
from icface.attributes import AttributeTrack, FloatArray, neutral
from icface.errors import ConfigError
from icface.face.continuity import Continuity
from realtime.drivers import Driver, Sample
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot, filling

_USUAL_FPS: Final = (
    *(Fraction(whole) for whole in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)),
    *(Fraction(whole * 1000, 1001) for whole in (24, 30, 60, 120)),
)


def load_table(path: Path) -> AttributeTrack:
    """Read a CSV; raises as `icface.attributes.read_csv`.

    Rows of an OpenFace file that have no face are filled as with a camera: hold, ease, return. Our own files already
    hold what was shown.
    """
    table = attributes.read_csv(path)
    if table.present.all() or _is_ours(path):
        return table
    continuity = Continuity()
    filled = [
        continuity.update(values if present else None, float(time_s))
        for time_s, values, present in zip(table.times_s, table.values, table.present, strict=True)
    ]
    return AttributeTrack(times_s=table.times_s, values=np.stack(filled), present=table.present)


def _is_ours(path: Path) -> bool:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return set(attributes.NAMES) <= {name.strip() for name in next(csv.reader(file))}


def frame_rate(table: AttributeTrack) -> Fraction:
    """The constant rate that fits the timestamps: a usual one exactly, or one rounded to 1/1000 FPS.

    A single row, or rows that all have the same time, get 25. Raises ConfigError for less than 1 or more than 240.
    """
    gaps_s = np.diff(table.times_s)
    gaps_s = gaps_s[gaps_s > 0]
    if gaps_s.size == 0:
        return Fraction(25)
    fps = 1.0 / float(np.median(gaps_s))
    if not 1 <= fps <= 240:
        raise ConfigError(
            f"the attributes have {fps:.3g} rows a second by their timestamps; expected 1 to 240"
        )
    # Timestamps are often rounded (33 ms for 30 FPS), so the whole table decides, not one gap.
    mean_fps = (len(table) - 1) / float(table.times_s[-1] - table.times_s[0])
    if abs(mean_fps / fps - 1) < 0.05:
        fps = mean_fps
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
        self.fps = frame_rate(table)
        self.frame_count = len(table)
        self._last = neutral()

    def condition(self, attributes: FloatArray | None, time_s: float) -> FloatArray:
        """The attributes as they are, and the last ones again where none come; neutral before the first."""
        self._last = self._last if attributes is None else attributes
        return self._last

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
