"""A state as index arrays, made once when it changes, so that a frame costs a few numpy calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import GAZE, INDEX, LOWEST, SIZE, FloatArray, neutral
from icface.control.groups import SIDED_NAMES
from icface.control.state import Channel, ControlState

Indices = NDArray[np.intp]

PHOTO, NEUTRAL, FIXED, FIXED_LEFT, FIXED_RIGHT, IDLE, INPUTS = range(7)
"""Rows of the stack: what each source gives. The drivers follow from INPUTS on, then the tracks."""
_CAMERA: Final = "camera"


class Plan:
    """What a state asks of every frame. Values of channels are (SIZE + k,): the attributes, then k single sides."""

    def __init__(self, state: ControlState) -> None:
        self.state = state
        named = state.named()
        channels = list(named.values())
        singles = list(named)[SIZE:]
        self.tracks = state.tracks
        self.uses_idle = any(each.source.name == "idle" for each in channels)
        fixed = np.zeros((3, SIZE), dtype=np.float32)  # both sides, left, right
        for i, channel in enumerate(channels[:SIZE]):
            fixed[0, i] = channel.source.value
        row: Indices = np.array([self._row_of(each, FIXED) for each in channels], dtype=np.intp)

        sides = [name.partition(" ")[0] for name in singles]
        wholes = [name.partition(" ")[2] for name in singles]
        self._whole: Indices = np.array([INDEX[name] for name in wholes], dtype=np.intp)
        self._side: Indices = np.array([INDEX[f"{name}_side"] for name in wholes], dtype=np.intp)
        self._sign = np.array([0.5 if side == "left" else -0.5 for side in sides], dtype=np.float32)
        for k, (side, name) in enumerate(zip(sides, wholes, strict=True), start=SIZE):
            of_side = FIXED_LEFT if side == "left" else FIXED_RIGHT
            fixed[of_side - FIXED, INDEX[name]] = channels[k].source.value
            row[k] = self._row_of(channels[k], of_side)
        pairs = list(dict.fromkeys(wholes))
        self._pair: Indices = np.array([INDEX[name] for name in pairs], dtype=np.intp)
        self._pair_side: Indices = np.array([INDEX[f"{name}_side"] for name in pairs], dtype=np.intp)
        self._single_pair: Indices = np.array(
            [
                pairs.index(name) + len(pairs) * (side == "right")
                for side, name in zip(sides, wholes, strict=True)
            ],
            dtype=np.intp,
        )
        """Where each single side stands among all left and then all right ones."""

        def where(wanted: Sequence[bool]) -> Indices:
            return np.flatnonzero(np.array(wanted, dtype=bool))

        # A gain of 1 and a constant of 0 leave every bit as it is.
        rest = np.concatenate([neutral(), np.zeros(len(singles), dtype=np.float32)])
        self._gain = np.array([each.gain for each in channels], dtype=np.float32)
        offset = np.array([each.offset for each in channels], dtype=np.float32)
        self._constant = np.asarray(rest * (1 - self._gain) + offset, dtype=np.float32)
        self._scales = bool((self._gain != 1).any() or offset.any())
        lowest = np.concatenate([LOWEST, LOWEST[self._whole]])
        self._low = np.array(
            [low if c.low is None else max(low, c.low) for low, c in zip(lowest, channels, strict=True)],
            np.float32,
        )
        self._high = np.array([1 if c.high is None else min(1, c.high) for c in channels], np.float32)
        self._high = np.maximum(self._high, self._low)
        self.smoothed = where([each.smoothing_s > 0 for each in channels])
        self.smoothing_s = np.array([channels[i].smoothing_s for i in self.smoothed])
        self.locked = where([each.locked for each in channels])
        self.at_camera = [
            i
            for i in range(GAZE.start, GAZE.stop)
            if channels[i].source.name == _CAMERA and not channels[i].locked
        ]

        self.stack = np.zeros((INPUTS + state.drivers + len(self.tracks), SIZE), dtype=np.float32)
        """(rows, SIZE); the caller fills PHOTO, IDLE and the rows from INPUTS on."""
        self._flat = self.stack.reshape(-1)
        """The same numbers; what each channel takes stands at `_at`, and of a single side the difference too."""
        self._at: Indices = row * SIZE + np.concatenate([np.arange(SIZE), self._whole])
        self._at_side: Indices = row[SIZE:] * SIZE + self._side
        self.stack[[PHOTO, NEUTRAL, IDLE]] = neutral()
        self.stack[FIXED : FIXED_RIGHT + 1] = fixed
        self.driver_rows = range(INPUTS, INPUTS + state.drivers)
        self.track_rows = range(self.driver_rows.stop, len(self.stack))

    def _row_of(self, channel: Channel, fixed: int) -> int:
        source = channel.source
        if source.kind == "driver":
            return INPUTS - 1 + source.number
        if source.kind == "track":
            return INPUTS + self.state.drivers + self.tracks.index(source.name)
        if source.kind == "oscillator":  # the camera is done when the pose is known
            return IDLE if source.name == "idle" else NEUTRAL
        return {"photo": PHOTO, "neutral": NEUTRAL, "value": fixed}[source.kind]

    def values(self) -> FloatArray:
        """The channels' values from the stack: gained, moved and limited. New array."""
        stack = self._flat
        values = stack.take(self._at)
        if len(self._whole):
            values[SIZE:] += self._sign * stack.take(self._at_side)
        if self._scales:
            values *= self._gain
            values += self._constant
        np.maximum(values, self._low, out=values)
        np.minimum(values, self._high, out=values)
        return values

    def of_shown(self, shown: FloatArray) -> FloatArray:
        """The channels' values that (SIZE,) attributes mean. New array."""
        return np.concatenate([shown, shown[self._whole] + self._sign * shown[self._side]])

    def look(self, values: FloatArray, gaze: tuple[float, float]) -> None:
        """Let the eyes look so where they shall look into the camera, in place."""
        for i in self.at_camera:
            values[i] = gaze[i - GAZE.start]

    def attributes(self, values: FloatArray) -> FloatArray:
        """(SIZE,) attributes of the channels' values, which may be overwritten."""
        if not len(self._whole):
            return values
        whole, half = values.take(self._pair), values.take(self._pair_side) / 2
        both = np.concatenate([whole + half, whole - half])
        both[self._single_pair] = values[SIZE:]
        left, right = both[: len(whole)], both[len(whole) :]
        values[self._pair] = (left + right) / 2
        values[self._pair_side] = left - right
        values = values[:SIZE]
        np.maximum(values, LOWEST, out=values)
        return np.minimum(values, 1.0, out=values)

    def changed_since(self, before: Plan) -> Indices:
        """Attributes whose channels differ from those of another plan."""
        was, now = before.state.named(), self.state.named()
        names = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
        turned = before.state.mirrored ^ self.state.mirrored
        names |= {name for name, channel in now.items() if channel.source.number in turned}
        places = {INDEX[name] for name in names if name in INDEX}
        for name in names & set(SIDED_NAMES):
            whole = name.partition(" ")[2]
            places |= {INDEX[whole], INDEX[f"{whole}_side"]}
        return np.array(sorted(places), dtype=np.intp)
