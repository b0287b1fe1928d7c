"""The person's own teeth and the inside of the mouth: the frame that shows them best, laid out as the rig shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.attributes import AU_NAMES, FloatArray
from icface.geometry import teeth
from icface.geometry import topology as mesh
from icface.geometry.layers import LUMA, polygon_mask
from icface.geometry.person import turn_onto
from icface.geometry.rig import JAW_SHARE
from training.pairs.seen import Seen, mouth_gap
from training.personal.movements import Movements, drawn

LEAST_GAP: Final = 0.10
"""Lips that are less apart (IOD) hide what is behind them."""
MOST_YAW_RAD: Final = 0.25
LEAST_SCORE: Final = 0.004
"""Area of teeth (square IOD) that has to be seen, at full contrast."""
TINTED: Final = 0.12
"""A frame whose cheeks have another hue than those of most frames by so much (logarithm) is lit oddly."""
BRIGHT: Final = 0.55
"""Teeth are at least so bright, of the cheek's luminance."""
EDGES: Final = -0.085, 0.03
"""Where upper teeth may end (IOD), from the line of the closed lips."""
MIDDLE: Final = 0.12
"""Half the width of the part in the middle that tells where the upper teeth end (IOD)."""
_AU26: Final = AU_NAMES.index("AU26")
_CHIN: Final = 152


class _Placed(NamedTuple):
    """Where the skull and the jaw of the neutral shape are in a frame."""

    anchor: FloatArray
    """(3,) of the teeth, on the neutral shape."""
    jaw: FloatArray
    """(3,) how far the lower teeth are from there."""
    rotation: FloatArray
    """(3, 3) of the neutral shape."""
    shift: FloatArray
    """(3,) of the neutral shape, in the frame's head space."""


def fit_mouth(faces: Sequence[Seen], attributes: FloatArray, movements: Movements) -> Tensors:
    """`mouth`, `mouth_edge` and `mouth_light` of a bundle's person; nothing where no frame shows the teeth well.

    `attributes` (n, SIZE) are those of the faces.
    """
    hues = np.log(np.array([_light(face) for face in faces]) + 1)
    hues -= hues.mean(axis=1, keepdims=True)
    usual = np.median(hues, axis=0)
    best, best_score = None, LEAST_SCORE
    for face, hue, shown in zip(faces, hues, drawn(movements, attributes), strict=True):
        turned = abs(float(np.arctan2(face.rotation[0, 2], face.rotation[2, 2])))
        if mouth_gap(face) < LEAST_GAP or turned > MOST_YAW_RAD or np.abs(hue - usual).max() > TINTED:
            continue
        placed = _placed(face, shown, movements)
        edge, score = _teeth(face, placed)
        if score > best_score:
            best, best_score = (face, placed, edge), score
    if best is None:
        return {}
    face, placed, edge = best
    picture = _laid_out(face, placed, edge)
    return {
        "mouth": picture,
        "mouth_edge": np.array([edge], dtype=np.float32),
        "mouth_light": _light(face),
    }


def _light(face: Seen) -> FloatArray:
    cheeks = teeth.cheek_colours(face.picture, face.landmarks.points_px)
    return np.asarray(np.median(cheeks, axis=0), dtype=np.float32)


def _placed(face: Seen, shown: FloatArray, movements: Movements) -> _Placed:
    """By the shape (468, 3) that is drawn of the frame, because an expression would turn the neutral one."""
    neutral = movements.neutral_shape
    turn, shift = turn_onto(shown, face.shape)
    whole = movements.displacements[_AU26, _CHIN]
    chin = (face.shape[_CHIN] - shift) @ turn.T - neutral[_CHIN]
    dropped = np.clip(chin @ whole / max(float(whole @ whole), 1e-6), 0, 2)
    rotation = np.asarray(face.rotation @ turn.T, dtype=np.float32)
    return _Placed(teeth.mouth_anchor(neutral), JAW_SHARE * dropped * whole, rotation, face.rotation @ shift)


def _places(face: Seen, placed: _Placed, points: FloatArray) -> FloatArray:
    """Pixels (..., 2) of the frame where points (..., 3) of the neutral shape lie."""
    iod_px = face.project.iod_px
    origin_px = face.project(np.zeros(3, dtype=np.float32), face.rotation)
    turned = points @ placed.rotation.T + placed.shift
    x, y = origin_px[0] + iod_px * turned[..., 0], origin_px[1] - iod_px * turned[..., 1]
    return np.stack([x, y], axis=-1).astype(np.float32)


def _opening(face: Seen) -> Frame:
    """(H, W) how far each pixel of the frame is inside the lips, softly."""
    iod_px = float(face.project.iod_px)
    size_px = face.picture.shape[1], face.picture.shape[0]
    whole = polygon_mask(size_px, face.landmarks.points_px[list(mesh.MOUTH_OPENING), :2])
    margin = max(1, round(iod_px * 0.008))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    soft = cv2.GaussianBlur(cv2.erode(whole, kernel), (0, 0), max(0.8, iod_px * 0.008))
    return np.asarray(soft, dtype=np.uint8)


