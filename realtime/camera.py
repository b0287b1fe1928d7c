"""Cameras: where the driver's frames come from.

A camera is a device (a number, or a path such as /dev/video0) or a video file. Both give `CapturedFrame`s:

- A *device* runs on a thread of its own that opens, reads and releases it, so that a driver that hangs cannot
  hold the caller: `read()` returns the newest frame not yet seen, or raises `DeviceError` within
  `CameraConfig.stall_timeout_s` (`open_timeout_s` for the first). Frames the caller was too slow for are
  skipped, and show as gaps in `index`.
- A *file* gives every frame once, in order, upright, at its media time, and then `None`.

Nothing is fetched: network addresses are refused, and so are playlists.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError

logger = logging.getLogger(__name__)


LIST_HINT = "Run: icface-live --list-cameras"


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Which camera, and what to ask of it."""

    device: str = "0"
    """Camera number, device path (/dev/video0) or video file."""
    width_px: int = 640
    """Asked of a device; what it really gives is in `Camera.info`. Tracking gains nothing from more."""
    height_px: int = 480
    """Asked of a device."""
    fps: float = 30.0
    """Asked of a device."""
    fourcc: str = "MJPG"
    """Asked of a device: uncompressed 1080p drops to 5 FPS on USB 2."""
    stall_timeout_s: float = 0.5
    """`read()` raises when a device gave no new frame for this long."""
    open_timeout_s: float = 10.0
    """Bound on opening a device and on its first frame; some need seconds to start."""

    def __post_init__(self) -> None:
        if not self.device:
            raise ConfigError("--camera is empty; give a number, a device path or a video file")
        if "://" in self.device:
            raise ConfigError(
                f"--camera {self.device}: network addresses are not read; give a device or a file"
            )
        if self.width_px < 16 or self.height_px < 16:
            raise ConfigError(
                f"camera size {self.width_px}x{self.height_px} is too small; ask for 16x16 or more"
            )
        if not 0 < self.fps <= 1000:
            raise ConfigError(f"camera rate {self.fps:g} is not between 0 and 1000 FPS")
        if len(self.fourcc) != 4:
            raise ConfigError(f"camera format {self.fourcc!r} is not a four-letter code such as MJPG or YUYV")
        if self.stall_timeout_s <= 0 or self.open_timeout_s <= 0:
            raise ConfigError("camera timeouts must be more than 0 seconds")


@dataclass(frozen=True)
class CapturedFrame:
    """One frame and where it stands in time."""

    frame: Frame
    """(H, W, 3) uint8 RGB, C-contiguous; the receiver's own, never written again by the camera."""
    index: int
    """Counts captured frames from 0; a gap is a frame that was skipped."""
    time_s: float
    """Device: when it was captured, on the clock of `time.monotonic`. File: media time, from 0."""


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
    path: Path | None = None
    """The file; None for a device."""

    def describe(self) -> str:
        """One line for the user."""
        rate = f"{float(self.fps):.4g} FPS" if self.fps else "unstated rate"
        return f"{self.name}: {self.width_px}x{self.height_px} {self.fourcc} at {rate}"


class Camera(ABC):
    """A source of frames; a context manager. `read` and `close` may be called from different threads."""

    info: CameraInfo

    @abstractmethod
    def read(self) -> CapturedFrame | None:
        """Give the next frame (file) or the newest one not yet given (device).

        Returns:
            None at the end of a file, or after `close`.

        Raises:
            DeviceError: the device stalled or is gone. Calling again waits again: a stalled device may come
                back, an unplugged one raises at once and must be opened anew.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the camera; may be called twice."""

    def frames(self) -> Iterator[CapturedFrame]:
        """Yield until the end."""
        while (captured := self.read()) is not None:
            yield captured

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_camera(config: CameraConfig) -> Camera:
    """Open a device or a file.

    Raises:
        ConfigError: the file is not a video.
        DeviceError: nothing is there, or it is busy, or not allowed, or did not start.
    """
    name = config.device
    if name.isdecimal():
        return DeviceCamera(config)
    path = Path(name).expanduser()
    if path.is_file():
        return FileCamera(path)
    if path.is_dir():
        raise ConfigError(f"--camera {name} is a folder; give a video file in it")
    if path.is_char_device() or name.startswith("/dev/"):
        return DeviceCamera(config)
    raise DeviceError(f"camera {name} is not there: no such file or device. {LIST_HINT}")


