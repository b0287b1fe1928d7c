"""The top of a head that the photo's upper edge has cut off."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.attributes import FloatArray

HEIGHT: Final = 1.12
"""How much higher a skull rises above the eyes than it reaches to the side."""
EYE_LINE: Final = 0.34
"""Where the eyes lie on the way from the top of the face oval to the chin."""
FARTHEST_RAD: Final = 1.9
"""Hair is taken from no farther down than this from the top of the head: there the neck begins."""
SEAM_RAD: Final = 0.25
"""Over so much the hair of both sides meets on top."""


def continue_skull(layer: NDArray[np.float32], top: int, oval_px: FloatArray) -> None:
    """Write what lies above the photo's upper edge: the hair at the sides goes on around the skull.

    Around the middle of the head, what was cut off is the mirror image, by angle, of what lies beside it. A mirror image
    about the edge itself would show a second forehead.

    Args:
        layer: (S, S, 4) person with alpha, changed in place.
        top: the first row that was photographed.
        oval_px: (36, 2) outline of the face in the layer.
    """
    forehead, chin = oval_px[0], oval_px[len(oval_px) // 2]
    centre = forehead + EYE_LINE * (chin - forehead)
    above = float(centre[1] - top) / HEIGHT
    if top <= 0 or above <= 0:
        return
    y, x = np.mgrid[:top, : layer.shape[1]].astype(np.float32)
    dx, dy = x - centre[0], (centre[1] - y) / HEIGHT
    radius, angle = np.hypot(dx, dy), np.arctan2(dx, dy)
    edge = np.arccos(np.clip(above / radius, -1, 1))
    beside = np.minimum(2 * edge - np.abs(angle), FARTHEST_RAD)
    other = np.minimum(2 * edge + np.abs(angle), FARTHEST_RAD)
    side = np.where(angle < 0, -1, 1)
    share = np.clip(0.5 + np.abs(angle) / (2 * SEAM_RAD), 0, 1)[..., None]
    near, far = (_read(layer, centre, radius, turned) for turned in (side * beside, -side * other))
    layer[:top] = far + (near - far) * share


def _read(layer: NDArray[np.float32], centre: FloatArray, radius: Any, angle: Any) -> NDArray[np.float32]:
    x = (centre[0] + radius * np.sin(angle)).astype(np.float32)
    y = (centre[1] - radius * np.cos(angle) * HEIGHT).astype(np.float32)
    return np.asarray(
        cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32
    )
