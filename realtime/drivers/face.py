"""The driver whom a camera sees: frames from the camera's thread, attributes from the tracker's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from typing import Protocol

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.face.continuity import Continuity
from realtime.cameras import Camera, CapturedFrame
from realtime.capture import CameraFeed, read_file
from realtime.config import LiveConfig
from realtime.drivers import POLL_S, Driver, Sample
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot, filling

QUEUE_FRAMES = 4


class Face(Protocol):
    """The part of `icface.face.tracker.DriverState` that is used."""

    @property
    def attributes(self) -> FloatArray: ...


class Tracker(Protocol):
    """The part of `icface.face.tracker.FaceTracker` that is used."""

    def read(self, frame: Frame, time_s: float) -> Face | None: ...
    def set_neutral(self) -> None: ...


class FaceDriver(Driver):
    """A face in front of a camera or in a video.

    Args:
        camera: open.
        reopen: opens it again within that many seconds (a device after a loss, a file at its end).
        tracker: only the tracker's thread touches it.
        config: of the run.
        metrics: of the run.
    """

    def __init__(
        self,
        camera: Camera,
        reopen: Callable[[float], Camera],
        tracker: Tracker,
        config: LiveConfig,
        metrics: Metrics,
    ) -> None:
        super().__init__()
        self._camera = camera
        self._reopen = reopen
        self._tracker = tracker
        self._config = config
        self._metrics = metrics
        self._neutral_asked = threading.Event()
        self._half_rate = False
        # Some devices state no rate. Then what was asked for is the best guess.
        self.fps = camera.info.fps if camera.info.fps > 0 else Fraction(config.camera_fps)
        self.frame_count = camera.info.frame_count
        self.conditioner = Continuity()
        self.ask_neutral = self._neutral_asked.set
        self.halve_tracking = self._set_half_rate

    def play(self, stop: threading.Event) -> Slot[Sample]:
        frames: Slot[CapturedFrame] = self._lane(Slot())
        samples: Slot[Sample] = self._lane(Slot())
        feed = CameraFeed(self._camera, self._reopen, frames, self._config, self._metrics, stop)
        self._start("capture", feed.run)
        self._start("track", self.track, frames, samples)
        return samples

    def read_in_order(self) -> Lane[Sample]:
        frames: Lane[CapturedFrame] = self._lane(Lane(QUEUE_FRAMES))
        samples: Lane[Sample] = self._lane(Lane(QUEUE_FRAMES))
        self._start("decode", read_file, self._camera, frames, self._metrics)
        self._start("track", self.track, frames, samples)
        return samples

    def _set_half_rate(self, half: bool) -> None:
        self._half_rate = half

    def track(self, frames: Lane[CapturedFrame], samples: Lane[Sample]) -> None:
        """Turn frames into samples until either side ends, then close both. It is the body of a thread."""
        metrics, neutral_after_s = self._metrics, self._config.neutral_after_s
        first_s: float | None = None
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
                metrics.count("tracked")
                if face is not None:
                    metrics.count("faces")
                attributes = face.attributes if face is not None else None
                samples.put(Sample(captured.index, serial, captured.time_s, attributes))
                serial += 1
