"""Where to look for faces that the finder misses in a whole picture: small ones, and those upside down."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.face.landmarker import Box, Networks, Region

LEAST_PART_PX: Final = 320
"""Side of the smallest parts. The finder sees a face that takes 15 % of a part's side, so these show one of 48 pixels."""
FINER: Final = 3.0
"""From one size of parts to the next, at most: what one size misses fills no more than half of the next."""
STEP: Final = 0.6
"""From one part to the next, in sides. What lies between two parts is whole in one of them."""
UPRIGHT_BONUS: Final = 0.5
"""The finder must be surer by so much, as a logit, that a face is turned: 99 in 100 upright photos stay upright."""
_AROUND: Final = 1.6
"""A face is looked at in a square so many times as large as its region."""
_OTHERWISE_RAD: Final = math.radians(60)
MUCH_LARGER: Final = 1.8
"""Regions whose sizes differ by this factor are not of one face."""


@lru_cache(4)
def parts(width: int, height: int) -> tuple[Box, ...]:
    """Squares that cover a picture, large ones first and each size from the middle outwards; none of a small picture."""
    longer, shorter = max(width, height), min(width, height)
    finest = min(LEAST_PART_PX, shorter)
    sizes = math.ceil(math.log(longer / finest) / math.log(FINER) - 1e-6)
    result: list[Box] = []
    sides = {
        min(shorter, round(longer * (finest / longer) ** (number / sizes))) for number in range(1, sizes + 1)
    }
    for side in sorted(sides, reverse=True):
        corners = [(left, top) for top in starts(height, side) for left in starts(width, side)]
        corners.sort(key=lambda c: math.hypot(c[0] + (side - width) / 2, c[1] + (side - height) / 2))
        result += [(left, top, left + side, top + side) for left, top in corners]
    return tuple(result)


@lru_cache(8)
def looks(width: int, height: int, turns: int = 0) -> tuple[tuple[Box | None, int], ...]:
    """What is looked at, one after the other, where the whole picture shows no face: a part (None: all), and its turns.

    First the picture with a margin, then all of it in the other three orientations, then its parts.
    """
    turned = [(None, (turns + more) % 4) for more in (2, 1, 3)]
    return (with_margin(width, height), turns), *turned, *((box, turns) for box in parts(width, height))


def starts(length: int, side: int) -> list[int]:
    """Where parts of `side` begin that cover `length`."""
    count = math.ceil((length - side) / (STEP * side)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def with_margin(width: int, height: int) -> Box:
    """The picture with as much around it: the finder misses faces that fill a picture."""
    side = 2 * max(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def around(region: Region, times: float) -> Box:
    """A square about a region, so many times as large."""
    side = round(times * max(region.width, region.height))
    left, top = round(region.x - side / 2), round(region.y - side / 2)
    return left, top, left + side, top + side


def oriented(networks: Networks, frame: Frame, region: Region) -> Region:
    """The region of a face; another one where the face is turned otherwise than was found.

    The finder and the landmarks also see a face in one that stands on its head. So the finder looks at it in four
    orientations, and is believed where it is surest.
    """
    best, best_certainty = region, -math.inf
    for turns in range(4):
        for seen in networks.find(frame, around(region, _AROUND), turns):
            certainty = seen.certainty + (UPRIGHT_BONUS if turns == 0 else 0.0)
            if certainty > best_certainty and _overlap(seen, region):
                best, best_certainty = seen, certainty
    return best if _otherwise(best, region) else region


def distinct(regions: list[Region]) -> list[Region]:
    """The regions without those that are the same face, lying the same way, as one before."""
    result: list[Region] = []
    for region in regions:
        if not any(_overlap(region, other) and not _otherwise(region, other) for other in result):
            result.append(region)
    return result


def quarter_turns(angle_rad: float) -> int:
    """How many quarters counterclockwise make a face upright whose eyes lie at this angle; 0 of one that only tilts."""
    return 0 if abs(angle_rad) < math.radians(60) else round(angle_rad / (math.pi / 2)) % 4


def _overlap(one: Region, other: Region) -> bool:
    smaller, larger = sorted((one.width, other.width))
    # The finder also sees a face in the nose or an eye of a large one.
    return larger < MUCH_LARGER * smaller and math.hypot(one.x - other.x, one.y - other.y) < 0.4 * larger


def _otherwise(one: Region, other: Region) -> bool:
    return abs(math.remainder(one.angle_rad - other.angle_rad, 2 * math.pi)) > _OTHERWISE_RAD
