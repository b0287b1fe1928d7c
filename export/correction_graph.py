"""The graphs with the learned correction: alone, for the host, and after the warp, for a GPU.

Alone it takes the patch that the host has cut out. After the warp it cuts the patch itself, and lays the correction
back: `frame = keep · frame + add`, both read bilinearly, and 1 and 0 outside of the patch. A value that is no number
counts as no correction, so that a network that fails leaves what geometry made.

In half precision the network's layers are float16. Positions, the conditions until they are normalised, and the way to
pixels stay float32. TensorRT-RTX has no products of float32 matrices for RTX 20 cards.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.edge_graph import SHAPES, example_inputs, read, warped
from export.writing import frame_of, rounded, with_half_weights, written
from icface.geometry.correction import LARGEST
from icface.geometry.patch import CONDITIONS, PATCH_PX, SUPERSAMPLING
from icface.geometry.raster import NO_OPENING
from icface.networks.patch import PatchCorrector, quarters, whole

CORRECTION_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "patch_to_frame": (2, 3),
    "conditions": (1, CONDITIONS),
    "gates": (1, 3),
}
"""What the whole graph takes beside the inputs of the warp; all float32."""
PATCH_SHAPE: Final = (1, PATCH_PX, PATCH_PX, 4)


class Correct(nn.Module):
    """From a patch (1, P, P, 4) uint8 to the correction (1, P, P, 4) float32: keep, and what is added in levels."""

    def __init__(self, network: PatchCorrector) -> None:
        super().__init__()
        self.network = network

    def forward(self, patch: Tensor, conditions: Tensor, gates: Tensor) -> Tensor:
        made = self._in_quarters(patch.float().permute(0, 3, 1, 2), conditions, gates)
        # Quarters to pixels and channels to the end, in one go.
        pixels: Tensor = made.unflatten(2, (2, 2)).permute(0, 4, 2, 5, 3, 1)
        return pixels.reshape(PATCH_SHAPE)

    def planes(self, levels: Tensor, conditions: Tensor, gates: Tensor) -> Tensor:
        """The same with the channels first, from levels (1, 4, P, P)."""
        return whole(self._in_quarters(levels, conditions, gates))

    def _in_quarters(self, levels: Tensor, conditions: Tensor, gates: Tensor) -> Tensor:
        keep, add = self.network.in_quarters(quarters(levels / 255), conditions, gates)
        return torch.cat([keep, 255 * add], dim=1)


class CorrectedWarp(nn.Module):
    """The warp and the correction. Inputs as of `EdgeWarp` and in CORRECTION_SHAPES; gives `frame` (H, W, 3) uint8."""

    fine: Tensor
    nothing: Tensor

    def __init__(self, network: PatchCorrector) -> None:
        super().__init__()
        self.correct = Correct(network)
        # Pixel centres are whole numbers: finer ones lie before and behind them.
        fine = (torch.arange(PATCH_PX * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 0.5
        self.register_buffer("fine", fine)
        self.register_buffer("nothing", torch.tensor([1.0, 0, 0, 0]).reshape(1, 4, 1, 1))

    def forward(
        self,
        skin: Tensor,
        plate: Tensor,
        inner: Tensor,
        skin_map: Tensor,
        inner_map: Tensor,
        inner_alpha: Tensor,
        inner_shade: Tensor,
        patch_to_frame: Tensor,
        conditions: Tensor,
        gates: Tensor,
    ) -> Tensor:
        levels, person = warped(skin, plate, inner, skin_map, inner_map, inner_alpha, inner_shade)
        frame = rounded(levels)
        opening = inner_alpha.float() * (inner_shade.float() - NO_OPENING).abs().clamp(0, 1)
        patch = self.cut(torch.cat([frame, opening[None, None]], dim=1), patch_to_frame)
        correction = self.correct.planes(patch, conditions, gates)
        correction = torch.where(correction.abs() < LARGEST, correction, self.nothing)
        changes = self.at_frame(correction - self.nothing, patch_to_frame, frame)
        return frame_of(frame + person * (changes[:, :1] * frame + changes[:, 1:]))

    def cut(self, seen: Tensor, patch_to_frame: Tensor) -> Tensor:
        """The patch (1, 4, P, P) of a frame (1, 4, H, W), in whole levels as `icface.geometry.patch.cut_patch`."""
        positions = _moved(self.fine[None, :], self.fine[:, None], patch_to_frame)
        fine = rounded(read(seen, positions))
        return rounded(functional.avg_pool2d(fine, SUPERSAMPLING))

    def at_frame(self, changes: Tensor, patch_to_frame: Tensor, frame: Tensor) -> Tensor:
        """What changes (1, 4, P, P), at the pixels of a frame (1, 3, H, W)."""
        linear, offset = patch_to_frame[:, :2], patch_to_frame[:, 2:]
        a, b, c, d = linear[0, 0], linear[0, 1], linear[1, 0], linear[1, 1]
        inverse = torch.stack([torch.stack([d, -b]), torch.stack([-c, a])]) / (a * d - b * c)
        back = torch.cat([inverse, -(inverse * offset.T).sum(dim=1, keepdim=True)], dim=1)
        height, width = frame.shape[2:]
        x = torch.arange(width, dtype=torch.float32, device=frame.device)
        y = torch.arange(height, dtype=torch.float32, device=frame.device)
        return read(changes, _moved(x[None, :], y[:, None], back), "zeros")


class HalfCorrector(PatchCorrector):
    """A corrector whose layers are float16. What it takes and gives stays float32."""

    def __init__(self, network: PatchCorrector) -> None:
        super().__init__(network.config)
        self.load_state_dict(network.state_dict())
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                part.half()
        self.place.data = self.place.data.half()
        self.style = nn.Sequential(_Half(), *self.style)

    def propose(self, patch: Tensor, conditions: Tensor) -> Tensor:
        return super().propose(patch.half(), conditions).float()

    def openings(self, inner: Tensor) -> tuple[Tensor, Tensor]:
        opening, inside = super().openings(inner.half())
        return opening.float(), inside.float()


class _Half(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.half()


def _moved(x: Tensor, y: Tensor, affine: Tensor) -> Tensor:
    """(H, W, 2) where an affine (2, 3) takes the points of a row x (1, W) and a column y (H, 1)."""
    return torch.stack([affine[i, 0] * x + affine[i, 1] * y + affine[i, 2] for i in (0, 1)], dim=-1)


def build_correction_graph(network: PatchCorrector, made: str = "correction") -> bytes:
    """The graph that corrects a patch, as an ONNX file; `made` names what it gives."""
    examples = {"patch": torch.zeros(PATCH_SHAPE, dtype=torch.uint8)} | {
        name: torch.zeros(CORRECTION_SHAPES[name]) for name in ("conditions", "gates")
    }
    return with_half_weights(written(Correct(network), f"edge_{made}", examples, [made]))


def build_corrected_graph(network: PatchCorrector) -> bytes:
    """The whole animate graph with the correction, as an ONNX file; the frame's and the photo's sizes vary."""
    examples = example_inputs() | {name: torch.ones(shape) for name, shape in CORRECTION_SHAPES.items()}
    shapes = SHAPES | CORRECTION_SHAPES
    return written(CorrectedWarp(network), "edge_animate", examples, ["frame"], shapes)
