"""The patch corrector: it leaves the frame alone where it has to, and costs what a laptop can give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from export.writing import written
from icface.errors import ConfigError
from icface.geometry.patch import CONDITIONS, PATCH_PX
from icface.networks import CorrectorInfo, PatchConfig, PatchCorrector, load_corrector, save_corrector
from icface.networks.patch import OPENING_ROW, RIM_PX, broad, core, macs, quarters, whole, widened

SMALL = PatchConfig(channels=(4, 6, 8, 8), hidden=8)
EYE = (slice(55, 71), slice(50, 80))
MOUTH = (slice(130, 150), slice(70, 120))


def corrector(config: PatchConfig = SMALL) -> PatchCorrector:
    """One that changes every pixel that it may."""
    torch.manual_seed(3)
    result = PatchCorrector(config).eval().requires_grad_(False)
    assert result.head.bias is not None
    result.head.bias.copy_(torch.linspace(-1, 1, 12))
    return result


def inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Patches with an open eye and an open mouth, and conditions."""
    torch.manual_seed(5)
    patch = torch.rand(batch, 4, PATCH_PX, PATCH_PX)
    patch[:, 3] = 0
    patch[:, 3, *EYE] = 1
    patch[:, 3, *MOUTH] = 1
    return patch, torch.randn(batch, CONDITIONS)


def gates(eyes: float, mouth: float, rest: float, batch: int = 2) -> Tensor:
    return torch.tensor([[eyes, mouth, rest]]).repeat(batch, 1)


def changed(model: PatchCorrector, strength: Tensor) -> Tensor:
    """How much each pixel changes, (H, W), for the first of the patches."""
    patch, conditions = inputs()
    keep, add = model(patch, conditions, strength)
    result: Tensor = ((keep * patch[:, :3] + add) - patch[:, :3]).abs().amax(1)[0]
    return result


def test_shapes_and_range() -> None:
    patch, conditions = inputs()
    keep, add = corrector()(patch, conditions, gates(1, 1, 1))
    assert keep.shape == (2, 1, PATCH_PX, PATCH_PX)
    assert add.shape == (2, 3, PATCH_PX, PATCH_PX)
    assert float(keep.min()) >= 0
    assert float(keep.max()) <= 1


def test_closed_gates_leave_the_frame_alone() -> None:
    patch, conditions = inputs()
    keep, add = corrector()(patch, conditions, gates(0, 0, 0))
    assert torch.equal(keep, torch.ones_like(keep))
    assert torch.equal(add, torch.zeros_like(add))


def test_correction_fades_out_at_the_rim() -> None:
    patch, conditions = inputs()
    patch[:, 3] = 1  # an opening up to the edges
    keep, add = corrector()(patch, conditions, gates(1, 1, 1))
    for edge in (np.s_[..., 0, :], np.s_[..., -1, :], np.s_[..., :, 0], np.s_[..., :, -1]):
        assert torch.equal(keep[edge], torch.ones_like(keep[edge]))
        assert torch.equal(add[edge], torch.zeros_like(add[edge]))
    patch[:, 3] = 0
    keep, add = corrector()(patch, conditions, gates(1, 1, 1))
    by_depth = add.abs().mean((0, 1, 3))
    assert 0 < float(by_depth[1]) < 0.1 * float(by_depth[RIM_PX])


def test_each_gate_has_its_own_place() -> None:
    model = corrector()
    whole = changed(model, gates(1, 1, 1))
    middle = {"eyes": (63, 65), "mouth": (140, 95), "rest": (100, 100)}
    assert OPENING_ROW > 71
    for name, strength in (("eyes", (0, 1, 1)), ("mouth", (1, 0, 1)), ("rest", (1, 1, 0))):
        found = changed(model, gates(*strength))
        for other, at in middle.items():
            expected = 0.0 if other == name else float(whole[at])
            assert float(found[at]) == pytest.approx(expected, abs=1e-6), (name, other)
    assert float(whole[middle["mouth"]]) > 0.01
    assert float(whole[middle["rest"]]) > 0.01


def test_open_eyes_are_locked_and_slits_are_not() -> None:
    model = corrector()
    assert float(changed(model, gates(1, 1, 1))[63, 65]) < 1e-6
    patch, conditions = inputs()
    patch[:, 3, 55:71] = 0
    patch[:, 3, 62:65, 50:80] = 1  # lids that are nearly closed
    keep, add = model(patch, conditions, gates(1, 1, 1))
    found = (keep * patch[:, :3] + add - patch[:, :3]).abs().amax(1)[0]
    assert float(found[63, 65]) > 0.01


def test_a_network_that_opens_eyes_paints_their_inside_too() -> None:
    model = corrector(PatchConfig(channels=(4, 6, 8, 8), hidden=8, opens_eyes=True))
    assert float(changed(model, gates(1, 1, 1))[63, 65]) > 0.01
    assert float(changed(model, gates(0, 1, 1))[63, 65]) < 1e-6
    inner = inputs()[0][:, 3:]
    assert float(model.unlocked(inner).min()) == 1 > float(corrector().unlocked(inner).min())


