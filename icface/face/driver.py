"""Who drives: one face of a video, chosen, kept while it is there, known again when it comes back."""

from __future__ import annotations

import logging
import math
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.face.landmarker import Landmarks, Networks, Points, Region, region_around
from icface.face.likeness import picture_of
from icface.face.person import STAYS_S, Person, place_of
from icface.face.portraits import Portraits
from icface.face.search import around, distinct, looks, oriented, quarter_turns, with_margin
from icface.face.smoothing import PointSmoothing

logger = logging.getLogger(__name__)

LARGEST: Final = "largest"
LEFT: Final = "left"
RIGHT: Final = "right"

OFF_CENTRE: Final = 0.35
"""At the picture's left or right border a face counts as so much smaller when the driver is chosen."""
LARGER: Final = 1.3
"""A face that is larger by this takes over."""
MOMENT_S: Final = 0.6
"""It does so when it has been there for so long."""
LOOK_S: Final = 1.0
"""How often the whole picture is looked at while a driver is followed."""
LOOK_OFTEN_S: Final = 0.2
"""The same while the driver's face is small, new, or another face may take over."""
LARGE_SHARE: Final = 0.25
"""A face is large that takes this share of the picture's shorter side."""
STEPS: Final = (2, 8)
"""So many parts of a picture are looked at in one frame while nobody is followed: no longer than it takes to follow."""
SWEEP_FRAMES: Final = 30
"""All of a picture is looked at in so many frames, within these limits."""
MOST: Final = 4
"""The driver is chosen among so many, the largest; of them more where their number counts."""
READ: Final = 2
"""So many faces are read in one frame while the driver is away."""
AGAIN_S: Final = 0.3
"""A stranger's face is read again after so long."""
AWAY_S: Final = 2.0
FINDER_SIZE: Final = 0.72
"""A face's extent against its region as the finder gives it."""


