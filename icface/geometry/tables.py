"""The face tables that ship: canonical face, triangles and Action Unit displacements.

Made by training/assets/derive_displacements.py from ICT-FaceKit (MIT) and MediaPipe's canonical face model (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from icface.geometry.topology import OPENINGS

TABLES_PATH = Path(__file__).parent / "data" / "face_tables.safetensors"


@dataclass(frozen=True)
class FaceTables:
    """Unit IOD (distance of vertices 33 and 263), origin between them, x to the image's right, y up, z to the camera."""

    canonical: NDArray[np.float32]
    """(468, 3) MediaPipe's canonical face."""
    skin_triangles: NDArray[np.int32]
    """(n, 3) triangles of the skin, without the openings of mouth and eyes."""
    opening_triangles: NDArray[np.int32]
    """(m, 3) triangles that close mouth and eyes."""
    displacements: NDArray[np.float32]
    """(17, 468, 3) motion of each vertex for a whole movement of each Action Unit, in `AU_NAMES` order."""


@lru_cache(maxsize=1)
def face_tables() -> FaceTables:
    """Load the tables once."""
    raw = load_file(TABLES_PATH)
    triangles = raw["triangles"].astype(np.int32)
    opening = np.zeros(len(triangles), dtype=np.bool_)
    for contour in OPENINGS:
        opening |= np.isin(triangles, contour).all(axis=1)
    return FaceTables(
        canonical=raw["canonical"],
        skin_triangles=np.ascontiguousarray(triangles[~opening]),
        opening_triangles=np.ascontiguousarray(triangles[opening]),
        displacements=raw["displacements"].astype(np.float32),
    )
