"""Is the invisible watermark found after what happens to pictures, never where it is not, and never seen?

    python -m benchmarks.watermark --photos FOLDER --count 200 --without 10000 --json watermark.json

Photos of the folder, `--count` of them, at 512 pixels, get the watermark and are then scaled, compressed, cut or made
into a video whose picture drifts, at a rate that x264 has to keep. Pictures `--without` it are cut at random from all
photos, scaled and compressed at random. The benchmark ends with 1 where any of those is taken for marked.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from benchmarks.common import benchmark_parser, write_figures
from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.errors import ConfigError, DeviceError
from realtime.choices import PICTURE_SUFFIXES
from realtime.watermark import Watermark
from realtime.watermark_search import THRESHOLD, search

SIDE_PX: Final = 512
FRAMES: Final = 48
Change = Callable[[Frame], Sequence[Frame]]


def jpeg(frame: Frame, quality: int) -> Frame:
    """Compressed and read again."""
    _, coded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)


def scaled(frame: Frame, by: float) -> Frame:
    """Made smaller or larger."""
    filter_ = cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, None, fx=by, fy=by, interpolation=filter_), dtype=np.uint8)


def h264(frames: Sequence[Frame], bits_a_second: int) -> list[Frame]:
    """Compressed by x264 as a call does it, at 30 FPS, and read again: the first of every 6 frames."""
    file = io.BytesIO()
    rate = str(bits_a_second)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", bits_a_second
        stream.options = {"preset": "veryfast", "maxrate": rate, "bufsize": rate, "tune": "zerolatency"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as reader:
        decoded = enumerate(reader.decode(video=0))
        return [_rgb(frame) for number, frame in decoded if number % 6 == 0]


def _rgb(frame: av.VideoFrame) -> Frame:
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def drifting(photo: Frame, watermark: Watermark) -> list[Frame]:
    """A video in which the photo moves under the watermark, which stands still."""
    frames = []
    for number in range(FRAMES):
        by = 8 * np.sin(number / 8), 4 * np.cos(number / 11)
        affine = np.array([[1, 0, by[0]], [0, 1, by[1]]])
        frame = cv2.warpAffine(photo, affine, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        watermark.apply(np.asarray(frame))
        frames.append(np.asarray(frame, dtype=np.uint8))
    return frames


CHANGES: Final[dict[str, Change]] = {
    "as it is": lambda frame: [frame],
    "half the size": lambda frame: [scaled(frame, 0.5)],
    "JPEG 50": lambda frame: [jpeg(frame, 50)],
    "half the size, then JPEG 75": lambda frame: [jpeg(scaled(frame, 0.5), 75)],
    "twice the size, then JPEG 50": lambda frame: [jpeg(scaled(frame, 2), 50)],
    "a third cut out and mirrored, JPEG 75": lambda frame: [
        jpeg(np.ascontiguousarray(frame[60:360, 110:410][:, ::-1]), 75)
    ],
}
VIDEOS: Final = {"H.264, 500 kbit/s": 500_000, "H.264, 300 kbit/s": 300_000}


def photos_in(folder: Path) -> list[Path]:
    """All pictures in a folder and below, by name.

    Raises:
        ConfigError: there are none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ConfigError(f"--photos {folder}: no pictures are there")
    return paths


def read(path: Path) -> Frame:
    """(H, W, 3) RGB; raises DeviceError where that is not possible."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DeviceError(f"{path} cannot be read")
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8)


def without(paths: Sequence[Path], count: int) -> Iterator[Frame]:
    """Pictures that have no watermark: parts of photos, scaled and compressed at random."""
    rng = np.random.default_rng(20)
    for number in range(count):
        photo = read(paths[number % len(paths)])
        side = int(rng.integers(min(160, *photo.shape[:2]), min(photo.shape[:2]) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        part = np.ascontiguousarray(photo[top : top + side, left : left + side])
        part = scaled(part, int(rng.integers(192, 385)) / side)
        yield jpeg(part, int(rng.integers(40, 96))) if number % 2 else part


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="pictures of any kind")
    parser.add_argument(
        "--count", type=int, default=200, help="photos that are marked (default: %(default)s)"
    )
    parser.add_argument(
        "--without", type=int, default=1000, help="pictures that are not marked (default: %(default)s)"
    )
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 after a false alarm."""
    cv2.setNumThreads(1)
    paths, watermark = photos_in(flags.photos), Watermark()
    chosen = paths[:: max(1, len(paths) // max(1, flags.count))][: flags.count]
    scores: dict[str, list[float]] = {name: [] for name in (*CHANGES, *VIDEOS)}
    psnr, costs = [], []
    for path in chosen:
        photo = np.asarray(cv2.resize(read(path), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
        marked = photo.copy()
        start = time.perf_counter()
        watermark.apply(marked)
        costs.append((time.perf_counter() - start) * 1e3)
        psnr.append(cv2.PSNR(photo, marked))
        for name, change in CHANGES.items():
            scores[name].append(search(change(marked)).score)
        video = drifting(photo, watermark)
        for name, rate in VIDEOS.items():
            scores[name].append(search(h264(video, rate)).score)
    figures = {}
    if chosen:
        print(f"PSNR: {np.mean(psnr):.1f} dB on average, {min(psnr):.1f} dB at least")
        print(f"adding it at 512x512: {np.median(costs):.2f} ms")
        print("| | found | median score | lowest |\n|---|---|---|---|")
        for name, found in scores.items():
            share = float(np.mean(np.array(found) >= THRESHOLD))
            figures[name] = {"found": share, "median": float(np.median(found)), "lowest": min(found)}
            print(f"| {name} | {share:.1%} | {np.median(found):.1f} | {min(found):.1f} |")
    highest, alarms = 0.0, 0
    for number, picture in enumerate(without(paths, flags.without), start=1):
        score = search([picture]).score
        highest, alarms = max(highest, score), alarms + (score >= THRESHOLD)
        if number % 500 == 0:
            print(f"{number} without: highest {highest:.2f}, {alarms} false alarms", file=sys.stderr)
    print(f"{flags.without} pictures without it: {alarms} false alarms, highest score {highest:.2f}")
    document = {
        "n": len(chosen),
        "psnr_db": [float(np.mean(psnr)), float(min(psnr))] if psnr else [],
        "found": figures,
        "without": {"n": flags.without, "false_alarms": alarms, "highest": highest},
        "threshold": THRESHOLD,
    }
    write_figures(flags.json, document)
    return int(alarms > 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
