"""One step of the product, from what drives to a picture in every sink. Both loops use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from icface.control.mixing import Mixer
from realtime.control import Control, Observation
from realtime.drivers import Sample
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.recorder import Recorder
from realtime.renderer import Renderer


@dataclass
class Reenactment:
    """The parts that every picture passes through. One thread owns it."""

    renderer: Renderer
    outputs: Outputs
    metrics: Metrics
    control: Control = field(default_factory=Control)
    """What shall be shown; other threads change it."""
    mixer: Mixer = field(default_factory=Mixer)
    recorder: Recorder | None = None
    frozen: bool = False
    """Show the last picture on and on."""
    present: bool = False
    """Whether a driver's face is seen now; True where there is no driver."""

    def step(self, drivers: Sequence[Sample | None], time_s: float, *, repeat: bool = False) -> None:
        """Make and send one picture.

        Args:
            drivers: what each says now; None: nothing.
            time_s: when it is shown: on the clock (live), or in the driver's file.
            repeat: send the last picture again.

        Raises:
            ICFaceError: the last sink is lost, or the recording cannot go on.
        """
        state = self.control.state
        said = [None if sample is None else sample.attributes for sample in drivers]
        self.present = not state.drivers or any(values is not None for values in said)
        attributes = self.mixer.update(state, said, self.renderer.scene.source.own, time_s)
        if repeat or self.frozen:
            self.metrics.count("repeated")
        else:
            self.renderer.render(attributes)
        with self.metrics.time("send"):
            self.outputs.send(self.renderer.picture, time_s)
        self.metrics.sent()
        shown = self.renderer.attributes
        if self.recorder is not None:
            with self.metrics.within("record"):
                self.recorder.add(shown, time_s, present=self.present, state=state)
        observed = self.control.observed
        if observed.wanted:
            faces = tuple(None if sample is None else sample.shares() for sample in drivers)
            observed.put(Observation(time_s, self.mixer.heard, shown, faces))
