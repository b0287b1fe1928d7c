"""Watches the deadline and says what to give up: first tracker rate, then the network, then every second frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

FULL: Final = "full"
HALF_TRACKING: Final = "half tracker rate"
NO_NETWORK: Final = "geometry alone"
REPEAT: Final = "repeated frames"
LEVELS: Final = (FULL, HALF_TRACKING, NO_NETWORK, REPEAT)
"""Each level also gives up what the levels before it do."""

OVER: Final = 0.95
"""A frame is late above this load, which is the time it takes divided by the time between frames."""
ROOM: Final = 0.65
"""Below this load there is room for the better level. The gap to OVER keeps the level from flapping."""
MEMORY: Final = 10
"""The load is averaged (EMA) over about this many frames: one slow frame is no reason to step down."""
MOST: Final = 4.0
"""No frame counts for more load: a machine that slept for an hour is not slow."""
SETTLE_S: Final = 1.0
"""Least time at a level before it is judged."""
RECOVER_S: Final = 4.0
"""Time with room before the better level is tried. It doubles each time the trial fails."""
RECOVER_MAX_S: Final = 60.0
"""It never grows beyond this."""


class DeadlineScheduler:
    """Turns the load of each frame into a level, with `period_s` between two output frames.

    `halve_tracking` is called with True to track every second frame, and with False to track all. `drop_network` is
    called with True to make frames by geometry alone. Where one of them is None, there is nothing to give up, and its
    level is left out.
    """

    def __init__(
        self,
        period_s: float,
        halve_tracking: Callable[[bool], None] | None = None,
        drop_network: Callable[[bool], None] | None = None,
    ) -> None:
        self.period_s = period_s
        asked = {HALF_TRACKING: halve_tracking, NO_NETWORK: drop_network}
        self._gives_up = {level: give_up for level, give_up in asked.items() if give_up is not None}
        self._levels = tuple(level for level in LEVELS if level not in asked or level in self._gives_up)
        self._at = 0
        self._load = 0.0
        self._since_s = self._room_since_s = math.inf
        self._recover_s = RECOVER_S
        self._on_trial = False

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return self._levels[self._at]

    @property
    def repeats(self) -> bool:
        """Whether every second picture is to be sent twice."""
        return self.level == REPEAT

    def observe(self, work_s: float, now_s: float) -> bool:
        """Count a frame that took `work_s` to animate, compose and send; True if `level` changed.

        At the level of repeated frames only the animated ones are observed. Each of them has two periods.
        """
        allowed_s = self.period_s * (2 if self.repeats else 1)
        self._load += (min(work_s / allowed_s, MOST) - self._load) / MEMORY
        self._since_s = min(self._since_s, now_s)
        if now_s - self._since_s < SETTLE_S:
            return False
        if self._load > OVER:
            self._room_since_s = math.inf
            if self._at == len(self._levels) - 1:
                return False
            if self._on_trial:
                self._recover_s = min(2 * self._recover_s, RECOVER_MAX_S)
            return self._go(self._at + 1, now_s, on_trial=False)
        if self._on_trial and now_s - self._since_s > RECOVER_S:
            self._on_trial = False
            self._recover_s = RECOVER_S
        if self._at == 0 or self._load > ROOM:
            self._room_since_s = math.inf
            return False
        self._room_since_s = min(self._room_since_s, now_s)
        if now_s - self._room_since_s < self._recover_s:
            return False
        return self._go(self._at - 1, now_s, on_trial=True)

    def _go(self, at: int, now_s: float, *, on_trial: bool) -> bool:
        self._at = at
        self._on_trial = on_trial
        self._since_s = now_s
        self._room_since_s = math.inf
        self._load = 0.0
        for level, give_up in self._gives_up.items():
            give_up(at >= self._levels.index(level))
        return True
