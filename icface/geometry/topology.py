"""MediaPipe's face mesh: names for the vertices that the geometry needs, subject's right side first, and its tables.

Vertex numbers are MediaPipe's (0–467 skin, 468–477 irises). Contours run in order, so that they can be used as
polygons. Source: MediaPipe's canonical face model and its published drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FACE_VERTICES: Final = 468

# Lips as rows from the opening outwards; each row runs from the subject's right corner to the left one.
INNER_UPPER_LIP: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER_LIP: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIP_ROWS: Final = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_LIP_ROWS: Final = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
UPPER_LIP: Final = tuple(v for row in UPPER_LIP_ROWS for v in row)
LOWER_LIP: Final = tuple(v for row in LOWER_LIP_ROWS for v in row)
MOUTH_OPENING: Final = INNER_UPPER_LIP + INNER_LOWER_LIP[-2:0:-1]

# Lid contours from the outer to the inner corner.
RIGHT_UPPER_LID: Final = (246, 161, 160, 159, 158, 157, 173)
RIGHT_LOWER_LID: Final = (7, 163, 144, 145, 153, 154, 155)
LEFT_UPPER_LID: Final = (466, 388, 387, 386, 385, 384, 398)
LEFT_LOWER_LID: Final = (249, 390, 373, 374, 380, 381, 382)
# Upper lid, lower lid, the two rows of skin above them, and the row below.
RIGHT_LIDS: Final = (
    RIGHT_UPPER_LID,
    RIGHT_LOWER_LID,
    (247, 30, 29, 27, 28, 56, 190),
    (113, 225, 224, 223, 222, 221, 189),
    (25, 110, 24, 23, 22, 26, 112),
)
LEFT_LIDS: Final = (
    LEFT_UPPER_LID,
    LEFT_LOWER_LID,
    (467, 260, 259, 257, 258, 286, 414),
    (342, 445, 444, 443, 442, 441, 413),
    (255, 339, 254, 253, 252, 256, 341),
)
UPPER_LID: Final = RIGHT_UPPER_LID + LEFT_UPPER_LID
LOWER_LID: Final = RIGHT_LOWER_LID + LEFT_LOWER_LID
RIGHT_EYE_OPENING: Final = (33, *RIGHT_UPPER_LID, 133, *RIGHT_LOWER_LID[::-1])
LEFT_EYE_OPENING: Final = (263, *LEFT_UPPER_LID, 362, *LEFT_LOWER_LID[::-1])
OPENINGS: Final = (MOUTH_OPENING, RIGHT_EYE_OPENING, LEFT_EYE_OPENING)
# Irises: centre, then four points of the rim.
RIGHT_IRIS: Final = (468, 469, 470, 471, 472)
LEFT_IRIS: Final = (473, 474, 475, 476, 477)

# The face oval, from the forehead's middle over the subject's left temple to the chin and back.
OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

TABLES_PATH: Final = Path(__file__).parent / "data" / "face_tables.safetensors"
"""Made by training/assets/derive_displacements.py from ICT-FaceKit (MIT) and MediaPipe's canonical face (Apache-2.0)."""


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
    extensions: NDArray[np.float32]
    """(n, 468, 3) the same for the extensions that move skin, in `SHAPE_NAMES` order. A `_side` row is half of left
    minus right."""


@cache
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
        extensions=raw["extensions"].astype(np.float32),
    )
