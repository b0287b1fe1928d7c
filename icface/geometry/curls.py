"""Single curls that stand out from the hair, which the matte has missed."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.pyramid import dot, highest, push_pull
from icface.segmentation.matte import grown
from icface.segmentation.segmenters import Mask

WIDTH: Final = 0.08
"""Curls are thinner than this (IOD)."""
REACH: Final = 0.25
"""So far from the hair (IOD) the background is looked at."""
LEAST_BELIEF: Final = 0.04
"""How much the network has to believe in hair around a curl."""
LEAST_CONTRAST: Final = 60.0
"""Between hair and background, in levels of RGB, so that a curl can be told."""
MOST_BUSY: Final = 5.0
"""Levels by which the background varies. Where it varies more, curls cannot be told from it, and nobody sees them."""
FINE_WINDOW: Final = 13
"""Pixels. A median of no fewer is taken at a smaller size."""
MOST_OTHER: Final = 30.0
"""Levels that neither hair nor background explains."""


def with_curls(frame: Frame, alpha: Mask, hair: Mask, iod_px: float) -> Mask:
    """Alpha raised where there are curls: thin, of the hair's colour, and joined to it.

    Args:
        frame: (H, W, 3) RGB.
        alpha: (H, W) of the person.
        hair: (H, W) how sure the network is of hair.
        iod_px: distance of the outer eye corners.
    """
    window = 2 * round(WIDTH * iod_px) + 1
    behind = _without_thin(frame, window).astype(np.float32)
    colour = push_pull(frame.astype(np.float32), ((alpha > 0.97) & (hair > 0.5)).astype(np.float32))
    # How far each pixel has gone from the background's colour to the hair's.
    there, apart = frame - behind, colour - behind
    share = dot(there, apart) / np.maximum(dot(apart, apart), LEAST_CONTRAST**2)
    other = highest(np.abs(there - share[..., None] * apart))
    curl = np.clip((share - 0.15) / 0.5, 0, 1) * (other < MOST_OTHER)
    curl *= np.clip(cv2.blur(hair, (window, window)) / LEAST_BELIEF - 1, 0, 1)

    beyond = 1 - grown((hair > 0.5) | (alpha > 0.1), REACH * iod_px).astype(np.float32)
    around = (4 * round(REACH * iod_px) + 1,) * 2
    seen = cv2.blur(beyond, around)
    busy = cv2.blur(highest(np.abs(there)) * beyond, around) / np.maximum(seen, 1e-3)
    curl *= np.clip(2 - busy / MOST_BUSY, 0, 1)

    _, parts = cv2.connectedComponents(grown((curl > 0.1) | (alpha > 0.5), 0.03 * iod_px))
    mine = np.zeros(parts.max() + 1, dtype=np.bool_)
    mine[parts[alpha > 0.97]] = True
    joined = mine[parts]
    return np.where(joined, np.maximum(alpha, curl), alpha).astype(np.float32)


def _without_thin(frame: Frame, window: int) -> Frame:
    """A picture without what is thinner than half a window (pixels, odd). A wide window is as good at half the size."""
    if window < 2 * FINE_WINDOW:
        return np.asarray(cv2.medianBlur(frame, window), dtype=np.uint8)
    half = max(1, frame.shape[1] // 2), max(1, frame.shape[0] // 2)
    small = cv2.resize(frame, half, interpolation=cv2.INTER_AREA)
    smooth = _without_thin(np.asarray(small, dtype=np.uint8), window // 4 * 2 + 1)
    return np.asarray(cv2.resize(smooth, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
