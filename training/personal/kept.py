"""Where a person's frames have nothing to teach, a tuned network keeps the picture of the one that ships.

Beside mouth and eyes, frames differ from the geometry's by light, hair and a pixel of place. To learn that makes skin
soft. Of expressions and turns that no frame shows, the network would make anything. So both keep the picture they had.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from icface.attributes import INDEX, POSE_NAMES, FloatArray, neutral, pose_to_unit
from icface.geometry import patch as patches
from icface.networks import PatchCorrector
from training.learning.patch.losses import EYES, MOUTH, near
from training.learning.patch.metrics import corrected
from training.learning.patch.pairs import as_planes
from training.pairs.records import ROOM_PX, STORED_PX, Record
from training.pairs.source import Shown, Source

EXPRESSIONS: Final[tuple[tuple[str, ...], ...]] = (
    ("AU12", "AU06"), ("AU12", "AU25", "AU06"), ("AU12", "AU25", "AU26"), ("AU25", "AU26"), ("AU25",), ("AU45",),
    ("AU45", "AU25"), ("AU01", "AU02"), ("AU04",), ("AU15", "AU17"), ("AU09", "AU10"), ("AU20", "AU25"),
)  # fmt: skip
"""What a face does that a calm photo does not show."""
_INNER: Final = np.s_[ROOM_PX:-ROOM_PX, ROOM_PX:-ROOM_PX]


def kept_outside(network: PatchCorrector, made: Record) -> Record:
    """A pair that asks for the corrector's own picture beside mouth and eyes."""
    target, seen = made.pixels[..., :3].astype(np.float32), made.pixels[..., 3:]
    share = np.zeros((STORED_PX, STORED_PX, 1), dtype=np.float32)
    share[_INNER] = torch.maximum(near(MOUTH), near(EYES)).numpy()[..., None]
    wanted = share * target + (1 - share) * as_it_was(network, seen, made.conditions)
    return made._replace(pixels=np.dstack([np.round(wanted).astype(np.uint8), seen]))


def as_it_was(network: PatchCorrector, seen: NDArray[np.uint8], conditions: FloatArray) -> NDArray[np.uint8]:
    """(STORED_PX, STORED_PX, 3) what the corrector makes of a frame's patch (…, …, 4); in the room around, the frame."""
    with torch.no_grad():
        patch = as_planes(seen[_INNER])[None].float() / 255
        made = corrected(network, patch, torch.from_numpy(conditions)[None])[0]
    result = seen[..., :3].copy()
    result[_INNER] = (made.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return result


def kept_pairs(
    network: PatchCorrector, source: Source, rng: np.random.Generator, most_turn_deg: float
) -> Iterator[Record]:
    """Expressions of other amounts and turns each time, and what the corrector makes of them."""
    for names in EXPRESSIONS:
        attributes = neutral()
        attributes[[INDEX[name] for name in names]] = rng.uniform(0.4, 1.0, len(names))
        turn_rad = np.radians(rng.normal(0, most_turn_deg / 2, 3).clip(-most_turn_deg, most_turn_deg))
        attributes[[INDEX[name] for name in POSE_NAMES]] = pose_to_unit(turn_rad)
        shown = source.by_attributes(attributes)
        seen, conditions = _patch(source, shown)
        target = as_it_was(network, seen, conditions)
        error = float(np.abs(target[_INNER].astype(np.int16) - seen[_INNER][..., :3]).mean())
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
        yield Record(np.concatenate([target, seen], axis=2), conditions, row)


def _patch(source: Source, shown: Shown) -> tuple[NDArray[np.uint8], FloatArray]:
    """What the network sees of a frame: (STORED_PX, STORED_PX, 4) uint8 and the conditions."""
    place = patches.patch_affine(source.cache["neutral_shape"], shown.rotation, source.project, STORED_PX)
    colours, opening = (patches.cut_patch(each, place, STORED_PX) for each in (shown.frame, shown.opening))
    told = patches.conditions(
        patches.measures(shown.shape), patches.measures(source.cache["photo_shape"]), shown.rotation
    )
    return np.dstack([colours, opening]), told
