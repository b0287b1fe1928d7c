"""Moves the person over the still room as the driver moves before the camera: to the sides, up and down, nearer."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import PLACE_LIMIT_IOD, PLACE_LIMIT_OCTAVES, FloatArray
from icface.images import cut_crop

REST_SCALE: Final = 1.06
"""At rest the person is so much larger where the picture's lower border cuts them: there is room to lean back."""
MOST_SCALE: Final = 1.5
MOST_HELP: Final = 1.25
"""So much larger the person may get, so that no edge is seen at which the photo cuts them. The rest limits the motion."""
HEAD_BESIDE: Final = 1.2
"""The head reaches so far (IOD) to each side of the face's middle. It stays in the picture."""
HEAD_ABOVE: Final = 1.5
LEAST_ROOM: Final = 0.15
"""So far (IOD) it may always move, whatever the picture has room for."""
_CUT_ALPHA: Final = 128
_CUT_SHARE: Final = 0.02


class Mover:
    """Lays the person (RGBA, colours multiplied by alpha) over a room, moved and scaled.

    Args:
        person: (H, W, 4) the person at rest, on the canvas. Edges of the canvas that cut them stay out of sight.
            (H, W, 3) of a source of one layer, which does not move: its room would.
        room: (H, W, 3) behind the person; None: nothing, so that pictures have alpha.
        window: (2, 3) from the picture's pixels to the canvas', one scale and a shift.
        size_px: (width, height) of the picture.
        head_px: (x, y) of the head on the canvas.
        iod_px: distance of the outer eye corners on the canvas.
    """

    def __init__(
        self,
        person: Frame,
        room: Frame | None,
        window: Array,
        size_px: tuple[int, int],
        head_px: FloatArray,
        iod_px: float,
    ) -> None:
        self.size_px = size_px
        self.moves = person.shape[2] == 4
        """Whether what is laid has alpha."""
        self._window = window
        self._head, self._iod = np.asarray(head_px, dtype=np.float64), iod_px
        height, width = person.shape[:2]
        alpha = person[..., -1]
        lines = alpha[:, 0], alpha[0], alpha[:, -1], alpha[-1]
        cut = [float((line > _CUT_ALPHA).mean()) > _CUT_SHARE for line in lines]
        # What is seen of the canvas: left, top, right, bottom, as edges of pixels.
        low = window[:, 2] - window[0, 0] / 2
        high = low + window[0, 0] * np.array(size_px)
        seen, ends = [*low, *high], [-0.5, -0.5, width - 0.5, height - 0.5]
        self._bounds = [
            (side % 2, seen[side], ends[side] - self._head[side % 2]) for side in range(4) if cut[side]
        ]
        head = np.array([HEAD_BESIDE, HEAD_ABOVE]) * iod_px
        self._back = np.maximum(self._head - head - low, LEAST_ROOM * iod_px)
        self._forth = np.maximum(high - self._head - head, LEAST_ROOM * iod_px)
        self._rest = REST_SCALE if self.moves and cut[3] and seen[3] > ends[3] - 0.05 * iod_px else 1.0
        self._room = None if room is None else cut_crop(room, window, size_px)
        self._moved = np.empty((size_px[1], size_px[0], person.shape[2]), dtype=np.uint8)
        self._picture = np.empty((size_px[1], size_px[0], 3), dtype=np.uint8)
        from icface.geometry.raster import over  # see realtime/engine.py: loaded beside the tracker

        self._over = over

    def place(self, place: FloatArray) -> tuple[float, Array]:
        """The scale, and the shift (2,) in pixels of the canvas, for a place (3,) as attributes have it."""
        if not self.moves:
            return 1.0, np.zeros(2)
        shift = np.clip(place[:2], -1, 1).astype(np.float64) * PLACE_LIMIT_IOD * self._iod
        most = np.where(shift < 0, self._back, self._forth)
        shift = most * np.tanh(shift / most)
        scale = self._rest * 2.0 ** (PLACE_LIMIT_OCTAVES * float(np.clip(place[2], -1, 1)))
        # A cut edge lies at head + scale · away + shift. It must not come into sight.
        needed = max(
            [(seen - self._head[axis] - shift[axis]) / away for axis, seen, away in self._bounds] or [0]
        )
        scale = min(max(scale, min(needed, self._rest * MOST_HELP)), MOST_SCALE)
        for axis, seen, away in self._bounds:
            limit = seen - self._head[axis] - scale * away
            shift[axis] = min(shift[axis], limit) if away < 0 else max(shift[axis], limit)
        return scale, shift

    def lay(self, person: Frame, place: FloatArray) -> Frame:
        """The picture (height, width, 3), or 4 where there is no room; valid until the next call."""
        scale, shift = self.place(place)
        # From the picture to the canvas, and there back to where the person was at rest.
        affine = self._window / scale
        affine[:, 2] += self._head - (self._head + shift) / scale
        cv2.warpAffine(
            person, affine, self.size_px, dst=self._moved, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        if self._room is None:
            return self._moved
        self._over(self._moved, self._room, self._picture)
        return self._picture
