"""Pairs of one photo alone, made by geometry: skin, lips and teeth of this person stay as they are.

A photo tells nothing of how the face moves. So the network also sees expressions that the photo does not show, and shall
make of them what it made before: what it learns at rest must not cost what it knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch

from icface.attributes import INDEX, POSE_NAMES, FloatArray, neutral, pose_to_unit
from icface.errors import SourceError
from icface.face.landmarks import LandmarkDetector
from icface.geometry import patch as patches
from training.learning.patch.metrics import corrected
from training.learning.patch.pairs import as_planes
from training.pairs import kinds
from training.pairs.pictures import Picture
from training.pairs.records import ROOM_PX, STORED_PX, Record
from training.pairs.seen import Seen
from training.pairs.settings import Kind, PairsConfig, SetConfig
from training.pairs.source import Shown, Source
from training.personal.start import corrector_of

VARIATIONS: Final = 4
"""How often each expression is asked for, each time with other amounts and turns."""
EXPRESSIONS: Final[tuple[tuple[str, ...], ...]] = (
    ("AU12", "AU06"), ("AU12", "AU25", "AU06"), ("AU12", "AU25", "AU26"), ("AU25", "AU26"), ("AU25",), ("AU45",),
    ("AU45", "AU25"), ("AU01", "AU02"), ("AU04",), ("AU15", "AU17"), ("AU09", "AU10"), ("AU20", "AU25"),
)  # fmt: skip
"""What a face does that a calm photo does not show."""
MOST_TURN_DEG: Final = 14.0
_OF_PHOTO: Final[tuple[tuple[Kind, Callable[[kinds.Work, list[Picture]], kinds.Told]], ...]] = (
    ("self", kinds.self_pairs),
    ("made", kinds.made_pairs),
    ("opened", kinds.opened_pairs),
)


def photo_pairs(seen: Seen, source: Source, detector: LandmarkDetector, *, held: bool) -> kinds.Told:
    """Pairs of one photo, or why there is none. Held ones have other noise, other amounts and other turns."""
    for variation in range(VARIATIONS // 2 if held else VARIATIONS):
        rng = np.random.default_rng([20, int(held), variation])
        for kind, make in () if variation else _OF_PHOTO:
            settings = SetConfig(name=kind, kind=kind, files=())
            work = kinds.Work(PairsConfig(sets=(settings,)), settings, "the person", detector, rng)
            try:
                yield from make(work, [Picture("photo", seen)])
            except SourceError as error:
                yield f"{kind}: {error}"
        yield from _kept(source, rng)


def _kept(source: Source, rng: np.random.Generator) -> Iterator[Record]:
    """Expressions that the photo does not show, and what the corrector that ships makes of them."""
    network, _ = corrector_of()
    for names in EXPRESSIONS:
        attributes = neutral()
        attributes[[INDEX[name] for name in names]] = rng.uniform(0.4, 1.0, len(names))
        turn_rad = np.radians(rng.normal(0, MOST_TURN_DEG / 2, 3).clip(-MOST_TURN_DEG, MOST_TURN_DEG))
        attributes[[INDEX[name] for name in POSE_NAMES]] = pose_to_unit(turn_rad)
        shown = source.by_attributes(attributes)
        pixels, conditions = _patch(source, shown)
        inner = np.s_[ROOM_PX:-ROOM_PX, ROOM_PX:-ROOM_PX]
        with torch.no_grad():
            seen = as_planes(pixels[inner])[None].float() / 255
            made = corrected(network, seen, torch.from_numpy(conditions)[None])[0]
        target = pixels[..., :3].copy()
        target[inner] = (made.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        error = float(np.abs(target[inner].astype(np.int16) - pixels[inner][..., :3]).mean())
        row = {
            "target": "what the corrector that ships makes of it",
            "source": " ".join(names),
            "identity": "the person",
            "kind": "render",
            "noise": 0.0,
            "error": error,
            "iod_px": float(source.project.iod_px),
            "own_teeth": int(source.own_teeth),
        }
        yield Record(np.concatenate([target, pixels], axis=2), conditions, row)


def _patch(
    source: Source, shown: Shown
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], FloatArray]:
    """What the network sees of a frame: (STORED_PX, STORED_PX, 4) uint8 and the conditions."""
    place = patches.patch_affine(source.cache["neutral_shape"], shown.rotation, source.project, STORED_PX)
    colours, opening = (patches.cut_patch(each, place, STORED_PX) for each in (shown.frame, shown.opening))
    told = patches.conditions(
        patches.measures(shown.shape), patches.measures(source.cache["photo_shape"]), shown.rotation
    )
    return np.dstack([colours, opening]), told
