"""The skin with its openings filled, and the eyeballs behind it. They are painted once per source."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray
from icface.geometry import topology as mesh

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in a pixel's brightness."""


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


WHITER: Final = 0.45
"""Part of the colour that a white loses where it is painted."""
LIGHTER: Final = 1.15
"""Factor of its brightness: lids that open far let more light on it."""


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
    luminance = pixels @ LUMA
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre_x, centre_y = (iris_px - origin).tolist()
    distance = np.hypot(x - centre_x, y - centre_y)
    white = known & (distance > radius * 1.15)
    sclera = np.array([205.0, 200.0, 196.0], dtype=np.float32)
    if white.sum() > 12:
        bright = white & (luminance >= np.percentile(luminance[white], 60))
        sclera = pixels[bright].mean(0)
    painted = np.empty_like(pixels)
    # Most of what is seen of a white lies in its corners, which are red.
    painted[:] = np.minimum(LIGHTER * (sclera + WHITER * (sclera @ LUMA - sclera)), 250)
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
    painted *= (1 - 0.40 * np.clip((outside - 0.01) / 0.09, 0, 1))[..., None]
    extended = cv2.inpaint(window, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float32)
    far = np.clip(outside / 0.03, 0, 1)[..., None]
    far = np.maximum(far, 0.8 * edge * disc[..., None])
    mixed = np.where(known[..., None], pixels, extended * (1 - far) + painted * far)
    hidden = (distance < 1.2 * radius) | ((np.abs(x - centre_x) < 1.2 * radius) & ~known)
    bright = white & (luminance >= 0.7 * float(sclera @ LUMA))
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
    weight = white * (eye @ LUMA) ** 2 + 1e-9
    filled = np.broadcast_to(sclera, eye.shape).astype(np.float32)
    # What lies near counts. Where nothing is near, what lies farther away.
    for width in (1.2, 0.5):
        sigma_x, sigma_y = width * radius, 0.4 * width * radius
        total = cv2.GaussianBlur(weight, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)[..., None]
        mean = cv2.GaussianBlur(eye * weight[..., None], (0, 0), sigmaX=sigma_x, sigmaY=sigma_y) / total
        sure = total / (total + 1e-3 * float(total.max()))
        filled = filled * (1 - sure) + mean * sure
    # Near the lids lies their shadow. Behind them it ends soon, because lids that open far throw it elsewhere.
    from_lids = [
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 3) / np.float32(radius)
        for part in (shown, ~shown)
    ]
    filled *= (1 - 0.30 * np.exp(-from_lids[0] / 0.35 - from_lids[1] / 0.2))[..., None]
    clean = LIGHTER * (filled + WHITER * ((filled @ LUMA)[..., None] - filled))
    beyond = np.minimum(from_lids[1] / 0.2, 1)[..., None]
    filled += beyond * (clean - filled)
    soft = cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), max(0.8, 0.1 * radius))[..., None]
    return np.asarray(eye * (1 - soft) + filled * soft)
