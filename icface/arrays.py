"""Names for the arrays that pass between modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Array = NDArray[np.float64]
"""Numbers of the geometry and of measurements, in double precision."""
Tensors = Mapping[str, NDArray[Any]]
"""Named tensors, as graphs take and give them."""
