"""The file sink: every frame sent becomes exactly one frame of a video file, at its own time, beside the driver's sound.

`send` converts to 4:2:0 (OpenCV: 0.15 ms at 512x512, swscale: 1.3 ms) and hands over to a thread that encodes and writes,
through a bounded queue. The file gets its name when it is complete, also after an interrupted run, so it always plays.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import threading
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from icface.files import replacing_file
from realtime.cameras.decoding import UNREADABLE, reason
from realtime.sinks import CLOSE_TIMEOUT_S, TICK_S, Sink, SinkSettings, even_sides
from realtime.slot import Closed, Lane
from realtime.sound import open_sound
from realtime.transparency import straight

logger = logging.getLogger(__name__)

# At 512x512 on one core superfast takes 2.5 ms a frame and half the bytes of ultrafast (1.4 ms).
_X264: Final = {"preset": "superfast", "crf": "20"}
_VP9: Final = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "32", "b": "0"}
_PRORES: Final = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
# Without it, tags that MP4 has no field for are dropped.
_KEEP_TAGS: Final = {"movflags": "use_metadata_tags"}
_MP4_AUDIO: Final = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})


@dataclass(frozen=True, kw_only=True)
class Container:
    """What goes into files of one suffix."""

    format: str
    """FFmpeg's name of the container."""
    video_codec: str = "libx264"
    video_options: dict[str, str] = field(default_factory=lambda: _X264)
    audio_codec: str = "aac"
    """Encodes sound that cannot be copied."""
    copied_audio: frozenset[str] | None = None
    """Sound that ordinary players of this container can play; None: all that its muxer takes."""
    options: dict[str, str] = field(default_factory=dict)
    alpha: tuple[str, str, dict[str, str]] | None = None
    """Codec, pixel format and options of transparent pictures, where ordinary players and editors know such files."""


CONTAINERS: Final = {
    ".mp4": Container(format="mp4", copied_audio=_MP4_AUDIO, options=_KEEP_TAGS),
    ".mov": Container(
        format="mov",
        copied_audio=_MP4_AUDIO | {"pcm_s16le", "pcm_s24le"},
        options=_KEEP_TAGS,
        alpha=("prores_ks", "yuva444p10le", _PRORES),
    ),
    ".mkv": Container(format="matroska", options={"avoid_negative_ts": "disabled"}),
    ".webm": Container(
        format="webm",
        video_codec="libvpx-vp9",
        video_options=_VP9,
        audio_codec="libopus",
        alpha=("libvpx-vp9", "yuva420p", _VP9 | {"auto-alt-ref": "0"}),
    ),
}


