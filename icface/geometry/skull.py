"""The parts of a head that the photo's edges have cut off: one of its sides, or its top."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import FloatArray
from icface.geometry.follow import smooth
from icface.pyramid import push_pull
from icface.segmentation.segmenters import Mask

EYE_LEVEL: Final = [7, 29]
"""The outline of the face is as high as the eyes there."""
HEIGHT: Final = 1.12
"""How much higher a skull rises above the eyes than it reaches to the side."""
FOREHEAD: Final = 0.55
"""How high a forehead is over the eyes, of the way from the eyes to the chin. One that is cut off is seen lower."""
FARTHEST_RAD: Final = 1.7
"""Hair is taken from no farther down than this from the top of the head: there are the ears."""
MEETING: Final = 0.06
"""Over so much of the face's width the two mirror images meet beyond the photo's edge."""
OTHER_SIDE: Final = 0.8, 0.25
"""The mirror image of the other side is taken where that is so wide, and so much wider than the cut one (face widths)."""
SEAM_RAD: Final = 0.25
"""Over so much the hair of both sides meets on top."""
BROWS: Final = 0.14
CHEEKS: Final = 0.42, 0.60
"""A cut forehead has the colours of what is left of it above the brows, and else those between eyes and mouth. All are on
the way from the top of the face oval to the chin."""
OF_CHEEKS: Final = 0.01
"""What cheeks count, where there is forehead."""
LIPS: Final = 0.86
"""On the same way: below the lips."""
LEAST: Final = 0.001
"""What the head counts for the colour of hair."""
RIM: Final = 0.03
"""A made-up outline is so soft, of its distance."""
HAIRLINE: Final = 0.04
"""Skin goes over into hair over so much of the face's width."""


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
    forehead, across, face = _axis(oval_px)
    has = cut_sides(first, end, oval_px)
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


