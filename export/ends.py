"""Both ends of a graph: from uint8 pixels to float32 planes, and back."""

from __future__ import annotations

from torch import Tensor


def planes_of(picture: Tensor) -> Tensor:
    """(1, 3, H, W) float32 in 0 … 255 of a picture (H, W, 3) uint8."""
    # TensorRT knows uint8 at the ends alone, so the cast comes first.
    return picture.float().permute(2, 0, 1)[None]


def rounded(levels: Tensor) -> Tensor:
    """(1, 3, H, W) levels as whole numbers in 0 … 255, still floats; a half is rounded up."""
    return (levels + 0.5).floor().clamp(0, 255)


def frame_of(levels: Tensor) -> Tensor:
    """(H, W, 3) uint8 RGB of levels (1, 3, H, W), rounded."""
    return rounded(levels)[0].permute(1, 2, 0).byte()
