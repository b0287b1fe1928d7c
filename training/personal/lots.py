"""Which pairs of a person's frames are made: rare expressions first, most of the first source, most by attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from icface.attributes import AU_NAMES, INDEX
from icface.errors import ConfigError
from training.personal.calm import COVERED, oddness
from training.personal.frames import ChosenFrame

PAIRS: Final = 480
HELD_PAIRS: Final = 72
"""At most so many pairs that judge."""
OF_FIRST: Final = 0.6
"""Share of the pairs that are made of the first source."""
BY_ATTRIBUTES: Final = 0.8
"""Share of the pairs that are moved by attributes. Pairs by shapes alone leave half of what is to be won."""
SEED: Final = 20

Way = Literal["shape", "attributes"]


class Lot(NamedTuple):
    """One pair that is to be made."""

    source: int
    """Which of the sources."""
    target: int
    """Which of the frames."""
    way: Way
    noise: bool


def draw_lots(frames: Sequence[ChosenFrame], sources: Sequence[int], *, held: bool) -> list[Lot]:
    """Which pairs are made. Rare expressions come first, so that they are in however few pairs there are.

    Held pairs are of the first source alone, by attributes: it is what the bundle shows.
    """
    rng = np.random.default_rng([SEED, int(held)])
    seen = oddness(frames) <= COVERED
    targets = [n for n, each in enumerate(frames) if each.held == held and n not in sources and seen[n]]
    if not targets:
        raise ConfigError(f"no frame is left to {'judge by' if held else 'learn from'}; film more")
    rare = [rarity(frames[n]) for n in targets]
    order = [targets[i] for i in np.argsort(-np.array(rare), kind="stable")]
    if held:
        chosen = [order[i] for i in np.linspace(0, len(order) - 1, min(len(order), HELD_PAIRS)).astype(int)]
        return [Lot(0, target, "attributes", False) for target in chosen]
    lots = []
    for count in range(min(PAIRS, 3 * len(order))):
        again, place = divmod(count, len(order))
        first = again == 0 if len(sources) == 1 else rng.random() < OF_FIRST
        source = 0 if first or len(sources) == 1 else int(rng.integers(1, len(sources)))
        way: Way = "attributes" if rng.random() < BY_ATTRIBUTES else "shape"
        lots.append(Lot(source, order[place], way, way == "shape" and bool(rng.integers(2))))
    return list(dict.fromkeys(lots))


def rarity(frame: ChosenFrame) -> float:
    """How much a frame shows of what talk rarely does: closing lids, teeth, an open mouth, raised or knit brows."""
    of = {name: float(frame.attributes[INDEX[name]]) for name in AU_NAMES}
    lids = of["AU45"] if of["AU45"] < 0.9 else 0.8
    return lids + of["AU12"] * (0.5 + of["AU25"]) + of["AU26"] + 0.5 * (of["AU04"] + of["AU01"])
