"""The paper family's graphs against the networks in torch, float64, as they are trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import nn

from export.paper_graph import (
    Animate,
    PaperGraphs,
    border_cases,
    build_paper_graphs,
    case_of_place,
    fits_half,
    folded,
)
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.generator import Generator
from icface.networks.icface import ICface
from icface.quality import psnr_db
from tests.export.models import (
    NETWORKS,
    by_onnxruntime,
    feeds_of,
    frame_of,
    graphs_of,
    image_of,
    random_attributes,
    random_crop,
    random_model,
)
from tests.export.rtx import CAPABILITIES, engine_bytes

Outputs = dict[str, NDArray[Any]]

TOLERANCE = 1e-4
"""Of images in [−1, 1], float32 against float64: 1/80 of a level."""


def with_image(graph: bytes) -> tuple[bytes, str]:
    """The same graph that also gives the image before it becomes pixels, and the image's name."""
    model = onnx.load_from_string(graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers[model.graph.output[0].name]
    while node.op_type != "Mul":  # by 127.5, the first step to pixels
        node = makers[node.input[0]]
    name = node.input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model.SerializeToString(), name


def by_openvino(graph: bytes, feeds: Outputs) -> Outputs:
    pytest.importorskip("openvino")
    from icface.openvino_core import the_core

    core = the_core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(feeds)
    return {name: np.array(result[port]) for port in compiled.outputs for name in port.names}


def by_reference(graph: bytes, feeds: Outputs) -> Outputs:
    """The ONNX project's own evaluator."""
    evaluator = ReferenceEvaluator(onnx.load_from_string(graph))
    return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


RUNTIMES = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def check_parity(name: str, graphs: PaperGraphs, run: Any, seed: int = 2) -> None:
    """Both graphs, one after the other, against torch in float64."""
    config = NETWORKS[name]
    exact = random_model(config).double()
    crop, attributes = random_crop(config, seed), random_attributes(seed)
    with torch.no_grad():
        neutral = exact.neutralise(image_of(crop))
        animated = exact.animate(neutral, torch.from_numpy(attributes).double())
    shown, image = with_image(graphs.neutralise)
    first = run(shown, {"crop": crop})
    np.testing.assert_allclose(first[image], neutral.numpy(), atol=TOLERANCE)
    shown, image = with_image(graphs.animate)
    second = run(shown, {graphs.cache: first[graphs.cache], "attributes": attributes})
    np.testing.assert_allclose(second[image], animated.numpy(), atol=TOLERANCE)
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
    check_parity(name, graphs_of(name), RUNTIMES[runtime])


@pytest.mark.parametrize("name", ["as published", "zero padding", "image encoder"])
def test_splitting_changes_nothing(name: str) -> None:
    graphs = graphs_of(name, split=False)
    assert (graphs_of(name).cache, graphs.cache) == ("stem", "picture")
    check_parity(name, graphs, by_onnxruntime)


def test_what_the_graphs_mean_is_told_by_onnx_itself() -> None:
    name = "zero padding, no normalisation"
    check_parity(name, graphs_of(name), by_reference)


def test_the_stem_is_all_that_a_frame_needs_of_the_source() -> None:
    """Frames of two sources, each with its own stem, differ; the attributes are seen in both."""
    config, graphs = NETWORKS["as published"], graphs_of("as published")
    frames = []
    for seed in (2, 5):
        stem = by_onnxruntime(graphs.neutralise, {"crop": random_crop(config, seed)})["stem"]
        for look in (3, 4):
            feeds = {"stem": stem, "attributes": random_attributes(look)}
            frames.append(by_onnxruntime(graphs.animate, feeds)["frame"].astype(int))
    differences = [np.abs(a - b).mean() for i, a in enumerate(frames) for b in frames[:i]]
    assert min(differences) > 1


@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_hold_what_is_computed_and_nothing_else(name: str) -> None:
    """No normalisation, no dropout, no first convolution in `animate`, one convolution for each of the network's."""
    graphs, generator = graphs_of(name), random_model(NETWORKS[name]).generator_animate
    assert graphs.animate_fp16 is not None
    for graph in (graphs.neutralise, graphs.animate, graphs.animate_fp16):
        model = onnx.load_from_string(graph)
        assert {node.op_type for node in model.graph.node} <= {
            "Add", "Cast", "Clip", "Conv", "ConvTranspose", "Div", "Floor", "Gather", "MatMul", "Mul", "Pad", "Relu",
            "Reshape", "Resize", "Sub", "Tanh", "Transpose", "Unsqueeze",
        }  # fmt: skip
        assert not any(constant.external_data for constant in model.graph.initializer)
        for value in (*model.graph.input, *model.graph.output):
            assert all(dimension.dim_value > 0 for dimension in value.type.tensor_type.shape.dim)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    for graph in (graphs.animate, graphs.animate_fp16):
        found = Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in generator.modules())
        assert (found["Conv"], found["ConvTranspose"], found["MatMul"]) == (convolutions - 1, 2, 1)


