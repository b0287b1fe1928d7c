"""Decides what each attribute is: the driver's, as it is or as in a mirror."""

from __future__ import annotations

from icface.attributes import FloatArray, mirror


class Mixer:
    """One driver. `mirrored` may change between frames."""

    def __init__(self, *, mirrored: bool) -> None:
        self.mirrored = mirrored

    def mix(self, driver: FloatArray) -> FloatArray:
        """(20,) of the driver to the (20,) that animate. Never changes its argument."""
        return mirror(driver) if self.mirrored else driver
