"""The person of a photo in colours of their own, to stand before any background.

The layer that stands before the photo's own plate may carry some of the wall in its soft edge: nobody sees it there.
Before another background that is a grey halo. So here the colours of hair are estimated without the wall.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.pyramid import Colours, dot, push_pull
from icface.segmentation.segmenters import Mask

SURE: Final = 0.97
"""From this alpha on a pixel shows the person alone."""
SURE_BY: Final = 0.02
"""So far (IOD) inside the sure part. The outermost pixels of hair still carry the wall."""
APART_LEVELS: Final = (25.0, 70.0)
"""Where hair and wall differ by the second of these, the photo tells alpha. Below the first it tells nothing."""
STRANDS_REACH: Final = 0.30
"""Single hairs are looked for so far (IOD) from the person."""
NOISE: Final = 0.12
"""What the wall's own grain looks like, in alpha."""
MOST_LOSS: Final = 0.06
"""Hair that looks like the wall loses alpha only so far (IOD) inside the matte's outline."""
VEIL: Final = 0.15
"""Where the wall is not plain, a matte below this is more often wall than hair."""


def free_layer(
    frame: Frame, alpha: Mask, background: Frame, iod_px: float, *, plain: bool
) -> tuple[Mask, Frame]:
    """Alpha, and colours multiplied by it (H, W, 3), of the person without the wall.

    Args:
        frame: (H, W, 3) RGB.
        alpha: (H, W) the matte as it was found.
        background: (H, W, 3) RGB without the person.
        iod_px: distance of the outer eye corners.
        plain: the background is a plain wall, so that it is known behind the hair too. There single hairs are found
            by their colour.
    """
    photo, behind = frame.astype(np.float32), background.astype(np.float32)
    depth = cv2.distanceTransform((alpha > SURE).astype(np.uint8), cv2.DIST_L2, 3)
    person = push_pull(photo, (depth > max(1.0, SURE_BY * iod_px)).astype(np.float32))
    if plain:
        alpha = _by_colour(photo, alpha, behind, person, iod_px)
    else:
        alpha = np.clip((alpha - VEIL) / (1 - 1.5 * VEIL), 0, 1)
        behind = push_pull(photo, (alpha < 0.02).astype(np.float32))
    colours = frame * (alpha >= 1)[..., None]
    band = (alpha > 0) & (alpha < 1)
    weight, own = alpha[band][:, None], person[band]
    # What is left of the photo when both layers are taken away is detail of the person, more the more of them is seen.
    rest = photo[band] - weight * own - (1 - weight) * behind[band]
    colours[band] = np.clip(own + np.clip(rest, -60, 60) * weight, 0, 255) * weight + np.float32(0.5)
    return alpha, colours


def _by_colour(photo: Colours, alpha: Mask, behind: Colours, person: Colours, iod_px: float) -> Mask:
    """Alpha (H, W) by where each colour lies between the wall's and the hair's, where these two are far apart."""
    toward = person - behind
    squared = dot(toward, toward)
    apart = np.sqrt(squared)
    share = dot(photo - behind, toward) / np.maximum(squared, 1)
    share = np.clip((share - NOISE) / (1 - 2 * NOISE), 0, 1)
    told = np.clip((apart - APART_LEVELS[0]) / (APART_LEVELS[1] - APART_LEVELS[0]), 0, 1)
    # Far from the person, and inside of them, the matte is right.
    away = cv2.distanceTransform((alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 3) / iod_px
    told *= np.clip((STRANDS_REACH - away) / 0.1, 0, 1) * (alpha < 1)
    inside = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / (MOST_LOSS * iod_px)
    # What has the wall's very colour is wall, however far inside.
    bound = np.clip(inside, 0, 1) * np.clip(share / NOISE, 0, 1)
    share += bound * np.maximum(alpha - share, 0)
    return np.asarray(alpha + told * (share - alpha), dtype=np.float32)
