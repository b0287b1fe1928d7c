"""From what drives to what is shown: `mix` once, `Mixer` frame by frame with fades, locks and drivers that go away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from icface.attributes import POSE, SIZE, AttributeTrack, FloatArray, mirror, neutral
from icface.control.eye_contact import CameraGaze, looking_at_the_camera
from icface.control.idle import Idle, IdleStrength
from icface.control.plan import IDLE, PHOTO, Indices, Plan
from icface.control.state import ControlState
from icface.face.continuity import Continuity

FADE_S: Final = 0.15
"""A change of the state takes so long."""


Playing = Callable[[float], FloatArray | None]
"""A track as it plays: from the time of a picture to (SIZE,) attributes, or None where it says nothing then."""


class Played:
    """A recorded track, played once from the time at which it is first asked."""

    def __init__(self, track: AttributeTrack) -> None:
        self._track = track
        self._start_s: float | None = None

    def __call__(self, time_s: float) -> FloatArray | None:
        """(SIZE,) of the row at that time; None after the end, and where no face was seen."""
        track = self._track
        if self._start_s is None:
            self._start_s = time_s
        # Rows are often rounded to the microsecond.
        at_s = time_s - self._start_s + 1e-6
        row = int(np.searchsorted(track.times_s, at_s, side="right")) - 1
        period_s = float(track.times_s[-1]) / (len(track) - 1) if len(track) > 1 else 1 / 25
        if at_s > track.times_s[-1] + period_s or not (track.present[row] or track.filled):
            return None
        values: FloatArray = track.values[row]
        return values


@dataclass(frozen=True)
class Inputs:
    """What the sources give at one moment, each (SIZE,)."""

    drivers: Sequence[FloatArray] = ()
    """Driver n is number n - 1; as it is to be shown: held or eased where no face is seen, and mirrored or not."""
    photo: FloatArray = field(default_factory=neutral)
    """The photo's own pose and expression."""
    tracks: Mapping[str, FloatArray] = field(default_factory=dict)
    """By name. A track that is not here is the photo's own."""
    idle: FloatArray | None = None
    """The photo's own with signs of life; None: without."""
    shown: FloatArray | None = None
    """What was shown last: locked attributes stay so. None: nothing yet, and they are the photo's own."""


def mix(state: ControlState, inputs: Inputs) -> FloatArray:
    """The (SIZE,) attributes that a state makes of the inputs, within their ranges. New array.

    Raises:
        ValueError: there are fewer drivers than the state has.
    """
    plan = Plan(state)
    plan.stack[PHOTO] = inputs.photo
    plan.stack[IDLE] = inputs.photo if inputs.idle is None else inputs.idle
    for row, values in zip(plan.driver_rows, inputs.drivers[: state.drivers], strict=True):
        plan.stack[row] = values
    for row, name in zip(plan.track_rows, plan.tracks, strict=True):
        plan.stack[row] = inputs.tracks.get(name, inputs.photo)
    mixed = plan.values()
    if len(plan.locked):
        shown = inputs.photo if inputs.shown is None else inputs.shown
        mixed[plan.locked] = plan.of_shown(shown)[plan.locked]
    plan.look(mixed, looking_at_the_camera(mixed[POSE]))
    return plan.attributes(mixed)


