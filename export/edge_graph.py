"""The edge family's animate graph: the warp as a torch module, for engines that keep the source on a device.

First `front = skin(skin_map) + plate · (1 − skin's alpha)`, smoothed where the map has an edge.
Then `frame = front · (1 − a) + inner(inner_map) · shade · a`, rounded to nearest; bilinear, borders repeated.

The graph is float32 in every precision: in half precision the middle of a picture 1024 pixels wide is known to half a
pixel, and TensorRT reads a picture only at positions of the picture's own type.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.writing import frame_of, planes_of, written
from icface.geometry.raster import EDGE_FROM_PX, EDGE_PX

SHAPES: Final[dict[str, tuple[int | str, ...]]] = {
    "skin": ("skin_h", "skin_w", 4),
    "plate": ("height", "width", 3),
    "inner": ("inner_h", "inner_w", 3),
    "skin_map": ("height", "width", 2),
    "inner_map": ("height", "width", 2),
    "inner_alpha": ("height", "width"),
    "inner_shade": ("height", "width"),
}
"""Inputs: `skin` is uint8 RGBA, its colours multiplied by alpha; the other pictures are uint8 RGB. The maps are float32
pixel positions (x, y), the weights uint8."""
_EXAMPLE_PX: Final = {"skin_h": 20, "skin_w": 24, "inner_h": 10, "inner_w": 12, "height": 14, "width": 16}


class EdgeWarp(nn.Module):
    """Inputs as in SHAPES; gives `frame` (H, W, 3) uint8 RGB."""

    def forward(
        self,
        skin: Tensor,
        plate: Tensor,
        inner: Tensor,
        skin_map: Tensor,
        inner_map: Tensor,
        inner_alpha: Tensor,
        inner_shade: Tensor,
    ) -> Tensor:
        levels, _ = warped(skin, plate, inner, skin_map, inner_map, inner_alpha, inner_shade)
        return frame_of(levels)


def warped(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Warp the inputs, which are in SHAPES order.

    Returns:
        The frame before it is rounded, (1, 3, H, W) float32 in 0 … 255; and how much of it is the person,
        (1, 1, H, W) in [0, 1].
    """
    skin, plate, inner, skin_map, inner_map, inner_alpha, inner_shade = inputs
    person, behind = read(planes_of(skin), skin_map), read(planes_of(inner), inner_map)
    alpha = person[:, 3:] / 255
    front = _smoothed(person[:, :3] + planes_of(plate) * (1 - alpha), skin_map)
    lit = behind * (inner_shade.float() / 255)
    return front + (lit - front) * (inner_alpha.float() / 255), alpha


def _smoothed(front: Tensor, positions: Tensor) -> Tensor:
    """`icface.geometry.raster.soften_edges` for a picture (1, 3, H, W)."""
    across = (positions[:, 1:] - positions[:, :-1]).abs().amax(dim=2)
    down = (positions[1:] - positions[:-1]).abs().amax(dim=2)
    jump = torch.maximum(
        torch.maximum(functional.pad(across, (0, 1)), functional.pad(across, (1, 0))),
        torch.maximum(functional.pad(down, (0, 0, 0, 1)), functional.pad(down, (0, 0, 1, 0))),
    )
    share = ((jump - EDGE_FROM_PX) / (EDGE_PX - EDGE_FROM_PX)).clamp(0, 1)
    around = functional.pad(front, (1, 1, 1, 1), mode="replicate")
    rows = around[:, :, :-2] + 2 * around[:, :, 1:-1] + around[:, :, 2:]
    average = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return front + (average - front) * share


def read(planes: Tensor, positions: Tensor, beyond: str = "border") -> Tensor:
    """Read a picture (1, C, h, w) bilinearly at pixel positions (H, W, 2).

    Args:
        beyond: what lies around the picture: `border` repeats its edge, and `zeros` is 0.
    """
    height, width = planes.shape[2:]
    last = torch.tensor([width - 1, height - 1], device=positions.device)
    # Aligned corners: −1 and 1 are the centres of the first and the last pixel.
    grid = (positions * 2 / last - 1)[None]
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode=beyond, align_corners=True)


def example_inputs() -> dict[str, Tensor]:
    """Small tensors that the exporter traces the warp with."""
    return {
        name: torch.zeros(
            [size if isinstance(size, int) else _EXAMPLE_PX[size] for size in shape],
            dtype=torch.float32 if name.endswith("map") else torch.uint8,
        )
        for name, shape in SHAPES.items()
    }


def build_edge_graph() -> bytes:
    """The animate graph as an ONNX file; all sizes vary."""
    return written(EdgeWarp(), "edge_animate", example_inputs(), ["frame"], SHAPES)
