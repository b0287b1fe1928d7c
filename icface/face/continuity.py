"""What is shown when the driver's face comes and goes: hold, ease to rest, come back with a cross-fade."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from icface.attributes import ACTION_UNITS, POSE, FloatArray, neutral

State = Literal["waiting", "tracking", "holding", "easing", "idle", "returning"]


@dataclass(frozen=True, kw_only=True)
class ContinuityConfig:
    """Times of the transitions, seconds."""

    hold_s: float = 0.2
    """The last attributes stay this long after the face is lost."""
    expression_tau_s: float = 0.3
    """Then the expression decays to neutral with this time constant."""
    pose_tau_s: float = 0.8
    """The head turns to frontal with this time constant."""
    return_s: float = 0.15
    """Length of the cross-fade when the face is back."""
    idle_after_s: float = 4.0
    """This long after the loss the face is fully at rest."""


class Continuity:
    """Turns attributes that may be missing into attributes that never jump."""

    def __init__(self, config: ContinuityConfig | None = None) -> None:
        self._config = config or ContinuityConfig()
        self._rest = neutral()
        self._shown = neutral()
        self._held = neutral()
        self._from = neutral()
        self._lost_s = 0.0
        self._returned_s = 0.0
        self._waited = False
        self.state: State = "waiting"

    def update(self, attributes: FloatArray | None, time_s: float) -> FloatArray:
        """The attributes to show, a new (20,) array.

        Args:
            attributes: (20,) what was tracked; None where there is no face.
            time_s: never runs back.
        """
        if attributes is None:
            self._without(time_s)
        else:
            self._with(attributes, time_s)
        return self._shown.copy()

    def _without(self, time_s: float) -> None:
        if self.state == "waiting":
            self._waited = True
            return
        if self.state in ("tracking", "returning"):
            self._held = self._shown.copy()
            self._lost_s = time_s
        gone_s = time_s - self._lost_s
        if gone_s <= self._config.hold_s:
            self.state = "holding"
            return
        easing_s = gone_s - self._config.hold_s
        self.state = "idle" if gone_s > self._config.idle_after_s else "easing"
        for part, tau_s in (
            (POSE, self._config.pose_tau_s),
            (ACTION_UNITS, self._config.expression_tau_s),
        ):
            left = 0.0 if self.state == "idle" else math.exp(-easing_s / tau_s)
            self._shown[part] = self._rest[part] + left * (self._held[part] - self._rest[part])

    def _with(self, attributes: FloatArray, time_s: float) -> None:
        if self.state == "waiting" and not self._waited:
            self.state = "tracking"  # a face from the first frame on: nothing else was ever shown
        if self.state in ("waiting", "holding", "easing", "idle"):
            self._from = self._shown.copy()
            self._returned_s = time_s
            self.state = "returning"
        if self.state == "returning":
            share = (time_s - self._returned_s) / self._config.return_s
            if share < 1.0:
                self._shown = self._from + (attributes - self._from) * max(0.0, share)
                return
            self.state = "tracking"
        self._shown = attributes.copy()
