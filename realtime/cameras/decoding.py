"""Decoding a video file to its end: over damage, with the time of every picture."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
from av.container import InputContainer

logger = logging.getLogger(__name__)

_FORMATS: Final = (
    "apng,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,"
    "yuv4mpegpipe"
)
"""What is read as a video. Pictures, text (FFmpeg would show it as frames) and playlists are left out. A playlist would
open further files and addresses, and try a dead one for minutes."""

UNREADABLE: Final = (av.error.FFmpegError, OSError)
"""What PyAV raises for files that are not there or damaged."""

_THREADED_FROM_PX: Final = 1920 * 1088
"""Larger pictures are decoded several at a time. Then those beside a damaged one may be lost with it."""
MAX_PIXELS: Final = 8192 * 8192
"""Of a picture. A file of a few bytes can ask for one that fills the memory."""
_STRICT: Final = ("mjpeg",)
"""These decoders show rubbish for a damaged packet and tell of it only when asked to fail instead. Those of H.264
and MPEG-4 mark such pictures. Those of VP8, VP9 and HEVC notice some damage only: a HEVC one that is asked to fail gives
nothing at all up to the next key picture."""
_COUNTED: Final = ("hevc",)
"""These leave a damaged picture out without a word. Each of their packets is one picture, so it is missed."""
_BEFORE_INDEX: Final = (b"ftyp", b"free", b"mdat", b"skip", b"uuid", b"wide")
"""Boxes of an MP4 that stand before its index."""
_FAILED_READS: Final = 50
"""So many failed reads in a row mean that nothing readable follows."""
SEAM_S: Final = 1
"""Time that runs back by more than this begins another recording in the same file."""
_BEGIN_ANYWHERE: Final = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo")
"""Recordings of these may begin between two key pictures. What cannot be decoded before the first is no damage."""
_SHORT_S: Final = Fraction(1, 4)
"""A file that ends this much before the end that it states is cut short."""


def open_container(path: Path) -> InputContainer:
    """Open a local media file, and nothing that it may refer to; raises as `av.open`."""
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise FileNotFoundError(errno.ENOENT, "it is not a file", str(path))
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    # Titles of old files are often not UTF-8; nothing here reads them.
    return av.open(str(path.absolute()), options=options, metadata_errors="replace")


def lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 or MOV that ends before its index. Recorders write that last."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            length, kind, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            if kind == b"moov" or kind not in _BEFORE_INDEX:
                return False
            if length == 0:  # to the end
                return True
            at += max(8, long if length == 1 else length)
    return at > 0


def picture_stream(container: InputContainer) -> av.VideoStream:
    """The stream that players show: not the cover picture of an album, and the largest of several."""
    best = container.streams.best("video")
    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & cover]
    if len(moving) > 1:
        return max(moving, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    return best if isinstance(best, av.VideoStream) else container.streams.video[0]


def packets(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet[Any]]:
    """Yield the packets of the streams to the end of the file, over places that cannot be read.

    An empty packet without a time ends each stream, as `demux` gives it.
    """
    failed = 0
    while failed < _FAILED_READS:
        try:
            for packet in container.demux(*streams):
                failed = 0
                yield packet
            return
        except av.error.EOFError:
            return
        except UNREADABLE:
            failed += 1


class Pictures:
    """An iterator over the pictures of a file: pairs of (decoded picture, seconds from the start of the stream).

    Times are exact and rise from picture to picture. Where the file has none, they follow from the rate.
    """

    def __init__(self, container: InputContainer, fps: Fraction) -> None:
        self._container = container
        self._stream = picture_stream(container)
        context = self._stream.codec_context
        if not context.is_open:  # it is where the file was skipped in
            strict = {"err_detect": "explode"} if context.name in _STRICT else {}
            context.options = {"max_pixels": str(MAX_PIXELS)} | strict
            large = context.width * context.height > _THREADED_FROM_PX
            # Several threads on one H.264 picture switch off the repair of damaged ones, and the word about them.
            alone = "NONE" if context.name == "h264" else "SLICE"
            self._stream.thread_type = "AUTO" if large else alone
        self._gap_s = 1 / fps
        self._start_s: Fraction | None = None
        if self._stream.start_time is not None and self._stream.time_base is not None:
            self._start_s = self._stream.start_time * self._stream.time_base
        self._last_s: Fraction | None = None
        self._last_duration_s = Fraction(0)
        self._read_until_s = Fraction(0)
        self.lost = 0
        """Packets that could not be decoded, and pictures that the decoder calls damaged."""
        self.lost_from_s: float | None = None
        """The place of the first one."""
        self.doubtful = 0
        """Pictures behind these that build on them, up to the next key picture."""
        self._in_doubt = False
        self.missing_s = 0.0
        """How much is missing at the end of a file that was cut short."""

    @property
    def end_s(self) -> Fraction:
        """When the last picture ends."""
        return (self._last_s or Fraction(0)) + (self._last_duration_s or self._gap_s)

    def __iter__(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        # Sound is read beside the pictures, because it tells how far the file goes.
        streams = [self._stream, *self._container.streams.audio]
        begun = self._container.format.name not in _BEGIN_ANYWHERE
        waiting: list[int] = []
        context_name = self._stream.codec_context.name
        for packet in packets(self._container, *streams):
            if packet.pts is not None and packet.time_base is not None and not packet.is_corrupt:
                end_s = (packet.pts + (packet.duration or 0)) * packet.time_base
                self._read_until_s = max(self._read_until_s, end_s)
            if packet.stream is not self._stream or (packet.size == 0 and packet.dts is not None):
                continue  # an empty packet with a time says that the picture stays
            begun = begun or packet.is_keyframe
            try:
                decoded = packet.decode()
            except av.error.EOFError:
                continue
            except UNREADABLE as error:
                if begun:
                    self._lose(reason(error), self._place_s(packet))
                continue
            counts = self._last_s is None or context_name in _COUNTED
            if counts and begun and packet.pts is not None and not packet.is_discard:
                waiting.append(packet.pts)
            for picture in decoded:
                if picture.pts is not None:
                    self._lose_before(picture.pts, waiting, packet.time_base)
                time_s = self._time_s(picture)
                if picture.is_corrupt:
                    self._lose("parts of a picture are missing", float(time_s))
                elif picture.key_frame:
                    self._in_doubt = False
                self.doubtful += self._in_doubt and not picture.is_corrupt
                yield picture, time_s
        self._look_for_the_end()

    def _lose_before(self, shown: int, waiting: list[int], base: Fraction | None) -> None:
        """Count the packets before a picture that none was shown for. Some decoders do not say so."""
        lost = [pts for pts in waiting if pts < shown]
        waiting[:] = [pts for pts in waiting if pts > shown]
        if lost and self._last_s is None:
            self._lose("its start cannot be decoded", 0.0, len(lost))
        elif lost:
            at_s = float(min(lost) * (base or 0) - (self._start_s or 0))
            self._lose("a picture cannot be decoded", at_s, len(lost))

    def _place_s(self, packet: av.Packet[Any]) -> float:
        if packet.pts is None or packet.time_base is None or self._start_s is None:
            return float(self._last_s or 0)
        return max(0.0, float(packet.pts * packet.time_base - self._start_s))

    def _lose(self, why: str, at_s: float, count: int = 1) -> None:
        self.lost += count
        self._in_doubt = True
        if self.lost_from_s is None:
            self.lost_from_s = at_s
            name = Path(self._container.name).name
            logger.warning("%s is damaged at %.2f s (%s); going on behind it", name, self.lost_from_s, why)

    def _time_s(self, picture: av.VideoFrame) -> Fraction:
        base = picture.time_base or self._stream.time_base
        last_s = self._last_s
        if picture.pts is None or base is None:
            time_s = Fraction(0) if last_s is None else last_s + self._gap_s
        else:
            own_s = picture.pts * base
            if self._start_s is None or (last_s is None and own_s < self._start_s):
                self._start_s = own_s
            time_s = own_s - self._start_s
            if last_s is not None and time_s < last_s - SEAM_S:
                self._start_s -= last_s + self._gap_s - time_s
                time_s = last_s + self._gap_s
            elif last_s is not None and time_s <= last_s:
                time_s = last_s + base
            elif last_s is not None:
                self._gap_s = time_s - last_s
        self._last_s = time_s
        self._last_duration_s = (
            picture.duration * base if picture.duration and base is not None else Fraction(0)
        )
        if self._stream.duration is None and 2 * self._last_duration_s < self._gap_s:
            self._last_duration_s = self._gap_s  # FFmpeg guessed it from the time base
        return time_s

    def _look_for_the_end(self) -> None:
        """Compare what was read with what the file says that it holds."""
        streams = [self._stream, *self._container.streams.audio]
        stated = [
            (stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base
            for stream in streams
            if stream.duration and stream.time_base
        ]
        if not stated and self._container.duration and len(self._container.streams) == len(streams):
            stated = [Fraction(self._container.duration, av.time_base)]
        if stated and max(stated) - self._read_until_s > max(_SHORT_S, 2 * self._gap_s):
            self.missing_s = float(max(stated) - self._read_until_s)


def reason(error: BaseException) -> str:
    """What went wrong, in FFmpeg's or the system's words."""
    return str(getattr(error, "strerror", None) or error)
