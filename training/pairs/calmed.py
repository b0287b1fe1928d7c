"""Pairs that teach to calm a face: a calm photo, which the product gives an expression and geometry makes calm again.

What geometry cannot take back is left in that picture: folds, closed eyes, an open mouth. The photo says how it was.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from icface.attributes import INDEX, FloatArray
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines import HostFrames
from training.pairs.kinds import Told, Work
from training.pairs.pictures import Picture, is_listed
from training.pairs.records import record
from training.pairs.seen import look
from training.pairs.source import then

ACTS: Final[tuple[dict[str, tuple[float, float]], ...]] = (
    {"AU45": (0.75, 1.0), "AU04": (0.0, 0.3), "AU12": (0.0, 0.4)},
    {"AU45": (0.4, 0.8), "AU01": (0.0, 0.5), "AU25": (0.0, 0.3)},
    {"AU04": (0.6, 1.0), "AU07": (0.0, 0.6), "AU09": (0.0, 0.9), "AU17": (0.0, 0.6), "AU15": (0.0, 0.5)},
    {"AU01": (0.5, 1.0), "AU04": (0.3, 1.0), "AU15": (0.0, 0.8), "AU17": (0.0, 0.7), "AU45": (0.0, 0.4)},
    {"AU01": (0.5, 1.0), "AU02": (0.4, 1.0), "AU05": (0.2, 1.0), "AU26": (0.0, 0.8), "AU25": (0.0, 0.7)},
    {"AU12": (0.5, 1.0), "AU06": (0.2, 1.0), "AU07": (0.0, 0.5), "AU14": (0.0, 0.4)},
    {"AU12": (0.4, 1.0), "AU06": (0.2, 1.0), "AU25": (0.4, 1.0), "AU26": (0.0, 0.5), "AU10": (0.0, 0.5)},
    {"AU25": (0.4, 1.0), "AU26": (0.5, 1.0), "AU05": (0.0, 0.8), "AU01": (0.0, 0.6), "AU20": (0.0, 0.4)},
    {"AU45": (0.3, 0.5), "AU45_side": (-1.0, 1.0), "AU12": (0.0, 0.7), "AU02_side": (-0.8, 0.8), "AU02": (0.0, 0.5)},
)  # fmt: skip
"""Each is an expression: the least and the most of what moves."""


def calmed_pairs(work: Work, pictures: list[Picture]) -> Told:
    """A calm photo as the target of some of ACTS, drawn for each photo."""
    for picture in pictures:
        if not (is_listed(picture.name, work.set.calm) or picture.seen.is_calm()):
            yield f"{picture.name}: its face is not calm"
            continue
        photo = work.photo(picture.seen)
        drawn = work.rng.choice(len(ACTS), min(work.set.repeats, len(ACTS)), replace=False)
        for number, act in enumerate(sorted(drawn.tolist())):
            attributes = photo.own_pose() + _expression(ACTS[act], work.rng)
            shown = _frames(work.config.bundle)(photo.cache, photo.rig.motion(attributes))
            seen = look(shown, work.detector)
            source = work.source(seen)
            to_picture = then(source.affine, photo.affine)
            # Half of them as the product does, which does not know how the face was.
            blind = number % 2 == 1
            calm = source.calmed(seen.rotation) if blind else source.driven_to(picture.seen, to_picture)
            words = work.words(picture.name, f"{picture.name} with expression {act}", None)
            yield record(source, calm, picture.seen, to_picture, words, match_colour=False, lay=blind)


def _expression(act: dict[str, tuple[float, float]], rng: np.random.Generator) -> FloatArray:
    """What is added to neutral attributes."""
    values = np.zeros(max(INDEX.values()) + 1, dtype=np.float32)
    for name, (least, most) in act.items():
        values[INDEX[name]] = rng.uniform(least, most)
    return values


@cache
def _frames(bundle: str) -> HostFrames:
    """Frames of a bundle, or of the one that ships; this process keeps it open."""
    return HostFrames(Bundle.load(Path(bundle) if bundle else DEFAULT_BUNDLE))
