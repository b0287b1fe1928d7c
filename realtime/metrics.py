"""The metrics of a run: time per stage, frames per second, drops. Their memory never grows.

Durations fall into logarithmic bins 2 % wide, so a percentile is right within 1 % after ten frames or ten million.
Only one thread writes each stage. A reader may miss the last frame.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from icface.cpu import cpu_name
from icface.errors import ICFaceError
from icface.files import write_file

logger = logging.getLogger(__name__)

SCHEMA: Final = "icface-live-stats/1"

STAGES: Final = ("capture", "track", "animate", "compose", "send", "latency", "interval")
"""In the order in which a frame passes them. `latency`: capture to sent, live only. `interval`: between two sends."""

COUNTERS: Final = (
    "captured", "tracked", "faces", "sent", "animated", "held", "repeated",
    "dropped_before_tracking", "dropped_before_animation", "cameras_lost", "sinks_lost",
)  # fmt: skip

_SHORTEST_S: Final = 1e-6
_STEP: Final = math.log(1.02)
_BINS: Final = math.ceil(math.log(1e9) / _STEP)


class Histogram:
    """Durations from 1 µs to 1000 s in bins 2 % wide. Those beyond are counted in the first and last bin."""

    def __init__(self) -> None:
        self._bins = [0] * _BINS
        self.count = 0
        self.total_s = 0.0
        self.longest_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration."""
        place = int(math.log(max(duration_s, _SHORTEST_S) / _SHORTEST_S) / _STEP)
        self._bins[min(place, _BINS - 1)] += 1
        self.count += 1
        self.total_s += duration_s
        self.longest_s = max(self.longest_s, duration_s)

    def percentile_s(self, percent: float) -> float:
        """The duration that `percent` of all stay within (nearest rank, middle of its bin); 0 when empty."""
        rank = math.ceil(self.count * percent / 100)
        place = bisect_left(list(accumulate(self._bins)), rank)
        return min(_SHORTEST_S * math.exp((place + 0.5) * _STEP), self.longest_s)

    def summary(self) -> dict[str, float]:
        """What `--stats` holds for a stage: milliseconds, rounded to the microsecond."""
        figures_s = {"mean_ms": self.total_s / max(1, self.count)}
        figures_s |= {f"p{percent}_ms": self.percentile_s(percent) for percent in (50, 95, 99)}
        figures_s["max_ms"] = self.longest_s
        return {"count": self.count, **{name: round(value * 1e3, 3) for name, value in figures_s.items()}}


