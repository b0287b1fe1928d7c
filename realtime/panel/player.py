"""Plays a track on the clock of the pictures; it can be paused, moved and edited while it drives."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from icface.attributes import AttributeTrack, FloatArray
from icface.errors import ConfigError

SHORTEST_LOOP_S: Final = 0.04


class Player:
    """One track. The loop calls it for each picture, the panel's thread everything else.

    It starts again at its end, or at the end of the part that is repeated.
    """

    def __init__(self, track: AttributeTrack, *, playing: bool = True) -> None:
        self._lock = threading.Lock()
        self._track = track
        self._from_s = 0.0
        """Position when it last began to move, or where it rests."""
        self._since_s: float | None = None
        """Time of the picture at which it began to move; None: with the next."""
        self._playing = playing
        self._position_s = 0.0
        self._loop_s: tuple[float, float] | None = None

    def __call__(self, time_s: float) -> FloatArray:
        """(SIZE,) to show at the time of a picture; not to be written to."""
        with self._lock:
            if self._playing:
                self._since_s = time_s if self._since_s is None else self._since_s
                begin_s, end_s = self._loop_s or (0.0, self._length_s)
                at_s = self._from_s + time_s - self._since_s
                self._position_s = at_s if at_s < end_s else begin_s + (at_s - begin_s) % (end_s - begin_s)
            else:
                self._position_s = self._from_s
            times_s = self._track.times_s
            row = int(np.searchsorted(times_s, times_s[0] + self._position_s + 1e-6, side="right")) - 1
            values: FloatArray = self._track.values[row]
            return values

    @property
    def _length_s(self) -> float:
        times_s = self._track.times_s
        span_s = float(times_s[-1] - times_s[0])
        return span_s + (span_s / (len(times_s) - 1) if span_s > 0 else 0.04)

    @property
    def position_s(self) -> float:
        """Of the last picture, from the track's beginning."""
        return self._position_s

    @property
    def playing(self) -> bool:
        return self._playing

    def play(self, playing: bool = True) -> None:
        """Go on, or rest where it is."""
        with self._lock:
            self._from_s, self._since_s, self._playing = self._position_s, None, playing

    def seek(self, position_s: float) -> None:
        """Move to a position; it goes on from there, or rests there."""
        with self._lock:
            self._from_s = self._position_s = min(max(position_s, 0.0), self._length_s - 1e-3)
            self._since_s = None

    def loop(self, from_s: float | None, to_s: float | None) -> None:
        """Repeat from one position to another; None: the whole track.

        Raises:
            ConfigError: the second is not behind the first, within the track.
        """
        with self._lock:
            if from_s is None or to_s is None:
                self._loop_s = None
                return
            begin_s, end_s = max(from_s, 0.0), min(to_s, self._length_s)
            if not end_s - begin_s >= SHORTEST_LOOP_S:
                raise ConfigError(f"{from_s:g} to {to_s:g} s is no part of the track that can be repeated")
            self._loop_s = begin_s, end_s
            # It goes on from where it is, which may be outside: then the next picture is inside.
            self._from_s, self._since_s = self._position_s, None

    @property
    def loop_s(self) -> tuple[float, float] | None:
        """The part that is repeated; None: all."""
        return self._loop_s

    def edit(self, track: AttributeTrack) -> None:
        """Play this from now on; it has the same times."""
        with self._lock:
            self._track = track
