"""The videos of one person: opened, measured, and read within a bound however long they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from realtime.cameras.decoding import open_container, packets, picture_stream
from realtime.cameras.video_file import VideoFileCamera

MOST_S: Final = 300.0
"""So much of the videos is read. Of longer ones pieces are taken, spread evenly."""
PIECE_S: Final = 4.0
"""Length of such a piece: enough for a movement, and many fit into the bound."""
MOST_FRAMES: Final = 3600
"""So many frames are looked at: one to two minutes on two cores."""
FASTEST_FPS: Final = 30.0
LEAST_S: Final = 5.0
"""Shorter material shows too little of a face."""
_REACH_S: Final = 2.0
"""A sample is taken this much before its time where the key pictures are further apart."""


class Shot(NamedTuple):
    """One frame of a video."""

    video: int
    time_s: float
    frame: Frame
    """(H, W, 3) RGB, upright as a player shows it."""


@dataclass(frozen=True)
class Footage:
    """Videos in the order in which they were named."""

    paths: tuple[Path, ...]
    lengths_s: tuple[float, ...]

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Footage:
        """Measure videos, each of which is opened.

        Raises:
            ConfigError: one is no video, or all together are too short.
            DeviceError: one cannot be read.
        """
        for path in paths:
            if not path.exists():
                raise ConfigError(f"{path} is not there; check the name")
        footage = cls(tuple(paths), tuple(map(_length_s, paths)))
        if footage.length_s < LEAST_S:
            raise ConfigError(
                f"{footage.name} shows {footage.length_s:.1f} s, which is too short to learn a face from; film a minute: "
                "turn the head, smile, talk, blink"
            )
        return footage

    @property
    def length_s(self) -> float:
        """All of them together."""
        return sum(self.lengths_s)

    def clock_s(self, video: int, time_s: float) -> float:
        """A time that rises from video to video."""
        return sum(self.lengths_s[:video]) + video + time_s

    @property
    def is_sampled(self) -> bool:
        """Whether they are so long that only pieces are read."""
        return self.length_s > MOST_S

    @property
    def name(self) -> str:
        """For people."""
        return self.paths[0].name if len(self.paths) == 1 else f"all of the {len(self.paths)} videos together"

    @property
    def count(self) -> int:
        """About how many frames `shots` gives."""
        return int(min(self.length_s, MOST_S) * self._fps)

    @property
    def _fps(self) -> float:
        return min(FASTEST_FPS, MOST_FRAMES / max(min(self.length_s, MOST_S), 1e-3))

    def shots(self) -> Iterator[Shot]:
        """The frames to look at, in order. Two calls give the same."""
        share = min(1.0, MOST_S / self.length_s)
        step_s = 1 / self._fps
        for number, (path, length_s) in enumerate(zip(self.paths, self.lengths_s, strict=True)):
            due_s = 0.0
            with VideoFileCamera(path) as camera:
                for time_s, frame in _pieces(camera, length_s, share):
                    # Half a frame of slack, so that 25 of 25.01 frames a second are all kept.
                    if time_s >= due_s - 0.5 / FASTEST_FPS:
                        due_s = max(due_s + step_s, time_s)
                        yield Shot(number, time_s, frame)

    def frame_at(self, video: int, time_s: float) -> Frame:
        """The frame of a shot, read anew."""
        with VideoFileCamera(self.paths[video]) as camera:
            found = _at(camera, time_s, math.inf)
        if found is None:
            raise DeviceError(f"{self.paths[video]} cannot be read any more; is it still there?")
        return found[1]

    def samples(self, count: int) -> Iterator[Shot]:
        """A few frames spread evenly, at least one of each video."""
        for number, (path, length_s) in enumerate(zip(self.paths, self.lengths_s, strict=True)):
            here = max(1, round(count * length_s / self.length_s))
            with VideoFileCamera(path) as camera:
                for wanted_s in (np.arange(here) + 0.5) / here * length_s:
                    if (shot := _at(camera, float(wanted_s))) is not None:
                        yield Shot(number, *shot)


def _at(camera: VideoFileCamera, wanted_s: float, reach_s: float = _REACH_S) -> tuple[float, Frame] | None:
    """Time and frame of a picture; one before it where the key picture is further away than `reach_s`."""
    camera.skip_to(wanted_s)
    first_s, found = None, None
    for captured in camera.frames():
        first_s = captured.time_s if first_s is None else first_s
        found = captured.time_s, captured.frame
        if captured.time_s >= wanted_s - 1e-4 or captured.time_s - first_s > reach_s:
            break
    return found


def _pieces(camera: VideoFileCamera, length_s: float, share: float) -> Iterator[tuple[float, Frame]]:
    """Time and frame of all frames, or of evenly spread pieces that make up a share of the video."""
    if share >= 1:
        yield from ((captured.time_s, captured.frame) for captured in camera.frames())
        return
    count = max(1, math.ceil(length_s * share / PIECE_S))
    last_s = -1.0
    for piece in range(count):
        camera.skip_to(piece * length_s / count)
        first_s = None
        for captured in camera.frames():
            first_s = captured.time_s if first_s is None else first_s
            if captured.time_s > last_s:
                yield captured.time_s, captured.frame
                last_s = captured.time_s
            # Key pictures that are far apart give the same piece again; it is not decoded for longer than any other.
            if captured.time_s - first_s >= PIECE_S:
                break


def _length_s(path: Path) -> float:
    """How long a video plays. Where its header does not say so, as in recordings of browsers, its packets do."""
    with VideoFileCamera(path) as camera:
        count = camera.info.frame_count
        if count is not None:
            return count / float(camera.info.fps)
    with open_container(path) as container:
        stream = picture_stream(container)
        ends = [
            packet.pts * packet.time_base for packet in packets(container, stream) if packet.pts is not None
        ]
        return float(max(ends) - min(ends)) if ends else 0.0
