"""The capture thread's work: newest frames into a slot, at the rate of the camera or of the file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from icface.errors import DeviceError, ICFaceError
from realtime.camera import Camera, CapturedFrame
from realtime.slot import Closed, Slot
from realtime.timing import Stats

logger = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0


class Stop(Protocol):
    """The part of `threading.Event` that is used: somebody has asked for the end."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


class CameraFeed:
    """Reads a camera until it ends or is asked to stop; `run` is the body of a thread.

    Args:
        camera: open; this object closes it.
        reopen: opens it again, giving it the seconds it may take (device: after a loss; file: for `loop`).
        slot: takes the frames; numbered on over losses and loops, stamped on `clock`.
        retry_s: how long a lost camera is tried again.
        loop: start a file again at its end.
    """

    def __init__(
        self,
        camera: Camera,
        reopen: Callable[[float], Camera],
        slot: Slot[CapturedFrame],
        stats: Stats,
        stop: Stop,
        *,
        retry_s: float,
        loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera: Camera | None = camera
        self._reopen = reopen
        self._slot = slot
        self._stats = stats
        self._stop = stop
        self._retry_s = retry_s
        self._loop = loop
        self._clock = clock
        self._next_index = 0

    def run(self) -> None:
        """Feed the slot, then close it: with the exception, where one ended it."""
        try:
            assert self._camera is not None
            if self._camera.info.is_file:
                self._feed_file(self._camera)
            else:
                self._feed_device(self._camera)
            self._slot.close()
        except Closed:
            pass
        except BaseException as error:  # a thread's top: kept, and raised in whoever reads the slot
            self._slot.close(error)
        finally:
            if self._camera is not None:
                self._camera.close()

    def _feed_device(self, camera: Camera) -> None:
        base = 0
        while not self._stop.is_set():
            try:
                captured = camera.read()
            except DeviceError as error:
                recovered = self._recover(camera, error)
                if recovered is None:
                    return
                camera = recovered
                base = self._next_index
                continue
            if captured is None:
                return
            self._stats.stages["capture"].add(max(0.0, self._clock() - captured.time_s))
            self._put(replace(captured, index=base + captured.index))

    def _recover(self, camera: Camera, error: DeviceError) -> Camera | None:
        """The camera opened again, or None when asked to stop.

        Raises:
            DeviceError: it did not come back in time.
        """
        lost_s = self._clock()
        self._camera = None
        camera.close()
        self._stats.count("cameras_lost")
        self._stats.event(f"camera lost: {error}")
        if self._retry_s > 0:
            logger.warning("%s; the picture goes on at rest, trying again for %g s", error, self._retry_s)
        reason: ICFaceError = error
        while (left_s := self._retry_s - (self._clock() - lost_s)) > 0:
            if self._stop.wait(min(RETRY_EVERY_S, left_s)):
                return None
            try:
                self._camera = self._reopen(max(RETRY_EVERY_S, left_s))
            except ICFaceError as again:
                reason = again
                continue
            away_s = self._clock() - lost_s
            logger.info("the camera is back after %.1f s: %s", away_s, self._camera.info.describe())
            self._stats.event(f"camera back after {away_s:.1f} s")
            return self._camera
        raise DeviceError(f"the camera did not come back within {self._retry_s:g} s: {reason}") from error

    def _feed_file(self, camera: Camera) -> None:
        start_s = self._clock()
        while True:
            base = self._next_index
            last_s = 0.0
            while not self._stop.is_set():
                with self._stats.time("capture"):
                    captured = camera.read()
                if captured is None:
                    break
                ready_s = self._clock()
                last_s = captured.time_s
                due_s = start_s + last_s
                if due_s > ready_s:
                    self._stop.wait(due_s - ready_s)
                else:
                    # Decoding fell behind: as a camera would, go on from here instead of racing to catch up.
                    start_s += ready_s - due_s
                    due_s = ready_s
                self._put(replace(captured, index=base + captured.index, time_s=due_s))
            if not self._loop or self._stop.is_set():
                return
            start_s += last_s + 1.0 / float(camera.info.fps)
            camera.close()
            camera = self._camera = self._reopen(RETRY_EVERY_S)

    def _put(self, captured: CapturedFrame) -> None:
        self._stats.count("captured")
        self._next_index = captured.index + 1
        self._slot.put(captured)