class Mixer:
    """Mixes frame by frame; one thread owns it. Changes of the state fade, and nothing ever jumps.

    Args:
        tracks: by name. Its owner may change it. Where a track says nothing, what it drove holds and eases to the
            photo's own.
    """

    def __init__(self, tracks: Mapping[str, Playing] | None = None) -> None:
        self._tracks: Mapping[str, Playing] = {} if tracks is None else tracks
        self._plan: Plan | None = None
        self._away: dict[object, _Away] = {}
        self._idle, self._gaze = Idle(), CameraGaze()
        self._shown = neutral()
        self._last_s = 0.0
        self._smooth: FloatArray | None = None
        self._locked: FloatArray = np.empty(0, dtype=np.float32)
        self._difference = np.zeros(SIZE, dtype=np.float32)
        """Between what was shown and what the new state would show, when each attribute last changed over."""
        self._faded_s = np.full(SIZE, -math.inf)
        """When each attribute's fade ends."""
        self._fading_until_s = -math.inf
        self.heard: tuple[FloatArray | None, ...] = ()
        """(SIZE,) of each driver at the last update, mirrored as it is shown; None: no face."""

    def update(
        self,
        state: ControlState,
        drivers: Sequence[FloatArray | None],
        photo: FloatArray,
        time_s: float,
    ) -> FloatArray:
        """The (SIZE,) attributes to show at a time that never runs back. New array.

        Args:
            state: may be another one at every call.
            drivers: (SIZE,) of each, not mirrored; None, or one that is not finite: no face is seen.
            photo: (SIZE,) the photo's own pose and expression.
            time_s: of the picture.
        """
        plan, before = self._plan, self._plan
        if plan is None or plan.state is not state:
            plan = self._plan = Plan(state)
            self._smooth = None if before is None else plan.of_shown(self._shown)[plan.smoothed]
        self._fill(plan, drivers, photo, time_s)
        values = plan.values()
        if before is not plan:
            shown = photo if before is None else self._shown
            self._keep_locked(plan, before, shown)
        if len(plan.smoothed):
            self._smoothen(plan, values, time_s)
        if len(plan.locked):
            values[plan.locked] = self._locked[plan.locked]
        if plan.at_camera:
            plan.look(values, self._gaze.gaze(values[POSE], time_s))
        shown = plan.attributes(values)
        if before is not None:
            if before is not plan:
                self._begin_fade(plan.changed_since(before), shown)
            if time_s < self._fading_until_s:
                left = np.maximum((self._faded_s - time_s) * (1 / FADE_S), 0.0)
                shown += self._difference * left.astype(np.float32)
        self._shown, self._last_s = shown, time_s
        return shown.copy()

    def _fill(
        self, plan: Plan, drivers: Sequence[FloatArray | None], photo: FloatArray, time_s: float
    ) -> None:
        """Put what the sources give now into the plan's stack."""
        state, stack = plan.state, plan.stack
        stack[PHOTO] = photo
        heard: list[FloatArray | None] = []
        for number, row in enumerate(plan.driver_rows):
            values = drivers[number] if number < len(drivers) else None
            if values is not None and not math.isfinite(float(values.sum())):
                values = None
            if values is not None and number + 1 in state.mirrored:
                values = mirror(values)
            heard.append(values)
            away = self._away.get(number) or self._away.setdefault(number, _Away())
            stack[row] = away.continuity.update(values, time_s, photo)
            self._idle.add(stack[row], away.idle.update(state.idle, values is not None, time_s), time_s)
        self.heard = tuple(heard)
        for row, name in zip(plan.track_rows, plan.tracks, strict=True):
            away = self._away.get(name) or self._away.setdefault(name, _Away())
            playing = self._tracks.get(name)
            said = playing(time_s) if playing is not None else None
            stack[row] = away.continuity.update(said, time_s, photo)
        if plan.uses_idle:
            stack[IDLE] = photo
            self._idle.add(stack[IDLE], 1.0, time_s)

    def _keep_locked(self, plan: Plan, before: Plan | None, shown: FloatArray) -> None:
        """Keep what is shown of the channels that are locked now; those that were locked before stay."""
        held = plan.of_shown(shown)
        if before is not None and len(before.locked):
            was = dict(zip(before.state.named(), self._locked.tolist(), strict=True))
            names = list(plan.state.named())
            for i in plan.locked:
                name = names[i]
                if before.state.channel(name).locked and name in was:
                    held[i] = was[name]
        self._locked = held

    def _smoothen(self, plan: Plan, values: FloatArray, time_s: float) -> None:
        """Each channel's own smoothing, in place."""
        now = values[plan.smoothed]
        if self._smooth is None:
            self._smooth = now
        part = (1 - np.exp(-max(0.0, time_s - self._last_s) / plan.smoothing_s)).astype(np.float32)
        self._smooth = self._smooth + part * (now - self._smooth)
        values[plan.smoothed] = self._smooth

    def _begin_fade(self, places: Indices, target: FloatArray) -> None:
        """Let these attributes go from what was shown to the target within FADE_S of the last picture."""
        self._difference[places] = self._shown[places] - target[places]
        self._fading_until_s = self._faded_s[places] = self._last_s + FADE_S


class _Away:
    """What holds and eases the attributes of a driver that goes away."""

    def __init__(self) -> None:
        self.continuity = Continuity()
        self.idle = IdleStrength()
