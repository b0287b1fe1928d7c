"""Clips of every kind of timing and of damage, with a sound that tells where each moment is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import cast

import av
import numpy as np

RATE = 48_000
SIZE_PX = (64, 48)


@cache
def noise() -> np.ndarray:
    """(n,) float32, 12 s. No moment of it is like another, and coders keep it: everything is below 4 kHz."""
    count = 12 * RATE
    spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / RATE) > 4000] = 0
    wave = np.fft.irfft(spectrum, count)
    return np.asarray(0.3 * wave / wave.std(), dtype=np.float32)


def write_clip(
    path: Path,
    times_s: Sequence[float],
    *,
    last_s: float = 0.04,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: str | None = None,
    sound_s: float = 0.0,
    sound_at_s: float = 0.0,
    pictures_at_s: float = 0.0,
    tick_s: Fraction = Fraction(1, 90_000),
    fps: Fraction = Fraction(25),
    key_every: int = 0,
    **container: str,
) -> Path:
    """A clip whose picture i is at `times_s[i]` and gets brighter, and whose last picture is shown for `last_s`."""
    with av.open(str(path), "w", container_options=container) as target:
        video = cast("av.VideoStream", target.add_stream(codec, rate=fps))
        video.width, video.height, video.pix_fmt = *SIZE_PX, pix_fmt
        video.codec_context.time_base = tick_s
        if key_every:
            video.codec_context.gop_size = key_every
        if codec.startswith("libvpx"):
            video.options = {"deadline": "realtime", "cpu-used": "8"}
        elif codec == "libx264":
            video.options = {
                "preset": "ultrafast"
            }  # no pictures out of order, so each packet is the next picture
        ends_s = [*times_s[1:], times_s[-1] + last_s]
        items: list[tuple[float, int, av.VideoFrame | av.AudioFrame]] = []
        lasts_ticks: list[int] = []
        rng = np.random.default_rng(1)
        for i, (time_s, end_s) in enumerate(zip(times_s, ends_s, strict=True)):
            frame = rng.integers(30, 60, (SIZE_PX[1], SIZE_PX[0], 3), np.uint8) + np.uint8(
                150 * i // len(times_s)
            )
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = round((time_s + pictures_at_s) / tick_s), tick_s
            lasts_ticks.append(round((end_s - time_s) / tick_s))
            items.append((time_s + pictures_at_s, 0, picture))
        audio = None
        if sound is not None:
            audio = cast("av.AudioStream", target.add_stream(sound, rate=RATE))
            audio.layout = "mono"
            wave = noise()[: round((sound_s or ends_s[-1]) * RATE)]
            floats = audio.format.name.startswith("flt")
            data = wave[None] if floats else (wave[None] * 32767).astype(np.int16)
            for start in range(0, data.shape[1], 960):
                piece = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(data[:, start : start + 960]), "fltp" if floats else "s16", "mono"
                )
                piece.sample_rate, piece.time_base = RATE, Fraction(1, RATE)
                piece.pts = start + round(sound_at_s * RATE)
                items.append((sound_at_s + start / RATE, 1, piece))
        queue = iter(lasts_ticks)
        for _, which, item in [*sorted(items, key=lambda item: item[:2]), (0.0, 0, None), (0.0, 1, None)]:
            if which == 0:
                for packet in video.encode(cast("av.VideoFrame | None", item)):
                    packet.duration = next(queue)
                    target.mux(packet)
            elif audio is not None:
                target.mux(audio.encode(cast("av.AudioFrame | None", item)))
    return path


def picture_times(path: Path) -> list[float]:
    """Seconds of each picture in a file."""
    with av.open(str(path)) as container:
        return [float(picture.time) for picture in container.decode(video=0) if picture.time is not None]


def length_s(path: Path) -> float:
    """How long the pictures of an MP4 last."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None
        return float(stream.duration * stream.time_base)


def sound_of(path: Path) -> tuple[np.ndarray, float]:
    """The decoded sound (n,) at RATE, and the second at which it begins."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        start_s, pieces = None, []
        for frame in container.decode(audio=0):
            start_s = float(frame.time or 0) if start_s is None else start_s
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    assert start_s is not None
    return np.concatenate(pieces), start_s


def late_ms(path: Path, at_s: float, sound_at_s: float = 0.0) -> float:
    """How many ms too late the sound of second `at_s` is heard, up to 100 either way; it began at `sound_at_s`."""
    wave, start_s = sound_of(path)
    first = round((at_s - sound_at_s) * RATE)
    wanted = noise()[first : first + RATE // 4]
    reach = RATE // 10
    begin = round((at_s - start_s) * RATE) - reach
    heard = np.pad(wave, (max(0, -begin), RATE))[max(0, begin) :][: len(wanted) + 2 * reach]
    size = len(heard) + len(wanted)
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    return (int(np.argmax(likeness[: 2 * reach])) - reach) / RATE * 1000
