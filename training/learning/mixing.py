"""Which steps of a run take paired batches, and which unpaired ones."""

from __future__ import annotations

from typing import Final

_GOLDEN: Final = (5**0.5 - 1) / 2


def takes_pairs(step: int, first: int, later: float) -> bool:
    """Whether a step, counted from 0, takes a paired batch.

    The `first` steps do, and of the later ones the share `later`. There the multiples of the golden ratio decide: any
    stretch of steps has both kinds in their proportion, and there is no rhythm that the logged steps could share.
    """
    joined = step - first
    return joined < 0 or joined * _GOLDEN % 1 >= 1 - later
