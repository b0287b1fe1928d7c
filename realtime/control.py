"""Control of a run from several threads: command line, keys and panel all change the one state here."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.control.state import ControlState

if TYPE_CHECKING:  # the command line imports this early
    from realtime.step import Reenactment

Change = Callable[[ControlState], ControlState]
KEPT_CHANGES: Final = 1000


@dataclass(frozen=True)
class Observation:
    """What one picture was made of."""

    time_s: float
    drivers: tuple[FloatArray | None, ...]
    """(SIZE,) of each, as it is shown (mirrored); None: no face."""
    output: FloatArray
    """(SIZE,) that drove the picture."""
    landmarks: tuple[NDArray[Any] | None, ...] = ()
    """(478, 2) of each driver's face, in shares of its frame's width and height; None: no face or no tracker."""


class Observed:
    """The newest Observation. It is made only while somebody listens."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._listeners = 0
        self._newest: Observation | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._listeners > 0

    def __enter__(self) -> Observed:
        """Listen, from any thread, until the `with` ends."""
        with self._condition:
            self._listeners += 1
        return self

    def __exit__(self, *error: object) -> None:
        with self._condition:
            self._listeners -= 1

    def put(self, observation: Observation) -> None:
        """Replace the newest. Never waits for a listener."""
        with self._condition:
            self._newest = observation
            self._condition.notify_all()

    @property
    def newest(self) -> Observation | None:
        return self._newest

    def wait(self, after: Observation | None, timeout_s: float) -> Observation | None:
        """The newest, as soon as it is another than `after`; None: there was none within the time."""
        with self._condition:
            self._condition.wait_for(lambda: self._newest is not after, timeout_s)
            return None if self._newest is after else self._newest


class Control:
    """The state of a run and what is asked of its loop. Any thread may call everything but `do_asked`.

    Args:
        state: at the start.
        clock: gives the times of the history.
    """

    def __init__(
        self, state: ControlState | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._asked: queue.SimpleQueue[Callable[[Reenactment], None]] = queue.SimpleQueue()
        self.state: ControlState = state or ControlState.default()
        """As it is now. Read it freely; `change` replaces it."""
        self.start: Final = self.state
        """As the run began; presets are applied to it."""
        self.history: deque[tuple[float, ControlState]] = deque([(clock(), self.state)], KEPT_CHANGES)
        """(time, state) of each change."""
        self.observed = Observed()

    def change(self, function: Change) -> ControlState:
        """Replace the state by what `function` makes of it; gives the new one. What `function` raises changes nothing."""
        with self._lock:
            changed = function(self.state)
            if changed != self.state:
                self.state = changed
                self.history.append((self._clock(), changed))
            return changed

    def ask(self, action: Callable[[Reenactment], None]) -> None:
        """Let the loop do this between two pictures."""
        self._asked.put(action)

    def do_asked(self, reenactment: Reenactment) -> None:
        """Do what was asked, in order. The loop calls it, and never waits."""
        while True:
            try:
                action = self._asked.get_nowait()
            except queue.Empty:
                return
            action(reenactment)
