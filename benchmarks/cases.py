"""Small clips of the kinds that people meet, made from `examples/driver.mp4`, with a table of what is right.

A new kind is a line of `KINDS`, and, where it needs one, a function here.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import cv2
import numpy as np

from benchmarks.common import REPOSITORY
from icface.arrays import Frame

CLIP: Final = REPOSITORY / "examples/driver.mp4"
COLUMNS: Final = ("case", "exit", "frames", "length_s", "sync_ms", "error", "clean", "flags", "why")
FRAMES: Final = 60
_RATE: Final = 30
_SOUND_HZ: Final = 48_000
_Change = Callable[[Frame], Frame]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One clip: how it is made from the frames of the example, and what is right."""

    why: str
    times_s: tuple[float, ...] = tuple(i / _RATE for i in range(FRAMES))
    """When each picture is shown; picture i is the example's at that time."""
    last_s: float = 1 / _RATE
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    sound: str = ""
    sound_at_s: float = 0.0
    tick_s: Fraction = Fraction(1, 90_000)
    change: _Change = field(default=lambda frame: frame)
    aspect: Fraction | None = None
    matrix: tuple[int, int, int, int] | None = None
    damaged: int | None = None
    key_every: int = 0
    options: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)


def _narrow(frame: Frame) -> Frame:
    return cv2.resize(frame, (frame.shape[1] // 2, frame.shape[0]), interpolation=cv2.INTER_AREA).astype(
        np.uint8
    )


def _upside_down(frame: Frame) -> Frame:
    return np.ascontiguousarray(frame[::-1, ::-1])


def _on_its_side(frame: Frame) -> Frame:
    return np.ascontiguousarray(np.rot90(frame))


def _mirrored(frame: Frame) -> Frame:
    return np.ascontiguousarray(frame[:, ::-1])


_UNEVEN: Final = tuple(
    float(t) for t in np.cumsum([0, *[0.02, 0.033, 0.1, 0.05, 0.2, 0.04, 0.01, 0.3] * 3]).round(3)
)
_ERROR: Final = {"error": "0.06", "clean": "driver.mp4"}
_SYNC: Final = {"sync_ms": "1"}
_VP9: Final = {"deadline": "realtime", "cpu-used": "8"}
_ENCODERS: Final = {"libx264": {"preset": "ultrafast"}, "libvpx-vp9": _VP9}
_MS: Final = Fraction(1, 1000)
KINDS: Final[dict[str, Kind]] = {
    "phone.mp4": Kind(why="variable rate", times_s=_UNEVEN, sound="aac", wanted=_ERROR | _SYNC),
    "browser.webm": Kind(why="variable rate, no durations", times_s=_UNEVEN, codec="libvpx-vp9", sound="libopus",
                         tick_s=_MS, options={"live": "1"}, wanted=_ERROR | _SYNC),
    "delays.gif": Kind(why="delays of 1/100 s", codec="gif", pix_fmt="rgb8", tick_s=Fraction(1, 100),
                       times_s=tuple(round(i / 15, 2) for i in range(30)), last_s=0.07, wanted=_ERROR),
    "slow.mp4": Kind(why="0.5 frames a second", times_s=(0.0, 2.0, 4.0, 6.0), last_s=2.0, sound="aac",
                     wanted={"length_s": "8"} | _SYNC),
    "fast.mp4": Kind(why="480 frames a second", times_s=tuple(i / 480 for i in range(240)), last_s=1 / 480,
                     wanted={"length_s": "0.5"}),
    "late_sound.mkv": Kind(why="sound begins later", sound="flac", sound_at_s=0.37, tick_s=_MS, wanted=_SYNC),
    "wide_pixels.mp4": Kind(why="pixels 2:1", change=_narrow, aspect=Fraction(2), wanted=_ERROR),
    "on_its_side.mp4": Kind(why="turned by a display matrix", change=_on_its_side, matrix=(0, 1, -1, 0), wanted=_ERROR),
    "upside_down.mp4": Kind(why="turned by a display matrix", change=_upside_down, matrix=(-1, 0, 0, -1), wanted=_ERROR),
    "mirrored.mp4": Kind(why="mirrored by a display matrix", change=_mirrored, matrix=(-1, 0, 0, 1), wanted=_ERROR),
    "damaged.mp4": Kind(why="a bad packet", damaged=20, sound="aac",
                        wanted={"exit": "1", "frames": "59"} | _ERROR | _SYNC),
    # Its decoder shows rubbish up to the next key picture, which has to come soon.
    "damaged.webm": Kind(why="a bad packet", damaged=25, key_every=10, codec="libvpx-vp9", tick_s=_MS, options=_VP9,
                         wanted={"exit": "1", "frames": "59"} | _ERROR),
    "damaged_start.mp4": Kind(why="the first packet is bad", damaged=0, key_every=10,
                              wanted={"exit": "1", "frames": "50", "length_s": "1.667"} | _ERROR),
}  # fmt: skip


def make(folder: Path, table: str) -> None:
    """Write all kinds and their table into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(CLIP)) as container:
        pictures = [
            picture.to_ndarray(format="rgb24").astype(np.uint8) for picture in container.decode(video=0)
        ]
    with (folder / table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for name, kind in KINDS.items():
            write(folder / name, kind, pictures)
            frames, length_s = len(kind.times_s), kind.times_s[-1] + kind.last_s
            right = {
                "exit": "0",
                "frames": str(frames),
                "length_s": "" if "live" in kind.options else f"{length_s:.3f}",
            }
            writer.writerow({"case": name, "why": kind.why, **right, **kind.wanted})


def write(path: Path, kind: Kind, pictures: list[Frame]) -> None:
    """Write one kind from the example's pictures."""
    container_options = {key: value for key, value in kind.options.items() if key not in _VP9}
    if kind.codec == "gif":
        container_options["final_delay"] = str(round(kind.last_s * 100))
    with av.open(str(path), "w", container_options=container_options) as target:
        shown = [
            kind.change(pictures[min(len(pictures) - 1, round(time_s * _RATE))]) for time_s in kind.times_s
        ]
        video = cast("av.VideoStream", target.add_stream(kind.codec, rate=_RATE))
        video.height, video.width = shown[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = kind.pix_fmt, kind.tick_s
        video.options = {**_ENCODERS.get(kind.codec, {})}
        if kind.key_every:
            video.codec_context.gop_size = kind.key_every
        if kind.aspect is not None:
            video.codec_context.sample_aspect_ratio = kind.aspect
        ends_s = [*kind.times_s[1:], kind.times_s[-1] + kind.last_s]
        lasts = iter(
            [
                round((end_s - time_s) / kind.tick_s)
                for time_s, end_s in zip(kind.times_s, ends_s, strict=True)
            ]
        )
        audio = cast("av.AudioStream", target.add_stream(kind.sound, rate=_SOUND_HZ)) if kind.sound else None
        if audio is not None:
            audio.layout = "mono"
        for frame, time_s in [*zip(shown, kind.times_s, strict=True), (None, 0.0)]:
            picture = None if frame is None else av.VideoFrame.from_ndarray(frame, format="rgb24")
            if picture is not None:
                picture.pts, picture.time_base = round(time_s / kind.tick_s), kind.tick_s
            for packet in video.encode(picture):
                packet.duration = next(lasts)
                target.mux(packet)
        if audio is not None:
            for piece in [*_sound(audio, ends_s[-1], kind.sound_at_s), None]:
                target.mux(audio.encode(piece))
    if kind.matrix is not None:
        _turn(path, kind.matrix)
    if kind.damaged is not None:
        _damage(path, kind.damaged)


def _sound(audio: av.AudioStream, seconds: float, at_s: float) -> list[av.AudioFrame]:
    """Noise below 4 kHz: no moment is like another."""
    count = round(seconds * _SOUND_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / _SOUND_HZ) > 4000] = 0
    wave = np.fft.irfft(spectrum, count)
    wave *= 0.3 / wave.std()
    floats = audio.format.name.startswith("flt")
    data: np.ndarray = wave[None].astype(np.float32)
    if not floats:
        data = (wave[None] * 32767).clip(-32768, 32767).astype(np.int16)
    pieces = []
    for start in range(0, count, 960):
        piece = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(data[:, start : start + 960]), "fltp" if floats else "s16", "mono"
        )
        piece.sample_rate, piece.time_base = _SOUND_HZ, Fraction(1, _SOUND_HZ)
        piece.pts = start + round(at_s * _SOUND_HZ)
        pieces.append(piece)
    return pieces


def _turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix of an MP4's picture track."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    a, b, c, d = (part * (1 << 16) for part in matrix)
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def _damage(path: Path, number: int) -> None:
    """Set 8 bytes of a packet to FF."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    place = data.index(packets[number])
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data)
