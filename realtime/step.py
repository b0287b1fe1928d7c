"""One step of the product, from the driver's attributes to a picture in every sink. Both loops use it."""

from __future__ import annotations

from dataclasses import dataclass

from icface.attributes import FloatArray, mirror
from realtime.drivers import Conditioner
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.recorder import Recorder
from realtime.renderer import Renderer


@dataclass
class Reenactment:
    """The parts that every picture passes through. One thread owns it."""

    condition: Conditioner
    """Holds and eases the driver's attributes where the face is lost."""
    mirrored: bool
    """Show the driver as in a mirror."""
    renderer: Renderer
    outputs: Outputs
    metrics: Metrics
    recorder: Recorder | None = None
    frozen: bool = False
    """Show the last picture on and on."""

    def step(self, driver: FloatArray | None, time_s: float, *, repeat: bool = False) -> None:
        """Make and send one picture.

        Args:
            driver: (SIZE,) attributes of the driver; None where there is no face.
            time_s: when it is shown: on the clock (live), or in the driver's file.
            repeat: send the last picture again.

        Raises:
            ICFaceError: the last sink is lost, or the recording cannot go on.
        """
        attributes = self.condition(driver, time_s)
        if self.mirrored:
            attributes = mirror(attributes)
        if repeat or self.frozen:
            self.metrics.count("repeated")
        else:
            self.renderer.render(attributes)
        with self.metrics.time("send"):
            self.outputs.send(self.renderer.picture, time_s)
        self.metrics.sent()
        if self.recorder is not None:
            self.recorder.add(self.renderer.attributes, time_s, present=driver is not None)
