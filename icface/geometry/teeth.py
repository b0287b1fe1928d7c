"""The inside of the mouth: upper teeth on the skull, a cavity, tongue and lower teeth on the jaw. Once per source."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from icface.arrays import Frame, Tensors
from icface.attributes import FloatArray
from icface.geometry import topology as mesh
from icface.geometry.layers import LUMA, polygon_mask
from icface.geometry.person import KnownMouth
from icface.geometry.shape import PIVOT, SourceShape

# The mouth's inside in IOD, measured from where the closed lips meet: the edges of the incisors, and how far the
# painted upper and lower parts reach. One IOD is about 90 mm.
MOUTH_HALF_WIDTH = 0.46
UPPER_TOP, UPPER_EDGE = 0.20, -0.022
LOWER_EDGE, LOWER_BOTTOM = -0.055, -0.22
MIDDLE_HEIGHT = 0.16
TEETH_DEPTH = -0.10
OWN_TEETH_GAP = 0.035
"""From this lip gap on (IOD) a photo is taken to show its own teeth."""
OPEN_GAP = 0.10
"""The same for a person whose teeth are known from a mouth that was wide open."""
OVERSAMPLE = 1.5
"""Pixels of the painted mouth per pixel of the crop."""
OWN, KNOWN = 1, 2
"""Whose teeth are shown: those of the photo, or those that other pictures of the person showed."""
GAINS = 0.4, 2.5
"""A picture's colours are changed no further than this for the light of another one."""

# Visible widths and heights from the midline (IOD): central and lateral incisor, canine, two premolars, molar.
_UPPER_TEETH = (
    (0.094, 0.130), (0.073, 0.118), (0.078, 0.126), (0.062, 0.110), (0.052, 0.102), (0.045, 0.098),
)  # fmt: skip
_LOWER_TEETH = (
    (0.058, 0.095), (0.062, 0.095), (0.070, 0.104), (0.064, 0.090), (0.054, 0.080), (0.046, 0.076),
)  # fmt: skip


def _teeth_row(
    x: FloatArray, depth: FloatArray, teeth: tuple[tuple[float, float], ...]
) -> tuple[FloatArray, FloatArray]:
    """Coverage and shade (h, w) of a row of teeth.

    `x` (h, w) is the distance from the midline, `depth` (h, w) the distance from the biting edge towards the gum, in IOD.
    """
    cover = np.zeros_like(x)
    shade = np.zeros_like(x)
    start = 0.0
    for i, (width, height) in enumerate(teeth):
        middle = start + width / 2
        u = (np.abs(x) - middle) / (width / 2)
        lift = 0.012 * (i == 1) + 0.006 * max(0, i - 2)  # laterals and premolars end a little higher
        corner = 0.03 * np.clip(np.abs(u) - 0.35, 0, 1) ** 2 * 2
        low = np.clip((depth - lift - corner) / 0.006, 0, 1)
        high = np.clip((height - depth) / 0.02, 0, 1)
        gap = np.clip((1.0 - np.abs(u)) / 0.10, 0, 1)
        member = low * (np.abs(u) <= 1.0)
        tone = (0.80 + 0.20 * gap) * (0.94 + 0.06 * high) * (1.0 - 0.085 * i)
        tone *= 1.0 - 0.10 * np.clip(1 - depth / 0.03, 0, 1) * 0.6
        cover = np.maximum(cover, member * high)
        shade = np.where(np.abs(u) <= 1.0, tone, shade)
        start += width
    return cover.astype(np.float32), shade.astype(np.float32)


def mouth_anchor(neutral: FloatArray) -> FloatArray:
    """(3,) head-space origin of the teeth: behind the middle of the closed lips."""
    line = (neutral[13] + neutral[14]) / 2
    return np.array([line[0], line[1], line[2] + TEETH_DEPTH], dtype=np.float32)


def cheek_colours(picture: Frame, points_px: FloatArray) -> FloatArray:
    """(4, 3) RGB of the cheeks, which tell how a face is lit."""
    spots = np.round(points_px[[50, 280, 205, 425], 1::-1]).astype(int)
    spots = np.clip(spots, 0, np.array(picture.shape[:2]) - 1)
    return np.asarray(picture[spots[:, 0], spots[:, 1]], dtype=np.float32)


