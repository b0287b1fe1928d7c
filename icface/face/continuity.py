"""What is shown when the driver's face comes and goes: hold, ease to rest, come back with a cross-fade."""

from __future__ import annotations

import math
from typing import Final, Literal

from icface.attributes import PLACE, POSE, FloatArray, neutral

State = Literal["waiting", "tracking", "holding", "easing", "idle", "returning"]


HOLD_S: Final = 0.2
"""The last attributes stay this long after the face is lost."""
EXPRESSION_TAU_S: Final = 0.3
"""Then the expression decays to that of the rest with this time constant."""
POSE_TAU_S: Final = 0.8
"""The head turns to its rest, and goes back to its place, with this time constant."""
RETURN_S: Final = 0.15
"""Length of the cross-fade when the face is back."""
IDLE_AFTER_S: Final = 4.0
"""This long after the loss the face is fully at rest."""
_EXPRESSION: Final = slice(POSE.stop, PLACE.start)


class Continuity:
    """Turns attributes that may be missing into attributes that never jump."""

    def __init__(self) -> None:
        self._shown: FloatArray = neutral()
        self._start = neutral()
        """What was shown when the face was lost, or when it returned, at `_start_s`."""
        self._start_s = 0.0
        self._waited = False
        self.state: State = "waiting"

    def update(
        self, attributes: FloatArray | None, time_s: float, rest: FloatArray | None = None
    ) -> FloatArray:
        """The attributes to show, a new (SIZE,) array, from those that were tracked; None where there is no face.

        `time_s` never runs back. `rest` (SIZE,) is what they ease to; None: neutral.
        """
        if attributes is None:
            self._without(time_s, neutral() if rest is None else rest)
        else:
            self._with(attributes, time_s)
        return self._shown.copy()

    def _without(self, time_s: float, rest: FloatArray) -> None:
        if self.state == "waiting":
            self._waited = True
            self._shown = rest.copy()
            return
        if self.state in ("tracking", "returning"):
            self._start, self._start_s = self._shown.copy(), time_s
        gone_s = time_s - self._start_s
        if gone_s <= HOLD_S:
            self.state = "holding"
            return
        self.state = "idle" if gone_s > IDLE_AFTER_S else "easing"
        for part, tau_s in ((POSE, POSE_TAU_S), (_EXPRESSION, EXPRESSION_TAU_S), (PLACE, POSE_TAU_S)):
            left = 0.0 if self.state == "idle" else math.exp((HOLD_S - gone_s) / tau_s)
            self._shown[part] = rest[part] + left * (self._start[part] - rest[part])

    def _with(self, attributes: FloatArray, time_s: float) -> None:
        if self.state == "waiting" and not self._waited:
            self.state = "tracking"  # a face from the first frame on: nothing else was ever shown
        if self.state in ("waiting", "holding", "easing", "idle"):
            self._start, self._start_s = self._shown.copy(), time_s
            self.state = "returning"
        if self.state == "returning":
            share = (time_s - self._start_s) / RETURN_S
            if share < 1.0:
                self._shown = self._start + (attributes - self._start) * max(0.0, share)
                return
            self.state = "tracking"
        self._shown = attributes.copy()
