"""Reading clips, and clips of any length and rate, made from a short one without encoding anew."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from icface.arrays import Frame
from icface.errors import SourceError
from realtime.cameras.shown import upright


def remux(clip: Path, target: Path, *, fps: Fraction | None = None, frames: int | None = None) -> Path:
    """Write the pictures of `clip` at another rate, or repeated until there are `frames`, without sound.

    The packets are copied, so the target is a whole number of clips and has at least `frames`.
    """
    total = 0
    with av.open(str(target), "w") as out:
        copied = None
        while True:
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                own_rate = stream.average_rate
                if own_rate is None or stream.time_base is None:
                    raise ValueError(f"{clip} states no frame rate")
                rate = fps or own_rate
                if copied is None:
                    copied = out.add_stream_from_template(stream)
                count = 0
                start = stream.start_time or 0
                for packet in source.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    # Times are counted in frames of the clip's own rate.
                    index = round((packet.pts - start) * stream.time_base * own_rate) + total
                    decode_index = round((packet.dts - start) * stream.time_base * own_rate) + total
                    packet.stream = copied
                    packet.time_base = 1 / rate
                    packet.pts, packet.dts, packet.duration = index, decode_index, 1
                    out.mux(packet)
                    count += 1
            total += count
            if frames is None or total >= frames:
                return target


def decode(path: Path) -> Iterator[Frame]:
    """Every frame of a video, (H, W, 3) RGB, as it is shown."""
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            yield upright(np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8), picture)


def frame_rate(path: Path) -> float:
    """Frames a second of a video, as it states them; SourceError where it states none."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    if not rate:
        raise SourceError(f"{path} states no frame rate")
    return float(rate)
