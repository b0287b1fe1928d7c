"""The virtual camera: other programs see the frames as a webcam.

Through pyvirtualcam: v4l2loopback on Linux, OBS on macOS and Windows, Unity Capture on Windows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from icface.arrays import Frame
from icface.errors import DeviceError
from realtime.cameras.v4l2 import query_capabilities
from realtime.sinks import TICK_S, Sink, even_sides

logger = logging.getLogger(__name__)

_HOW = {
    "linux": "load one with: sudo modprobe v4l2loopback exclusive_caps=1 card_label=ICface"
    " (Debian, Ubuntu: sudo apt install v4l2loopback-dkms)",
    "darwin": "install OBS (obsproject.com), start and stop its virtual camera once, and close it",
    "win32": "install OBS (obsproject.com), start and stop its virtual camera once, or install Unity Capture",
}
GIVES_PICTURES: Final = 0x00000001  # V4L2_CAP_VIDEO_CAPTURE
TAKES_PICTURES: Final = 0x00000002  # V4L2_CAP_VIDEO_OUTPUT
_STREAMON: Final = 0x40045612  # VIDIOC_STREAMON: _IOW('V', 18, int)
_VIDEO_OUTPUT: Final = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT

_INSTEAD = "or see the picture in a window with --window"


class VirtualCameraSink(Sink):
    """Sends to a virtual camera device."""

    name = "virtual_camera"
    _camera: Any = None  # pyvirtualcam.Camera, which has no type information

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        asked = self._settings.device
        try:
            import pyvirtualcam
        except ImportError as error:
            raise DeviceError(
                f"virtual cameras need the package pyvirtualcam ({error}); run: pip install pyvirtualcam"
            ) from error
        if sys.platform == "linux":
            _revive_all(asked)
        # Virtual cameras carry 4:2:0, which needs even sides.
        width, height = width_px + width_px % 2, height_px + height_px % 2
        try:
            self._camera = pyvirtualcam.Camera(width, height, float(fps), device=asked)
        except RuntimeError as error:
            raise DeviceError(self._unavailable(error)) from error
        if self._camera.device != asked:
            logger.info("virtual camera: %s", self._camera.device)

    def _unavailable(self, error: RuntimeError) -> str:
        asked = self._settings.device
        wanted = f"virtual camera {asked}" if asked else "a virtual camera"
        # pyvirtualcam gives one line for each backend. Its first sentence is the reason, the rest is advice.
        lines = filter(None, map(str.strip, str(error).splitlines()))
        reason = "; ".join(line.partition(". ")[0] for line in lines)
        return f"{wanted} cannot be opened ({reason}); {_HOW.get(sys.platform, _HOW['linux'])}; {_INSTEAD}"

    def send(self, frame: Frame, time_s: float) -> None:
        # pyvirtualcam only prints a line when a v4l2loopback device is gone.
        if sys.platform == "linux" and not os.path.exists(self._camera.device):
            raise DeviceError(f"virtual camera {self._camera.device} is gone; {_HOW['linux']}; {_INSTEAD}")
        try:
            self._camera.send(even_sides(frame))
        except (OSError, RuntimeError) as error:  # another program has closed it
            raise DeviceError(
                f"virtual camera {self._camera.device} takes no more pictures ({error}); {_INSTEAD}"
            ) from error

    def close(self) -> None:
        if self._camera is not None:
            camera, self._camera = self._camera, None
            camera.close()

    def describe(self) -> str:
        camera = self._camera
        return f"virtual camera {camera.device} ({camera.backend}) {camera.width}x{camera.height}"


def _revive_all(asked: str | None) -> None:
    """Revive the device that is asked for. Without one, revive all: any may be the first that works."""
    for path in [Path(asked)] if asked is not None else sorted(Path("/dev").glob("video*")):
        with contextlib.suppress(OSError):  # missing, or not allowed: pyvirtualcam will say so
            revive(path)


def revive(device: Path) -> None:
    """Let a device of v4l2loopback be written to again.

    pyvirtualcam writes without VIDIOC_STREAMON. With exclusive_caps=1, version 0.12 (Debian 12, Ubuntu 22.04) does not
    notice when such a program ends, and refuses the next one. It notices the end of a program that used VIDIOC_STREAMON.
    Raises OSError where that is not possible.
    """
    import fcntl  # not on Windows

    if query_capabilities(device) & (GIVES_PICTURES | TAKES_PICTURES):
        return
    descriptor = os.open(device, os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # without buffers it fails, after what matters
            fcntl.ioctl(descriptor, _STREAMON, struct.pack("=I", _VIDEO_OUTPUT))
    finally:
        os.close(descriptor)
    logger.debug("%s takes pictures again", device)


create = VirtualCameraSink
