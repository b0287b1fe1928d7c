"""The outline of a person in the photo: how far head and hair go on around the face, and which colours lie inside."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Tensors
from icface.attributes import FloatArray
from icface.geometry import topology as mesh
from icface.geometry.follow import smooth
from icface.geometry.shape import FACE_CENTRE, Projection, ring_place

SURE: Final = 240
"""Alpha of what is the person altogether."""
BLUR: Final = 0.04
"""Colours are averaged over so much (IOD)."""
CHEEKS: Final = (280, 50)
NEAREST: Final = 1.05
FARTHEST: Final = 2.6
"""An outline around the face lies between so many times the oval's distance from its centre."""
ABOVE_EARS: Final = (0.15, 0.85)
"""From between these heights on the outline is the head's, of the face's half height over its middle. Below it is the
ears'."""
HAIR: Final = (1.3, 1.55)
"""Where it lies so many times as far out as the face, it is that of hair, also below."""
SURE_HAIR: Final = 0.97
LEAST_HAIR: Final = 0.05
"""Where less of the person is hair (IOD²), its colour is not known."""
NO_HEAD: Final = (1.05, 1.17)
"""Where it is no farther out than this, the photo cuts the head."""


def outline_by_angle(cache: Tensors, project: Projection, radius: Array, up: Array, angles: Array) -> Array:
    """How many times as far out as each vertex of the face oval the person ends (36,); smooth around the face.

    Args:
        cache: what `prepare_source` made.
        project: from head space to pixels of the crop.
        radius: (36,) distance of the oval's vertices from the face's centre.
        up: (36,) how much they lie above (1) or below it (−1).
        angles: (36,) around the centre.
    """
    ratios = np.arange(NEAREST, FARTHEST, 0.02)
    depth = ring_place(cache["neutral_shape"][list(mesh.OVAL), 2], up)[1][:, None] + 0 * ratios
    reach = radius[:, None] * ratios
    x, y = FACE_CENTRE[0] + reach * np.cos(angles)[:, None], FACE_CENTRE[1] + reach * np.sin(angles)[:, None]
    points = project(np.stack([x, y, depth], axis=-1).astype(np.float32), cache["rotation"])[..., :2]
    alpha = _read(np.ascontiguousarray(cache["skin"][..., 3]), points + np.float32(int(cache["margin"])))
    outline = np.array([_goes_on(inside, ratios) for inside in alpha > 127])
    around = np.concatenate([outline[-6:], outline, outline[:6]])
    weights = np.exp(-np.square(np.arange(-6, 7) / 1.5))
    return np.convolve(around, weights / weights.sum(), mode="same")[6:-6]


def is_heads(outline: Array, up: Array) -> Array:
    """How much an outline, so many times as far out as the face, is that of the head, where it points so far up (±1)."""
    above = smooth((up - ABOVE_EARS[0]) / (ABOVE_EARS[1] - ABOVE_EARS[0]))
    hair = smooth((outline - HAIR[0]) / (HAIR[1] - HAIR[0])) * smooth((up + 0.6) / 0.4)
    return np.maximum(above, hair) * smooth((outline - NO_HEAD[0]) / (NO_HEAD[1] - NO_HEAD[0]))


