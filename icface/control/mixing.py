"""From what drives to what is shown: `mix` once, `Mixer` frame by frame with fades, locks and drivers that go away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from icface.attributes import FloatArray, neutral
from icface.control.state import ControlState


@dataclass(frozen=True)
class Inputs:
    """What the sources give at one moment, each (SIZE,)."""

    drivers: Sequence[FloatArray] = ()
    """Driver n is number n - 1; as it is to be shown: held or eased where no face is seen, and mirrored."""
    photo: FloatArray = field(default_factory=neutral)
    """The photo's own pose and expression."""
    tracks: Mapping[str, FloatArray] = field(default_factory=dict)
    oscillators: Mapping[str, FloatArray] = field(default_factory=dict)
    shown: FloatArray | None = None
    """What was shown last: locked attributes stay so. None: nothing yet, and they are the photo's own."""


def mix(state: ControlState, inputs: Inputs) -> FloatArray:
    """The (SIZE,) attributes that a state makes of the inputs, within their ranges. New array."""
    raise NotImplementedError


class Mixer:
    """Mixes frame by frame; one thread owns it. Changes of the state fade, and nothing ever jumps."""

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
            drivers: (SIZE,) of each, not mirrored; None where no face is seen.
            photo: (SIZE,) the photo's own pose and expression.
            time_s: of the picture.
        """
        raise NotImplementedError
