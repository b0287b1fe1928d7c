"""Looking at the product from outside: run the command, decode videos, measure faces anew."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import COUNT
from icface.face.action_units import measure_attributes
from icface.face.landmarks import LandmarkDetector

REPOSITORY = Path(__file__).resolve().parents[2]


def icface_live(*arguments: str | Path | int, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, in the checkout, without a terminal."""
    command = "import sys; from realtime.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def frames(path: Path) -> Iterator[Frame]:
    """Every frame of a video, (H, W, 3) RGB, in order of showing."""
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            yield np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)


def frame_rate(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    assert rate is not None
    return rate


def pad_by_half(frame: Frame) -> Frame:
    """A tight crop in webcam-like framing, twice as wide: MediaPipe's pose is biased in tight crops."""
    height, width = frame.shape[:2]
    y, x = height // 2, width // 2
    return np.asarray(cv2.copyMakeBorder(frame, y, y, x, x, cv2.BORDER_REPLICATE), dtype=np.uint8)


@dataclass(frozen=True)
class Measured:
    """A video as the tracker sees it."""

    found: NDArray[np.bool_]
    """(N,) whether there is a face."""
    attributes: NDArray[np.float32]
    """(N, 20) measured one by one, without smoothing or calibration; NaN where there is no face."""


def measure_video(path: Path, detector: LandmarkDetector, *, pad: bool) -> Measured:
    """Measure every frame; `pad` for outputs, which are tight crops."""
    rate = float(frame_rate(path))
    rows = []
    for index, frame in enumerate(frames(path)):
        faces = detector.detect(pad_by_half(frame) if pad else frame, time_s=index / rate)
        rows.append(measure_attributes(faces[0]) if faces else np.full(COUNT, np.nan, dtype=np.float32))
    attributes = np.stack(rows)
    return Measured(found=np.asarray(np.isfinite(attributes).all(axis=1)), attributes=attributes)


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's r."""
    return float(np.corrcoef(a, b)[0, 1])


def loudness(path: Path, window_s: float = 0.05) -> NDArray[np.float64]:
    """RMS of the sound, window by window; empty where the file has none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.empty(0)
        rate = container.streams.audio[0].rate
        parts = [part.to_ndarray() for part in container.decode(audio=0)]
    planes = [part.astype(np.float64) if part.dtype.kind == "f" else part / 32768.0 for part in parts]
    sound = np.concatenate([plane.mean(0) for plane in planes])
    window = round(rate * window_s)
    whole = len(sound) // window * window
    rms: NDArray[np.float64] = np.sqrt((sound[:whole].reshape(-1, window) ** 2).mean(1))
    return rms


def with_beeps(video: Path, path: Path) -> Path:
    """The same pictures, not encoded again, with a sound that tells its own time: beeps, each longer."""
    rate = 48_000
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        pictures = source.streams.video[0]
        copied = target.add_stream_from_template(pictures)
        beeps = target.add_stream("aac", rate=rate, layout="mono")
        end_s = 0.0
        for packet in source.demux(pictures):
            if packet.dts is None or packet.pts is None:
                continue
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            packet.stream = copied
            target.mux(packet)
        time_s = np.arange(round(end_s * rate)) / rate
        on = (time_s % 0.5) < 0.1 + 0.3 * time_s / max(end_s, 1.0)
        tone = (0.5 * np.sin(2 * np.pi * 440 * time_s) * on).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        sound.sample_rate = rate
        sound.time_base = Fraction(1, rate)
        sound.pts = 0
        for packet in [*beeps.encode(sound), *beeps.encode(None)]:
            target.mux(packet)
    return path
