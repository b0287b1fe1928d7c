"""Video files as cameras, read by PyAV."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from realtime.cameras import Camera, CameraInfo, CapturedFrame
from realtime.cameras.decoding import (
    UNREADABLE,
    Pictures,
    lacks_index,
    open_container,
    picture_stream,
    reason,
)
from realtime.cameras.shown import fitted, shown

CLOSE_TIMEOUT_S: Final = 5.0
_SLOWEST_FPS: Final = Fraction(1, 60)
_FASTEST_FPS: Final = 960
"""Beyond these, a rate is a time base that was taken for one: browsers write no rate, and FFmpeg then says 1000."""


class VideoFileCamera(Camera):
    """Every frame of a file as a player shows it, in order, at its media time. Damage is skipped; `missing` tells of it.

    Raises:
        ConfigError: it is not a video.
        DeviceError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = 0
        self._reading = threading.Lock()  # FFmpeg's file must not be closed under a thread that decodes
        try:
            self._container = open_container(path)
        except PermissionError as error:
            raise DeviceError(f"{path} cannot be read: permission denied") from error
        except UNREADABLE as error:
            if path.is_file() and lacks_index(path):
                raise ConfigError(
                    f"{path} was not finished, or is cut short: its index (moov), which recorders write last, is "
                    "missing; a tool such as untrunc may mend it"
                ) from error
            raise ConfigError(f"{path} is not a video that can be read ({reason(error)})") from error
        try:
            if not self._container.streams.video:
                raise ConfigError(f"{path} has no video in it")
            self._stream = picture_stream(self._container)
            if self._stream.codec_context is None:
                raise ConfigError(f"{path} is a video of a kind that cannot be decoded; convert it to H.264")
            fps = _file_rate(self._stream)
            self._pictures = Pictures(self._container, fps)
            self._decoded = self._decode()
            self._next = next(self._decoded, None)
            if self._next is None:
                raise ConfigError(f"{path} has no frame that can be decoded")
            height_px, width_px = self._next[0].shape[:2]
            self.info = CameraInfo(
                name=path.name,
                width_px=width_px,
                height_px=height_px,
                fps=fps,
                fourcc=self._stream.codec_context.name,
                is_file=True,
                frame_count=self._count(fps),
                time_base=self._stream.time_base or 1 / fps,
            )
        except BaseException:
            self._container.close()
            raise

    @property
    def end_s(self) -> float:
        """When the last frame read so far ends."""
        return float(self._pictures.end_s)

    @property
    def missing(self) -> str:
        """What of the file could not be read so far, in a sentence; empty: nothing is known to be missing."""
        pictures = self._pictures
        parts = []
        if pictures.lost:
            which = "picture is" if pictures.lost == 1 else "pictures are"
            after = f", and {pictures.doubtful} that build on such may be wrong" if pictures.doubtful else ""
            parts.append(
                f"{pictures.lost} {which} damaged or lost (first at {pictures.lost_from_s:.2f} s){after}"
            )
        if pictures.missing_s:
            end_s = self.end_s
            parts.append(
                f"it is cut short: {end_s:.2f} s are there, and {pictures.missing_s:.2f} s are missing"
            )
        return f"{self._path}: {'; '.join(parts)}" if parts else ""

    def _count(self, fps: Fraction) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        if self._stream.duration and self._stream.time_base:
            return max(1, round(self._stream.duration * self._stream.time_base * fps))
        if self._container.duration:
            return max(1, round(Fraction(self._container.duration, av.time_base) * fps))
        return None

    def _decode(self) -> Iterator[tuple[Frame, Fraction]]:
        for decoded, time_s in self._pictures:
            yield shown(decoded, self._stream.sample_aspect_ratio), time_s

    def __enter__(self) -> VideoFileCamera:
        return self

    def read(self) -> CapturedFrame | None:
        with self._reading:
            if self._next is None:
                return None
            frame, time_s = self._next
            size_px = self.info.width_px, self.info.height_px
            if frame.shape[1::-1] != size_px:
                frame = fitted(frame, size_px)
            captured = CapturedFrame(frame, self._index, float(time_s))
            self._index += 1
            self._next = next(self._decoded, None)
            return captured

    def skip_to(self, time_s: float) -> None:
        """Go on at the last key picture that is not behind a time; what comes between is not decoded.

        A file that cannot be searched goes on where it is. What `missing` knew is forgotten.
        """
        with self._reading:
            base, start = self._stream.time_base or Fraction(1, av.time_base), self._stream.start_time or 0
            try:
                self._container.seek(round(time_s / base) + start, stream=self._stream)
            except UNREADABLE:
                return
            self._pictures = Pictures(self._container, self.info.fps)
            self._decoded = self._decode()
            self._next = next(self._decoded, None)

    def close(self) -> None:
        # A disk that is gone may hold a reader for ever. Then the file is left to the end of the process.
        if self._reading.acquire(timeout=CLOSE_TIMEOUT_S):
            self._next = None
            self._container.close()
            self._reading.release()


def _file_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second: the average where it is believable, else the container's guess, else 25."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and _SLOWEST_FPS <= rate <= _FASTEST_FPS:
            return Fraction(rate)
    return Fraction(25)
