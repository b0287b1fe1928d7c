"""Camera devices, read by OpenCV."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import cv2
import cv2.utils.logging
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.errors import DeviceError
from realtime.cameras import (
    LIST_HINT,
    Camera,
    CameraConfig,
    CameraInfo,
    CameraListing,
    CapturedFrame,
    rate_of,
    v4l2,
)
from realtime.slot import Closed, Slot, filling

_FAILED_GRABS: Final = 5
"""A driver may fail one grab (a torn MJPG frame) and go on. This many in a row mean that it has stopped."""
_FAILED_GRAB_S: Final = 0.02
"""Time between them. The device file of an unplugged camera goes a moment after its frames do."""


class DeviceCamera(Camera):
    """A camera device that is read on a thread of its own. It keeps the newest frame only.

    `open_capture` gives the device; without it OpenCV does. `clock` stamps the frames.

    Raises:
        DeviceError: missing, busy, not allowed, or no frame within `open_timeout_s`.
    """

    def __init__(
        self,
        config: CameraConfig,
        open_capture: Callable[[CameraConfig], cv2.VideoCapture] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._open_capture = open_capture or _open_device
        self._frames: Slot[CapturedFrame] = Slot()
        self._thread = threading.Thread(target=self._run, name=f"camera {config.device}", daemon=True)
        self._thread.start()
        if not self._frames.wait(config.open_timeout_s):
            self.close()
            raise self._stalled(f"no frame within {config.open_timeout_s:g} s")

    def read(self) -> CapturedFrame | None:
        timeout_s = self._config.stall_timeout_s
        try:
            captured = self._frames.get(timeout_s)
        except Closed:
            return None
        if captured is None:
            raise self._stalled(f"no new frame for {timeout_s * 1000:.0f} ms")
        return captured

    def _stalled(self, how: str) -> DeviceError:
        return DeviceError(
            f"camera {self._config.device} gave {how}; is another program using it? {LIST_HINT}"
        )

    def close(self) -> None:
        """Tell the reader thread to release the device.

        Waits as long as a read may take. A driver that hangs keeps the (daemon) thread, not the caller.
        """
        self._frames.close()
        self._thread.join(self._config.stall_timeout_s)

    def _run(self) -> None:
        with filling(self._frames):
            capture = self._open_capture(self._config)
            try:
                self._capture_frames(capture)
            finally:
                capture.release()

    def _capture_frames(self, capture: cv2.VideoCapture) -> None:
        index = failed = 0
        while True:
            grabbed = capture.grab()
            time_s = self._capture_time_s(capture) if grabbed else 0.0
            whole, bgr = capture.retrieve() if grabbed else (False, None)
            if not whole or bgr is None or bgr.size == 0:
                failed += 1
                if failed >= _FAILED_GRABS or v4l2.is_gone(self._config.device):
                    raise DeviceError(self._stopped_message(index))
                time.sleep(_FAILED_GRAB_S)
                continue
            failed = 0
            frame = _bgr_to_rgb(_in_rows(bgr, capture))
            if index == 0:
                self.info = self._read_info(capture, frame)
            self._frames.put(CapturedFrame(frame, index, time_s))
            index += 1

    def _stopped_message(self, frame_count: int) -> str:
        device = self._config.device
        if v4l2.is_gone(device):
            return f"camera {device} was unplugged; plug it in again. {LIST_HINT}"
        if frame_count == 0:
            return f"camera {device} opened but gave no frame; is another program using it? {LIST_HINT}"
        return f"camera {device} stopped giving frames; plug it in again. {LIST_HINT}"

    def _capture_time_s(self, capture: cv2.VideoCapture) -> float:
        """When the frame just grabbed was captured.

        V4L2 stamps each buffer on the monotonic clock, earlier than now by the transfer. The stamp is used where it is
        believable, since some drivers give zero or the time of another clock.
        """
        now_s = self._clock()
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp_s if now_s - 0.5 <= stamp_s <= now_s else now_s

    def _read_info(self, capture: cv2.VideoCapture, frame: Frame) -> CameraInfo:
        fps = capture.get(cv2.CAP_PROP_FPS)
        device = self._config.device
        name = v4l2.device_name(device)
        return CameraInfo(
            name=f"camera {device} ({name})" if name else f"camera {device}",
            width_px=frame.shape[1],
            height_px=frame.shape[0],
            fps=rate_of(fps if 1 <= fps <= 1000 else self._config.fps),
            fourcc=_fourcc_text(int(capture.get(cv2.CAP_PROP_FOURCC))),
            is_file=False,
            frame_count=None,
        )


def _open_device(config: CameraConfig) -> cv2.VideoCapture:
    """Check a device and open it, both on the reader's thread: a driver may hang at the first question."""
    if sys.platform == "linux":
        v4l2.check_device(config.device)
    return _open_capture(config)


def _open_capture(config: CameraConfig) -> cv2.VideoCapture:
    """Open a device by OpenCV and ask for format, size and rate, in the order that drivers honour."""
    # OpenCV's warnings go to stderr unformatted. What matters is said by the errors here.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # A device that stalls would keep its reader thread for OpenCV's 10 s, and could not be opened again before. OpenCV
    # reads this at its first wait.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
    backend = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}.get(
        sys.platform, cv2.CAP_ANY
    )
    target = int(config.device) if config.device.isdecimal() else config.device
    capture = cv2.VideoCapture(target, backend)
    if not capture.isOpened():
        capture.release()
        raise DeviceError(
            f"camera {config.device} could not be opened; is another program using it? {LIST_HINT}"
        )
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.size_px[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.size_px[1])
    capture.set(cv2.CAP_PROP_FPS, config.fps)
    return capture


def _in_rows(picture: NDArray[Any], capture: cv2.VideoCapture) -> NDArray[Any]:
    """Give a picture its shape. OpenCV returns one long row for devices whose own format is BGR3 (seen in 4.11)."""
    if picture.shape[0] > 1:
        return picture
    height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    return picture.reshape(height, width, 3) if picture.size == height * width * 3 else picture


def _bgr_to_rgb(bgr: NDArray[Any]) -> Frame:
    code = cv2.COLOR_GRAY2RGB if bgr.ndim == 2 or bgr.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(bgr, code).astype(np.uint8, copy=False)


def _fourcc_text(code: int) -> str:
    text = struct.pack("<I", code & 0xFFFFFFFF).decode("ascii", "replace").strip("\0 ")
    return text if text.isprintable() and text else "unknown"


def probe_numbers(most: int = 6) -> list[CameraListing]:
    """Try the first numbers, which starts each camera for a moment."""
    listings = []
    for number in range(most):
        with contextlib.suppress(DeviceError):
            _open_capture(CameraConfig(device=str(number))).release()
            listings.append(CameraListing(number, "", f"camera {number}"))
    return listings
