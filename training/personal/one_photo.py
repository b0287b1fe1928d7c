"""Pairs of one photo alone, made by geometry: skin, lips and teeth of this person stay as they are.

A photo tells nothing of how the face moves. So the network also sees expressions that the photo does not show, and shall
make of them what it made before: what it learns at rest must not cost what it knew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from icface.errors import SourceError
from icface.face.landmarks import LandmarkDetector
from training.pairs import kinds
from training.pairs.pictures import Picture
from training.pairs.seen import Seen
from training.pairs.settings import Kind, PairsConfig, SetConfig
from training.pairs.source import Source
from training.personal.kept import kept_pairs
from training.personal.start import corrector_of

VARIATIONS: Final = 4
"""How often each expression is asked for, each time with other amounts and turns."""
MOST_TURN_DEG: Final = 14.0
_OF_PHOTO: Final[tuple[tuple[Kind, Callable[[kinds.Work, list[Picture]], kinds.Told]], ...]] = (
    ("self", kinds.self_pairs),
    ("made", kinds.made_pairs),
    ("opened", kinds.opened_pairs),
)


def photo_pairs(seen: Seen, source: Source, detector: LandmarkDetector, *, held: bool) -> kinds.Told:
    """Pairs of one photo, or why there is none. Held ones have other noise, other amounts and other turns."""
    network, _ = corrector_of()
    for variation in range(VARIATIONS // 2 if held else VARIATIONS):
        rng = np.random.default_rng([20, int(held), variation])
        for kind, make in () if variation else _OF_PHOTO:
            settings = SetConfig(name=kind, kind=kind, files=())
            work = kinds.Work(PairsConfig(sets=(settings,)), settings, "the person", detector, rng)
            try:
                yield from make(work, [Picture("photo", seen)])
            except SourceError as error:
                yield f"{kind}: {error}"
        yield from kept_pairs(network, source, rng, MOST_TURN_DEG)