# Folding


def test_folding_leaves_the_model_as_it_was() -> None:
    model = random_model(NETWORKS["as published"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exact = folded(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in exact.modules())


@pytest.mark.parametrize("name", ["as published", "image encoder"])
def test_a_folded_model_computes_the_same_in_float64(name: str) -> None:
    model, attributes = random_model(NETWORKS[name]).double(), torch.from_numpy(random_attributes()).double()
    image = image_of(random_crop(NETWORKS[name]))
    with torch.no_grad():
        difference = model(image, attributes) - folded(model)(image, attributes)
    assert float(difference.abs().max()) < 1e-12


# The attributes' part of the first convolution


def generator_of(weight: NDArray[Any], padding: str) -> Generator:
    """One whose first convolution sees attributes alone, each through the weight (7, 7)."""
    generator = Generator(GeneratorConfig(width=1, blocks=0, padding=padding, norm="none"), 0)
    generator.stem.weight.data = torch.from_numpy(weight).float().expand(1, 20, 7, 7).contiguous()
    return generator.requires_grad_(False)


def test_border_cases_by_hand() -> None:
    """A kernel of ones over ones counts the taps that lie inside: 4, 5, 6 at the borders, 7 within."""
    cases = border_cases(generator_of(np.ones((7, 7)), "zero"))
    counts = [4, 5, 6, 7, 6, 5, 4]
    np.testing.assert_array_equal(cases[3, 0], np.outer(counts, counts))
    np.testing.assert_array_equal(case_of_place(9), [0, 1, 2, 3, 3, 3, 4, 5, 6])
    reflected = border_cases(generator_of(np.ones((7, 7)), "reflect"))
    assert reflected.shape == (20, 1, 1, 1) and (reflected == 49).all()


def test_border_cases_tell_the_sides_apart() -> None:
    """A kernel with one tap, in its first row and last column, sees nothing in the first rows and last columns."""
    weight = np.zeros((7, 7))
    weight[0, 6] = 2.0
    generator = generator_of(weight, "zero")
    assert generator.stem.bias is not None
    expected = generator.stem(generator.pad(torch.ones(1, 20, 10, 10)))[0, 0] - generator.stem.bias.item()
    cases, places = border_cases(generator).sum(0)[0], case_of_place(10)
    np.testing.assert_allclose(cases[places][:, places], expected, rtol=1e-6)
    assert cases[0, 3] == 0 and cases[3, 6] == 0 and cases[6, 0] == 40


# Half precision


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value and constant."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("as published", True),
        ("as published", False),
        ("zero padding", True),
        ("zero padding", False),
        ("no normalisation", True),
    ],
)
def test_types_of_the_graph_in_half_precision(name: str, split: bool) -> None:
    """The network is float16. The attributes' product, the stem, tanh and the way to pixels are float32."""
    graphs = graphs_of(name, split=split)
    exact, half = (onnx.load_from_string(graph or b"") for graph in (graphs.animate, graphs.animate_fp16))
    assert half.graph.input == exact.graph.input and half.graph.output == exact.graph.output
    types = types_of(half)
    numbers = (TensorProto.FLOAT, TensorProto.FLOAT16)
    makers = {value: node for node in half.graph.node for value in node.output}
    for node in half.graph.node:
        found = {types[value] for value in (*node.input, *node.output)} & set(numbers)
        if node.op_type in ("Conv", "ConvTranspose", "Relu"):
            assert found == {TensorProto.FLOAT16}
        elif node.op_type in ("MatMul", "Tanh", "Floor", "Clip", "Mul"):
            assert found == {TensorProto.FLOAT}
        elif node.op_type == "Cast":
            assert node.input[0] not in makers or makers[node.input[0]].op_type != "Cast"
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 3  # to half, back, to pixels