def test_the_frame_is_replaced_in_the_openings_alone() -> None:
    patch, conditions = inputs()
    keep, _ = corrector()(patch, conditions, gates(1, 1, 1))
    opening = widened(patch[:, 3:])
    assert float(keep[opening == 0].min()) == 1
    assert float(keep[0, 0, 140, 95]) < 1


def test_no_expression_changes_the_light() -> None:
    """A residual that is the same everywhere is light and goes; a fold stays nearly as it is."""
    counted = torch.ones(1, 1, PATCH_PX, PATCH_PX)

    def without_light(residual: Tensor) -> Tensor:
        parts = quarters(residual)
        return whole(parts - broad(parts, quarters(counted)))

    flat = torch.full((1, 3, PATCH_PX, PATCH_PX), -0.2)
    assert float(without_light(flat).abs().max()) < 0.003
    fold = torch.zeros_like(flat)
    fold[..., 60:120, 94:98] = -0.2
    left = without_light(fold)
    assert float(left[..., 90, 96].max()) < -0.17
    assert float(left[..., 90, 80].abs().max()) < 0.03


def test_quarters_are_the_pixels_of_each_square() -> None:
    picture = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    parts = quarters(picture)
    assert parts.shape == (1, 2, 4, 2, 3)
    # Row 2, column 4 of the second channel is the first of the four pixels of the square (1, 2).
    assert parts[0, 1, :, 1, 2].tolist() == [picture[0, 1, y, x] for y in (2, 3) for x in (4, 5)]
    assert torch.equal(whole(parts), picture)


def test_opening_grows_by_about_four_pixels() -> None:
    inner = torch.zeros(1, 1, PATCH_PX, PATCH_PX)
    inner[..., 100:120, 100:140] = 1
    grown, shrunk = widened(inner)[0, 0], core(inner)[0, 0]
    assert float(grown[110, 96]) > 0.5 > float(grown[110, 93])
    assert float(grown[110, 143]) > 0.5 > float(grown[110, 146])
    assert float(shrunk[110, 104]) > 0.5 > float(shrunk[110, 101])
    assert float(shrunk[110, 120]) == 1


def test_conditions_count_up_to_a_limit() -> None:
    model = corrector()
    patch, conditions = inputs()
    with torch.no_grad():
        model.mean.copy_(torch.linspace(-1, 1, CONDITIONS))
        model.deviation.fill_(0.5)
    far, farther = (model.mean + sigma * model.deviation for sigma in (2.5, 40.0))
    results = [model(patch, values.repeat(2, 1), gates(1, 1, 1))[1] for values in (far, farther)]
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert not torch.allclose(results[0], model(patch, conditions, gates(1, 1, 1))[1], atol=1e-4)


def test_cost_of_the_one_that_ships() -> None:
    """A third of a billion multiplications for a frame; the stem alone is 16 · 16 · 9 · 96² of them."""
    assert macs(PatchConfig()) <= 320_000_000
    one = PatchConfig(channels=(1, 1, 1, 1))
    half, quarter, eighth, sixteenth = 96**2, 48**2, 24**2, 12**2
    by_hand = (
        half * 9 * (16 + 1 + 12) + half // 4 * 9 + quarter * 2 * 2 * 9
        + eighth * (9 + 2 * 2 * 9) + sixteenth * (9 + 2 * 9) + sixteenth + eighth + quarter
    )  # fmt: skip
    assert macs(one) == by_hand


def test_graph_equals_torch() -> None:
    model = corrector()
    patch, conditions = inputs(1)
    given = {"patch": patch, "conditions": conditions, "gates": gates(0.5, 0.8, 1, 1)}
    graph = written(model, "corrector", given, ("kept", "added"))
    known = {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Div", "Gemm", "LeakyRelu", "MaxPool", "Mul",
        "ReduceMean", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Sub", "Tanh", "Transpose",
        "Unsqueeze",
    }  # fmt: skip
    assert {node.op_type for node in onnx.load_from_string(graph).graph.node} <= known
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
    for result, expected in zip(found, model(**given), strict=True):
        assert np.abs(result - expected.numpy()).max() < 1e-5


def test_half_precision_stays_near(tmp_path: Path) -> None:
    model = corrector()
    patch, conditions = inputs()
    expected = model(patch, conditions, gates(1, 1, 1))
    found = model.half()(patch.half(), conditions.half(), gates(1, 1, 1).half())
    for half, full in zip(found, expected, strict=True):
        assert float((half.float() - full).abs().max()) < 0.02


def test_a_corrector_on_disk_is_the_same(tmp_path: Path) -> None:
    model = corrector()
    with torch.no_grad():
        model.mean.fill_(0.3)
    info = CorrectorInfo(network=SMALL, provenance="made up", licence="MIT", step=7)
    path = tmp_path / "corrector.safetensors"
    save_corrector(path, model, info)
    loaded, told = load_corrector(path)
    assert told == info
    patch, conditions = inputs()
    for found, expected in zip(
        loaded(patch, conditions, gates(1, 1, 1)), model(patch, conditions, gates(1, 1, 1)), strict=True
    ):
        assert torch.equal(found, expected)


def test_another_file_is_no_corrector(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_corrector(tmp_path / "missing.safetensors")
