"""The file sink: every frame sent becomes exactly one frame of a video file, beside the driver's sound.

`send` converts to 4:2:0 (OpenCV: 0.15 ms at 512x512, swscale: 1.3 ms) and hands over to a thread that encodes and writes,
through a bounded queue. The file gets its name when it is complete, also after an interrupted run, so it always plays.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeVar, cast

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from icface.files import replacing_file
from realtime.cameras.video_file import UNREADABLE, open_container
from realtime.sinks import Sink, SinkSettings, even_sides
from realtime.slot import Closed, Lane
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
    ".mp4": Container(format="mp4", copied_audio=_MP4_AUDIO | {"opus"}, options=_KEEP_TAGS),
    ".mov": Container(
        format="mov",
        copied_audio=_MP4_AUDIO | {"pcm_s16le", "pcm_s24le"},
        options=_KEEP_TAGS,
        alpha=("prores_ks", "yuva444p10le", _PRORES),
    ),
    ".mkv": Container(format="matroska"),
    ".webm": Container(
        format="webm",
        video_codec="libvpx-vp9",
        video_options=_VP9,
        audio_codec="libopus",
        alpha=("libvpx-vp9", "yuva420p", _VP9 | {"auto-alt-ref": "0"}),
    ),
}

_TICKS_PER_S = 90_000
"""Time base of frames with times of their own; it is MPEG's."""

_Piece = TypeVar("_Piece")
_Sound = Iterator[tuple[float, "av.Packet[av.AudioStream]"]]
"""Pairs of (start in the output in seconds, packet)."""


