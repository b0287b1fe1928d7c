"""How near a picture is to the one it should be: L1 and SSIM, computed in float64 on [0, 1]."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame

WINDOW_PX: Final = 11
"""Side of SSIM's Gaussian window."""
WINDOW_SIGMA_PX: Final = 1.5
_C1: Final = 0.01**2
_C2: Final = 0.03**2


def l1(a: Frame, b: Frame) -> float:
    """Mean absolute difference of two frames of one shape."""
    return float(np.abs(_unit(a) - _unit(b)).mean())


def ssim(a: Frame, b: Frame) -> float:
    """Structural similarity, the mean over pixels and colours.

    Gaussian window 11 × 11 with σ 1.5, where it lies wholly inside the frame; K1 .01, K2 .03; population variances.
    Source: Wang, Bovik, Sheikh, Simoncelli (2004).

    Raises:
        ValueError: the frames are smaller than the window.
    """
    if min(a.shape[:2]) < WINDOW_PX:
        raise ValueError(f"SSIM needs frames of {WINDOW_PX} pixels or more, got {a.shape[:2]}")
    x, y = _unit(a), _unit(b)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return float((luminance * structure).mean())


def _unit(frame: Frame) -> NDArray[np.float64]:
    return frame.astype(np.float64) / 255


def _blur(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = cv2.getGaussianKernel(WINDOW_PX, WINDOW_SIGMA_PX, cv2.CV_64F)
    blurred = cv2.sepFilter2D(picture, cv2.CV_64F, kernel, kernel)
    edge = WINDOW_PX // 2
    return np.asarray(blurred[edge:-edge, edge:-edge])
