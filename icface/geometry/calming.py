"""The neutraliser G_N on the host: a network paints once what geometry cannot take back of a photo's expression.

Geometry brings brows, lids and lips to where they rest. The network sees that frame, and paints what is still to be seen
of the expression: folds, a mouth or a tongue behind closed lips, eyes behind lids that were shut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from icface.arrays import Frame, Tensors
from icface.errors import EngineError
from icface.geometry.contract import CALMED
from icface.geometry.correction import Patch, usable
from icface.geometry.warp import HostWarp

Run = Callable[[Tensors], Tensors]
"""Runs the bundle's graph `neutralise`, from its inputs to its outputs by name."""


def painted(run: Run, cache: Tensors, motion: Tensors) -> Frame:
    """The frame (T, T, 3) that geometry makes of cache and motion tensors, as the network calms it.

    Raises:
        EngineError: the network does not run, or gives values that are no numbers.
    """
    height, width = cache["plate"].shape[:2]
    warp, patch = HostWarp(cache, (width, height)), Patch((width, height))
    frame = warp.frame(motion).copy()
    calmed = run(
        {"patch": patch.cut(frame, motion), **{name: motion[name] for name in ("conditions", "gates")}}
    )
    correction = np.ascontiguousarray(calmed[CALMED])
    if not usable(correction):
        raise EngineError("the network that neutralises gives values that are no numbers")
    patch.lay_back(correction, motion["patch_to_frame"], warp.person, frame)
    return frame
