"""Frames from a camera to the tracker: the newest at their own times (live), or all in order (file to file)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from icface.errors import DeviceError, ICFaceError
from realtime.cameras import Camera, CapturedFrame
from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.slot import Lane, Slot, filling

logger = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0


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


class CameraFeed:
    """Reads a camera until it ends or is asked to stop; `run` is the body of a thread.

    Args:
        camera: open; this object closes it.
        reopen: opens it again within that many seconds (a device after a loss, a file for `loop`).
        slot: takes the frames. Their numbers go on over losses and loops; their times are on `clock`.
        config: how long a lost camera is tried again, and whether a file starts again at its end.
        metrics: of the run.
        stop: asks for the end.
        clock: seconds.
    """

    def __init__(
        self,
        camera: Camera,
        reopen: Callable[[float], Camera],
        slot: Slot[CapturedFrame],
        config: LiveConfig,
        metrics: Metrics,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._reopen = reopen
        self._slot = slot
        self._retry_s = config.camera_retry_s
        self._loop = config.loop
        self._metrics = metrics
        self._stop = stop
        self._clock = clock
        self._next_index = 0

    def run(self) -> None:
        """Feed the slot, then close it."""
        try:
            with filling(self._slot):
                if self._camera.info.is_file:
                    self._feed_file()
                else:
                    self._feed_device()
        finally:
            self._camera.close()

    def _feed_device(self) -> None:
        base = 0
        while not self._stop.is_set():
            try:
                captured = self._camera.read()
            except DeviceError as error:
                self._recover(error)
                base = self._next_index
                continue
            if captured is None:
                return
            self._metrics.stages["capture"].add(max(0.0, self._clock() - captured.time_s))
            self._put(replace(captured, index=base + captured.index))

    def _recover(self, error: DeviceError) -> None:
        """Open the camera again, or return because somebody asks to stop.

        Raises:
            DeviceError: it did not come back in time.
        """
        lost_s = self._clock()
        self._camera.close()
        self._metrics.count("cameras_lost")
        self._metrics.event(f"camera lost: {error}")
        if self._retry_s > 0:
            logger.warning("%s; the picture goes on at rest, trying again for %g s", error, self._retry_s)
        reason: ICFaceError = error
        while (left_s := self._retry_s - (self._clock() - lost_s)) > 0:
            if self._stop.wait(min(RETRY_EVERY_S, left_s)):
                return
            try:
                self._camera = self._reopen(max(RETRY_EVERY_S, left_s))
            except ICFaceError as again:
                reason = again
                continue
            away_s = self._clock() - lost_s
            logger.info("the camera is back after %.1f s: %s", away_s, self._camera.info.describe())
            self._metrics.event(f"camera back after {away_s:.1f} s")
            return
        raise DeviceError(f"the camera did not come back within {self._retry_s:g} s: {reason}") from error

    def _feed_file(self) -> None:
        start_s = self._clock()
        while True:
            base = self._next_index
            last_s = 0.0
            while not self._stop.is_set():
                with self._metrics.time("capture"):
                    captured = self._camera.read()
                if captured is None:
                    break
                ready_s = self._clock()
                last_s = captured.time_s
                due_s = start_s + last_s
                if due_s > ready_s:
                    self._stop.wait(due_s - ready_s)
                else:
                    # Decoding fell behind. Go on from here, as a camera would, instead of racing to catch up.
                    start_s += ready_s - due_s
                    due_s = ready_s
                self._put(replace(captured, index=base + captured.index, time_s=due_s))
            if not self._loop or self._stop.is_set():
                return
            start_s += last_s + 1.0 / float(self._camera.info.fps)
            self._camera.close()
            self._camera = self._reopen(RETRY_EVERY_S)

    def _put(self, captured: CapturedFrame) -> None:
        self._metrics.count("captured")
        self._next_index = captured.index + 1
        self._slot.put(captured)