class Driver:
    """Follows one face; one thread at a time.

    The largest face drives, one at the side counting a little less. A larger one takes over after a moment. While the
    driver is away, only a face drives that looks the same, stands in the same place, or stays and is as large.

    Args:
        prefer: `largest`, `left` or `right`, or a number: of the faces from left to right, counted from 1.

    Raises:
        ConfigError: the model file is missing or damaged.
    """

    def __init__(self, prefer: str | int = LARGEST) -> None:
        self._networks = Networks()
        self._prefer: str | int | None = prefer
        self._asked = False
        self._persons = 0
        self._told: set[str] = set()
        self._last_s = -math.inf
        self._forget()

    def _forget(self) -> None:
        self._person: Person | None = None
        self._region: Region | None = None
        self._smoothing: PointSmoothing | None = None
        self._look_s = -math.inf
        self._rival_s: float | None = None
        """Since when a face is there that may take over."""
        self._portraits = Portraits(self._networks)
        self._strangers: list[tuple[Region, float]] = []
        """What is not the driver's face, and when it was read."""
        self._stranger_seen = False
        """Since the driver is away."""
        self._step = 0
        self._swept = False

    def choose_next(self) -> None:
        """Let the next face to the right drive, from the next frame on; any thread may ask."""
        self._asked = True

    def detect(self, frame: Frame, time_s: float | None = None) -> list[Landmarks]:
        """The driver's face in a frame (H, W, 3) RGB, turned upright; empty where it is not seen."""
        now_s = time_s or 0.0
        if now_s < self._last_s:  # a file that begins again
            self._forget()
        self._last_s = now_s
        points = self._followed(frame, now_s)
        if points is None:
            self._smoothing = None
            return []
        assert self._person is not None
        points, size_px = upright(points, (frame.shape[1], frame.shape[0]), self._person.turns)
        if self._smoothing is None:
            self._smoothing = PointSmoothing(points, now_s)
        else:
            points = self._smoothing.update(points, now_s)
        return [Landmarks(points, size_px, self._networks.blendshapes(points), self._person.number)]

    def close(self) -> None:
        self._networks.close()

    def _followed(self, frame: Frame, now_s: float) -> Points | None:
        """The driver's landmarks in the frame as it is; `_region` and the person are brought up to date."""
        if self._asked:
            self._asked = False
            self._take_next(frame, now_s)
            return None  # the picture eases from one to the other
        points, region = None, self._region
        if region is not None:
            points = self._networks.landmarks(frame, region)
        if points is not None:
            region = region_around(points)
            if self._person is not None and self._person.is_another(frame, points, region):
                points = None
        if points is None:
            points = self._choose(frame, now_s) if self._person is None else self._again(frame, now_s)
            region = None if points is None else region_around(points)
        elif now_s >= self._look_s and self._look_around(frame, points, now_s):
            return None
        self._region = region
        if region is not None:
            assert self._person is not None
            self._person.seen_at(region, now_s)
            self._stranger_seen = False
        return points

    # While nobody was chosen

    def _choose(self, frame: Frame, now_s: float) -> Points | None:
        """Choose among the faces of a frame."""
        height, width = frame.shape[:2]
        self._strangers = [(r, at_s) for r, at_s in self._strangers if now_s - at_s < AGAIN_S]
        regions = self._networks.find(frame) + self._networks.find(frame, with_margin(width, height))
        first, self._swept = not self._swept, True
        if first and self._prefer != LARGEST:  # the small ones count, too
            regions += self._search(frame, 0, everything=True)
        faces = self._readable(frame, regions, now_s)
        if not faces:
            faces = self._readable(frame, self._search(frame, 0, everything=first), now_s)
        if not faces:
            return None
        if self._prefer == LEFT:
            region, _ = faces[0]
        elif self._prefer == RIGHT:
            region, _ = faces[-1]
        elif isinstance(self._prefer, int):
            if self._prefer > len(faces):
                self._say(
                    f"there is no face {self._prefer} yet: {len(faces)} in the picture, counted from the left"
                )
                return None
            region, _ = faces[self._prefer - 1]
        else:
            region, _ = max(faces, key=lambda face: _score(*place_of(face[1])[::2], width))
        self._say_several(len(faces))
        return self._take(frame, region, now_s)

    def _readable(self, frame: Frame, regions: list[Region], now_s: float) -> list[tuple[Region, Points]]:
        """The faces in regions, from left to right, with their landmarks."""
        faces = []
        most = MOST if self._prefer == LARGEST else 3 * MOST
        for region in sorted(self._unread(regions), key=lambda r: -r.width)[:most]:
            points = self._networks.landmarks(frame, region)
            if points is not None:
                faces.append((region, points))
            else:  # it resembles a face, or is one that lies otherwise
                self._strangers.append((region, now_s))
        return sorted(faces, key=lambda face: face[0].x)

    def _take(self, frame: Frame, region: Region, now_s: float) -> Points | None:
        """Let the face in a region drive; None where it cannot be read."""
        region = oriented(self._networks, frame, region)
        points = self._networks.landmarks(frame, region)
        if points is None:
            return None
        self._persons += 1
        self._person = Person.met(self._persons, frame, points, now_s)
        self._region = region_around(points)
        self._look_s, self._rival_s, self._strangers = now_s + LOOK_OFTEN_S, None, []
        self._say_turned(self._person.turns)
        return points

    def _take_next(self, frame: Frame, now_s: float) -> None:
        """Let the next face to the right drive, from the last one on the first again. From then on nobody takes over."""
        regions = distinct(self._networks.find(frame) + self._search(frame, 0, everything=True))
        regions = [r for r in regions if self._networks.landmarks(frame, r) is not None]
        regions.sort(key=lambda region: region.x)
        at = self._region
        if at is not None:
            regions = [r for r in regions if not r.is_near(at)]
        if not regions:
            logger.info("no other face is seen")
            return
        number = next((i for i, r in enumerate(regions) if at is not None and r.x > at.x), 0)
        self._prefer = None
        self._smoothing = None
        self._take(frame, regions[number], now_s)
        logger.info("another face drives")

    # While the driver is followed

    def _look_around(self, frame: Frame, points: Points, now_s: float) -> bool:
        """Look at the whole picture, and whether another face takes over."""
        person = self._person
        assert person is not None
        person.likeness.learn(picture_of(frame, points))
        own = region_around(points)
        others = [r for r in self._networks.find(frame, turns=person.turns) if not _same(r, own)]
        if others and "several" not in self._told:
            self._say_several(1 + sum(self._networks.landmarks(frame, r) is not None for r in others[:3]))
        others = self._portraits.without(others)
        if self._prefer == LARGEST:
            living = self._portraits.living_beside(frame, points, person.stillness, others, now_s)
            if living is not None:
                self._smoothing = None
                logger.info("the face that drove is a picture; another face drives now")
                return self._take(frame, living, now_s) is not None
        width = frame.shape[1]
        x, _, size_px = place_of(points)
        rivals = [r for r in others if self._wins(r.x, r.width * FINDER_SIZE, x, size_px, width)]
        large = size_px > LARGE_SHARE * min(frame.shape[:2]) and now_s - person.since_s > 1
        watched = rivals or self._portraits.watches
        self._look_s = now_s + (LOOK_S if large and not watched else LOOK_OFTEN_S)
        if not rivals:
            self._rival_s = None
            return False
        if self._rival_s is None:
            self._rival_s = now_s
        if now_s - self._rival_s < MOMENT_S:
            return False
        rival = max(rivals, key=lambda r: r.width)
        read = self._networks.landmarks(frame, rival)
        self._rival_s = None
        if read is None or not self._wins(*place_of(read)[::2], x, size_px, width):
            return False
        self._smoothing = None
        logger.info("a larger face drives now" if self._prefer == LARGEST else "another face drives now")
        return self._take(frame, rival, now_s) is not None

    def _wins(self, x: float, size_px: float, driver_x: float, driver_px: float, width: int) -> bool:
        """Whether a face of that place and size takes over from the driver's."""
        if self._prefer == LARGEST:
            return _score(x, size_px, width) > LARGER * _score(driver_x, driver_px, width)
        aside = {LEFT: driver_x - x, RIGHT: x - driver_x}.get(str(self._prefer), 0.0)
        return aside > 0.5 * driver_px and size_px > 0.5 * driver_px

    # While the driver is away

    def _again(self, frame: Frame, now_s: float) -> Points | None:
        """The driver's face where it is seen again."""
        person = self._person
        assert person is not None
        last = Region(person.x, person.y, person.size_px, person.size_px, 0.0)
        regions = self._networks.find(frame, turns=person.turns)
        regions += self._networks.find(frame, around(last, 3.0), person.turns)
        self._strangers = [(r, at_s) for r, at_s in self._strangers if now_s - at_s < AGAIN_S]
        new = self._unread(regions) or self._unread(self._search(frame, person.turns))
        new.sort(key=lambda r: math.hypot(r.x - person.x, r.y - person.y))
        stays = False
        for region in new[:READ]:
            points = self._networks.landmarks(frame, region)
            largest = self._prefer == LARGEST
            verdict = "stranger" if points is None else person.verdict(frame, points, now_s, largest=largest)
            if verdict == "driver" and points is not None:
                self._rival_s = None
                self._turn(points)
                return points
            stays = stays or verdict == "stays"
            self._stranger_seen = self._stranger_seen or points is not None
            if verdict == "stays" and self._rival_s is not None and now_s - self._rival_s > STAYS_S:
                logger.info("the driver did not come back; another face drives now")
                self._take(frame, region, now_s)
                return None
            self._strangers.append((region, now_s))
        if stays and self._rival_s is None:
            self._rival_s = now_s
        elif new and not stays:
            self._rival_s = None
        if self._stranger_seen and now_s - person.seen_s > AWAY_S:
            self._say("the driver is away; another face is in the picture and does not drive (key d: let it)")
        return None

    def _unread(self, regions: list[Region]) -> list[Region]:
        regions = self._portraits.without(distinct(regions))
        return [r for r in regions if not any(_same(r, other) for other, _ in self._strangers)]

    def _turn(self, points: Points) -> None:
        """See whether the driver's picture was turned meanwhile."""
        person = self._person
        assert person is not None
        angle = region_around(points).angle_rad
        if quarter_turns(angle) != person.turns:
            person.turns = quarter_turns(angle)
            self._smoothing = None
            self._say_turned(person.turns)

    # Searching

    def _search(self, frame: Frame, turns: int, *, everything: bool = False) -> list[Region]:
        """Look at the next parts of a frame, or at all of it."""
        height, width = frame.shape[:2]
        order = looks(width, height, turns)
        steps = min(max(STEPS[0], math.ceil(len(order) / SWEEP_FRAMES)), STEPS[1])
        found: list[Region] = []
        for _ in range(len(order) if everything else steps):
            box, turned = order[self._step % len(order)]
            self._step += 1
            found += self._networks.find(frame, box, turned)
        return found

    # Words

    def _say_several(self, count: int) -> None:
        if count > 1 and "several" not in self._told:
            self._told.add("several")
            which = "the largest" if self._prefer == LARGEST else "one"
            logger.info(
                "%d faces are in the driver's picture; %s drives (--driver-face and the key d choose)",
                count,
                which,
            )

    def _say_turned(self, turns: int) -> None:
        if turns:
            how = "upside down" if turns == 2 else "on its side"
            self._say(f"the driver's picture is {how}; it is read turned by {90 * turns}° to the left")

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            logger.info("%s", text)


def upright(points: Points, size_px: tuple[int, int], turns: int) -> tuple[Points, tuple[int, int]]:
    """Landmarks, and the size of their picture, turned by quarters counterclockwise."""
    for _ in range(turns):
        x, y, z = points.T
        points = np.stack([y, size_px[0] - 1 - x, z], axis=1)
        size_px = size_px[1], size_px[0]
    return points, size_px


def _score(x: float, size_px: float, width: int) -> float:
    """Size of a face, a little less at the picture's sides."""
    return size_px * (1 - OFF_CENTRE * min(1.0, abs(2 * x / width - 1)))


def _same(one: Region, other: Region) -> bool:
    """Whether two regions are one face that lies one way."""
    near = math.hypot(one.x - other.x, one.y - other.y) < 0.5 * max(one.width, other.width)
    return near and abs(math.remainder(one.angle_rad - other.angle_rad, 2 * math.pi)) < math.radians(60)
