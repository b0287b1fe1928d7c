"""The parts of a head that the photo's edges have cut off: one of its sides, or its top."""

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
MEETING: Final = 0.06
"""Over so much of the face's width the two mirror images meet beyond the photo's edge."""
SEAM_RAD: Final = 0.25
"""Over so much the hair of both sides meets on top."""


def continue_side(layer: NDArray[np.uint8], first: int, end: int, oval_px: FloatArray) -> tuple[bool, bool]:
    """Write what lies left and right of the photo: the mirror image of the head's other side.

    Args:
        layer: (S, S, 4) person with alpha, the photo mirrored about its edges; changed in place.
        first: the first column that was photographed.
        end: the column after the last one.
        oval_px: (36, 2) outline of the face in the layer.

    Returns:
        Whether there is a mirror image, left and right.
    """
    forehead, chin = oval_px[0], oval_px[len(oval_px) // 2]
    down = (chin - forehead) / np.linalg.norm(chin - forehead)
    across = np.array([down[1], -down[0]], dtype=np.float32)
    face = float(np.ptp(oval_px @ across))
    middle = float(((forehead + chin) / 2)[0])
    # The head is cut where the edge is nearer than a face is wide. As far out, the other side has to be there.
    near = middle - first < face, end - middle < face
    has = near[0] and not near[1], near[1] and not near[0]
    for there, columns, out in ((has[0], slice(0, first), -1), (has[1], slice(end, None), 1)):
        y, x = _pixels(layer)
        x = x[:, columns]
        if not there or not x.size:
            continue
        away = 2 * ((x - forehead[0]) * across[0] + (y - forehead[1]) * across[1])
        image = _read(layer, x - away * across[0], y - away * across[1])
        beyond = x - end if out > 0 else first - x
        # Near the edge the photo's own mirror image joins without a step.
        share = np.clip(beyond / (MEETING * face), 0, 1)[..., None]
        layer[:, columns] = layer[:, columns] + (image - layer[:, columns]) * share + 0.5
    return has


def continue_skull(layer: NDArray[np.uint8], top: int, oval_px: FloatArray) -> None:
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
    y, x = _pixels(layer[:top])
    dx, dy = x - centre[0], (centre[1] - y) / HEIGHT
    radius, angle = np.maximum(np.hypot(dx, dy), 1e-3), np.arctan2(dx, dy)
    edge = np.arccos(np.clip(above / radius, -1, 1))
    beside = np.minimum(2 * edge - np.abs(angle), FARTHEST_RAD)
    other = np.minimum(2 * edge + np.abs(angle), FARTHEST_RAD)
    side = np.where(angle < 0, -1, 1)
    share = np.clip(0.5 + np.abs(angle) / (2 * SEAM_RAD), 0, 1)[..., None]
    near, far = (
        _read(layer, centre[0] + radius * np.sin(turned), centre[1] - radius * np.cos(turned) * HEIGHT)
        for turned in (side * beside, -side * other)
    )
    layer[:top] = far + (near - far) * share + 0.5


def _pixels(layer: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """Rows (H, 1) and columns (1, W)."""
    y, x = np.ogrid[: layer.shape[0], : layer.shape[1]]
    return y.astype(np.float32), x.astype(np.float32)


def _read(layer: NDArray[np.uint8], x: Any, y: Any) -> NDArray[np.float32]:
    x, y = x.astype(np.float32), y.astype(np.float32)
    read = cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read, dtype=np.float32)
