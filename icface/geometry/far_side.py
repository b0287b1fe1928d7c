"""Whether a photo that is turned a little hides its far side: no ear and hardly any hair is seen there."""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.arrays import Tensors
from icface.geometry.back import CENTRE
from icface.geometry.outline import Outline
from icface.geometry.own import own_attributes
from icface.geometry.renewal import keep_the_teeth
from icface.geometry.shape import Projection
from icface.geometry.teeth import OWN, MouthRows

TURNED: Final = 0.09
"""Sine of the least turn."""
HEIGHTS: Final = np.arange(-0.3, 0.31, 0.15)
"""In head space: from the ears' lobes to above their tops."""
LEAST_NEAR: Final = 0.12
"""The near side shows so much beside the face, in IOD. Else there is nothing that the far side could have."""
HIDDEN: Final = 0.5
"""The far side shows less than this share of what the near one does."""
_MOST: Final = 1.6


def hides_far_side(cache: Tensors) -> bool:
    """Whether a turn to the other side would show a head without an ear, and hair where the temple is.

    Args:
        cache: what `prepare_source` made.
    """
    turned = float(cache["rotation"][2, 0])
    if abs(turned) < TURNED or not int(cache["margin"]):
        return False
    project = Projection(cache["base_px"], np.float32(cache["iod_px"][()]))
    outline = Outline(cache, project, CENTRE)
    far = -1 if turned > 0 else 1
    far_iod, near_iod = (
        np.mean([outline.reach(y, side, _MOST) - outline.face(y, side) for y in HEIGHTS.tolist()])
        for side in (far, -far)
    )
    return bool(near_iod > LEAST_NEAR and far_iod < HIDDEN * near_iod)


def with_far_side(first: Tensors, cache: Tensors, completed: Tensors, *, keeps_teeth: bool) -> Tensors:
    """The tensors of a photo that was made frontal, with the photo's own expression, and its teeth where wanted.

    Args:
        first: of the photo as it is.
        cache: the same, or without its smile.
        completed: with a far side.
        keeps_teeth: whether teeth that `cache` shows are kept.
    """
    made = {**completed, "own": own_attributes(first, completed)}
    if keeps_teeth and MouthRows.of(cache).teeth == OWN:
        keep_the_teeth(made, cache)
    return made
