"""The driver that is the camera of a browser at the panel. Its frames come by WebRTC; see realtime/panel/calls.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from icface.arrays import Frame
from icface.errors import ICFaceError
from icface.face.tracker import FaceTracker
from realtime.cameras import CapturedFrame, rate_of
from realtime.config import LiveConfig
from realtime.drivers import Sample
from realtime.drivers.tracking import TrackingDriver
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot


class BrowserDriver(TrackingDriver):
    """Frames that a browser sends. While none comes, it says nothing; it never ends by itself."""

    is_still = True

    def __init__(
        self,
        tracker: FaceTracker,
        config: LiveConfig,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(tracker, config, metrics)
        self._clock = clock
        self._frames: Slot[CapturedFrame] = Slot()
        self._next_index = 0
        self.fps = rate_of(config.camera_fps)
        self.frame_count = None
        self.aspect = config.camera_size_px[0] / config.camera_size_px[1]

    def play(self, stop: threading.Event) -> Slot[Sample]:
        samples: Slot[Sample] = Slot()
        self._lanes += (self._frames, samples)
        self._start("track", self.track, self._frames, samples)
        return samples

    def read_in_order(self) -> Lane[Sample]:
        raise ICFaceError("a browser's camera drives live alone")

    def show(self, frame: Frame) -> None:
        """Take the browser's newest frame, (H, W, 3) RGB, which is this driver's from now on. One thread calls it.

        Raises:
            Closed: the driver has ended.
        """
        if frame.size == 0:
            return
        self.aspect = frame.shape[1] / frame.shape[0]
        self._metrics.count("captured")
        index, self._next_index = self._next_index, self._next_index + 1
        self._frames.put(CapturedFrame(frame, index, self._clock()))