class VideoFileSink(Sink):
    """Writes a video file. The calling thread converts; the writer thread encodes and writes.

    Raises ConfigError for a missing path or an unknown suffix. The file is not touched before `open`.
    """

    name = "video_file"
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

    def open(self, width_px: int, height_px: int, fps: Fraction) -> None:
        self._constant = not self._settings.live
        self._size_px = (width_px, height_px)
        self._even_px = (width_px + width_px % 2, height_px + height_px % 2)
        self._time_base = 1 / Fraction(fps) if self._constant else Fraction(1, _TICKS_PER_S)
        self._frame_s = float(1 / Fraction(fps))
        self._count = 0
        self._first_s = 0.0
        self._last_pts = -1
        self._failure: BaseException | None = None
        # PyAV's frames of transparent pictures, and planes of others.
        self._lane: Lane[tuple[Frame, int]] = Lane(1)
        try:
            with contextlib.ExitStack() as stack:
                unfinished = stack.enter_context(replacing_file(self._path))
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
        context.time_base = self._time_base
        # This is OpenCV's conversion. Without it players guess BT.709 for large pictures.
        context.colorspace, context.color_range = 6, 1
        context.color_primaries, context.color_trc = 1, 1
        # One thread makes 400 FPS at 512x512 with a third less CPU than two. Large pictures need all.
        context.thread_count = 1 if context.width * context.height <= 1_000_000 else 0
        context.options = dict(options)
        sound = self._settings.audio_from
        self._audio = _open_audio(sound, self._container, kind) if sound is not None else None

    def _release_container(self) -> None:
        """Close it after an error, which is the one to tell. After the writer closed it this does nothing."""
        with contextlib.suppress(*UNREADABLE):
            self._container.close()

    def describe(self) -> str:
        width_px, height_px = self._even_px
        sound = f", sound {self._audio.how}" if self._audio else ", no sound"
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
            self._first_s = time_s
        ticks = round((time_s - self._first_s) * _TICKS_PER_S)
        self._last_pts = self._count if self._constant else max(self._last_pts + 1, ticks)
        self._count += 1
        try:
            self._lane.put((planes, self._last_pts))
        except Closed:  # the writer failed
            self.close()

    def close(self) -> None:
        """Write what is left and give the file its name. There is no file where no frame was sent.

        Raises:
            DeviceError: the file could not be finished (disk full). Then there is no file either.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._lane.close()
        self._thread.join()
        dropped = self._failure or (EOFError("no frame was sent") if self._count == 0 else None)
        try:
            self._finishing.__exit__(type(dropped) if dropped else None, dropped, None)
        except OSError as error:
            raise self._error(error) from error
        if self._failure is not None:
            raise self._error(self._failure) from self._failure

    def _error(self, error: BaseException) -> DeviceError:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DeviceError(f"no space left for {self._path}; free some and run again")
        reason = getattr(error, "strerror", None) or str(error)
        return DeviceError(f"{self._path} cannot be written: {reason}")

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
        with contextlib.suppress(Closed):
            while (item := self._lane.get()) is not None:
                planes, pts = item
                picture = self._picture(planes)
                picture.pts = pts
                picture.time_base = self._time_base
                self._container.mux(self._stream.encode(picture))
                if self._audio is not None:
                    self._audio.write_until(float(pts * self._time_base) + self._frame_s)
        if self._count > 0:
            self._container.mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.close()
        self._container.close()


def _open_audio(path: Path, target: OutputContainer, kind: Container) -> _Audio | None:
    """The sound of a file; None where it has none or it cannot be read."""
    try:
        source = open_container(path)
    except UNREADABLE as error:
        logger.warning("no sound is taken from %s: %s", path, error)
        return None
    if not source.streams.audio or source.streams.audio[0].codec_context is None:
        source.close()
        return None
    return _Audio(source, target, kind)


class _Audio:
    """The driver's sound. Packets are copied, or encoded anew where they do not fit the container."""

    def __init__(self, source: InputContainer, target: OutputContainer, kind: Container) -> None:
        self._source = source
        self._target = target
        self._stream = source.streams.audio[0]
        # The output starts with the driver's first picture, which may come late in its file.
        self._start_s = Fraction(0)
        for video in source.streams.video[:1]:
            if video.start_time is not None and video.time_base is not None:
                self._start_s = video.start_time * video.time_base
        name = self._stream.codec_context.name
        if name in (target.supported_codecs if kind.copied_audio is None else kind.copied_audio):
            self.how = f"copied ({name})"
            self._packets = self._copied(target.add_stream_from_template(self._stream))
        else:
            self.how = f"encoded anew ({name} to {kind.audio_codec})"
            rate = self._stream.codec_context.sample_rate
            possible = av.Codec(kind.audio_codec, "w").audio_rates or [rate]
            out = target.add_stream(kind.audio_codec, rate=rate if rate in possible else 48_000)
            self._packets = self._encoded(cast("av.AudioStream", out))
        self._next = next(self._packets, None)

    def write_until(self, end_s: float) -> None:
        """Write the sound that starts before `end_s`."""
        while self._next is not None and self._next[0] < end_s:
            self._target.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Let go of the driver's file."""
        self._source.close()

    def _copied(self, out: av.AudioStream) -> _Sound:
        last_dts = -1
        for packet in self._undamaged(self._source.demux(self._stream)):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue  # the empty packet that ends a demux
            shift = round(self._start_s / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            if last_dts < packet.dts <= packet.pts:  # as muxers demand; otherwise only in damaged files
                last_dts = packet.dts
                packet.stream = out
                yield float(packet.pts * packet.time_base), packet

    def _encoded(self, out: av.AudioStream) -> _Sound:
        for piece in self._resampled(out):
            for packet in out.encode(piece):
                yield (float(packet.pts * packet.time_base) if packet.pts is not None else 0.0), packet

    def _resampled(self, out: av.AudioStream) -> Iterator[av.AudioFrame | None]:
        """Yield the sound as the encoder takes it, and None at its end."""
        context = out.codec_context
        resampler, resampled = None, None
        end_s = self._start_s
        for frame in self._undamaged(self._source.decode(self._stream)):
            if frame.pts is None or frame.time_base is None or frame.pts * frame.time_base < end_s:
                continue  # before the start, or given already
            end_s = frame.pts * frame.time_base + Fraction(frame.samples, 2 * frame.sample_rate)
            frame.pts -= round(self._start_s / frame.time_base)
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or kind != resampled:  # broadcasts change from stereo to 5.1 on the way
                resampler = AudioResampler(context.format, context.layout, context.sample_rate)
                resampled = kind
            yield from resampler.resample(frame)
        yield None

    def _undamaged(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        """Yield up to the end or the first damage."""
        try:
            yield from pieces
        except UNREADABLE as error:
            logger.warning("the driver's sound is damaged (%s); the rest is left out", error)


create = VideoFileSink