class MouthRows(NamedTuple):
    """What the cache's tensor `mouth_rows` says of the painted mouth."""

    scale: float
    """Pixels per IOD."""
    upper: float
    """The row of the upper part's lower end, above which all moves with the skull."""
    lower: float
    """The row of `LOWER_EDGE`, below which all moves with the jaw."""
    upper_edge: float
    """The height of the upper part's lower end over the line of the closed lips (IOD)."""
    teeth: float
    """OWN where the upper part shows the photo's own teeth, KNOWN where the person's are shown, else 0."""

    @classmethod
    def of(cls, cache: Tensors) -> MouthRows:
        return cls(*cache["mouth_rows"])


def paint_mouth(
    crop: Frame,
    shape: SourceShape,
    points_px: FloatArray,
    sclera: FloatArray,
    known: KnownMouth | None = None,
) -> tuple[Frame, FloatArray]:
    """Paint the inside of the mouth. A photo that shows its own teeth keeps them; else what is known is shown.

    Args:
        crop: (T, T, 3) RGB.
        shape: the face in it.
        points_px: (478, 3) landmarks in crop pixels.
        sclera: (3,) RGB of the eyes' white, which tells the light.
        known: what other pictures showed of the inside of this person's mouth.

    Returns:
        (h, w, 3) upper teeth, a dark cavity, tongue and lower teeth, from top to bottom; and (5,) the `MouthRows`.
    """
    scale = shape.iod_px * OVERSAMPLE
    own = _own_teeth(crop, shape, points_px, scale, OWN_TEETH_GAP if known is None else OPEN_GAP)
    told = KNOWN if own is None and known is not None else OWN if own is not None else 0
    upper_edge = own[2] if own is not None else UPPER_EDGE if known is None else known.edge
    upper_rows = round((UPPER_TOP - upper_edge) * scale)
    middle_rows = round(MIDDLE_HEIGHT * scale)
    lower_rows = round((LOWER_EDGE - LOWER_BOTTOM) * scale)
    height, width = upper_rows + middle_rows + lower_rows, round(2 * MOUTH_HALF_WIDTH * scale)
    cols = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / scale
    rows = np.arange(height, dtype=np.float32)[:, None]
    x = np.broadcast_to(cols, (height, width))

    white = float(sclera @ LUMA)
    # The brightness of the cheeks against a well-lit light skin.
    cheeks = cheek_colours(crop, points_px)
    cheek = cheeks @ LUMA
    light = float(np.clip(max(float(cheek.max() / 190.0), white / 175.0), 0.45, 1.15))
    hue = 0.5 + 0.5 * sclera / max(white, 1.0)  # half of the light's colour
    tooth = np.array([222.0, 211.0, 192.0], dtype=np.float32) * hue * np.clip(light, 0.55, 1.05)
    gum = np.array([176.0, 104.0, 100.0], dtype=np.float32) * light
    dark = np.array([34.0, 14.0, 14.0], dtype=np.float32) * light
    tongue = np.array([142.0, 72.0, 72.0], dtype=np.float32) * light
    if own is not None:
        own = own[0][:upper_rows], own[1][:upper_rows], own[2]
    elif known is not None:
        own = *_lit_as(known, cheeks, (width, height)), upper_edge
    if own is not None:
        seen = own[0][:upper_rows][own[1][:upper_rows] > 0.5]
        if len(seen):  # less than half of a small opening may be left of it
            level = seen @ LUMA
            tooth = seen[level >= np.percentile(level, 70)].mean(0)

    image = np.empty((height, width, 3), dtype=np.float32)
    image[:] = dark
    tongue_row = upper_rows + middle_rows * 0.95
    inside = np.exp(-((x / 0.22) ** 4)) * np.clip(1 - np.abs(rows - tongue_row) / (middle_rows * 0.75), 0, 1)
    groove = 1 - 0.18 * np.exp(-((x / 0.018) ** 2))
    image += (tongue * 0.85 - dark) * (np.sqrt(inside) * groove)[..., None]
    biting_row = round((UPPER_TOP - UPPER_EDGE) * scale)
    for edge_row, direction, teeth, tone in (
        (biting_row, -1.0, _UPPER_TEETH, 1.0),
        (upper_rows + middle_rows, 1.0, _LOWER_TEETH, 0.62),
    ):
        depth = np.broadcast_to(direction * (rows - edge_row) / scale, (height, width)).astype(np.float32)
        cover, shade = _teeth_row(x, depth, teeth)
        behind = np.clip(depth / 0.004, 0, 1)[..., None]
        roundness = np.exp(-((x / 0.36) ** 2))[..., None]
        image = image * (1 - behind) + gum * (0.35 + 0.5 * roundness) * tone * behind
        lit = tooth * tone * (shade * (0.45 + 0.55 * roundness[..., 0]))[..., None]
        image = image * (1 - cover[..., None]) + lit * cover[..., None]
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.6, 0.006 * scale)), dtype=np.float32)
    if own is not None:
        weight = own[1][..., None]
        image[: len(weight)] += (own[0] - image[: len(weight)]) * weight
    rows_of = np.array([scale, upper_rows, upper_rows + middle_rows, upper_edge, told])
    return np.clip(np.round(image), 0, 255).astype(np.uint8), rows_of.astype(np.float32)


