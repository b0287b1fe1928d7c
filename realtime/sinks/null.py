"""The null sink drops every frame. It is for measuring, and for recording attributes alone."""

from __future__ import annotations

from fractions import Fraction

from icface.arrays import Frame
from realtime.sinks import TICK_S, Sink


class NullSink(Sink):
    """Drops frames."""

    name = "null"
    takes_alpha = True

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        """Nothing to open."""

    def send(self, frame: Frame, time_s: float) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to release."""


create = NullSink
