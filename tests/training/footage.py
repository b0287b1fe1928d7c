"""Clips with faces for tests of the preparation: the repository's rendered driver and portrait, cut and joined anew."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from icface.arrays import Frame
from icface.images import load_photo
from tests.conftest import REPOSITORY

DRIVER = REPOSITORY / "examples" / "driver.mp4"
"""640×480, 30 FPS, 8 s; what is acted is in training/assets/render_examples.py."""
PORTRAIT = REPOSITORY / "examples" / "rendered.jpg"


@lru_cache(maxsize=1)
def driver_frames() -> tuple[Frame, ...]:
    """Every third frame of the driver, 10 FPS, half size: 80 of (240, 320, 3) RGB."""
    with av.open(str(DRIVER)) as container:
        frames = [
            np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            for number, frame in enumerate(container.decode(video=0))
            if number % 3 == 0
        ]
    return tuple(smaller(frame, (320, 240)) for frame in frames)


@lru_cache(maxsize=1)
def portrait() -> Frame:
    """(384, 384, 3) RGB."""
    return smaller(load_photo(PORTRAIT).frame, (384, 384))


def smaller(frame: Frame, size_px: tuple[int, int]) -> Frame:
    """A frame at another (width, height)."""
    return np.asarray(cv2.resize(frame, size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write_clip(path: Path, frames: Sequence[Frame], fps: int = 10) -> Path:
    """Frames as a video, nearly without loss; the container follows from the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turn_display(path: Path) -> None:
    """Mark an MP4 as to be shown turned by 90° clockwise, as phones do."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def two_faces(large: Frame, small: Frame) -> Frame:
    """(240, 640, 3): one face of 240 pixels on the left, one of 120 on the right."""
    canvas = np.full((240, 640, 3), 128, dtype=np.uint8)
    canvas[:, :240] = cv2.resize(large, (240, 240), interpolation=cv2.INTER_AREA)
    canvas[60:180, 460:580] = cv2.resize(small, (120, 120), interpolation=cv2.INTER_AREA)
    return canvas