def _read(face: Seen, places_px: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(h, w, 3) colours and (h, w) weight at places (h, w, 2) of the frame."""
    x, y = np.ascontiguousarray(places_px[..., 0]), np.ascontiguousarray(places_px[..., 1])
    pixels = cv2.remap(face.picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.remap(_opening(face), x, y, cv2.INTER_LINEAR)
    return pixels.astype(np.float32), weight / np.float32(255)


def _teeth(face: Seen, placed: _Placed) -> tuple[float, float]:
    """Height of the lower end of the upper teeth (IOD), and how well the teeth are seen."""
    scale = min(200.0, float(face.project.iod_px))
    low = teeth.LOWER_BOTTOM + float(placed.jaw[1])
    y = np.arange(teeth.UPPER_TOP, low, -1 / scale, dtype=np.float32)
    x = np.arange(-teeth.MOUTH_HALF_WIDTH, teeth.MOUTH_HALF_WIDTH, 1 / scale, dtype=np.float32)
    grid = np.zeros((len(y), len(x), 3), dtype=np.float32)
    grid[..., 0], grid[..., 1] = x, y[:, None]
    pixels, weight = _read(face, _places(face, placed, placed.anchor + grid))
    bright = pixels @ LUMA / max(float(_light(face) @ LUMA), 1.0)
    middle = weight[:, np.abs(x) < MIDDLE]
    inside = middle.mean(axis=1) > 0.6
    if inside.sum() < 4:
        return 0.0, 0.0
    profile = (bright[:, np.abs(x) < MIDDLE] * middle).sum(axis=1) / np.maximum(middle.sum(axis=1), 1e-3)
    end, contrast = _end_of_teeth(profile, np.flatnonzero(inside))
    edge = float(y[end]) - 0.006
    if not EDGES[0] < edge < EDGES[1]:  # it is the lower teeth that are seen
        return 0.0, 0.0
    shown = (bright > BRIGHT) & (pixels[..., 0] < 1.25 * pixels[..., 1]) & (weight > 0.5)
    # A sharp frame has steps between teeth and gap.
    sharp = float(np.abs(np.diff(bright, axis=0))[weight[1:] > 0.5].mean()) * scale / 10
    return edge, float(shown.sum()) / scale**2 * contrast * sharp


def _end_of_teeth(profile: FloatArray, rows: NDArray[np.intp]) -> tuple[int, float]:
    """The row where the upper teeth end, and how much darker (0 to 1) it is below.

    `profile` (h,) is the brightness of the rows, from the nose down, and `rows` are those between the lips.
    """
    peak = float(profile[rows].max())
    top = next(int(row) for row in rows if profile[row] >= 0.7 * peak)
    dark = top
    for row in range(top, int(rows[-1]) + 1):
        if profile[row] > profile[top] and dark == top:
            top = dark = row  # still rising
        elif profile[row] < profile[dark]:
            dark = row
        elif (
            profile[row] - profile[dark] > 0.5 * (profile[top] - profile[dark])
            and profile[dark] < 0.85 * profile[top]
        ):
            break  # the lower teeth begin
    half = (profile[top] + profile[dark]) / 2
    end = next(row for row in range(top, dark + 1) if profile[row] <= half or row == dark)
    return end, float(np.clip((1 - profile[dark] / max(float(profile[top]), 1e-3)) / 0.5, 0, 1))


def _laid_out(face: Seen, placed: _Placed, edge: float) -> Frame:
    """(h, w, 4) the frame's mouth, from top to bottom: what moves with the skull, what lies between, and the jaw."""
    scale = min(240.0, teeth.OVERSAMPLE * float(face.project.iod_px))
    upper = round((teeth.UPPER_TOP - edge) * scale)
    middle = round(teeth.MIDDLE_HEIGHT * scale)
    lower = round((teeth.LOWER_EDGE - teeth.LOWER_BOTTOM) * scale)
    width = round(2 * teeth.MOUTH_HALF_WIDTH * scale)
    rows = np.arange(upper + middle + lower, dtype=np.float32)
    share = np.clip((rows - upper) / middle, 0, 1)[:, None]
    above = np.minimum(edge + (upper - rows) / scale, teeth.UPPER_TOP)
    height = np.where(rows < upper, above, teeth.LOWER_EDGE - (rows - upper - middle) / scale)
    between = edge + (teeth.LOWER_EDGE - edge) * share[:, 0]
    height = np.where((rows >= upper) & (rows < upper + middle), between, height)
    grid = np.zeros((len(rows), width, 3), dtype=np.float32)
    grid[..., 0] = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / scale
    grid[..., 1] = height[:, None]
    grid += placed.anchor + share[..., None] * placed.jaw
    pixels, weight = _read(face, _places(face, placed, grid))
    # A part between the teeth that was seen as a narrow strip would be drawn out to stripes.
    span = edge - (teeth.LOWER_EDGE + float(placed.jaw[1]))
    weight[upper:] *= np.clip(1.5 * span / teeth.MIDDLE_HEIGHT, 0, 1)
    return np.dstack([np.clip(np.round(pixels), 0, 255), np.round(255 * weight)]).astype(np.uint8)
