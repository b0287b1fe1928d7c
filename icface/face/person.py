"""The driver as a person: where the face was, how large it is and what it looks like, so that it is known again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from icface.arrays import Frame
from icface.face.landmarker import GROWN, Points, Region, region_around
from icface.face.likeness import MATCH, OTHER, STRANGE, Likeness, picture_of
from icface.face.search import quarter_turns
from icface.face.stillness import Stillness

LEAST_RETURN: Final = 0.3
"""A driver who looks the same may come back this much smaller."""
IN_PLACE: Final = (1.2, 0.6, 1.7)
"""A face stands where the driver stood: distance in the driver's face sizes, and least and largest size against it."""
STAYS_S: Final = 1.0
"""A stranger who is as large, or stands where the driver stood, drives after so long without the driver."""
JUMP: Final = (0.3, 1.35)
"""A face that moves by so much of its size in one frame, or changes by this factor, may be another."""


@dataclass
class Person:
    """The driver."""

    number: int
    """Counted from 1, over all who have driven."""
    x: float
    y: float
    size_px: float
    """Width or height of the face, whichever is larger, over the last second or so."""
    turns: int
    """Quarters counterclockwise that make the picture upright."""
    since_s: float
    seen_s: float
    likeness: Likeness = field(default_factory=Likeness)
    stillness: Stillness = field(default_factory=Stillness)

    @classmethod
    def met(cls, number: int, frame: Frame, points: Points, now_s: float) -> Person:
        """Somebody who begins to drive, with these landmarks in a frame (H, W, 3) RGB."""
        turns = quarter_turns(region_around(points).angle_rad)
        person = cls(number, *place_of(points), turns, now_s, now_s)
        person.likeness.learn(picture_of(frame, points))
        return person

    def seen_at(self, region: Region, now_s: float) -> None:
        """Keep where the face is and how large."""
        share = min(1.0, 2 * max(0.0, now_s - self.seen_s)) if now_s - self.since_s > 0.5 else 1.0
        self.size_px += share * (region.width / GROWN - self.size_px)
        self.x, self.y, self.seen_s = region.x, region.y, now_s

    def is_another(self, frame: Frame, points: Points, region: Region) -> bool:
        """Whether what was found in the driver's region can only be somebody else, who came between."""
        size_px = region.width / GROWN
        moved = math.hypot(region.x - self.x, region.y - self.y) / self.size_px
        grown = max(size_px / self.size_px, self.size_px / size_px)
        if moved < JUMP[0] and grown < JUMP[1]:
            return False
        return self.likeness.match(picture_of(frame, points)) < OTHER

    def verdict(
        self, frame: Frame, points: Points, now_s: float, *, largest: bool
    ) -> Literal["driver", "stays", "stranger"]:
        """Who a face is that is seen while the driver is away.

        Args:
            frame: (H, W, 3) RGB.
            points: the face's landmarks.
            now_s: when.
            largest: whether the largest face drives.

        Returns:
            `driver`, `stays` of one who drives if they stay, or `stranger`.
        """
        x, y, size_px = place_of(points)
        ratio = size_px / self.size_px
        alike = self.likeness.match(picture_of(frame, points))
        if alike >= MATCH and ratio >= LEAST_RETURN:
            return "driver"
        near, least, most = IN_PLACE
        in_place = math.hypot(x - self.x, y - self.y) < near * self.size_px and least < ratio < most
        # Who covers the driver for a moment stands in the same place, too.
        if in_place and alike >= (OTHER if now_s - self.seen_s < STAYS_S else STRANGE):
            return "driver"
        return "stays" if in_place or (largest and ratio >= 1) else "stranger"


def place_of(points: Points) -> tuple[float, float, float]:
    """Centre x and y of a face, and its width or height, whichever is larger."""
    region = region_around(points)
    return region.x, region.y, region.width / GROWN
