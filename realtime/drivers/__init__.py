"""Drivers: what moves the face. `face` is a person seen by a camera or in a video, `table` a CSV of attributes, `still` a
photo or nobody. `several` brings them together.

A driver gives its attributes as samples, from threads of its own. Live, a sample comes at its time into a latest-value
slot. File to file, every sample comes once and in order through a bounded queue.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from realtime.slot import Lane, Slot

POLL_S = 0.1
"""How long a thread waits before it looks whether it was asked to stop."""
JOIN_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Sample:
    """What a driver's frame said."""

    serial: int
    """Counts samples from 0. A gap is a sample that nobody took."""
    time_s: float
    """When the frame was captured."""
    attributes: FloatArray | None
    """(SIZE,) not mirrored; None: no face."""
    face: Landmarks | None = None
    """Where the attributes were read; None: no face, or no tracker."""

    def shares(self) -> FloatArray | None:
        """(478, 2) the face's landmarks in shares of the frame's width and height; None: no face, or no tracker."""
        if self.face is None:
            return None
        shares = self.face.points_px[:, :2] / np.array(self.face.image_size_px)
        return np.asarray(shares, dtype=np.float32)


class Driver(ABC):
    """One driver. `play` or `read_in_order` is called once, then `close`."""

    fps: Fraction
    """Rate of the output that it drives."""
    frame_count: int | None
    """How many samples there will be, perhaps off by a few; None: not known."""
    label = ""
    """For people."""
    aspect: float | None = None
    """Width by height of its frames; None: it has none."""
    is_still = False
    """It has no length of its own: a run does not end with it, unless nothing else drives."""
    ask_neutral: Callable[[], None] | None = None
    """Takes the face as it is as neutral, from any thread; None where there is no tracker."""
    ask_next: Callable[[], None] | None = None
    """Lets the next face to the right drive, from any thread; None where there is no tracker."""
    halve_tracking: Callable[[bool], None] | None = None
    """Tracks every second frame only, or all, from any thread; None where there is no tracker."""

    def __init__(self) -> None:
        self._lanes: list[Lane[Any]] = []
        """Closed at the end, which wakes every thread that waits there."""
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def play(self, stop: threading.Event) -> Slot[Sample]:
        """Start, live: samples at their own times, until `stop` is set."""

    @abstractmethod
    def read_in_order(self) -> Lane[Sample]:
        """Start, file to file: all samples, each as soon as it is there."""

    @property
    def time_base(self) -> Fraction:
        """Seconds that the times of all samples are multiples of, file to file."""
        return 1 / self.fps

    @property
    def end_s(self) -> float | None:
        """When the last sample ends, file to file; None: not known."""
        return float(self.frame_count / self.fps) if self.frame_count else None

    @property
    def missing(self) -> str:
        """What could not be read so far, in a sentence; empty: nothing is known to be missing."""
        return ""

    def close(self) -> None:
        """Close what it gave and wait for its threads, each within JOIN_TIMEOUT_S."""
        for lane in self._lanes:
            lane.close()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)

    def _start(self, name: str, body: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=body, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
