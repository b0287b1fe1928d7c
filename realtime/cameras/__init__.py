"""Cameras: where the driver's frames come from. A camera is a device or a video file, one module each.

A device is read on a thread of its own, so one that hangs cannot hold the caller. It gives the newest frame only. A file
gives every frame once, in order, as a player shows it, at its media time. Network addresses and playlists are refused.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from realtime.config import FIRST_CAMERA, LiveConfig

LIST_HINT: Final = "Run: icface-live --list-cameras"


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Which camera, and what to ask of it."""

    device: str = FIRST_CAMERA
    """Camera number, device path (/dev/video0) or video file. What follows is for devices."""
    size_px: tuple[int, int] = LiveConfig.camera_size_px
    """(width, height) asked for; `Camera.info` says what came."""
    fps: float = LiveConfig.camera_fps
    fourcc: str = "MJPG"
    """Pixel format asked for: uncompressed 1080p drops to 5 FPS on USB 2."""
    stall_timeout_s: float = 0.5
    """`read()` raises when there was no new frame for this long."""
    open_timeout_s: float = 10.0
    """Bound on opening and on the first frame; some devices need seconds to start."""


@dataclass(frozen=True)
class CapturedFrame:
    """One frame and where it stands in time."""

    frame: Frame
    """(H, W, 3) uint8 RGB, C-contiguous. It belongs to the receiver; the camera does not write to it again."""
    index: int
    """Counts captured frames from 0; a gap is a frame that was skipped."""
    time_s: float
    """Device: when it was captured, on the clock of `time.monotonic`. File: media time from the start of its pictures,
    rising from frame to frame."""


@dataclass(frozen=True)
class CameraInfo:
    """What really came, not what was asked."""

    name: str
    width_px: int
    height_px: int
    fps: Fraction
    """Device: as the driver states it. File: average rate."""
    fourcc: str
    """Pixel format of a device, codec of a file."""
    is_file: bool
    frame_count: int | None
    """What a file's header claims or its duration implies, so perhaps off by a few. None: not known."""
    time_base: Fraction = Fraction(1, 90_000)
    """Seconds that all times of a file are multiples of. Devices: MPEG's."""

    def describe(self) -> str:
        """One line for the user."""
        rate = f"{float(self.fps):.4g} FPS" if self.fps else "unstated rate"
        return f"{self.name}: {self.width_px}x{self.height_px} {self.fourcc} at {rate}"


class Camera(ABC):
    """Gives frames; a context manager. `read` and `close` may be called from different threads."""

    info: CameraInfo

    @abstractmethod
    def read(self) -> CapturedFrame | None:
        """Give the next frame (file) or the newest one not yet given (device).

        It is None at the end of a file. After `close` a device may give a last frame before the None.

        Raises:
            DeviceError: the device stalled or is gone. A stalled device may come back at the next call. An unplugged
                one raises at once and must be opened anew.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the camera; may be called twice."""

    @property
    def end_s(self) -> float | None:
        """File: when the last frame read so far ends. None: not known."""
        return None

    @property
    def missing(self) -> str:
        """File: what could not be read so far, in a sentence; empty: nothing is known to be missing."""
        return ""

    def frames(self) -> Iterator[CapturedFrame]:
        """Yield until the end."""
        while (captured := self.read()) is not None:
            yield captured

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def rate_of(fps: float) -> Fraction:
    """A rate that was asked for or stated, 1 to 1000, as a fraction that files take: 29.97003 is 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def open_camera(config: CameraConfig) -> Camera:
    """Open a device or a file.

    Raises:
        ConfigError: the file is not a video.
        DeviceError: nothing is there, or it is busy, or not allowed, or did not start.
    """
    from realtime.cameras.device import DeviceCamera
    from realtime.cameras.video_file import VideoFileCamera

    name = config.device
    if name.isdecimal():
        return DeviceCamera(config)
    path = Path(name).expanduser()
    if path.is_file():
        return VideoFileCamera(path)
    if path.is_dir():
        raise ConfigError(f"--camera {name} is a folder; give a video file in it")
    if path.is_char_device() or name.startswith("/dev/"):
        return DeviceCamera(config)
    if path.exists():
        raise ConfigError(f"--camera {name} is neither a file nor a device; give a video file")
    raise DeviceError(f"camera {name} is not there: no such file or device. {LIST_HINT}")


@dataclass(frozen=True)
class CameraListing:
    """One line of `--list-cameras`."""

    number: int
    path: str
    """Device path; empty where the system has none."""
    name: str
    note: str = ""
    """Why it cannot be used now; empty if nothing is known against it."""


def list_cameras() -> list[CameraListing]:
    """List the cameras of this machine, by number. Other systems than Linux start each for a moment."""
    from realtime.cameras import device, v4l2

    return v4l2.list_cameras() if sys.platform == "linux" else device.probe_numbers()