@pytest.mark.parametrize("name", NETWORKS)
def test_frames_in_half_precision_are_near(name: str) -> None:
    graphs = graphs_of(name)
    assert graphs.animate_fp16 is not None
    for feeds in feeds_of(name, 2):
        exact, half = (
            by_onnxruntime(graph, feeds)["frame"] for graph in (graphs.animate, graphs.animate_fp16)
        )
        assert 50 < psnr_db(half, exact) < 90


def test_weights_that_half_precision_does_not_hold() -> None:
    """No graph then; a weight of 65504 is the largest that it holds."""
    config = NETWORKS["no blocks"]
    model = random_model(config)
    layer = model.generator_animate.down[0]
    assert isinstance(layer, nn.Conv2d)
    weight = layer.weight
    weight.data[0, 0, 0, 0] = 65504.0
    exact = ICface(config)
    exact.load_state_dict(model.state_dict())
    assert fits_half(exact)
    weight.data[0, 0, 0, 0] = 65505.0
    exact.load_state_dict(model.state_dict())
    assert not fits_half(exact)
    # The normalisation is part of the weight, so it takes a larger one here.
    weight.data[0, 0, 0, 0] = 1e7
    assert build_paper_graphs(model).animate_fp16 is None


# TensorRT-RTX builds them


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", ["as published", "zero padding", "image encoder"])
def test_tensorrt_rtx_builds_the_graphs(name: str, capability: str) -> None:
    graphs = graphs_of(name)
    for graph in (graphs.neutralise, graphs.animate, graphs.animate_fp16):
        assert graph is not None and engine_bytes(graph, capability) > 10_000


@pytest.fixture(scope="module")
def published() -> PaperGraphs:
    """The model as the authors released it: 128 channels, 6 blocks, 128 × 128. Its weights do not matter here."""
    torch.manual_seed(0)
    config = NetworksConfig(neutraliser=False)
    return build_paper_graphs(ICface(config).eval().requires_grad_(False))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_the_published_generator(
    published: PaperGraphs, precision: str, capability: str
) -> None:
    """The engine holds the weights: 4 bytes each in float32, 2 in FP16."""
    graph = published.animate if precision == "fp32" else published.animate_fp16
    assert graph is not None
    weights = sum(
        int(np.prod(tensor.dims)) for tensor in onnx.load_from_string(published.animate).graph.initializer
    )
    assert weights > 31e6
    assert engine_bytes(graph, capability) > weights * {"fp32": 4, "fp16": 2}[precision] * 0.98


def test_the_module_that_is_written_is_the_network() -> None:
    """What `benchmarks/gpu.py` runs on a GPU, here in float32 on the CPU."""
    model, feeds = random_model(NETWORKS["as published"]), feeds_of("as published", 1)[0]
    animate = Animate(folded(model).generator_animate, 32)
    frame = animate(torch.from_numpy(feeds["stem"]), torch.from_numpy(feeds["attributes"])).numpy()
    expected = by_onnxruntime(graphs_of("as published").animate, feeds)["frame"]
    assert np.abs(frame.astype(int) - expected).max() <= 1
