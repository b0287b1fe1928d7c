"""The learned correction on the host: its patch is cut out of a frame, and what a network makes of it is laid back.

`frame = keep · frame + add`, with both read bilinearly from the patch, as far as a pixel shows the person. The frame
itself is never resampled, so that it keeps its detail. Outside of the patch, and behind the person, it stays as it is.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array, Frame, Tensors
from icface.attributes import FloatArray
from icface.compiled import compiled
from icface.geometry import gates
from icface.geometry.patch import (
    CONDITIONS,
    PATCH_PX,
    SUPERSAMPLING,
    conditions,
    finer,
    measures,
    patch_affine,
)
from icface.geometry.raster import NO_OPENING
from icface.geometry.shape import Projection

_F3 = nb.types.Array(nb.float32, 3, "C")
_U3 = nb.types.Array(nb.uint8, 3, "C")
_IDENTITY: Final = (1.0, 0.0, 0.0, 0.0)
LARGEST: Final = 1e4
"""No value of a correction lies so far from 0."""
FARTHEST_PX: Final = 1e5
"""No patch lies so far away."""


class CorrectionInputs:
    """What the network of one source is told about a frame, beside its picture."""

    def __init__(self, cache: Tensors, project: Projection) -> None:
        self._neutral, self._project = cache["neutral_shape"], project
        self._photo = measures(cache["photo_shape"])
        self._facts = gates.photo_facts(cache)
        self.motion: dict[str, NDArray[Any]] = {
            "patch_to_frame": np.zeros((2, 3), dtype=np.float32),
            "conditions": np.zeros((1, CONDITIONS), dtype=np.float32),
            "gates": np.zeros((1, len(gates.REGIONS)), dtype=np.float32),
        }

    def tell(self, shape: FloatArray, rotation: FloatArray) -> None:
        """Write `motion` for a face of this shape (468, 3) in head space, turned by `rotation` (3, 3)."""
        told = conditions(measures(shape), self._photo, rotation)
        self.motion["conditions"][0] = told
        self.motion["gates"][0] = gates.strengths(gates.frame_facts(self._facts, told))
        self.motion["patch_to_frame"][:] = patch_affine(self._neutral, rotation, self._project)


class Patch:
    """The patch of frames of one size (width, height): cut out, and laid back. It owns its buffers."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self._size_px = size_px
        side = SUPERSAMPLING * PATCH_PX
        self._fine = np.empty((side, side, 4), dtype=np.uint8)
        self._patch = np.empty((1, PATCH_PX, PATCH_PX, 4), dtype=np.uint8)
        self._opening = np.empty(size_px[0] * size_px[1], dtype=np.uint8)
        # For the box around the patch, whose size changes from frame to frame.
        self._seen = np.empty(4 * size_px[0] * size_px[1], dtype=np.uint8)
        self._made = np.empty(4 * size_px[0] * size_px[1], dtype=np.float32)

    def cut(self, frame: Frame, motion: Tensors) -> NDArray[np.uint8]:
        """Cut the patch (1, PATCH_PX, PATCH_PX, 4) out of a frame (H, W, 3) and the openings of eyes and mouth.

        It is what `icface.geometry.patch.cut_patch` gives at `patch_to_frame`, valid until the next call. The openings
        are `inner_alpha` (H, W) where `inner_shade` (H, W) does not say that there is none.
        """
        patch_to_frame = motion["patch_to_frame"]
        box, affine = self._box(patch_to_frame)
        # OpenCV reads pictures of four channels in a third of the time.
        seen = self._seen[: 4 * box.width * box.height].reshape(box.height, box.width, 4)
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        opening = self._opening[: box.width * box.height].reshape(box.height, box.width)
        openings(motion["inner_alpha"][rows, columns], motion["inner_shade"][rows, columns], opening)
        cv2.mixChannels([frame[rows, columns], opening], [seen], [0, 0, 1, 1, 2, 2, 3, 3])
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        size = self._fine.shape[1], self._fine.shape[0]
        cv2.warpAffine(seen, finer(affine), size, dst=self._fine, flags=flags, borderMode=border)
        cv2.resize(self._fine, (PATCH_PX, PATCH_PX), dst=self._patch[0], interpolation=cv2.INTER_AREA)
        return self._patch

    def lay_back(
        self, correction: FloatArray, patch_to_frame: Array, person: NDArray[np.uint8], frame: Frame
    ) -> None:
        """Lay a correction over a frame (H, W, 3) RGB in place.

        Args:
            correction: (1, PATCH_PX, PATCH_PX, 4) float32: keep, and what is added to red, green and blue, in levels.
            patch_to_frame: (2, 3) from pixels of the patch to pixels of the frame.
            person: (H, W, 4), whose last channel is how much of each pixel is the person.
            frame: changed in place.
        """
        box, affine = self._box(patch_to_frame)
        made = self._made[: 4 * box.width * box.height].reshape(box.height, box.width, 4)
        size, border = (box.width, box.height), cv2.BORDER_CONSTANT
        cv2.warpAffine(correction[0], affine, size, dst=made, borderMode=border, borderValue=_IDENTITY)
        _composite(made, person, frame, box.left, box.top)

    def _box(self, patch_to_frame: Array) -> tuple[_Box, Array]:
        """What the patch touches of the frame, with a pixel around, at least one; and the affine into that box."""
        far = PATCH_PX - 0.5
        corners = np.array([[-0.5, -0.5], [far, -0.5], [-0.5, far], [far, far]]) @ patch_to_frame[:, :2].T
        corners += patch_to_frame[:, 2]
        size = np.array(self._size_px)
        low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, size - 1)
        high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, low + 1, size)
        affine = patch_to_frame.astype(np.float64)
        affine[:, 2] -= low
        return _Box(*low.tolist(), *high.tolist()), affine


