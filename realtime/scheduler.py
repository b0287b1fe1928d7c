"""Watches the deadline and says what to give up: tracker rate, then output size, then every second frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FULL: Final = "full"
HALF_TRACKING: Final = "half tracker rate"
HALF_SIZE: Final = "half size"
REPEAT: Final = "repeated frames"
LEVELS: Final = (FULL, HALF_TRACKING, HALF_SIZE, REPEAT)
"""What each level gives up, besides what the ones before it do."""


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """When to step down and when to try again."""

    over: float = 0.95
    """Load (time a frame takes / time between frames) from which a frame counts as late."""
    room: float = 0.65
    """Load below which there is room for the better level; the gap between the two stops flapping."""
    memory: int = 10
    """Frames over which the load is averaged (exponentially): one slow frame is no reason to step down."""
    settle_s: float = 1.0
    """Least time at a level before it is judged."""
    recover_s: float = 4.0
    """Time with room before the better level is tried; doubles each time the trial fails."""
    recover_max_s: float = 60.0
    """Where that doubling ends."""


class DeadlineScheduler:
    """Turns the load of each frame into a level.

    Args:
        period_s: time there is for each output frame.
        levels: those of LEVELS that can be had, in order (no tracker, no smaller size: not those).
        config: when to change.
    """

    def __init__(
        self, period_s: float, levels: Sequence[str] = LEVELS, config: SchedulerConfig | None = None
    ) -> None:
        self.config = config or SchedulerConfig()
        self._levels = tuple(levels)
        self._at = 0
        self._period_s = period_s
        self._load = 0.0
        self._since_s: float | None = None
        self._room_since_s: float | None = None
        self._recover_s = self.config.recover_s
        self._on_trial = False

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return self._levels[self._at]

    @property
    def halves_tracking(self) -> bool:
        """Whether to track every second frame only."""
        return HALF_TRACKING in self._levels[: self._at + 1]

    @property
    def halves_size(self) -> bool:
        """Whether to animate at half size."""
        return HALF_SIZE in self._levels[: self._at + 1]

    @property
    def repeats(self) -> bool:
        """Whether to send every second picture twice."""
        return REPEAT in self._levels[: self._at + 1]

    def observe(self, work_s: float, now_s: float) -> bool:
        """Count a frame that took `work_s` to animate, compose and send; True when `level` changed.

        At the level of repeated frames only the animated ones are observed; each has two periods.
        """
        c = self.config
        allowed_s = self._period_s * (2 if self.repeats else 1)
        self._load += (work_s / allowed_s - self._load) / c.memory
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < c.settle_s:
            return False
        if self._load > c.over:
            self._room_since_s = None
            if self._at == len(self._levels) - 1:
                return False
            if self._on_trial:
                self._recover_s = min(2 * self._recover_s, c.recover_max_s)
            self._go(self._at + 1, now_s, on_trial=False)
            return True
        if self._on_trial and now_s - self._since_s > c.recover_s:
            self._on_trial = False
            self._recover_s = c.recover_s
        if self._at == 0 or self._load > c.room:
            self._room_since_s = None
            return False
        if self._room_since_s is None:
            self._room_since_s = now_s
        if now_s - self._room_since_s < self._recover_s:
            return False
        self._go(self._at - 1, now_s, on_trial=True)
        return True

    def _go(self, at: int, now_s: float, *, on_trial: bool) -> None:
        self._at = at
        self._on_trial = on_trial
        self._since_s = now_s
        self._room_since_s = None
        self._load = 0.0