def cut_sides(first: int, end: int, oval_px: FloatArray) -> tuple[bool, bool]:
    """Whether the photo cuts the head at the left and at the right, and shows the other side whole.

    Args:
        first: the first column that was photographed.
        end: the column after the last one.
        oval_px: (36, 2) outline of the face.
    """
    _, _, face = _axis(oval_px)
    middle = float((oval_px[0, 0] + oval_px[len(oval_px) // 2, 0]) / 2)
    sides = middle - first, end - middle
    # The head is cut where the edge is nearer than a face is wide. Farther out, the other side has to be there.
    left, right = (
        own < face and other > max(OTHER_SIDE[0] * face, own + OTHER_SIDE[1] * face)
        for own, other in (sides, sides[::-1])
    )
    return left, right


def _axis(oval_px: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """A point of the axis about which a head is symmetric, the direction across it, and the face's width."""
    forehead, chin = oval_px[0], oval_px[len(oval_px) // 2]
    down = (chin - forehead) / np.linalg.norm(chin - forehead)
    across = np.array([down[1], -down[0]], dtype=np.float32)
    return forehead, across, float(np.ptp(oval_px @ across))


def continue_skull(layer: NDArray[np.uint8], top: int, oval_px: FloatArray, hair: Mask) -> None:
    """Write what lies above the photo's upper edge: the hair at the sides goes on around the skull.

    Around the middle of the head, what was cut off is the mirror image, by angle, of what lies beside it. A mirror image
    about the edge itself would show a second forehead. What is cut of the forehead is smooth skin.

    Args:
        layer: (S, S, 4) person with alpha, changed in place.
        top: the first row that was photographed.
        oval_px: (36, 2) outline of the face in the layer.
        hair: (S, S) how much of each pixel is hair.
    """
    centre, chin = oval_px[EYE_LEVEL].mean(axis=0), oval_px[len(oval_px) // 2]
    above = float(centre[1] - top) / HEIGHT
    if top <= 0 or above <= 0:
        return
    y, x = _pixels(layer[:top])
    dx, dy = x - centre[0], (centre[1] - y) / HEIGHT
    radius, angle = np.maximum(np.hypot(dx, dy), 1e-3), np.arctan2(dx, dy)
    edge = np.arccos(np.clip(above / radius, -1, 1))
    beside = edge + _folded(edge - np.abs(angle), FARTHEST_RAD - edge)
    other = edge + _folded(edge + np.abs(angle), FARTHEST_RAD - edge)
    side = np.where(angle < 0, -1, 1)
    share = np.clip(0.5 + np.abs(angle) / (2 * SEAM_RAD), 0, 1)[..., None]

    def around(picture: NDArray[Any]) -> NDArray[Any]:
        near, far = (
            _read(picture, centre[0] + radius * np.sin(turned), centre[1] - radius * np.cos(turned) * HEIGHT)
            for turned in (side * beside, -side * other)
        )
        return np.asarray(far + (near - far) * (share if near.ndim == 3 else share[..., 0]), np.float32)

    forehead_px = FOREHEAD * float(chin[1] - centre[1])
    if centre[1] - forehead_px <= top:
        # What lies beside a face is an ear or a cheek, too. Only what is hair goes on; the rest has its colour.
        colour, beside_it = _hair_colours(layer, top, round(float(chin[1])), hair)[:top], around(layer)
        is_hair = smooth(2 * around(hair) - 1) * (beside_it[..., 3] > 250)
        colour += (beside_it[..., :3] - colour) * is_hair[..., None]
        left, right = (_reach(layer[top, :, 3], float(centre[0]), out) for out in (-1, 1))
        turn = np.clip(angle / np.maximum(edge, 0.1), -1, 1)
        rim = np.hypot((left + right) / 2 + (right - left) / 2 * turn, above)
        cover = np.clip((rim - radius) / (RIM * rim) + 1, 0, 1)[..., None]
        layer[:top] = np.concatenate([colour, np.full_like(cover, 255)], axis=2) * cover + np.float32(0.5)
        up = centre[1] - oval_px[:, 1]
        taller = np.maximum(up, 0) * max(0.0, forehead_px / float(up.max()) - 1)
        _continue_forehead(layer, top, oval_px - np.stack([0 * taller, taller], axis=1))
    else:
        layer[:top] = around(layer) + 0.5


def _hair_colours(layer: NDArray[np.uint8], top: int, chin: int, hair: Mask) -> NDArray[np.float32]:
    """(chin, S, 3) the colours of the hair beside the face, going on smoothly; where there is none, those of the head."""
    head = (layer[:chin, :, 3] == 255).astype(np.float32)
    head[:top] = 0
    return push_pull(layer[:chin, :, :3].astype(np.float32), head * (hair[:chin] > 0.5) + LEAST * head)


def _reach(line: NDArray[np.uint8], middle: float, out: int) -> float:
    """How far a row of alpha reaches from the middle to one side."""
    there = np.flatnonzero(line > 127)
    return float(max(1.0, out * (there[0 if out < 0 else -1] - middle))) if len(there) else 1.0


def continue_chin(layer: NDArray[np.uint8], end: int, oval_px: FloatArray) -> None:
    """Write what lies below the photo's lower edge, where it cuts the head soon below the lips.

    The mirror image turns back before it shows the lips again.

    Args:
        layer: (S, S, 4) person with alpha, the photo mirrored about its edges; changed in place.
        end: the row after the last one that was photographed.
        oval_px: (36, 2) outline of the face in the layer.
    """
    forehead, chin = oval_px[0], oval_px[len(oval_px) // 2]
    reach = end - 1 - int(forehead[1] + LIPS * (chin[1] - forehead[1]))
    below = len(layer) - end
    if not 0 < reach < below:
        return
    away = _folded(np.arange(1, below + 1, dtype=np.float64), np.array(float(reach)))
    image = layer[end - 1 - np.round(away).astype(int)]
    limit = layer[end:, :, 3:] / np.maximum(image[..., 3:], np.float32(1))
    layer[end:] = image * np.minimum(limit, 1) + 0.5


def _continue_forehead(layer: NDArray[np.uint8], top: int, oval_px: FloatArray) -> None:
    forehead, chin = oval_px[0], oval_px[len(oval_px) // 2]
    width = float(np.ptp(oval_px[:, 0]))
    x0, y0 = np.maximum(0, np.floor(oval_px.min(axis=0) - 0.1 * width)).astype(int)
    x1, y1 = np.ceil(oval_px.max(axis=0) + 0.1 * width).astype(int)
    part = layer[y0:y1, x0:x1]
    inside = np.zeros(part.shape[:2], dtype=np.float32)
    cv2.fillPoly(inside, [np.round(oval_px - [x0, y0]).astype(np.int32)], 1.0)
    down = (chin - forehead) / np.square(chin - forehead).sum()
    y, x = np.ogrid[: part.shape[0], : part.shape[1]]
    way = (x + x0 - forehead[0]) * down[0] + (y + y0 - forehead[1]) * down[1]
    cheeks = (way > CHEEKS[0]) & (way < CHEEKS[1])
    known = inside * (y + y0 >= top) * ((way < BROWS) + OF_CHEEKS * cheeks)
    skin = push_pull(part[..., :3].astype(np.float32), known.astype(np.float32))
    # The outline of the face is that of hair. Skin begins inside of it.
    soft = HAIRLINE * width
    share = cv2.GaussianBlur(cv2.erode(inside, np.ones((2 * round(soft) + 1,) * 2)), (0, 0), soft)
    rows = slice(0, max(0, top - y0))
    made = np.dstack([skin, np.full(part.shape[:2], 255, np.float32)])[rows]
    part[rows] = part[rows] + (made - part[rows]) * share[rows, :, None] + 0.5


def _folded(away: Array, reach: Array) -> Array:
    """Distances that turn back at 0 and at `reach`."""
    reach = np.maximum(reach, 1e-3)
    return np.asarray(reach - np.abs(reach - np.mod(away, 2 * reach)))


def _pixels(layer: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """Rows (H, 1) and columns (1, W)."""
    y, x = np.ogrid[: layer.shape[0], : layer.shape[1]]
    return y.astype(np.float32), x.astype(np.float32)


def _read(layer: NDArray[Any], x: Any, y: Any) -> NDArray[np.float32]:
    x, y = x.astype(np.float32), y.astype(np.float32)
    read = cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read, dtype=np.float32)
