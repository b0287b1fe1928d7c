"""The driver whom a camera sees: frames from the camera's thread, attributes from the tracker's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError, ICFaceError
from icface.face.tracker import FaceTracker
from realtime.cameras import Camera, CapturedFrame, rate_of
from realtime.config import LiveConfig
from realtime.drivers import Sample
from realtime.drivers.tracking import TrackingDriver
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot, filling

logger = logging.getLogger(__name__)

QUEUE_FRAMES = 4
RETRY_EVERY_S = 1.0
FROZEN_S = 5.0
FROZEN_HELP = "if it is frozen, unplug it and plug it in again"
_EVERY_PX = 31
"""So far apart are the pixels that are compared: a few hundred of a picture."""
_SLOWEST_FPS, _FASTEST_FPS = Fraction(10), Fraction(120)
"""Of a live output, whatever the rate of a file that drives it."""


class FaceDriver(TrackingDriver):
    """A face in front of a camera or in a video. The camera is open; see CameraFeed for `reopen`."""

    def __init__(
        self,
        camera: Camera,
        reopen: Callable[[float], Camera],
        tracker: FaceTracker,
        config: LiveConfig,
        metrics: Metrics,
    ) -> None:
        super().__init__(tracker, config, metrics)
        self._camera = camera
        self._reopen = reopen
        # Some devices state no rate. Then what was asked for is the best guess.
        self.fps = camera.info.fps if camera.info.fps > 0 else rate_of(config.camera_fps)
        if config.live:  # the window and its keys stay quick, and a screen shows no more
            self.fps = min(max(self.fps, _SLOWEST_FPS), _FASTEST_FPS)
        self.frame_count = camera.info.frame_count
        self.aspect = camera.info.width_px / camera.info.height_px

    def play(self, stop: threading.Event) -> Slot[Sample]:
        frames: Slot[CapturedFrame] = Slot()
        samples: Slot[Sample] = Slot()
        self._lanes += (frames, samples)
        feed = CameraFeed(self._camera, self._reopen, frames, self._config, self._metrics, stop)
        self._start("capture", feed.run)
        self._start("track", self.track, frames, samples)
        return samples

    def read_in_order(self) -> Lane[Sample]:
        frames: Lane[CapturedFrame] = Lane(QUEUE_FRAMES)
        samples: Lane[Sample] = Lane(QUEUE_FRAMES)
        self._lanes += (frames, samples)
        self._start("decode", read_file, self._camera, frames, self._metrics)
        self._start("track", self.track, frames, samples)
        return samples

    @property
    def time_base(self) -> Fraction:
        return self._camera.info.time_base

    @property
    def end_s(self) -> float | None:
        return self._camera.end_s

    @property
    def missing(self) -> str:
        return self._camera.missing


def read_file(camera: Camera, lane: Lane[CapturedFrame], metrics: Metrics) -> None:
    """Decode a file into a lane until the end, then close it. It is the body of a thread."""
    with filling(lane):
        while True:
            with metrics.time("capture"):
                captured = camera.read()
            if captured is None:
                return
            metrics.count("captured")
            lane.put(captured)


class Frozen:
    """Notices a camera that gives frames, and always the same. A sensor's noise makes all its frames differ."""

    def __init__(self) -> None:
        self._seen: Frame | None = None
        self._since_s = 0.0
        self._told = False

    def sees(self, captured: CapturedFrame) -> bool:
        """Whether the picture has been the same for FROZEN_S; True once, until it moves."""
        seen = captured.frame[::_EVERY_PX, ::_EVERY_PX]
        if self._seen is None or not np.array_equal(seen, self._seen):
            # A copy, because a view would keep the whole frame.
            self._seen, self._since_s, self._told = seen.copy(), captured.time_s, False
        if self._told or captured.time_s - self._since_s < FROZEN_S:
            return False
        self._told = True
        return True


@dataclass
class CameraFeed:
    """Reads a camera until it ends or is asked to stop; `run` is the body of a thread."""

    camera: Camera
    """Open; this object closes it."""
    reopen: Callable[[float], Camera]
    """Opens it again within that many seconds (a device after a loss, a file at its end)."""
    slot: Slot[CapturedFrame]
    """Takes the frames. Their numbers go on over losses and loops; their times are on `clock`."""
    config: LiveConfig
    metrics: Metrics
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    next_index: int = 0

    def run(self) -> None:
        """Feed the slot, then close it."""
        try:
            with filling(self.slot):
                if self.camera.info.is_file:
                    self._feed_file()
                else:
                    self._feed_device()
        finally:
            self.camera.close()

    def _feed_device(self) -> None:
        base = 0
        frozen = Frozen()
        while not self.stop.is_set():
            try:
                captured = self.camera.read()
            except DeviceError as error:
                self._recover(error)
                base = self.next_index
                continue
            if captured is None:
                return
            self.metrics.stages["capture"].add(max(0.0, self.clock() - captured.time_s))
            if frozen.sees(captured):
                name = self.camera.info.name
                logger.warning("%s has shown the same picture for %g s; %s", name, FROZEN_S, FROZEN_HELP)
                self.metrics.event("camera frozen")
            self._put(replace(captured, index=base + captured.index))

    def _recover(self, error: DeviceError) -> None:
        """Open the camera again, within the bound. Returns without it when asked to stop."""
        lost_s, retry_s = self.clock(), self.config.camera_retry_s
        self.camera.close()
        self.metrics.count("cameras_lost")
        self.metrics.event(f"camera lost: {error}")
        if retry_s > 0:
            logger.warning("%s; the picture goes on at rest, trying again for %g s", error, retry_s)
        reason: ICFaceError = error
        while (left_s := retry_s - (self.clock() - lost_s)) > 0:
            if self.stop.wait(min(RETRY_EVERY_S, left_s)):
                return
            try:
                self.camera = self.reopen(max(RETRY_EVERY_S, left_s))
            except ICFaceError as again:
                reason = again
                continue
            away_s = self.clock() - lost_s
            logger.info("the camera is back after %.1f s: %s", away_s, self.camera.info.describe())
            self.metrics.event(f"camera back after {away_s:.1f} s")
            return
        raise DeviceError(f"the camera did not come back within {retry_s:g} s: {reason}") from error

    def _feed_file(self) -> None:
        start_s = self.clock()
        while True:
            base = self.next_index
            last_s = 0.0
            while not self.stop.is_set():
                with self.metrics.time("capture"):
                    captured = self.camera.read()
                if captured is None:
                    break
                ready_s = self.clock()
                last_s = captured.time_s
                due_s = start_s + last_s
                if due_s > ready_s:
                    self.stop.wait(due_s - ready_s)
                else:
                    # Decoding fell behind. Go on from here, as a camera would, instead of racing to catch up.
                    start_s += ready_s - due_s
                    due_s = ready_s
                self._put(replace(captured, index=base + captured.index, time_s=due_s))
            if not self.config.loop or self.stop.is_set():
                return
            start_s += last_s + 1.0 / float(self.camera.info.fps)
            self.camera.close()
            self.camera = self.reopen(RETRY_EVERY_S)

    def _put(self, captured: CapturedFrame) -> None:
        self.metrics.count("captured")
        self.next_index = captured.index + 1
        self.slot.put(captured)