# Files


class FileCamera(Camera):
    """Every frame of a file, upright, in order, at its media time; damage ends it early, with a log line."""

    def __init__(self, path: Path) -> None:
        """Open `path` and decode its first frame.

        Raises:
            ConfigError: it is not a video.
            DeviceError: it cannot be read.
        """
        self._path = path
        self._index = 0
        self._closed = False
        self._reading = threading.Lock()  # FFmpeg's file must not be closed under a thread that decodes
        self._first_time_s: float | None = None
        self._last_time_s = 0.0
        try:
            self._container = open_container(path)
        except PermissionError as error:
            raise DeviceError(f"{path} cannot be read: permission denied") from error
        except (av.error.FFmpegError, OSError) as error:
            raise ConfigError(f"{path} is not a video that can be read ({_reason(error)})") from error
        try:
            self._stream = self._video_stream()
            self._decoded = self._decode()
            self._next = next(self._decoded, None)
            if self._next is None:
                raise ConfigError(f"{path} has no frame that can be decoded")
            height_px, width_px = self._next[0].shape[:2]
            self._size_px = (width_px, height_px)
            fps = _file_rate(self._stream)
            self.info = CameraInfo(
                name=path.name,
                width_px=width_px,
                height_px=height_px,
                fps=fps,
                fourcc=self._stream.codec_context.name,
                is_file=True,
                frame_count=self._count(fps),
                path=path,
            )
        except BaseException:
            self._container.close()
            raise

    def _video_stream(self) -> av.VideoStream:
        if not self._container.streams.video:
            raise ConfigError(f"{self._path} has no video in it")
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        return stream

    def _count(self, fps: Fraction) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        if self._stream.duration and self._stream.time_base:
            return max(1, round(self._stream.duration * self._stream.time_base * fps))
        if self._container.duration:
            return max(1, round(Fraction(self._container.duration, av.time_base) * fps))
        return None

    def _decode(self) -> Iterator[tuple[Frame, float | None]]:
        """Yield (upright RGB frame, media seconds) until the end or the first damage."""
        done = 0
        try:
            for decoded in self._container.decode(self._stream):
                frame = _to_rgb(decoded)
                if decoded.rotation % 90 == 0 and decoded.rotation % 360 != 0:
                    # `rotation` is counter-clockwise, as np.rot90 turns.
                    frame = np.ascontiguousarray(np.rot90(frame, decoded.rotation // 90))
                yield frame, decoded.time
                done += 1
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError) as error:
            if done == 0:
                raise ConfigError(
                    f"{self._path} has no frame that can be decoded ({_reason(error)})"
                ) from error
            logger.warning(
                "%s is damaged after frame %d (%.2f s): %s; the rest is left out",
                self._path, done, self._last_time_s, _reason(error),
            )  # fmt: skip

    def read(self) -> CapturedFrame | None:
        with self._reading:
            if self._closed or self._next is None:
                return None
            frame, media_time_s = self._next
            if frame.shape[1::-1] != self._size_px:  # some files change their size on the way
                resized = cv2.resize(frame, self._size_px, interpolation=cv2.INTER_AREA)
                frame = resized.astype(np.uint8, copy=False)
            captured = CapturedFrame(frame, self._index, self._time_s(media_time_s))
            self._index += 1
            self._next = next(self._decoded, None)
            return captured

    def _time_s(self, media_time_s: float | None) -> float:
        """Seconds from the first frame, never backwards; from the rate where the file has no times."""
        if media_time_s is None:
            time_s = self._index / float(self.info.fps)
        else:
            if self._first_time_s is None:
                self._first_time_s = media_time_s
            time_s = media_time_s - self._first_time_s
        self._last_time_s = max(self._last_time_s, time_s)
        return self._last_time_s

    def close(self) -> None:
        with self._reading:
            if not self._closed:
                self._closed = True
                self._container.close()


_FORMATS = (
    "apng,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,"
    "yuv4mpegpipe"
)
"""What is read as a video. Not there: pictures, text (FFmpeg would type it out as frames), and playlists,
which would open further files and addresses, and try a dead one for minutes."""


def open_container(path: Path) -> InputContainer:
    """Open a local media file, and nothing that it may refer to.

    Raises:
        av.error.FFmpegError, OSError: it is not there, or not media.
    """
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    # Titles of old files are often not UTF-8; nothing here reads them.
    return av.open(str(path.absolute()), options=options, metadata_errors="replace")


def _to_rgb(decoded: av.VideoFrame) -> Frame:
    """Convert to (H, W, 3) RGB.

    OpenCV's 4:2:0 conversion takes a fifth of swscale's time (0.26 against 1.5 ms at 640x360). It knows
    only BT.601 in limited range, so full range goes to swscale; a BT.709 matrix is let pass, as the driver's
    picture is measured and never shown.
    """
    even = decoded.width % 2 == 0 and decoded.height % 2 == 0
    if decoded.format.name == "yuv420p" and even and decoded.color_range != 2:
        return cv2.cvtColor(decoded.to_ndarray(), cv2.COLOR_YUV2RGB_I420).astype(np.uint8, copy=False)
    return np.ascontiguousarray(decoded.to_ndarray(format="rgb24"))


def _file_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second: the average where it is believable, else the container's guess, else 25."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 1 <= rate <= 240:
            return Fraction(rate)
    return Fraction(25)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text)


