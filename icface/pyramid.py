"""Colours that go on smoothly from where they are known, and sums over the channels of colours."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.compiled import compiled

Colours = NDArray[np.float32]
"""(H, W, 3) RGB, 0 to 255."""
Mask = NDArray[np.float32]

_FILL_GAIN: Final = 6.0


def push_pull(colours: Colours, known: Mask) -> Colours:
    """Fill a picture from where it is known, smoothly: averages from coarse to fine.

    Args:
        colours: anything where it is not known.
        known: 1 where the colours stay exactly.
    """
    sums: Any = colours * known[..., None]
    levels = [(sums, known)]
    while min(known.shape) > 2:
        sums, known = cv2.pyrDown(sums), cv2.pyrDown(known)  # type: ignore[assignment]
        levels.append((sums, known))
    filled: Any = sums / np.maximum(known, 1e-4)[..., None]
    for sums, known in levels[-2::-1]:
        filled = cv2.pyrUp(filled, dstsize=known.shape[::-1])
        _over_coarser(sums, known, _FILL_GAIN, filled)
    return np.asarray(filled, dtype=np.float32)


_F2 = nb.types.Array(nb.float32, 2, "C")
_F3 = nb.types.Array(nb.float32, 3, "C")


@compiled(_F3, _F2, nb.float32, _F3)
def _over_coarser(sums: Colours, weights: Mask, gain: float, filled: Colours) -> None:
    """Lay one level of a pyramid over the coarser ones in `filled` (H, W, 3), as far as its weights go."""
    for y in range(filled.shape[0]):
        for x in range(filled.shape[1]):
            weight = weights[y, x]
            if weight > np.float32(1e-3):
                share = min(weight * gain, np.float32(1.0))
                for c in range(3):
                    filled[y, x, c] += share * (sums[y, x, c] / weight - filled[y, x, c])


def highest(colours: NDArray[Any]) -> NDArray[Any]:
    """(...) the highest of three channels. Much faster than numpy's along a short axis."""
    return np.asarray(np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2]))


def dot(one: Colours, other: Colours) -> Mask:
    """(H, W) scalar products of colours."""
    return np.asarray(np.einsum("ijk,ijk->ij", one, other), dtype=np.float32)
