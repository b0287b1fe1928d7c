"""Video files as cameras, read by PyAV."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from realtime.cameras import Camera, CameraInfo, CapturedFrame

logger = logging.getLogger(__name__)

_FORMATS: Final = (
    "apng,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,"
    "yuv4mpegpipe"
)
"""What is read as a video. Pictures, text (FFmpeg would show it as frames) and playlists are left out. A playlist would
open further files and addresses, and try a dead one for minutes."""

UNREADABLE: Final = (av.error.FFmpegError, OSError)
"""What PyAV raises for files that are not there or damaged."""


class VideoFileCamera(Camera):
    """Every frame of a file, upright, in order, at its media time. Damage ends it early, with a log line.

    Raises:
        ConfigError: it is not a video.
        DeviceError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = 0
        self._reading = threading.Lock()  # FFmpeg's file must not be closed under a thread that decodes
        self._first_time_s: float | None = None
        self._last_time_s = 0.0
        try:
            self._container = open_container(path)
        except PermissionError as error:
            raise DeviceError(f"{path} cannot be read: permission denied") from error
        except UNREADABLE as error:
            raise ConfigError(f"{path} is not a video that can be read ({_reason(error)})") from error
        try:
            if not self._container.streams.video:
                raise ConfigError(f"{path} has no video in it")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._decoded = self._decode()
            self._next = next(self._decoded, None)
            if self._next is None:
                raise ConfigError(f"{path} has no frame that can be decoded")
            height_px, width_px = self._next[0].shape[:2]
            fps = _file_rate(self._stream)
            self.info = CameraInfo(
                name=path.name,
                width_px=width_px,
                height_px=height_px,
                fps=fps,
                fourcc=self._stream.codec_context.name,
                is_file=True,
                frame_count=self._count(fps),
            )
        except BaseException:
            self._container.close()
            raise

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
                yield upright(_to_rgb(decoded), decoded), decoded.time
                done += 1
        except av.error.EOFError:
            return
        except UNREADABLE as error:
            reason = _reason(error)
            if done == 0:
                raise ConfigError(f"{self._path} has no frame that can be decoded ({reason})") from error
            damage = "%s is damaged after frame %d (%.2f s): %s; the rest is left out"
            logger.warning(damage, self._path, done, self._last_time_s, reason)

    def read(self) -> CapturedFrame | None:
        with self._reading:
            if self._next is None:
                return None
            frame, media_time_s = self._next
            size_px = self.info.width_px, self.info.height_px
            if frame.shape[1::-1] != size_px:  # some files change their size on the way
                resized = cv2.resize(frame, size_px, interpolation=cv2.INTER_AREA)
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
            self._next = None
            self._container.close()


def open_container(path: Path) -> InputContainer:
    """Open a local media file, and nothing that it may refer to; raises as `av.open`."""
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    # Titles of old files are often not UTF-8; nothing here reads them.
    return av.open(str(path.absolute()), options=options, metadata_errors="replace")


def upright(frame: Frame, decoded: av.VideoFrame) -> Frame:
    """Turn and mirror a frame as its display matrix says: a pixel (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    matrix = decoded.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return frame
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype="<i4")[:5].tolist()
    turned = a == 0 and d == 0
    across, down = (c, b) if turned else (a, d)
    shown = frame.transpose(1, 0, 2) if turned else frame
    return np.ascontiguousarray(shown[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _to_rgb(decoded: av.VideoFrame) -> Frame:
    """Convert to (H, W, 3) RGB.

    OpenCV's 4:2:0 conversion takes a fifth of swscale's time (0.26 against 1.5 ms at 640x360). It knows only BT.601 in
    limited range, so full range goes to swscale. BT.709 is treated as BT.601: the driver's picture is never shown.
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
