"""Drivers whose face is tracked: frames become samples in a thread of the tracker's own."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from typing import Final

from icface.face.tracker import FaceTracker
from realtime.cameras import CapturedFrame
from realtime.config import LiveConfig
from realtime.drivers import POLL_S, Driver, Sample
from realtime.metrics import Metrics
from realtime.slot import Lane, filling

logger = logging.getLogger(__name__)

NOBODY_AFTER_S: Final = 3.0
"""So long after the start it is said that no face was seen yet, and then ever less often."""
NO_FACE_HELP: Final = "look at the camera, with light from the front, so close that the face has 48 pixels"


class TrackingDriver(Driver):
    """Base of drivers with a tracker. The tracker stays the caller's."""

    def __init__(self, tracker: FaceTracker, config: LiveConfig, metrics: Metrics) -> None:
        super().__init__()
        self._tracker = tracker
        self._config = config
        self._metrics = metrics
        self._neutral_asked = threading.Event()
        self._half_rate = False
        self.ask_neutral = self._neutral_asked.set
        self.ask_next = tracker.choose_next

    def halve_tracking(self, half: bool) -> None:
        self._half_rate = half

    def track(self, frames: Lane[CapturedFrame], samples: Lane[Sample]) -> None:
        """Turn frames into samples until either side ends, then close both. It is the body of a thread."""
        metrics, neutral_after_s = self._metrics, self._config.neutral_after_s
        first_s: float | None = None
        nobody_s = NOBODY_AFTER_S
        last_index = -1
        serial = 0
        with closing(frames), filling(samples):
            while True:
                captured = frames.get(POLL_S)
                if captured is None or (self._half_rate and captured.index == last_index + 1):
                    continue
                metrics.count("dropped_before_tracking", captured.index - last_index - 1)
                last_index = captured.index
                first_s = captured.time_s if first_s is None else first_s
                if neutral_after_s is not None and captured.time_s - first_s >= neutral_after_s:
                    neutral_after_s = None
                    self._neutral_asked.set()
                if self._neutral_asked.is_set():
                    self._neutral_asked.clear()
                    self._tracker.set_neutral()
                with metrics.time("track"):
                    face = self._tracker.read(captured.frame, captured.time_s)
                metrics.tracked(found=face is not None)
                if face is None:
                    if not metrics.counters["faces"] and captured.time_s - first_s >= nobody_s:
                        logger.warning(
                            "no face was seen in %.0f s; %s", captured.time_s - first_s, NO_FACE_HELP
                        )
                        nobody_s *= 3
                    samples.put(Sample(serial, captured.time_s, None))
                else:
                    samples.put(Sample(serial, captured.time_s, face.attributes, face.landmarks))
                serial += 1