# Devices


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used; a test gives its own."""

    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]: ...
    def get(self, property: int) -> float: ...
    def set(self, property: int, value: float) -> bool: ...
    def release(self) -> None: ...


class DeviceCamera(Camera):
    """A camera device read on its own thread; the newest frame only."""

    _FAILED_GRABS = 5
    """A driver may fail one grab (a torn MJPG frame) and go on; this many in a row mean it has stopped."""
    _FAILED_GRAB_S = 0.02
    """Between them; the device file of an unplugged camera goes a moment after its frames do."""

    def __init__(
        self,
        config: CameraConfig,
        open_capture: Callable[[CameraConfig], Capture] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the device and wait for its first frame.

        Args:
            config: which device, and what to ask of it.
            open_capture: gives the device; the default asks OpenCV.
            clock: stamps the frames.

        Raises:
            DeviceError: missing, busy, not allowed, or no frame within `open_timeout_s`.
        """
        self._config = config
        self._clock = clock
        self._open_capture = open_capture or _open_capture
        self._changed = threading.Condition()
        self._newest: CapturedFrame | None = None
        self._given = -1
        self._ended: str | None = None
        self._failure: BaseException | None = None
        self._stop = False
        self._info: CameraInfo | None = None
        if open_capture is None:
            check_device(config.device)
        self._thread = threading.Thread(target=self._run, name=f"camera {config.device}", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._ended is not None or self._failure is not None,
                config.open_timeout_s,
            )
            started = self._newest is not None and self._info is not None
        if not started:
            self.close()
            self._raise_failure()
            raise DeviceError(
                self._ended
                or f"camera {config.device} gave no frame within {config.open_timeout_s:g} s; "
                f"is another program using it? {LIST_HINT}"
            )
        assert self._info is not None
        self.info = self._info

    def read(self) -> CapturedFrame | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._fresh() or self._ended is not None or self._failure is not None or self._stop,
                self._config.stall_timeout_s,
            )
            if self._stop:
                return None
            if self._fresh():
                assert self._newest is not None
                self._given = self._newest.index
                return self._newest
        self._raise_failure()
        raise DeviceError(
            self._ended
            or f"camera {self._config.device} gave no new frame for "
            f"{self._config.stall_timeout_s * 1000:.0f} ms; is another program using it? {LIST_HINT}"
        )

    def _fresh(self) -> bool:
        return self._newest is not None and self._newest.index > self._given

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Tell the reader thread to release the device.

        Waits as long as a read may take; a driver that hangs keeps the (daemon) thread, not the caller.
        """
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join(self._config.stall_timeout_s)

    def _run(self) -> None:
        try:
            capture = self._open_capture(self._config)
            try:
                self._capture_frames(capture)
            finally:
                capture.release()
        except BaseException as error:  # a thread's top: kept, and raised where the frames are read
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _capture_frames(self, capture: Capture) -> None:
        index = 0
        failed = 0
        while not self._stop:
            grabbed = capture.grab()
            time_s = self._capture_time_s(capture) if grabbed else 0.0
            whole, bgr = capture.retrieve() if grabbed else (False, None)
            if not whole or bgr is None or bgr.size == 0:
                failed += 1
                if failed >= self._FAILED_GRABS or _is_gone(self._config.device):
                    self._end(self._stopped_message())
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._stop, self._FAILED_GRAB_S)
                continue
            failed = 0
            frame = _bgr_to_rgb(_in_rows(bgr, capture))
            if self._info is None:
                self._info = self._read_info(capture, frame)
            with self._changed:
                self._newest = CapturedFrame(frame, index, time_s)
                self._changed.notify_all()
            index += 1

    def _stopped_message(self) -> str:
        device = self._config.device
        if _is_gone(device):
            return f"camera {device} was unplugged; plug it in again. {LIST_HINT}"
        if self._newest is None:
            return f"camera {device} opened but gave no frame; is another program using it? {LIST_HINT}"
        return f"camera {device} stopped giving frames; plug it in again. {LIST_HINT}"

    def _end(self, message: str) -> None:
        with self._changed:
            self._ended = message
            self._changed.notify_all()

    def _capture_time_s(self, capture: Capture) -> float:
        """When the frame just grabbed was captured.

        V4L2 stamps each buffer on the monotonic clock, earlier than now by the transfer; used where it is
        believable, since some drivers give zero or another clock.
        """
        now_s = self._clock()
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp_s if now_s - 0.5 <= stamp_s <= now_s else now_s

    def _read_info(self, capture: Capture, frame: Frame) -> CameraInfo:
        fps = capture.get(cv2.CAP_PROP_FPS)
        believable = np.isfinite(fps) and 1 <= fps <= 1000
        return CameraInfo(
            name=_device_name(self._config.device),
            width_px=frame.shape[1],
            height_px=frame.shape[0],
            fps=Fraction(fps).limit_denominator(1001) if believable else Fraction(self._config.fps),
            fourcc=_fourcc_text(int(capture.get(cv2.CAP_PROP_FOURCC))),
            is_file=False,
            frame_count=None,
        )


def _open_capture(config: CameraConfig) -> Capture:
    """Open a device by OpenCV and ask for format, size and rate, in the order that drivers honour."""
    cv2.setLogLevel(0)  # its warnings go to stderr unformatted; what matters is said by the errors here
    # A device that stalls would keep its reader thread, and so itself, for OpenCV's 10 s; it could not be
    # opened again before. Read by OpenCV at its first wait.
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
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width_px)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height_px)
    capture.set(cv2.CAP_PROP_FPS, config.fps)
    return cast(Capture, capture)


def _in_rows(picture: NDArray[np.uint8], capture: Capture) -> NDArray[np.uint8]:
    """Give the picture its shape: of devices whose own format is BGR3, OpenCV 4.11 returns one long row."""
    height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    if picture.shape[0] == 1 and height > 1 and picture.size == height * width * 3:
        return picture.reshape(height, width, 3)
    return picture


def _bgr_to_rgb(bgr: NDArray[np.uint8]) -> Frame:
    code = cv2.COLOR_GRAY2RGB if bgr.ndim == 2 or bgr.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(bgr, code).astype(np.uint8, copy=False)


def _fourcc_text(code: int) -> str:
    text = struct.pack("<I", code & 0xFFFFFFFF).decode("ascii", "replace").strip("\0 ")
    return text if text.isprintable() and text else "unknown"


# What devices there are


@dataclass(frozen=True)
class CameraListing:
    """One line of `--list-cameras`."""

    number: int
    path: str
    """Device path; empty where the system has none."""
    name: str
    note: str = ""
    """Why it cannot be used now; empty if nothing is known against it."""


_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP: _IOR('V', 0, struct v4l2_capability of 104 bytes)
_CAPTURE = 0x00000001 | 0x00001000  # single- and multi-planar video capture
_PERMISSION = "permission denied; run: sudo usermod -aG video $USER, then log in again"


def list_cameras(root: Path = Path("/")) -> list[CameraListing]:
    """List the cameras of this machine, by number.

    On Linux the names come from sysfs, and nodes that cannot capture (outputs, metadata) are left out.
    Elsewhere the first numbers are tried, which starts each camera for a moment.

    Args:
        root: where /sys and /dev are looked for.
    """
    if sys.platform != "linux":
        return _probe_numbers()
    listings = []
    for node in (root / "sys/class/video4linux").glob("video*"):
        number = node.name.removeprefix("video")
        if not number.isdecimal():
            continue
        path = root / "dev" / node.name
        note = ""
        try:
            if not query_capabilities(path) & _CAPTURE:
                continue
        except OSError as error:
            note = _PERMISSION if error.errno in (errno.EACCES, errno.EPERM) else _reason(error)
        listings.append(CameraListing(int(number), str(path), _sysfs_name(node), note))
    return sorted(listings, key=lambda listing: listing.number)


def query_capabilities(path: Path) -> int:
    """Ask a V4L2 node what it can do (VIDIOC_QUERYCAP).

    Returns:
        The capability bits of this node.

    Raises:
        OSError: it cannot be opened, or is no video device.
    """
    import fcntl  # not on Windows

    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = bytearray(104)
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
    finally:
        os.close(descriptor)
    # driver[16], card[32], bus_info[32], version, capabilities of the whole device, of this node
    whole, node = struct.unpack_from("=II", answer, 84)
    return int(node if whole & 0x80000000 else whole)


def check_device(device: str) -> None:
    """Say precisely what is wrong with a device before OpenCV can only say "not opened". Linux only.

    Raises:
        DeviceError: missing, not allowed, busy, or no camera.
    """
    if sys.platform != "linux":
        return
    path = _device_path(device)
    try:
        capabilities = query_capabilities(path)
    except FileNotFoundError:
        found = ", ".join(f"{listing.number} ({listing.name})" for listing in list_cameras()) or "none"
        raise DeviceError(f"camera {device} is not there; cameras found: {found}. {LIST_HINT}") from None
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise DeviceError(f"camera {device}: {_PERMISSION}") from error
        if error.errno == errno.EBUSY:
            raise DeviceError(f"camera {device} is busy; close the other program that uses it") from error
        if error.errno == errno.ENOTTY:
            raise DeviceError(f"{path} is not a camera. {LIST_HINT}") from error
        raise DeviceError(f"camera {device} cannot be opened: {_reason(error)}. {LIST_HINT}") from error
    if not capabilities & _CAPTURE:
        raise DeviceError(f"{path} gives no pictures (an output or metadata device). {LIST_HINT}")


def _probe_numbers(most: int = 6) -> list[CameraListing]:
    listings = []
    for number in range(most):
        with contextlib.suppress(DeviceError):
            _open_capture(CameraConfig(device=str(number))).release()
            listings.append(CameraListing(number, "", f"camera {number}"))
    return listings


def _device_path(device: str) -> Path:
    return Path(f"/dev/video{device}") if device.isdecimal() else Path(device)


def _device_name(device: str) -> str:
    name = _sysfs_name(Path("/sys/class/video4linux") / _device_path(device).resolve().name)
    return f"camera {device} ({name})" if name else f"camera {device}"


def _sysfs_name(node: Path) -> str:
    try:
        return (node / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _is_gone(device: str) -> bool:
    return sys.platform == "linux" and not _device_path(device).exists()
