"""Faces that are pictures: on a wall, in a frame, on a screen. One may drive only as long as nobody alive is seen."""

from __future__ import annotations

import math
from typing import Final

from icface.arrays import Frame
from icface.face.landmarker import Networks, Points, Region, region_around
from icface.face.stillness import Stillness

HANGS: Final = (0.2, 1.4)
"""A picture is known by its place, within this part of its size, and by its size, within this factor."""


class Portraits:
    """The pictures of faces that were found out in one video, and the watch that finds them."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._known: list[Region] = []
        self._beside: tuple[Region, Stillness] | None = None
        """Another face that is watched while the driver's may be a picture."""

    @property
    def watches(self) -> bool:
        """Whether another face is watched, so that the next look should come soon."""
        return self._beside is not None

    def without(self, regions: list[Region]) -> list[Region]:
        """The regions that show no picture that is known."""
        near, grown = HANGS
        return [
            r
            for r in regions
            if not any(
                math.hypot(r.x - p.x, r.y - p.y) < near * p.width and 1 / grown < r.width / p.width < grown
                for p in self._known
            )
        ]

    def living_beside(
        self, frame: Frame, driver: Points, stillness: Stillness, others: list[Region], now_s: float
    ) -> Region | None:
        """Where a living face is that takes over, because the driver's was a picture all the time.

        A picture alone goes on driving. One face is read at most.

        Args:
            frame: (H, W, 3) RGB.
            driver: the landmarks of the driver's face.
            stillness: what is known of it.
            others: where other faces are.
            now_s: when.
        """
        if not others or stillness.lives:
            self._beside = None
            return None
        stillness.see(driver, now_s)
        region, watched = self._beside or (max(others, key=lambda r: r.width), Stillness())
        seen = self._networks.landmarks(frame, region)
        if seen is None:
            self._beside = None
            return None
        watched.see(seen, now_s)
        if stillness.is_picture and watched.lives:
            self._beside = None
            self._known.append(region_around(driver))
            return region_around(seen)
        self._beside = region_around(seen), watched
        if watched.is_picture:  # the next one may live
            self._known.append(region)
            self._beside = None
        return None
