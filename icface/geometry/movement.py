"""How a face moves: from amounts of Action Units and extensions to its shape."""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.attributes import AU_NAMES, SHAPE_NAMES, FloatArray
from icface.geometry import topology as mesh
from icface.geometry.eyes import move_lids

LAUGH: Final = 0.45
"""How much of a smile is added where the jaw drops, because a dropped jaw alone draws the corners in and down."""

OBLIQUE: Final = 1.07
"""AU01 that is added for the smaller of AU01 and AU04, both as drawn: what the frown lowers of the inner ends."""

SMILE_DROPS: Final = 0.22
"""AU26 that a whole smile with parted lips adds. Eight people who smile so lower the chin by .06 IOD."""

DROPS_OPEN: Final = 1.7
"""AU25 that a whole AU26 opens."""

LIPS_FOLLOW: Final = 0.35
"""AU25 that a whole AU26 takes back. Trackers see less of a chin's drop than of the gap between the lips."""

MEETING: Final = 4.0
OPEN_IOD: Final = 0.15
"""Lips that part a little still meet towards the corners. A gap narrows by this, less the wider it is, down to nothing
from OPEN_IOD on."""

_AU01, _AU04, _AU09, _AU10, _AU12, _AU20, _AU25, _AU26, _AU45 = (
    AU_NAMES.index(name) for name in ("AU01", "AU04", "AU09", "AU10", "AU12", "AU20", "AU25", "AU26", "AU45")
)
_AU10_SIDE, _AU12_SIDE, _AU45_SIDE, _AU22 = (
    SHAPE_NAMES.index(name) for name in ("AU10_side", "AU12_side", "AU45_side", "AU22")
)
_UPPER_LIP: Final = np.array(mesh.INNER_UPPER_LIP[1:-1], dtype=np.intp)
_LOWER_LIP: Final = np.array(mesh.INNER_LOWER_LIP[1:-1], dtype=np.intp)
_ACROSS: Final = mesh.face_tables().canonical[list(mesh.INNER_UPPER_LIP), 0]
_ASIDE: Final = np.square(_ACROSS[1:-1] / _ACROSS.max())
"""Squares of how far these lie from the middle of the mouth, of its half width."""


def moved(
    neutral: FloatArray,
    displacements: FloatArray,
    extensions: FloatArray,
    action_units: FloatArray,
    shapes: FloatArray,
    gaze_rad: float,
) -> FloatArray:
    """(468, 3) head space: a neutral shape moved by Action Units (17,), extensions (20,) and lids that follow the gaze.

    `displacements` (17, 1404) and `extensions` (20, 1404) are how the 468 vertices move for a whole movement.
    """
    amounts, sides, closures = overlaps(action_units, shapes)
    shape = neutral + (amounts @ displacements + sides @ extensions).reshape(neutral.shape)
    shape = np.asarray(shape, dtype=np.float32)
    move_lids(shape, closures, gaze_rad)
    _part_lips(shape, 1 - min(1.0, max(0.0, float(action_units[_AU12] + action_units[_AU20]))))
    return shape


def overlaps(
    action_units: FloatArray, shapes: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
    """How much of each displacement is taken where movements are drawn at once.

    Args:
        action_units: (17,) as drawn.
        shapes: (20,) extensions as drawn.

    Returns:
        (17,) and (20,) for the displacements, and how far the right and the left eye are closed, in [0, 1].
    """
    amounts, sides = action_units.copy(), shapes.copy()
    # Lids travel along their own opening, so AU45 is done apart.
    right, left = _both_sides(amounts[_AU45], sides[_AU45_SIDE])
    closures = min(1.0, max(0.0, right)), min(1.0, max(0.0, left))
    amounts[_AU45] = sides[_AU45_SIDE] = 0.0
    # Brows that are raised and drawn together at once stay oblique.
    amounts[_AU01] += OBLIQUE * max(0.0, min(amounts[_AU01], amounts[_AU04]))
    # These movements overlap: a smile and a wrinkled nose have raised the lip already, and a funnel has opened the
    # mouth already.
    raised = _both_sides(amounts[_AU10], sides[_AU10_SIDE])
    smiles = _both_sides(amounts[_AU12], sides[_AU12_SIDE])
    free = 1 - 0.45 * min(1.0, max(0.0, amounts[_AU09]))
    right, left = (
        free * lip * (1 - 0.8 * min(1.0, max(0.0, smile))) for lip, smile in zip(raised, smiles, strict=True)
    )
    amounts[_AU10], sides[_AU10_SIDE] = (right + left) / 2, left - right
    parted = amounts[_AU25] * (1 - 0.8 * min(1.0, sides[_AU22]))
    parted = max(0.0, parted) - LIPS_FOLLOW * max(0.0, amounts[_AU26])
    # A smile that shows teeth lowers the jaw, and no reading tells that from the smile. It opens the lips no further.
    drops = SMILE_DROPS * min(1.0, max(0.0, amounts[_AU12])) * min(1.0, max(0.0, amounts[_AU25]))
    amounts[_AU25], amounts[_AU26] = parted - DROPS_OPEN * drops, amounts[_AU26] + drops
    dropped = min(1.0, max(0.0, amounts[_AU26]))
    amounts[_AU12] *= 1 + LAUGH * dropped
    sides[_AU12_SIDE] *= 1 + LAUGH * dropped
    return amounts, sides, closures


def _both_sides(mean: np.float32, side: np.float32) -> tuple[float, float]:
    """How far the right and the left side move."""
    return float(mean - side / 2), float(mean + side / 2)


def _part_lips(shape: FloatArray, narrow: float) -> None:
    """Let the lips meet half-way, column by column, where they would pass through each other, and towards the corners.

    With `narrow` 0 not towards these: a smile and stretched lips show teeth from side to side.
    """
    gap = shape[_UPPER_LIP, 1] - shape[_LOWER_LIP, 1]
    middle = max(0.0, float(gap.max()))
    closed = narrow * MEETING * middle * max(0.0, 1 - middle / OPEN_IOD) * _ASIDE
    shift = np.minimum(gap, closed) / 2
    shape[_UPPER_LIP, 1] -= shift
    shape[_LOWER_LIP, 1] += shift