def _lit_as(known: KnownMouth, cheeks: FloatArray, size_px: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """(h, w, 3) pixels and (h, w) weight of a known mouth in the light of a photo's cheeks; size (width, height)."""
    drawn = cv2.resize(known.picture, size_px, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    gain = np.clip(np.median(cheeks, axis=0) / np.maximum(known.light, 1.0), *GAINS).astype(np.float32)
    pixels, weight = np.clip(drawn[..., :3], 0, 255) * gain, np.clip(drawn[..., 3] / np.float32(255), 0, 1)
    return pixels, weight


def _own_teeth(
    crop: Frame, shape: SourceShape, points_px: FloatArray, scale: float, least_gap: float
) -> tuple[FloatArray, FloatArray, float] | None:
    """The photo between the lips, laid on the skull; None where they are less apart than `least_gap` (IOD).

    (rows, w, 3) pixels and (rows, w) weight from `UPPER_TOP` downwards, and the height of their lower end (IOD).
    """
    gap = float(np.linalg.norm(points_px[13, :2] - points_px[14, :2])) / shape.iod_px
    if gap < least_gap:
        return None
    height, width = round((UPPER_TOP - LOWER_BOTTOM) * scale), round(2 * MOUTH_HALF_WIDTH * scale)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] / scale
    y = UPPER_TOP - np.arange(height, dtype=np.float32)[:, None] / scale
    anchor = shape.rotation @ (mouth_anchor(shape.neutral_shape) - PIVOT)
    axes = shape.rotation[:2, :2]
    map_x = shape.base_px[0] + shape.iod_px * (anchor[0] + axes[0, 0] * x + axes[0, 1] * y)
    map_y = shape.base_px[1] - shape.iod_px * (anchor[1] + axes[1, 0] * x + axes[1, 1] * y)
    map_x, map_y = map_x.astype(np.float32), map_y.astype(np.float32)
    opening = polygon_mask((crop.shape[1], crop.shape[0]), points_px[list(mesh.MOUTH_OPENING), :2])
    margin = max(1, round(shape.iod_px * 0.008))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    soft = cv2.GaussianBlur(cv2.erode(opening, kernel), (0, 0), max(1.0, shape.iod_px * 0.008))
    cubic = cv2.remap(crop, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    pixels = cubic.astype(np.float32)
    weight = cv2.remap(soft, map_x, map_y, cv2.INTER_LINEAR) / np.float32(255)
    used = np.flatnonzero((weight > 0.5).any(axis=1))
    if used.size < 2:
        return None
    lower_end = max(float(UPPER_TOP - used[-1] / scale), LOWER_BOTTOM + 0.02)
    return pixels, weight, min(lower_end, UPPER_EDGE)