class Metrics:
    """Everything one run measured."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.stages = {name: Histogram() for name in STAGES}
        self.passes = dict.fromkeys((*STAGES, "record", "controls"), 0)
        """For the watchdog: grows when a pass of a stage begins and when it ends, so it is odd while the stage works."""
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.level = "full"
        """The scheduler's level at which frames are made now."""
        self.levels: dict[str, int] = {}
        self.events: list[str] = []
        self.about: dict[str, Any] = {}
        self.drivers: list[tuple[str, Metrics]] = []
        """Each driver's name and what its own threads measured; the first one's are these metrics."""
        self._first_tracked_s = self._last_tracked_s = 0.0
        self.made_s = 0.0
        """How long what was made lasts."""
        self._first_s = self._last_s = 0.0
        self._first_cpu_s = self._last_cpu_s = 0.0

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count how long the block takes as one pass of `stage`."""
        start_s = self._clock()
        with self.within(stage):
            yield
        self.stages[stage].add(self._clock() - start_s)

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """Let the watchdog know that the block is a pass of `stage`."""
        self.passes[stage] += 1
        try:
            yield
        finally:
            self.passes[stage] += 1

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter; each is counted in one thread."""
        self.counters[name] += by

    def tracked(self, *, found: bool) -> None:
        """Count a driver's frame in which a face was looked for."""
        self._last_tracked_s = self._clock()
        if self.counters["tracked"] == 0:
            self._first_tracked_s = self._last_tracked_s
        self.counters["tracked"] += 1
        self.counters["faces"] += found

    @property
    def tracked_fps(self) -> float:
        """Frames of the driver that were tracked in a second."""
        elapsed_s = self._last_tracked_s - self._first_tracked_s
        return (self.counters["tracked"] - 1) / elapsed_s if elapsed_s > 0 else 0.0

    def event(self, text: str) -> None:
        """Note something rare (a camera lost, a change of level); the last 100 are kept."""
        self.events.append(text)
        del self.events[:-100]

    def sent(self) -> None:
        """Count a frame that has left."""
        now_s, cpu_s = self._clock(), time.process_time()
        if self.counters["sent"] == 0:
            logger.debug("first frame sent")
            self._first_s, self._first_cpu_s = now_s, cpu_s
        else:
            self.stages["interval"].add(now_s - self._last_s)
        self._last_s, self._last_cpu_s = now_s, cpu_s
        self.counters["sent"] += 1
        self.levels[self.level] = self.levels.get(self.level, 0) + 1

    @property
    def elapsed_s(self) -> float:
        """From the first frame sent to the last."""
        return self._last_s - self._first_s

    @property
    def fps(self) -> float:
        """Frames per second over the whole run: intervals, not frames, divided by the time they took."""
        return (self.counters["sent"] - 1) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def cpu_share(self) -> float:
        """Part of all usable cores that this process used between the first and the last frame, 0 to 1."""
        used_s = self._last_cpu_s - self._first_cpu_s
        return used_s / self.elapsed_s / usable_cores() if self.elapsed_s > 0 else 0.0

    def _summaries(self) -> dict[str, dict[str, float]]:
        return {name: stage.summary() for name, stage in self.stages.items() if stage.count}

    def report(self) -> dict[str, Any]:
        """The `--stats` document; docs/live-loop.md describes each field."""
        return {
            "schema": SCHEMA,
            "fps": round(self.fps, 2),
            "elapsed_s": round(self.elapsed_s, 3),
            "made_s": round(self.made_s, 3),
            "cpu_share": round(self.cpu_share, 4),
            "frames": self.counters,
            "levels": self.levels,
            "stages": self._summaries(),
            "drivers": [
                {
                    "driver": name,
                    "tracked": driver.counters["tracked"],
                    "faces": driver.counters["faces"],
                    "fps": round(driver.tracked_fps, 2),
                }
                for name, driver in self.drivers
            ],
            "events": self.events,
            "about": self.about,
            "machine": machine(),
        }

    def summary(self, files: Sequence[Path] = ()) -> str:
        """What was made, how long and how good, in a line for people."""
        c = self.counters
        what = f"{c['sent']} frame{'s' if c['sent'] != 1 else ''}"
        parts = [
            f"{what}, {self.made_s:.1f} s"
            if files
            else f"{what} in {self.elapsed_s:.1f} s ({self.fps:.1f} FPS)"
        ]
        if c["tracked"]:
            parts.append(f"face seen in {100 * c['faces'] / c['tracked']:.0f} %")
        for name, word in (("cameras_lost", "camera lost"), ("sinks_lost", "outputs lost")):
            if c[name]:
                parts.append(f"{word}: {c[name]}")
        return f"{', '.join(map(str, files))}: {', '.join(parts)}" if files else ", ".join(parts)

    def table(self) -> str:
        """The report for people: a line for each stage, then a line of counts."""
        lines = [f"{'stage':<10}{'count':>8}{'mean':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}   ms"]
        for name, summary in self._summaries().items():
            count, *figures_ms = summary.values()
            lines.append(f"{name:<10}{count:>8}" + "".join(f"{figure:>9.2f}" for figure in figures_ms))
        c = self.counters
        dropped = c["dropped_before_tracking"] + c["dropped_before_animation"]
        lines.append(
            f"{c['sent']} frames in {self.elapsed_s:.1f} s: {self.fps:.1f} FPS, "
            f"{self.cpu_share:.0%} of the CPU; face in {c['faces']} of {c['tracked']} tracked; "
            f"{dropped} dropped, {c['held']} held, {c['repeated']} repeated"
        )
        if len(self.drivers) > 1:
            lines += [f"driver {n}, {one}" for n, one in enumerate(self._driver_lines(), start=1)]
        return "\n".join(lines)

    def _driver_lines(self) -> Iterator[str]:
        for name, driver in self.drivers:
            c = driver.counters
            rate = f"{driver.tracked_fps:.1f} frames a second, face in {c['faces']} of {c['tracked']}"
            yield f"{name}: {rate if c['tracked'] else 'not tracked'}"

    def save(self, path: Path) -> None:
        """Write the report as JSON; raises ICFaceError where that fails."""
        try:
            write_file(path, json.dumps(self.report(), indent=2) + "\n")
        except OSError as error:
            raise ICFaceError(f"cannot write the metrics to {path}: {error.strerror or error}") from error


def usable_cores() -> int:
    """Cores this process may run on (fewer than the machine has under taskset or in a container)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The machine that figures were measured on."""
    return {
        "system": platform.platform(),
        "processor": cpu_name(),
        "cores": usable_cores(),
        "python": sys.version.split()[0],
    }
