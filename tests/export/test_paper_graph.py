"""The paper family's graphs against the networks in torch, float64, as they are trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from export.paper_graph import PaperGraphs, border_cases, build_paper_graphs, case_of_place
from icface.networks.config import GeneratorConfig
from icface.networks.generator import Generator
from icface.networks.icface import ICface
from tests.export.models import (
    NETWORKS,
    frame_of,
    image_of,
    random_attributes,
    random_crop,
    random_model,
)

Outputs = dict[str, NDArray[Any]]

TOLERANCE = 1e-4
"""Of images in [−1, 1], float32 against float64: 1/80 of a level."""


def with_image(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph that gives the picture before rounding as well."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.append(onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, None))
    return shown


def by_onnxruntime(model: onnx.ModelProto, feeds: Outputs) -> Outputs:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds), strict=True))


def by_openvino(model: onnx.ModelProto, feeds: Outputs) -> Outputs:
    pytest.importorskip("openvino")
    from icface.engines.backends.openvino import the_core

    core = the_core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    result = compiled(feeds)
    return {name: np.array(result[port]) for port in compiled.outputs for name in port.names}


def by_reference(model: onnx.ModelProto, feeds: Outputs) -> Outputs:
    """The ONNX project's own evaluator."""
    evaluator = ReferenceEvaluator(model)
    return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


RUNTIMES = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def check_parity(
    model: ICface, graphs: PaperGraphs, run: Any, seed: int = 2, tolerance: float = TOLERANCE
) -> None:
    """Both graphs, one after the other, against torch in float64."""
    exact = ICface(model.config).double().eval()
    exact.load_state_dict(model.state_dict())
    exact.neutral_attributes = exact.neutral_attributes.double()
    crop, attributes = random_crop(model.config, seed), random_attributes(seed)
    with torch.no_grad():
        neutral = exact.neutralise(image_of(crop))
        animated = exact.animate(neutral, torch.from_numpy(attributes).double())
    first = run(with_image(graphs.neutralise), {"crop": crop})
    np.testing.assert_allclose(first["image"], neutral.numpy(), atol=tolerance)
    second = run(with_image(graphs.animate), {graphs.cache: first[graphs.cache], "attributes": attributes})
    np.testing.assert_allclose(second["image"], animated.numpy(), atol=tolerance)
    for found, expected in ((first["neutral"], neutral), (second["frame"], animated)):
        frame = frame_of(expected)
        assert found.dtype == np.uint8 and found.shape == frame.shape
        difference = np.abs(found.astype(int) - frame)
        # A level where a value lies within the tolerance of a half.
        assert difference.max() <= 1 and (difference > 0).mean() < 0.02
    assert animated.std() > 0.1 and animated.abs().max() < 0.999, "a test on saturated pictures tells nothing"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_parity_with_torch(name: str, runtime: str) -> None:
    model = random_model(NETWORKS[name])
    check_parity(model, build_paper_graphs(model), RUNTIMES[runtime])


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("name", ["as published", "zero padding", "image encoder"])
def test_splitting_and_folding_change_nothing(name: str, split: bool, fold: bool) -> None:
    model = random_model(NETWORKS[name])
    graphs = build_paper_graphs(model, split=split, fold=fold)
    assert graphs.cache == ("stem" if split else "picture")
    check_parity(model, graphs, by_onnxruntime)


def test_what_the_graphs_mean_is_told_by_onnx_itself() -> None:
    model = random_model(NETWORKS["zero padding, no normalisation"])
    check_parity(model, build_paper_graphs(model), by_reference)


def test_the_stem_is_all_that_a_frame_needs_of_the_source() -> None:
    """Frames of two sources, each with its own stem, differ; the attributes are seen in both."""
    model = random_model(NETWORKS["as published"])
    graphs = build_paper_graphs(model)
    frames = []
    for seed in (2, 5):
        stem = by_onnxruntime(graphs.neutralise, {"crop": random_crop(model.config, seed)})["stem"]
        for look in (3, 4):
            feeds = {"stem": stem, "attributes": random_attributes(look)}
            frames.append(by_onnxruntime(graphs.animate, feeds)["frame"].astype(int))
    differences = [np.abs(a - b).mean() for i, a in enumerate(frames) for b in frames[:i]]
    assert min(differences) > 1


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_hold_what_is_computed_and_nothing_else(name: str) -> None:
    model = random_model(NETWORKS[name])
    graphs = build_paper_graphs(model)
    for graph in (graphs.neutralise, graphs.animate):
        operators = Counter(node.op_type for node in graph.graph.node)
        assert set(operators) <= {
            "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Floor", "Gather",
            "Identity", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Squeeze", "Sub",
            "Tanh", "Transpose", "Unsqueeze",
        }  # fmt: skip
        assert not any(constant.external_data for constant in graph.graph.initializer)
        for value in (*graph.graph.input, *graph.graph.output):
            assert all(dimension.dim_value > 0 for dimension in value.type.tensor_type.shape.dim)
    assert [(opset.domain, opset.version) for opset in graphs.animate.opset_import] == [("", 17)]
    again = build_paper_graphs(model)
    assert again.animate.SerializeToString() == graphs.animate.SerializeToString()


def test_folding_leaves_the_model_as_it_was() -> None:
    model = random_model(NETWORKS["as published"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    build_paper_graphs(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_border_cases_by_hand() -> None:
    """A kernel of ones over ones counts the taps that lie inside: 4, 5, 6 at the borders, 7 within."""
    cases = border_cases(np.ones((1, 1, 7, 7)))[0, 0]
    counts = [4, 5, 6, 7, 6, 5, 4]
    np.testing.assert_array_equal(cases, np.outer(counts, counts))
    np.testing.assert_array_equal(case_of_place(9), [0, 1, 2, 3, 3, 3, 4, 5, 6])


def test_border_cases_tell_the_sides_apart() -> None:
    """A kernel with one tap, in its first row and last column, sees nothing in the first rows and last columns."""
    weight = np.zeros((1, 1, 7, 7))
    weight[0, 0, 0, 6] = 2.0
    generator = Generator(GeneratorConfig(width=1, blocks=0, padding="zero", norm="none"), 0)
    generator.stem.weight.data = torch.from_numpy(weight).float().expand(1, 20, 7, 7).contiguous()
    expected = (
        generator.stem(generator.pad(torch.ones(1, 20, 10, 10))).detach()[0, 0] - generator.stem.bias.item()
    )
    cases = border_cases(np.broadcast_to(weight, (1, 20, 7, 7)))[0].sum(0)
    places = case_of_place(10)
    np.testing.assert_allclose(cases[np.ix_(places, places)], expected.numpy(), rtol=1e-6)
    assert cases[0, 3] == 0 and cases[3, 6] == 0 and cases[6, 0] == 40
