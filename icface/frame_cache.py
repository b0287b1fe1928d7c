"""Frames that were made before, found again by their attributes: less work, and less battery, for a face that rests.

The attributes are rounded before a frame is made, so that nearly equal ones share it; the frame is then exact for what
was rounded. A picture thus differs from the unrounded one by at most half a step of each attribute.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, POSE_LIMIT_RAD, POSE_NAMES, FloatArray

POSE_STEP_RAD: Final = float(np.radians(0.25))
"""Half of it moves the rim of a face of 300 pixels by a third of a pixel."""
ACTION_UNIT_STEPS: Final = 64
"""From nothing to the whole."""

_STEPS: Final = np.full(COUNT, ACTION_UNIT_STEPS, dtype=np.float32)
_STEPS[: len(POSE_NAMES)] = 2 * round(POSE_LIMIT_RAD / POSE_STEP_RAD)  # even: straight ahead is a step


def rounded(attributes: FloatArray) -> FloatArray:
    """(20,) attributes, each at its nearest step."""
    return np.asarray(np.rint(attributes * _STEPS) / _STEPS, dtype=np.float32)


class FrameCache:
    """Frames by key, those used longest ago dropped first. One thread owns it.

    Args:
        limit_bytes: what the frames may take together; one that is larger is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._frames: OrderedDict[Hashable, Frame] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def used_bytes(self) -> int:
        """What the frames take."""
        return self._used_bytes

    def find(self, key: Hashable) -> Frame | None:
        """The frame (H, W, 3) kept under a key, not to be written to; None where there is none."""
        frame = self._frames.get(key)
        if frame is not None:
            self._frames.move_to_end(key)
        return frame

    def keep(self, key: Hashable, frame: Frame) -> None:
        """Keep a copy. The memory of a frame that has to go is used again where it fits."""
        if frame.nbytes > self._limit_bytes:
            return
        room = None
        while self._frames and (key in self._frames or self._used_bytes + frame.nbytes > self._limit_bytes):
            room = self._frames.pop(key) if key in self._frames else self._frames.popitem(last=False)[1]
            self._used_bytes -= room.nbytes
        if room is None or room.shape != frame.shape:
            room = np.empty_like(frame)
        np.copyto(room, frame)
        self._frames[key] = room
        self._used_bytes += room.nbytes