class _Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def openings(
    inner_alpha: NDArray[np.uint8], inner_shade: NDArray[np.uint8], out: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """How much of each pixel (H, W) is an opening of eyes or mouth; a side of the head is none. Written into `out`."""
    np.not_equal(inner_shade, NO_OPENING, out=out.view(np.bool_))
    return np.multiply(inner_alpha, out, out=out)


def usable(correction: FloatArray) -> bool:
    """Whether it is (1, PATCH_PX, PATCH_PX, 4) float32, and all values are numbers of a sensible size."""
    if correction.shape != (1, PATCH_PX, PATCH_PX, 4) or correction.dtype != np.float32:
        return False
    return bool(cv2.checkRange(correction.reshape(-1, 4), True, -LARGEST, LARGEST)[0])


@compiled(_F3, _U3, _U3, nb.int64, nb.int64)
def _composite(correction: FloatArray, person: NDArray[np.uint8], frame: Frame, left: int, top: int) -> None:
    """Correct a box of the frame whose first pixel is (left, top), rounded to nearest."""
    low, high, half, whole = np.float32(0), np.float32(255), np.float32(0.5), np.float32(1 / 255)
    # Flat rows and unsigned indices, so that the compiler makes vectors of it.
    one, three, four = np.uint64(1), np.uint64(3), np.uint64(4)
    for y in range(correction.shape[0]):
        made, row = correction[y].reshape(-1), frame[top + y].reshape(-1)[3 * left :]
        shown = person[top + y].reshape(-1)[4 * left :]
        for x in range(np.uint64(correction.shape[1])):
            alpha = whole * np.float32(shown[four * x + three])
            loss = alpha * (made[four * x] - np.float32(1))
            for c in range(three):
                was = np.float32(row[three * x + c])
                value = was + loss * was + alpha * made[four * x + one + c] + half
                row[three * x + c] = np.uint8(np.int32(min(max(value, low), high)))