class Outline:
    """Lines across the head, at heights (head space) and at distances from its axis (IOD).

    Args:
        cache: what `prepare_source` made, in layers.
        project: from head space to pixels of the crop.
        centre: (3,) of the head, in head space.
    """

    def __init__(self, cache: Tensors, project: Projection, centre: FloatArray) -> None:
        # Single holes are no holes.
        alpha: Any = cv2.morphologyEx(cache["skin"][..., 3], cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        self.alpha: NDArray[np.uint8] = np.ascontiguousarray(alpha)
        self.margin = np.float32(int(cache["margin"]))
        self._iod = float(project.iod_px)
        window = 2 * (2 * round(BLUR * self._iod / 2) + 1,)
        self._colours: Any = cv2.blur(cache["skin"], window)
        rotation = cache["rotation"]
        up = rotation[:2, 1] * [1, -1]
        self._up = up / np.linalg.norm(up)
        self._across = np.array([-self._up[1], self._up[0]])
        self._middle = project(centre, rotation)[:2] + self.margin
        self._height = float(centre[1])
        face = (project(cache["neutral_shape"], rotation)[:, :2] + self.margin - self._middle) / self._iod
        face = np.stack([face @ self._across, face @ self._up + self._height], axis=1)
        self._oval = face[list(mesh.OVAL)]
        self.cheeks = self.colours(*face[list(CHEEKS)].T)
        """(2, 3) of the head's left cheek, at positive x, and of the right one."""
        self.hair = self._hair(cache)
        """(3,) the median colour; None where there is hardly any."""

    def place(self, x: Any, y: Any) -> Array:
        """Pixels (..., 2) of the layer."""
        across, up = np.asarray(x)[..., None], np.asarray(y)[..., None]
        return np.asarray(self._middle + (across * self._across + (up - self._height) * self._up) * self._iod)

    def colours(self, x: Any, y: Any) -> Array:
        """(n, 3) levels."""
        return _read(self._colours, self.place(x, y)[None])[0, :, :3]

    def top(self, highest: float) -> float:
        """Where the person ends above the head's centre."""
        y = np.arange(self._height, highest, 0.02)
        return _goes_on(_read(self.alpha, self.place(0 * y, y)[None])[0] > SURE, y)

    def reach(self, y: float, side: int, most: float) -> float:
        """How far the person reaches out to a side (1 or −1)."""
        x = np.arange(0, most, 0.02)
        return _goes_on(_read(self.alpha, self.place(side * x, y + 0 * x)[None])[0] > SURE, x)

    def to_hair(
        self, y: float, side: int, start: float, most: float, other_colour: float
    ) -> tuple[float, float]:
        """How far inwards from a distance the colour of the hair begins, and by how many levels it differs there.

        0 where there is no such colour: an outline before a bright window is pale, and a temple is skin.
        """
        if self.hair is None:
            return 0.0, 0.0
        inwards = np.arange(0, max(0.02, min(most, start - self.face(y, side))), 0.02)
        apart = np.abs(self.colours(side * (start - inwards), y + 0 * inwards) - self.hair).max(axis=1)
        first = int(np.argmax(apart < other_colour))  # 0 if there is none
        return float(inwards[first]), float(apart[first])

    def strip(self, y: float, side: int, start: float, most: float, other_colour: float) -> float:
        """How far inwards from a distance the same colour goes on, outside of the face."""
        inwards = np.arange(0, most, 0.02)
        colours = self.colours(side * (start - inwards), y + 0 * inwards)
        same = np.abs(colours - np.median(colours[:3], axis=0)).max(axis=1) < other_colour
        return min(_goes_on(same, inwards), start - self.face(y, side))

    def face(self, y: float, side: int) -> float:
        """How far the face reaches out to a side."""
        near = np.abs(self._oval[:, 1] - y) < 0.15
        return float(np.max(side * self._oval[near, 0])) if near.any() else 0.0

    def _hair(self, cache: Tensors) -> Array | None:
        every = max(1, round(0.02 * self._iod))  # pixels; a median needs no more
        alpha, skin = self.alpha[::every, ::every], cache["skin"][::every, ::every, :3]
        share = cv2.resize(cache["hair"], alpha.shape[::-1])
        inside = (share > SURE_HAIR) & (alpha > SURE)
        known = inside.sum() * (every / self._iod) ** 2 > LEAST_HAIR
        return np.asarray(np.median(skin[inside], axis=0)) if known else None


def _read(picture: Any, places: Any) -> Array:
    at = places.astype(np.float32)
    read = cv2.remap(
        np.ascontiguousarray(picture),
        at[..., 0],
        at[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(read, dtype=np.float32)


def _goes_on(inside: Array, away: Array) -> float:
    """The first of the distances (n,) that is not inside (n,)."""
    return float(away[-1] if inside.all() else away[np.argmin(inside)])
