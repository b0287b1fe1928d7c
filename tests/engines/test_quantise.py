"""INT8 in the graph: scales by hand, what is left in float32, and that three libraries take it and agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.edge_graph import build_edge_graph
from export.paper_graph import build_paper_graphs
from export.precision import in_precision, types_of
from export.quantise import Histogram, quantised, weight_scales
from export.running import session_of
from icface.errors import ConfigError
from tests.export.models import NETWORKS, random_attributes, random_crop, random_model
from tests.export.rtx import CAPABILITIES, engine_bytes

Array = NDArray[Any]


def two_convolutions(first: Array, second: Array, shape: list[int]) -> onnx.ModelProto:
    """x → Conv → ConvTranspose → pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"]),
            helper.make_node("ConvTranspose", ["c1", "w2"], ["c2"]),
            helper.make_node("Cast", ["c2"], ["frame"], to=TensorProto.UINT8),
        ],
        "by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, None)],
        [
            numpy_helper.from_array(first, "w1"),
            numpy_helper.from_array(np.full(len(first), 0.1, np.float32), "b1"),
            numpy_helper.from_array(second, "w2"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return onnx.shape_inference.infer_shapes(model)


def constants_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.fixture(scope="module")
def paper() -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """A graph that makes frames, and inputs of it."""
    config = NETWORKS["as published"]
    graphs = build_paper_graphs(random_model(config))
    session = session_of(graphs.neutralise)
    stems = [session.run([graphs.cache], {"crop": random_crop(config, i)})[0] for i in range(3)]
    return graphs.animate, [
        {graphs.cache: stems[i % 3], "attributes": random_attributes(i)} for i in range(9)
    ]


def test_weights_and_scales_by_hand() -> None:
    """Weights of −.5 and .25 in one channel: steps of .5/127, so −127 and 63.5, which is 64 to even. Inputs of ±1 and 0
    alone are exact with steps of 1/127."""
    first = np.float32([[[[-0.5]], [[0.25]]], [[[2.0]], [[0.0]]], [[[0.0]], [[0.0]]]])
    second = np.ones((3, 1, 1, 1), np.float32)
    x = np.float32([[[[1, -1]], [[0, 1]]]])
    made = quantised(two_convolutions(first, second, [1, 2, 1, 2]), [{"x": x}])
    constants = constants_of(made)
    np.testing.assert_array_equal(
        constants["w1_int8"], np.int8([[-127, 64], [127, 0], [0, 0]]).reshape(3, 2, 1, 1)
    )
    np.testing.assert_allclose(constants["w1_scale"], np.float32([0.5 / 127, 2 / 127, 1]))
    np.testing.assert_array_equal(constants["w1_zero"], np.int8([0, 0, 0]))
    np.testing.assert_allclose(constants["x_scale"], 1 / 127, rtol=0.01)
    assert constants["x_zero"] == 0 and constants["x_zero"].dtype == np.int8
    assert constants["b1"].dtype == np.float32, "the bias is as it was"
    assert "w1" not in constants and constants["w2"].dtype == np.float32, "transposed ones stay float32"
    assert [node.op_type for node in made.graph.node] == [
        "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "ConvTranspose", "Cast",
    ]  # fmt: skip


def test_steps_of_each_output_channel() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) - 12
    np.testing.assert_allclose(weight_scales(weight) * 127, [12, 11])


def test_a_value_that_two_read_is_quantised_once(
    paper: tuple[onnx.ModelProto, list[dict[str, Array]]],
) -> None:
    made = quantised(paper[0], paper[1][:2])
    values = [node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"]
    assert len(values) == len(set(values))


def test_types_and_shapes_of_all_scales(paper: tuple[onnx.ModelProto, list[dict[str, Array]]]) -> None:
    graph, calibration = paper
    made = quantised(graph, calibration)
    assert made.graph.input == graph.graph.input and made.graph.output == graph.graph.output
    types, constants = types_of(made), constants_of(made)
    makers = {name: node for node in made.graph.node for name in node.output}
    layers = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len(layers) > 5
    for layer in layers:
        value, weight = (makers[name] for name in layer.input[:2])
        assert value.op_type == weight.op_type == "DequantizeLinear"
        assert makers[value.input[0]].op_type == "QuantizeLinear"
        assert constants[value.input[1]].shape == () and weight.attribute[0].i == 0
        assert constants[weight.input[1]].shape == (constants[weight.input[0]].shape[0],)
        assert constants[weight.input[0]].dtype == np.int8 and constants[weight.input[0]].min() >= -127
        assert types[layer.input[2]] == types[layer.output[0]] == TensorProto.FLOAT
    for layer in made.graph.node:
        if layer.op_type == "ConvTranspose":
            assert {types[name] for name in (*layer.input, *layer.output)} == {TensorProto.FLOAT}


def test_ranges_by_hand() -> None:
    """Magnitudes spread evenly want all of the range; one far outlier among very many is cut off."""
    even, outlier = Histogram(), Histogram()
    even.add(np.linspace(-3, 3, 100_000, dtype=np.float32))
    assert even.best_range() == pytest.approx(3.0, rel=0.02)
    outlier.add(np.random.default_rng(1).normal(0, 1, 1_000_000).astype(np.float32))
    outlier.add(np.float32([20.0]))
    assert outlier.largest == 20.0 and 4.0 <= outlier.best_range() <= 6.0
    nothing = Histogram()
    nothing.add(np.zeros(5, np.float32))
    assert nothing.best_range() == 127.0


def test_a_histogram_is_the_same_in_any_order() -> None:
    rng = np.random.default_rng(3)
    parts = [rng.normal(0, 10.0**i, 1000).astype(np.float32) for i in range(-3, 3)]
    one, other = Histogram(), Histogram()
    for part in parts:
        one.add(part)
    for part in reversed(parts):
        other.add(part)
    assert one.count == other.count == 6000 and one.best_range() == other.best_range()


def test_nothing_to_quantise_is_said() -> None:
    with pytest.raises(ConfigError, match=r"edge_animate has no convolution, so int8 would change nothing"):
        quantised(build_edge_graph(), [])
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(ConfigError, match="int8 needs samples"):
        quantised(two_convolutions(one, one, [1, 1, 1, 1]), [])
    with pytest.raises(ConfigError, match="x of by hand has values that are no numbers"):
        quantised(two_convolutions(one, one, [1, 1, 1, 1]), [{"x": np.float32([[[[np.inf]]]])}])
    with pytest.raises(ConfigError, match="should be float32"):
        quantised(in_precision(two_convolutions(one, one, [1, 1, 1, 1]), "fp16"), [])


def test_onnx_runtime_and_openvino_agree(paper: tuple[onnx.ModelProto, list[dict[str, Array]]]) -> None:
    """Both compute whole numbers, so they differ where a value lies at a half; and both are near float32."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from icface.engines.openvino import the_core

    graph, calibration = paper
    made = quantised(graph, calibration)
    compiled = the_core().compile_model(
        the_core().read_model(made.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    quick, exact = session_of(made), session_of(graph)
    for feeds in calibration[:3]:
        found = quick.run(None, feeds)[0].astype(float)
        other = compiled(feeds)["frame"].astype(float)
        wanted = exact.run(None, feeds)[0].astype(float)
        assert _psnr_db(found, other) > 38 and _psnr_db(found, wanted) > 22


def _psnr_db(a: Array, b: Array) -> float:
    return float(10 * np.log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-9)))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_tensorrt_rtx_builds_it(
    paper: tuple[onnx.ModelProto, list[dict[str, Array]]], capability: str
) -> None:
    assert engine_bytes(quantised(*paper), capability) > 10_000


@pytest.mark.parametrize("name", ["zero padding", "image encoder", "no blocks"])
def test_other_networks(name: str) -> None:
    """Also the graph for photos, whose outputs are pixels and the stem."""
    config = NETWORKS[name]
    graphs = build_paper_graphs(random_model(config))
    made = quantised(graphs.neutralise, [{"crop": random_crop(config, i)} for i in range(3)])
    neutral, stem = session_of(made).run(["neutral", graphs.cache], {"crop": random_crop(config, 1)})
    assert neutral.shape == (config.size_px, config.size_px, 3) and stem.shape == graphs.cache_shape
