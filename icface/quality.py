"""How close two arrays are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def psnr_db(found: NDArray[Any], expected: NDArray[Any], peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio of two arrays of one shape, with values from 0 to `peak`; infinite if equal."""
    return psnr_of_error_db(float(np.mean((found.astype(np.float64) - expected) ** 2)), peak)


def psnr_of_error_db(squared_error: float, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio of a mean squared error; infinite if it is zero."""
    return math.inf if squared_error == 0 else 10 * math.log10(peak**2 / squared_error)
