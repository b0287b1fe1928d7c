"""Feed a clip into a v4l2loopback device, so that it is a webcam: python feed.py CLIP DEVICE FPS

Run inside the guest, where each import takes seconds: nothing but the standard library. The clip is a row of JPEG
pictures, each after its length in 4 bytes (little endian), the first 4 bytes being width and height in 2 each.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
import sys
import time

S_FMT = 0xC0D05605  # VIDIOC_S_FMT: _IOWR('V', 5, struct v4l2_format of 208 bytes)
VIDEO_OUTPUT = 2
FIELD_NONE = 1
COLORSPACE_JPEG = 7


def read_clip(path: str) -> tuple[int, int, list[bytes]]:
    """Width, height and the pictures."""
    with open(path, "rb") as file:
        data = file.read()
    width_px, height_px = struct.unpack_from("<HH", data)
    pictures = []
    at = 4
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        pictures.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return width_px, height_px, pictures


def main() -> None:
    """Play the clip forth and back until killed."""
    clip, device, fps = sys.argv[1], sys.argv[2], float(sys.argv[3])
    width_px, height_px, pictures = read_clip(clip)
    descriptor = os.open(device, os.O_WRONLY)
    wanted = bytearray(208)
    fourcc = int.from_bytes(b"MJPG", "little")
    size = max(map(len, pictures))
    struct.pack_into(
        "=I4xIIIIIII",
        wanted,
        0,
        VIDEO_OUTPUT,
        width_px,
        height_px,
        fourcc,
        FIELD_NONE,
        0,
        size,
        COLORSPACE_JPEG,
    )
    fcntl.ioctl(descriptor, S_FMT, wanted)
    for picture in itertools.cycle(pictures + pictures[::-1]):
        os.write(descriptor, picture)
        time.sleep(1 / fps)


if __name__ == "__main__":
    main()
