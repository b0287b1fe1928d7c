"""The driver's sound on its way into an output file: whole, and in step with the pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer

from realtime.cameras.decoding import SEAM_S, UNREADABLE, open_container, packets, picture_stream, reason

logger = logging.getLogger(__name__)

_STEP_S: Final = 0.002
"""Sound that is further from its time than this gets silence before it, or is cut. Less is a rounded time."""

_Pieces = Iterator[tuple[float, "av.Packet[av.AudioStream]"]]
"""Pairs of (start in the output in seconds, packet)."""


def open_sound(
    path: Path, target: OutputContainer, copied: frozenset[str] | None, encoder: str
) -> Sound | None:
    """The sound of a file; None where it has none or it cannot be read.

    Args:
        copied: codecs that are copied packet by packet; None: all that the target takes. Others are encoded anew.
        encoder: name of the encoder for these.
    """
    try:
        source = open_container(path)
    except UNREADABLE as error:
        logger.warning("no sound is taken from %s: %s", path, reason(error))
        return None
    if not source.streams.audio or source.streams.audio[0].codec_context is None:
        source.close()
        return None
    return Sound(source, target, copied, encoder)


class Sound:
    """The sound of the driver's file. The output keeps the distance between its first picture and its first sound."""

    def __init__(
        self, source: InputContainer, target: OutputContainer, copied: frozenset[str] | None, encoder: str
    ) -> None:
        self._source = source
        self._target = target
        self._stream = source.streams.audio[0]
        pictures = [picture_stream(source)] if source.streams.video else []
        starts_s = [
            stream.start_time * stream.time_base
            if stream.start_time is not None and stream.time_base
            else None
            for stream in (*pictures, self._stream)
        ]
        known_s = [start_s for start_s in starts_s if start_s is not None]
        self._start_s = min(known_s, default=Fraction(0))
        self.pictures_after_s = (starts_s[0] or self._start_s) - self._start_s
        """How long after the start of the output the driver's pictures begin."""
        name = self._stream.codec_context.name
        if name in (target.supported_codecs if copied is None else copied):
            self.how = f"copied ({name})"
            self._packets = self._copied(target.add_stream_from_template(self._stream))
        else:
            self.how = f"encoded anew ({name} to {encoder})"
            rate = self._stream.codec_context.sample_rate
            possible = av.Codec(encoder, "w").audio_rates or [rate]
            out = target.add_stream(encoder, rate=rate if rate in possible else 48_000)
            self._packets = self._encoded(cast("av.AudioStream", out))
        self._next = next(self._packets, None)

    def write_until(self, end_s: float = math.inf) -> None:
        """Write the sound that starts before `end_s`."""
        while self._next is not None and self._next[0] < end_s:
            self._target.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Let go of the driver's file."""
        self._source.close()

    def _copied(self, out: av.AudioStream) -> _Pieces:
        last_dts: int | None = None
        shift, lasts = 0, 1
        for packet in packets(self._source, self._stream):
            if packet.dts is None or packet.time_base is None or packet.size == 0:
                continue  # the empty packet that ends a stream
            if last_dts is None:
                shift = round(self._start_s / packet.time_base)
            elif (
                packet.dts - shift < last_dts - SEAM_S / packet.time_base
            ):  # another recording in the same file
                shift = packet.dts - last_dts - lasts
            pts = packet.dts if packet.pts is None else packet.pts
            packet.pts, packet.dts = pts - shift, packet.dts - shift
            if last_dts is None or last_dts < packet.dts <= packet.pts:  # as muxers demand
                last_dts, lasts = packet.dts, packet.duration or 1
                packet.stream = out
                yield float(packet.pts * packet.time_base), packet

    def _encoded(self, out: av.AudioStream) -> _Pieces:
        for piece in self._resampled(out):
            for packet in out.encode(piece):
                yield (float(packet.pts * packet.time_base) if packet.pts is not None else 0.0), packet

    def _resampled(self, out: av.AudioStream) -> Iterator[av.AudioFrame | None]:
        """Yield the sound as the encoder takes it, without gaps, and None at its end."""
        context = out.codec_context
        resampler, resampled = None, None
        tick_s = Fraction(1, context.sample_rate)
        written: int | None = None
        for frame in self._decoded():
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or kind != resampled:  # broadcasts change from stereo to 5.1 on the way
                resampler = AudioResampler(context.format, context.layout, context.sample_rate)
                resampled = kind
            due_s = None
            if frame.pts is not None and frame.time_base is not None:
                due_s = frame.pts * frame.time_base - self._start_s
            frame.pts = None
            for piece in resampler.resample(frame):
                if written is None:
                    written = round((due_s or 0) / tick_s)
                late_s = 0.0 if due_s is None else float(due_s - written * tick_s)
                due_s = None  # the first piece has the frame's time
                if late_s < -SEAM_S:  # another recording in the same file
                    self._start_s += Fraction(late_s)
                    late_s = 0.0
                if late_s > _STEP_S:
                    silence = _silence(piece, round(late_s / tick_s))
                    silence.pts, silence.time_base = written, tick_s
                    written += silence.samples
                    yield silence
                elif late_s < -_STEP_S:
                    continue  # given already
                piece.pts, piece.time_base = written, tick_s
                written += piece.samples
                yield piece
        yield None

    def _decoded(self) -> Iterator[av.AudioFrame]:
        """Yield the decoded sound, over damage."""
        told = False
        for packet in packets(self._source, self._stream):
            if packet.size == 0 and packet.dts is not None:
                continue
            try:
                yield from cast("list[av.AudioFrame]", packet.decode())
            except av.error.EOFError:
                continue
            except UNREADABLE as error:
                if not told:
                    logger.warning("the driver's sound is damaged (%s); it is silent there", reason(error))
                told = True


def _silence(like: av.AudioFrame, samples: int) -> av.AudioFrame:
    shape = like.to_ndarray().shape
    channels = len(like.layout.channels)
    planar = like.format.is_planar
    empty = np.zeros((shape[0], samples if planar else samples * channels), dtype=like.to_ndarray().dtype)
    silence = av.AudioFrame.from_ndarray(empty, format=like.format.name, layout=like.layout.name)
    silence.sample_rate = like.sample_rate
    return silence