class VideoFileSink(Sink):
    """Writes a video file. The calling thread converts; the writer thread encodes and writes.

    Raises ConfigError for a missing path or an unknown suffix. The file is not touched before `open`.
    """

    name = "video_file"
    is_file = True
    takes_alpha = False

    def __init__(self, settings: SinkSettings) -> None:
        if settings.path is None:
            raise ConfigError("the file sink needs a file: --output out.mp4")
        if not settings.path.suffix:
            name = settings.path
            raise ConfigError(
                f"--output {name}: the name has no ending; for a video give {name}.mp4, for PNG files make the folder "
                f"{name} first, or give {name}-%05d.png"
            )
        if settings.path.suffix.lower() not in CONTAINERS:
            raise ConfigError(
                f"--output {settings.path}: the name must end in one of {', '.join(CONTAINERS)}; "
                "for PNG files give a folder that is there, or out-%05d.png"
            )
        self._kind = CONTAINERS[settings.path.suffix.lower()]
        if settings.transparent:
            if self._kind.alpha is None:
                raise ConfigError(
                    f"--output {settings.path}: such a file has no transparency; take .mov, .webm or PNG files "
                    "(a folder, or out-%05d.png)"
                )
            self.takes_alpha = True
        super().__init__(settings)
        self._path = settings.path
        self._is_open = False

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        self._size_px = (width_px, height_px)
        self._even_px = (width_px + width_px % 2, height_px + height_px % 2)
        # Fine enough for the sound, and the driver's times are whole ticks.
        parts = time_base.denominator
        self._tick_s = Fraction(1, parts * math.ceil(1 / (TICK_S * parts)))
        self._frame_ticks = max(1, round(1 / fps / self._tick_s))
        self._count = 0
        self._first_s = 0.0
        self._last_pts = self._begin_pts = 0
        self._end_pts: int | None = None
        self._finished = False
        self._failure: BaseException | None = None
        self._durations: dict[int, int] = {}
        self._first_dts: int | None = None
        # PyAV's frames of transparent pictures, and planes of others.
        self._lane: Lane[tuple[Frame, int]] = Lane(1)
        try:
            with contextlib.ExitStack() as stack:
                unfinished = stack.enter_context(replacing_file(self._path))
                self._unfinished = unfinished
                unfinished.touch()  # FFmpeg would open the file only when there is something to write
                kind = self._kind
                self._container = av.open(
                    str(unfinished.absolute()), "w", format=kind.format, container_options=kind.options
                )
                stack.callback(self._release_container)
                self._add_streams(kind, Fraction(fps))
                self._finishing = stack.pop_all()
        except UNREADABLE as error:
            raise self._error(error) from error
        if self._even_px != self._size_px:
            logger.info("%s is written as %dx%d (even sides, edge doubled)", self._path.name, *self._even_px)
        self._thread = threading.Thread(target=self._run, name=f"writer {self._path.name}", daemon=True)
        self._thread.start()
        self._is_open = True

    def _add_streams(self, kind: Container, fps: Fraction) -> None:
        self._container.metadata.update(self._settings.provenance.metadata())
        codec, self._pixels, options = kind.video_codec, "yuv420p", kind.video_options
        if self._settings.transparent and kind.alpha is not None:
            codec, self._pixels, options = kind.alpha
        self._stream = cast("av.VideoStream", self._container.add_stream(codec, rate=fps))
        context = self._stream.codec_context
        context.width, context.height = self._even_px
        context.pix_fmt = self._pixels
        context.time_base = self._tick_s
        # This is OpenCV's conversion. Without it players guess BT.709 for large pictures.
        context.colorspace, context.color_range = 6, 1
        context.color_primaries, context.color_trc = 1, 1
        # One thread makes 400 FPS at 512x512 with a third less CPU than two. Large pictures need all.
        context.thread_count = 1 if context.width * context.height <= 1_000_000 else 0
        context.options = dict(options)
        path = self._settings.audio_from
        self._sound = (
            open_sound(path, self._container, kind.copied_audio, kind.audio_codec)
            if path is not None
            else None
        )
        self._first_pts = round(self._sound.pictures_after_s / self._tick_s) if self._sound else 0

    def _release_container(self) -> None:
        """Close it after an error, which is the one to tell. After the writer closed it this does nothing."""
        with contextlib.suppress(*UNREADABLE):
            self._container.close()

    def describe(self) -> str:
        width_px, height_px = self._even_px
        sound = f", sound {self._sound.how}" if self._sound else ", no sound"
        alpha = " with transparency" if self.takes_alpha else ""
        return f"{self._path}: {width_px}x{height_px} {self._stream.codec_context.name}{alpha}{sound}"

    def send(self, frame: Frame, time_s: float) -> None:
        channels = 4 if self.takes_alpha else 3
        if frame.shape != (self._size_px[1], self._size_px[0], channels) or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.shape} {frame.dtype} sent to a file of {self._size_px} px")
        frame = even_sides(frame)
        if self.takes_alpha:
            planes = straight(frame)
        else:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False)
        if self._count == 0:
            self._first_s = time_s if self._settings.live else 0.0
            self._last_pts = self._first_pts - 1
        pts = self._pts(time_s)
        self._last_pts = max(self._last_pts + 1, pts)
        if self._count == 0:
            self._begin_pts = self._last_pts
        self._count += 1
        try:
            self._lane.put((planes, self._last_pts))
        except Closed:  # the writer failed
            self.close()

    def _pts(self, time_s: float) -> int:
        return self._first_pts + round((time_s - self._first_s) * self._tick_s.denominator)

    def finish(self, end_s: float | None) -> None:
        self._finished = True
        self._end_pts = self._pts(end_s) if end_s is not None else None

    def close(self) -> None:
        """Write what is left and give the file its name. There is no file where no frame was sent.

        Raises:
            DeviceError: the file could not be finished (disk full). Then there is no file either.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._lane.close()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            # The writer still uses the file, which keeps its hidden name.
            raise self._error(TimeoutError(f"the disk did not take the rest within {CLOSE_TIMEOUT_S:.0f} s"))
        dropped = self._failure or (EOFError("no frame was sent") if self._count == 0 else None)
        try:
            self._finishing.__exit__(type(dropped) if dropped else None, dropped, None)
        except OSError as error:
            raise self._error(error) from error
        if self._failure is not None:
            raise self._error(self._failure) from self._failure

    def _error(self, error: BaseException) -> DeviceError:
        if isinstance(error, DeviceError):
            return DeviceError(f"{self._path} cannot be written: {error}")
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DeviceError(f"no space left for {self._path}; free some and run again")
        return DeviceError(f"{self._path} cannot be written: {reason(error)}")

    # The writer thread

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:  # a thread's top: kept, and raised by the next send or close
            self._failure = error
            self._lane.close()

    def _picture(self, planes: Frame) -> av.VideoFrame:
        if not self.takes_alpha:
            return av.VideoFrame.from_ndarray(planes, format="yuv420p")
        return av.VideoFrame.from_ndarray(planes, format="rgba").reformat(
            format=self._pixels, dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        )

    def _write(self) -> None:
        before: tuple[Frame, int] | None = None
        with contextlib.suppress(Closed):
            while (item := self._lane.get()) is not None:
                # A picture is encoded when the next one tells how long it is shown.
                if before is not None:
                    self._encode(*before, item[1])
                before = item
        if before is not None:
            usual = before[1] + self._frame_ticks
            end = usual if self._end_pts is None else max(before[1] + 1, self._end_pts)
            self._encode(*before, end)
            self._mux_last(self._stream.encode(None), end)
        if self._sound is not None:
            if self._finished:
                self._sound.write_until()
            self._sound.close()
        self._container.close()
        if self._count:
            self._settings.provenance.complete(self._unfinished, self._path.suffix)

    def _encode(self, planes: Frame, pts: int, end: int) -> None:
        picture = self._picture(planes)
        picture.pts, picture.time_base = pts, self._tick_s
        self._durations[pts] = end - pts
        self._mux(self._stream.encode(picture))
        if self._sound is not None:
            self._sound.write_until(float(min(end, pts + self._frame_ticks) * self._tick_s))

    def _mux(self, encoded: list[av.Packet[av.VideoStream]]) -> None:
        for packet in encoded:
            if self._first_dts is None:
                self._first_dts = packet.dts
            if packet.pts is not None and packet.time_base == self._tick_s:
                packet.duration = self._durations.pop(packet.pts, None) or packet.duration
            self._container.mux(packet)

    def _mux_last(self, encoded: list[av.Packet[av.VideoStream]], end: int) -> None:
        """Write the encoder's last packets. MP4 is as long as its decoding steps, so the last one makes it whole."""
        self._mux(encoded[:-1])
        for packet in encoded[-1:]:
            if (
                packet.time_base == self._tick_s
                and packet.dts is not None
                and self._kind.format in ("mp4", "mov")
            ):
                first_dts = packet.dts if self._first_dts is None else self._first_dts
                self._durations[packet.pts or 0] = end - self._begin_pts - (packet.dts - first_dts)
            self._mux([packet])


create = VideoFileSink
