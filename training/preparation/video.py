"""Reads the frames of a clip with their times, upright, at no more than a given rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from icface.arrays import Frame
from icface.errors import SourceError
from icface.images import load_photo


@dataclass(frozen=True)
class TimedFrame:
    """One frame of a clip."""

    frame: Frame
    """(H, W, 3) RGB, upright."""
    time_s: float
    """Time since the first frame of the clip; rising."""


def read_frames(path: Path, fps: float, max_frames: int | None = None) -> Iterator[TimedFrame]:
    """Decode a clip.

    Args:
        path: any video that FFmpeg reads.
        fps: frames beyond this rate are left out; a slower clip keeps its own.
        max_frames: stop after this many.

    Raises:
        SourceError: not a video, damaged, or without a frame. Frames before the damage have been given by then.
    """
    done = 0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise SourceError("it has no video in it")
            stream = container.streams.video[0]
            # One clip is one worker's work; more threads would fight with the other workers'.
            stream.codec_context.thread_count = 1
            rate = float(stream.average_rate or fps)
            first_s: float | None = None
            last_s, due_s = -1.0, 0.0
            for index, decoded in enumerate(container.decode(stream)):
                seen_s = index / rate if decoded.time is None else decoded.time
                first_s = seen_s if first_s is None else first_s
                time_s = seen_s - first_s
                # Half a frame of slack, so that 25 of 25.01 FPS are all kept.
                if time_s <= last_s or time_s < due_s - 0.5 / max(rate, fps):
                    continue
                due_s = max(due_s + 1 / fps, time_s)
                last_s = time_s
                yield TimedFrame(_upright(decoded), time_s)
                done += 1
                if done == max_frames:
                    return
    except av.error.EOFError:
        pass
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"damaged after frame {done}" if done else "not a video that can be read"
        raise SourceError(f"{where} ({reason})") from error
    if not done:
        raise SourceError("it has no frame that can be decoded")


def read_portrait(path: Path) -> TimedFrame:
    """A picture as a clip of one frame.

    Raises:
        SourceError: not a picture that can be read.
    """
    return TimedFrame(load_photo(path).frame, 0.0)


def _upright(decoded: av.VideoFrame) -> Frame:
    frame = decoded.to_ndarray(format="rgb24")
    if decoded.rotation % 90 == 0 and decoded.rotation % 360 != 0:
        # `rotation` is counter-clockwise, as np.rot90 turns.
        frame = np.rot90(frame, decoded.rotation // 90)
    return np.ascontiguousarray(frame)
