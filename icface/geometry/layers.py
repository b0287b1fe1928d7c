"""What lies behind the skin: eyeballs and the inside of the mouth. They are painted once per source."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.geometry import topology as mesh
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

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Visible widths and heights from the midline (IOD): central and lateral incisor, canine, two premolars, molar.
_UPPER_TEETH = (
    (0.094, 0.130), (0.073, 0.118), (0.078, 0.126), (0.062, 0.110), (0.052, 0.102), (0.045, 0.098),
)  # fmt: skip
_LOWER_TEETH = (
    (0.058, 0.095), (0.062, 0.095), (0.070, 0.104), (0.064, 0.090), (0.054, 0.080), (0.046, 0.076),
)  # fmt: skip


def polygon_mask(size_px: tuple[int, int], polygon_px: FloatArray) -> Frame:
    """Antialiased filled polygon; size (width, height)."""
    mask = np.zeros((size_px[1], size_px[0]), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(polygon_px * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return mask


def fill_skin(crop: Frame, points_px: FloatArray, iod_px: float) -> Frame:
    """The crop with mouth and eye openings painted over from the skin around them."""
    height, width = crop.shape[:2]
    mask = np.zeros((height, width), dtype=np.uint8)
    for contour in mesh.OPENINGS:
        mask |= polygon_mask((width, height), points_px[list(contour), :2])
    grown = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=max(1, round(iod_px * 0.006)))
    result = crop.copy()
    x, y, w, h = cv2.boundingRect(grown)
    if not w:  # the openings lie outside the crop
        return result
    pad = 8
    box = np.s_[max(0, y - pad) : y + h + pad, max(0, x - pad) : x + w + pad]
    filled = cv2.inpaint(crop[box], (grown[box] > 0).astype(np.uint8), 4, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(grown[box], (0, 0), 1.0) / np.float32(255)
    inside = np.maximum(soft, mask[box] > 0)[..., None]
    result[box] = np.round(crop[box] * (1 - inside) + filled * inside)
    return result


def iris_circle(points_px: FloatArray, *, left: bool) -> FloatArray:
    """(3,) centre and radius of an iris in the crop."""
    iris = points_px[list(mesh.LEFT_IRIS if left else mesh.RIGHT_IRIS), :2]
    radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
    return np.array([*iris[0], radius], dtype=np.float32)


class EyePictures(NamedTuple):
    """One eyeball, (h, w, 3) RGB each."""

    as_photographed: Frame
    blank: Frame
    """Without the iris."""
    iris: Frame
    """A whole iris, with a soft rim, on the blank eyeball."""


def paint_eye(
    crop: Frame, points_px: FloatArray, iod_px: float, *, left: bool
) -> tuple[EyePictures, FloatArray, FloatArray]:
    """Continue the eyeball beyond what the lids show: a round iris, white around it, dark in the socket.

    Returns:
        The pictures, larger than the eye's opening; (2,) the crop's position of their pixel (0, 0); and (3,) RGB of the
        eye's white, which tells how much light falls on the face, whatever the skin.
    """
    contour = mesh.LEFT_EYE_OPENING if left else mesh.RIGHT_EYE_OPENING
    *iris_px, radius = iris_circle(points_px, left=left).tolist()
    polygon = points_px[list(contour), :2]
    centre = polygon.mean(0)
    half_w, half_h = round(iod_px * 0.24), round(iod_px * 0.17)
    origin = np.round(centre - [half_w, half_h]).astype(np.float32)
    width, height = 2 * half_w + 1, 2 * half_h + 1
    # The crop's border is repeated where the patch leaves it.
    rows = np.clip(np.arange(height) + int(origin[1]), 0, crop.shape[0] - 1)
    cols = np.clip(np.arange(width) + int(origin[0]), 0, crop.shape[1] - 1)
    window = crop[np.ix_(rows, cols)]
    inside = polygon_mask((width, height), polygon - origin)
    known = cv2.erode(inside, np.ones((3, 3), np.uint8)) > 127
    if known.sum() < 20:  # a closed eye: a plain eyeball
        known = inside > 127
    pixels = window.astype(np.float32)
    luminance = pixels @ _LUMA
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre_x, centre_y = (iris_px - origin).tolist()
    distance = np.hypot(x - centre_x, y - centre_y)
    white = known & (distance > radius * 1.15)
    sclera = np.array([205.0, 200.0, 196.0], dtype=np.float32)
    if white.sum() > 12:
        bright = white & (luminance >= np.percentile(luminance[white], 60))
        sclera = pixels[bright].mean(0)
    painted = np.empty_like(pixels)
    painted[:] = sclera
    # The iris is round. A part that a lid hides gets the colour of the ring at the same distance from the centre.
    disc = distance <= radius * 1.1
    profile = np.zeros((int(radius * 1.1) + 3, 3), dtype=np.float32)
    last = np.array([40.0, 32.0, 28.0], dtype=np.float32)
    for ring in range(len(profile)):
        sample = known & (np.abs(distance - ring) < 1.0)
        last = pixels[sample].mean(0) if sample.any() else last
        profile[ring] = last
    level = np.clip(distance, 0, len(profile) - 1.001)
    low = level.astype(np.int32)
    blend = (level - low)[..., None]
    round_iris = profile[low] * (1 - blend) + profile[np.minimum(low + 1, len(profile) - 1)] * blend
    edge = np.clip((radius * 1.1 - distance) / max(radius * 0.12, 1.0), 0, 1)[..., None]
    painted = np.where(disc[..., None], painted * (1 - edge) + round_iris * edge, painted)
    # Far from the photographed part the eyeball darkens into the socket. Near it the photo's own colours go on,
    # with the lid's shadow, so that a resting eye has no bright rim.
    outside = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 3) / np.float32(iod_px)
    painted *= (1 - 0.40 * np.clip(outside / 0.08, 0, 1))[..., None]
    extended = cv2.inpaint(window, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float32)
    far = np.clip(outside / 0.035, 0, 1)[..., None]
    far = np.maximum(far, 0.8 * edge * disc[..., None])
    mixed = np.where(known[..., None], pixels, extended * (1 - far) + painted * far)
    hidden = (distance < 1.2 * radius) | ((np.abs(x - centre_x) < 1.2 * radius) & ~known)
    bright = white & (luminance >= 0.7 * float(sclera @ _LUMA))
    blank = _without_iris(mixed, known, bright & (distance > 1.2 * radius), hidden, radius, sclera)
    # The photo's iris where it shows it, and the round one elsewhere; the rim is soft.
    whole = np.where(known[..., None], mixed, round_iris)
    cover = np.clip((1.02 * radius - distance) / max(0.12 * radius, 1.2), 0, 1)[..., None]
    pictures = (mixed, blank, blank * (1 - cover) + whole * cover)
    return EyePictures(*(_to_uint8(each) for each in pictures)), origin, sclera


def _to_uint8(image: FloatArray) -> Frame:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _without_iris(
    eye: FloatArray,
    shown: NDArray[np.bool_],
    white: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
    radius: float,
    sclera: FloatArray,
) -> FloatArray:
    """An eyeball (h, w, 3) whose `hidden` part is painted with the `white` (h, w) next to it.

    `shown` (h, w) is what the photo shows of it between the lids.
    """
    # Lashes and lids shade some of the white, so that bright pixels count more.
    weight = white * (eye @ _LUMA) ** 2 + 1e-9
    filled = np.broadcast_to(sclera, eye.shape).astype(np.float32)
    # What lies near counts. Where nothing is near, what lies farther away.
    for width in (1.2, 0.5):
        sigma_x, sigma_y = width * radius, 0.4 * width * radius
        total = cv2.GaussianBlur(weight, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)[..., None]
        mean = cv2.GaussianBlur(eye * weight[..., None], (0, 0), sigmaX=sigma_x, sigmaY=sigma_y) / total
        sure = total / (total + 1e-3 * float(total.max()))
        filled = filled * (1 - sure) + mean * sure
    # Near the lids and behind them lies their shadow.
    depth = cv2.distanceTransform(shown.astype(np.uint8), cv2.DIST_L2, 3) / np.float32(radius)
    filled *= (1 - 0.30 * np.exp(-depth / 0.35))[..., None]
    soft = cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), max(0.8, 0.1 * radius))[..., None]
    return np.asarray(eye * (1 - soft) + filled * soft)


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
        (h, w, 3) upper teeth, a dark cavity, tongue and lower teeth, from top to bottom; and (5,) where they lie in it:
        pixels per IOD; the row of the upper part's lower end, above which all moves with the skull; the row of
        `LOWER_EDGE`, below which all moves with the jaw; the height of that lower end over the line of the closed lips
        (IOD); and OWN where the upper part shows the photo's own teeth, KNOWN where the person's are shown, else 0.
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

    white = float(sclera @ _LUMA)
    # The brightness of the cheeks against a well-lit light skin.
    cheeks = cheek_colours(crop, points_px)
    cheek = cheeks @ _LUMA
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
        level = seen @ _LUMA
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
