"""How far the learned correction is trusted: a table. Each row fades it where a picture showed that it does harm.

The strength is three numbers in [0, 1]: at the openings of the eyes, at the opening of the mouth, and elsewhere. Where
all are 0, the frame is what geometry made.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray
from icface.geometry.patch import MEASURE_NAMES, MEASURES
from icface.geometry.teeth import OWN, MouthRows

REGIONS: Final = ("eyes", "mouth", "elsewhere")


class Facts(NamedTuple):
    """What the gates look at. The first two belong to the frame, the others to the photo."""

    turned_deg: float
    """Of the head in the frame, to either side."""
    closure: float
    """Of the eye that is closed further, as a share of what it is open in the photo."""
    iod_px: float
    """Between the outer corners of the eyes, in pixels of the photo."""
    own_teeth: float
    """1 where the photo shows its own bright teeth."""
    rest_change: float = 0.0
    """How far the network changes the photo's neutral frame, in levels."""


class Gate(NamedTuple):
    """One row: from `start` to `end` of a fact, the strength goes from 1 to `left`."""

    name: str
    fact: str
    """One of Facts."""
    start: float
    end: float
    left: tuple[float, float, float]
    """Beyond `end`, in the order of REGIONS."""
    because: str
    """What the picture showed that made it necessary."""


GATES: Final = (
    Gate("turned head", "turned_deg", 20.0, 30.0, (0.0, 0.0, 0.0),
         "pairs beyond 25 degrees are few: the far cheek got the folds of a frontal one"),
    Gate("coarse photo", "iod_px", 60.0, 40.0, (0.0, 0.0, 0.0),
         "teeth and lashes came out sharper than the face around them"),
    Gate("own teeth", "own_teeth", 0.0, 1.0, (1.0, 0.15, 1.0),
         "a photographed smile got teeth of another person"),
    Gate("light that it does not know", "rest_change", 2.2, 4.2, (1.0, 1.0, 0.0),
         "a face in hard light went pale: the network took its shadows for folds"),
    Gate("open eyes", "closure", 0.6, 0.35, (0.0, 1.0, 1.0),
         "squints were closed altogether, and open eyes lost the photo's gaze"),
)  # fmt: skip

BRIGHT_TEETH: Final = 110
"""Luminance of teeth, 0 to 255, from which they are taken for teeth. An open mouth without them is darker."""
_EYES: Final = [MEASURE_NAMES.index(f"{side}_gap") for side in ("right", "left")]
_LEAST_GAP: Final = 0.02
"""An eye that the photo shows closed counts as so far open (IOD)."""


def strengths(facts: Facts) -> FloatArray:
    """(3,) how strong the correction is, in the order of REGIONS."""
    result = np.ones(len(REGIONS), dtype=np.float32)
    for gate in GATES:
        share = (getattr(facts, gate.fact) - gate.start) / (gate.end - gate.start)
        share = min(1.0, max(0.0, share))
        share *= share * (3 - 2 * share)  # smooth at both ends
        if share:
            result *= 1 - share * (1 - np.array(gate.left, dtype=np.float32))
    return result


def photo_facts(cache: Tensors) -> Facts:
    """What a prepared source says; the frame's own facts are those of a face at rest."""
    iod_px = float(cache["iod_px"]) * float(np.hypot(*cache["crop_to_photo"][:2, 0]))
    iod_px *= float(cache.get("view_scale", 1.0))
    own_teeth = float(MouthRows.of(cache).teeth == OWN and _bright_teeth(cache))
    return Facts(0.0, 0.0, iod_px, own_teeth, float(cache.get("rest_change", 0.0)))


def frame_facts(photo: Facts, conditions: FloatArray) -> Facts:
    """The facts of a frame, from the conditions (28,) that its network is told."""
    target, source = conditions[_EYES], conditions[MEASURES:][_EYES]
    closure = float((1 - target / np.maximum(source, _LEAST_GAP)).max())
    yaw = min(1.0, abs(float(conditions[-1])))
    return photo._replace(turned_deg=float(np.degrees(np.arcsin(yaw))), closure=closure)


def _bright_teeth(cache: Tensors) -> bool:
    """Whether the upper part of the painted mouth is as bright as teeth are. A wide-open O shows no teeth there."""
    x, y, width, height = (int(value) for value in cache["mouth_patch"])
    edge = max(1, min(height, round(float(MouthRows.of(cache).upper))))
    middle = cache["inner"][y : y + edge, x + width // 3 : x + 2 * width // 3]
    return float(np.percentile(middle.mean(axis=2), 80)) > BRIGHT_TEETH
