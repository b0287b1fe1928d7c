"""Control of a run from several threads: command line, keys and panel all change the one state here."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from icface.attributes import GAZE_NAMES, FloatArray
from icface.control import presets, source
from icface.control.mixing import Played, Playing
from icface.control.state import ControlState
from icface.errors import ConfigError

if TYPE_CHECKING:  # the command line imports this early
    from realtime.step import Reenactment

logger = logging.getLogger(__name__)

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
        self.start = self.state
        """As the run began; presets are applied to it."""
        self.history: deque[tuple[float, ControlState]] = deque([(clock(), self.state)], KEPT_CHANGES)
        """(time, state) of each change."""
        self.preset = ""
        """Name of the preset that was chosen last; empty: as the run began."""
        self.observed = Observed()
        self.tracks: dict[str, Playing] = {}
        """What the state's tracks play, by name."""
        self._load_tracks(self.state)

    def change(self, function: Change) -> ControlState:
        """Replace the state by what `function` makes of it; gives the new one. What `function` raises changes nothing."""
        with self._lock:
            changed = function(self.state)
            self._load_tracks(changed)
            if changed != self.state:
                self.state = changed
                self.history.append((self._clock(), changed))
            return changed

    def toggle_gaze(self) -> str:
        """Let the eyes look into the camera, or again as they did when the run began; gives where they look now."""

        def toggled(state: ControlState) -> ControlState:
            if all(state.channel(name).source == source.oscillator("camera") for name in GAZE_NAMES):
                for name in GAZE_NAMES:
                    before = self.start.channel(name).source
                    if before == source.oscillator("camera"):
                        before = source.driver(1) if state.drivers else source.photo
                    state = state.with_channels(name, source=before)
                return state
            return state.with_channels("gaze", source=source.oscillator("camera"))

        looks = self.change(toggled).channel("gaze_yaw").source
        return "into the camera" if looks == source.oscillator("camera") else f"as {looks}"

    def set_drivers(self, count: int) -> None:
        """There are so many drivers from now on, at least as many as before."""
        self.start = replace(self.start, drivers=count)
        self.change(lambda state: replace(state, drivers=count))

    def mirror(self, on: bool, driver: int | None = None) -> None:
        """Show a driver as in a mirror, or not. None: all; those that were mirrored at the start, where some were."""

        def turned(state: ControlState) -> ControlState:
            if driver is not None:
                return replace(state, mirrored=state.mirrored - {driver} | ({driver} if on else set()))
            all_of_them = self.start.mirrored or frozenset(range(1, state.drivers + 1))
            return replace(state, mirrored=all_of_them if on else frozenset())

        self.change(turned)

    def use_preset(self, name: str) -> ControlState:
        """Change to a preset, applied to the state at the start; an empty name is that state.

        The mirror stays, unless the preset says otherwise.

        Raises:
            ConfigError: as `presets.load`. Nothing changes then.
        """

        def used(state: ControlState) -> ControlState:
            base = replace(self.start, mirrored=state.mirrored)
            return presets.load(name, base) if name else base

        state = self.change(used)
        self.preset = name
        return state

    def next_preset(self) -> str:
        """Change to the next preset that can be used, after the last one to the state at the start; gives its name."""
        names = ("", *presets.names())
        at = names.index(self.preset) if self.preset in names else 0
        for name in (*names[at + 1 :], ""):
            try:
                self.use_preset(name)
                break
            except ConfigError as error:
                logger.warning("%s", error)
        return self.preset or "as at the start"

    def _load_tracks(self, state: ControlState) -> None:
        """Load the files of tracks that are not there yet; raises ConfigError where one cannot be used."""
        for name in state.tracks:
            if name not in self.tracks:
                from realtime.drivers.table import load_table

                self.tracks[name] = Played(load_table(Path(name)))

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
