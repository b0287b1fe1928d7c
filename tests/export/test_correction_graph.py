"""The graphs with the correction: their types and operators, what they compute by hand, and who builds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from export.correction_graph import CorrectedWarp, HalfCorrector
from export.edge_golden import _sample, golden_inputs
from export.edge_graph import SHAPES, EdgeWarp
from export.pack_edge import pack
from icface.bundle import Bundle
from icface.errors import ConfigError
from icface.geometry.patch import PATCH_PX, cut_patch
from icface.geometry.raster import NO_OPENING
from icface.networks.patch import PatchConfig, PatchCorrector
from tests.export.correctors import random_corrector
from tests.export.rtx import CAPABILITIES, engine_bytes

AFFINE = np.array([[0.3, 0.05, 10.0], [-0.05, 0.3, 14.0]], dtype=np.float32)


class Constant(PatchCorrector):
    """A corrector that gives the same everywhere, whatever it sees."""

    def __init__(self, keep: float, add: float) -> None:
        super().__init__(PatchConfig(channels=(4, 4, 4, 4), hidden=4))
        self.keep, self.add = keep, add

    def in_quarters(self, patch: Tensor, conditions: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(patch[:, :1], self.keep), torch.full_like(patch[:, :3], self.add)


def shown_person() -> np.ndarray:
    """(H, W, 1) how much of the golden frame is the person."""
    inputs = golden_inputs()
    return _sample(inputs["skin"], inputs["skin_map"])[..., 3:] / 255


def whole(network: PatchCorrector) -> tuple[np.ndarray, np.ndarray]:
    """The frame by geometry alone, and with a network, of the golden inputs."""
    inputs = golden_inputs()
    tensors = [torch.from_numpy(inputs[name]) for name in SHAPES]
    told = (torch.from_numpy(AFFINE), torch.zeros(1, 28), torch.ones(1, 3))
    return EdgeWarp()(*tensors).numpy(), CorrectedWarp(network)(*tensors, *told).numpy()


def test_the_frame_is_kept_and_added_to_inside_the_patch_alone() -> None:
    plain, made = whole(Constant(0.5, 20 / 255))
    corners = np.array([[0, 0], [PATCH_PX - 1, PATCH_PX - 1]]) @ AFFINE[:, :2].T + AFFINE[:, 2]
    assert (corners > 8).all() and (corners < [88, 72]).all()
    middle = corners.mean(axis=0).astype(int)
    box = np.s_[middle[1] - 12 : middle[1] + 12, middle[0] - 12 : middle[0] + 12]
    person = shown_person()[box]
    assert person.min() < 0.9 and person.max() == 1
    expected = np.floor(plain[box] + person * (20 - 0.5 * plain[box]) + 0.5)
    assert np.abs(made[box] - expected).max() <= 1
    np.testing.assert_array_equal(made[:4], plain[:4])
    np.testing.assert_array_equal(made[:, :4], plain[:, :4])


class Openings(Constant):
    """A corrector that brightens what it takes for eyes and mouth."""

    def in_quarters(self, patch: Tensor, conditions: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        keep, _ = super().in_quarters(patch, conditions, gates)
        return keep, 0.1 * patch[:, 3:].expand(-1, 3, -1, -1, -1)


def test_what_lies_over_the_skin_is_an_opening_only_where_its_shade_says_so() -> None:
    inputs = golden_inputs()
    told = (torch.from_numpy(AFFINE), torch.zeros(1, 28), torch.ones(1, 3))
    changed = []
    for shade in (NO_OPENING, NO_OPENING - 1):
        inputs["inner_shade"][:] = shade
        tensors = [torch.from_numpy(inputs[name]) for name in SHAPES]
        made = CorrectedWarp(Openings(1.0, 0.0))(*tensors, *told).numpy()
        changed.append(int((made != EdgeWarp()(*tensors).numpy()).sum()))
    assert changed[0] == 0 < changed[1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e9])
def test_what_is_no_number_changes_nothing(wrong: float) -> None:
    plain, made = whole(Constant(1.0, wrong))
    np.testing.assert_array_equal(made, plain)


def test_the_graph_cuts_what_the_training_cuts(rng: np.random.Generator) -> None:
    seen = rng.integers(0, 256, (72, 88, 4), dtype=np.uint8)
    planes = torch.from_numpy(seen).float().permute(2, 0, 1)[None]
    cut = CorrectedWarp(random_corrector()).cut(planes, torch.from_numpy(AFFINE))
    found = cut[0].permute(1, 2, 0).numpy()
    assert (
        np.abs(found - cut_patch(seen, AFFINE.astype(np.float64)).astype(int)).max() <= 1 + 255 / 32
    )  # OpenCV's steps of 1/32 pixel
    assert np.abs(found - cut_patch(seen, AFFINE.astype(np.float64)).astype(int)).mean() < 1


def test_half_precision_takes_and_gives_float32() -> None:
    network = random_corrector()
    half = HalfCorrector(network)
    patch, told, gates = torch.rand(1, 4, PATCH_PX, PATCH_PX), network.mean[None] + 0.05, torch.ones(1, 3)
    with torch.no_grad():
        for exact, rough in zip(network(patch, told, gates), half(patch, told, gates), strict=True):
            assert rough.dtype == torch.float32
            assert (exact - rough).abs().max() < 0.02
    assert half.head.weight.dtype == torch.float16 and network.head.weight.dtype == torch.float32


def test_a_network_that_does_nothing_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("build_corrected_graph", "build_correction_graph"):
        monkeypatch.setattr(f"export.pack_edge.{name}", lambda network: b"")
    network = Constant(1.0, 0.0)
    with pytest.raises(ConfigError, match="hardly changes the golden frame"):
        pack(tmp_path / "edge.icface", network)


@pytest.mark.slow
def test_positions_and_pixels_are_float32_in_half_precision(corrected_bundle: Bundle) -> None:
    assert corrected_bundle.graph.graph_fp16 is not None
    model = onnx.load(str(corrected_bundle.file(corrected_bundle.graph.graph_fp16)))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    counted = {"Conv": 0, "GridSample": 0}
    for node in model.graph.node:
        if node.op_type in counted:
            counted[node.op_type] += 1
            assert types[node.output[0]] == (half if node.op_type == "Conv" else single), node.name
    assert counted["Conv"] > 10 and counted["GridSample"] == 4
    weights = {each.name: each.data_type for each in model.graph.initializer}
    assert half in weights.values()


@pytest.mark.slow
def test_the_bundle_is_small_and_says_where_it_comes_from(corrected_bundle: Bundle) -> None:
    assert sum(path.stat().st_size for path in corrected_bundle.path.iterdir()) < 10e6
    assert "random numbers" in corrected_bundle.provenance and "ICT-FaceKit" in corrected_bundle.provenance
    assert corrected_bundle.correct is not None and corrected_bundle.graph.graph_fp16 == "animate.fp16.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_tensorrt_rtx_builds_both_precisions_without_a_gpu(corrected_bundle: Bundle, capability: str) -> None:
    for name in ("animate.onnx", "animate.fp16.onnx"):
        assert engine_bytes(corrected_bundle.file(name).read_bytes(), capability, side_px=512) > 10_000
