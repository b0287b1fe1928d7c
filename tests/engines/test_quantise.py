"""INT8: scales by hand, what is left in float32, and that three libraries take it and agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from icface.arrays import Tensors
from icface.engines.precision import quantised
from icface.errors import ConfigError
from icface.quality import psnr_db
from tests.export.geometry_alone import geometry_alone
from tests.export.models import NETWORKS, by_onnxruntime, feeds_of, graphs_of, random_crop
from tests.export.rtx import CAPABILITIES, engine_bytes

Array = NDArray[Any]


def two_convolutions(first: Array, second: Array, shape: list[int]) -> bytes:
    """x → Conv → ConvTranspose → pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first"),
            helper.make_node("ConvTranspose", ["c1", "w2"], ["c2"], name="second"),
            helper.make_node("Cast", ["c2"], ["frame"], name="third", to=TensorProto.UINT8),
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


@pytest.fixture(scope="module")
def paper() -> tuple[bytes, list[dict[str, Array]], onnx.ModelProto]:
    """A graph that makes frames, inputs of it, and the graph in 8 bit."""
    graph, feeds = graphs_of("as published").animate, feeds_of("as published", 9)
    return graph, feeds, onnx.load_from_string(quantised(graph, feeds))


def constants_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def parts_of(model: onnx.ModelProto, layer: onnx.NodeProto) -> dict[str, Any]:
    """How a convolution gets its value and its weight: the constants of both, by role."""
    constants = constants_of(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    value, weight = (makers[name] for name in layer.input[:2])
    assert value.op_type == weight.op_type == "DequantizeLinear"
    assert makers[value.input[0]].op_type == "QuantizeLinear"
    axes = [each.i for each in weight.attribute if each.name == "axis"]
    names = ("step", "zero", "weight", "weight_steps", "weight_zeros")
    tensors = (*value.input[1:], *weight.input)
    return {name: constants[tensor] for name, tensor in zip(names, tensors, strict=True)} | {"axes": axes}


@pytest.mark.parametrize(
    ("facts", "most", "wanted"),
    [
        ("flags: avx2 avx_vnni", 127, [[-127, 64], [127, 0], [0, 0]]),
        ("flags: avx2", 64, [[-64, 32], [64, 0], [0, 0]]),
    ],
)
def test_weights_and_scales_by_hand(
    facts: str, most: int, wanted: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of −.5 and .25 in one channel: steps of .5/127, so −127 and 63.5, which is 64 to even. Inputs of ±1 and 0
    alone are exact with steps of 1/127. Where sums of two products would leave 16 bit, weights have 7 bit."""
    (tmp_path / "cpuinfo").write_text(facts)
    monkeypatch.setattr("icface.engines.precision._CPUINFO", tmp_path / "cpuinfo")
    first = np.array([[[[-0.5]], [[0.25]]], [[[2.0]], [[0.0]]], [[[0.0]], [[0.0]]]], np.float32)
    second = np.ones((3, 1, 1, 1), np.float32)
    x = np.array([[[[1, -1]], [[0, 1]]]], np.float32)
    model = onnx.load_from_string(quantised(two_convolutions(first, second, [1, 2, 1, 2]), [{"x": x}]))
    (layer,) = (node for node in model.graph.node if node.op_type == "Conv")
    parts = parts_of(model, layer)
    np.testing.assert_array_equal(parts["weight"].reshape(3, 2), np.array(wanted, np.int8))
    np.testing.assert_allclose(
        parts["weight_steps"][:2], np.array([0.5 / most, 2 / most], np.float32), rtol=1e-6
    )
    assert np.isfinite(parts["weight_steps"]).all() and (parts["weight_zeros"] == 0).all()
    np.testing.assert_allclose(parts["step"], 1 / 127, rtol=0.01)
    assert parts["zero"] == 0 and parts["zero"].dtype == np.int8
    constants = constants_of(model)
    assert constants["b1"].dtype == np.float32, "the bias is as it was"
    assert constants["w2"].dtype == np.float32, "transposed ones stay float32"


def test_one_outlier_among_many_values_is_cut_off() -> None:
    """A million values of spread 1 and a single 20: 99.99 % of them lie within ±3.9."""
    values = np.random.default_rng(1).normal(0, 1, (1, 1, 1000, 1000)).astype(np.float32)
    values[0, 0, 0, 0] = 20.0
    one = np.ones((1, 1, 1, 1), np.float32)
    model = onnx.load_from_string(quantised(two_convolutions(one, one, [1, 1, 1000, 1000]), [{"x": values}]))
    (layer,) = (node for node in model.graph.node if node.op_type == "Conv")
    assert 3.5 < parts_of(model, layer)["step"] * 127 < 4.5


def test_a_value_that_two_read_is_quantised_once(paper: tuple[bytes, Any, onnx.ModelProto]) -> None:
    values = [node.input[0] for node in paper[2].graph.node if node.op_type == "QuantizeLinear"]
    assert values and len(values) == len(set(values))


def test_types_and_shapes_of_all_scales(paper: tuple[bytes, Any, onnx.ModelProto]) -> None:
    before, made = onnx.load_from_string(paper[0]), paper[2]
    onnx.checker.check_model(made, full_check=True)
    assert made.graph.input == before.graph.input and made.graph.output == before.graph.output
    constants, before_types = constants_of(made), constants_of(before)
    layers = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len(layers) > 5
    for layer in layers:
        parts = parts_of(made, layer)
        assert parts["step"].shape == () and parts["axes"] == [0]
        assert parts["weight_steps"].shape == (parts["weight"].shape[0],)
        assert parts["weight"].dtype == np.int8 and parts["weight"].min() >= -127
        assert not parts["zero"].any() and not parts["weight_zeros"].any()
        assert constants[layer.input[2]].dtype == np.float32
    readers = {name: node.op_type for node in made.graph.node for name in node.input}
    assert not any(readers.get(layer.output[0]) == "QuantizeLinear" for layer in layers), "sums stay float32"
    for layer in made.graph.node:
        if layer.op_type == "ConvTranspose":
            assert all(constants[name].dtype == before_types[name].dtype for name in layer.input[1:])


def test_nothing_to_quantise_is_said() -> None:
    with pytest.raises(ConfigError, match=r"edge_animate has no convolution, so int8 would change nothing"):
        quantised((geometry_alone() / "animate.onnx").read_bytes(), [])
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(ConfigError, match="int8 needs samples"):
        quantised(two_convolutions(one, one, [1, 1, 1, 1]), [])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_values_that_are_no_numbers_are_said(value: float) -> None:
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(ConfigError, match="by hand has values that are no numbers; its training failed"):
        quantised(two_convolutions(one, one, [1, 1, 1, 1]), [{"x": np.array([[[[value]]]], np.float32)}])


def test_the_library_is_silent(
    paper: tuple[bytes, list[dict[str, Array]], onnx.ModelProto],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    quantised(paper[0], paper[1][:1])
    assert capfd.readouterr() == ("", "") and not caplog.records


def test_samples_are_looked_at_one_by_one(
    paper: tuple[bytes, list[dict[str, Array]], onnx.ModelProto],
) -> None:
    """What lies between the layers is large: of all samples together it would not fit into memory."""
    asked: list[int] = []

    class Watched(list[Tensors]):
        def __getitem__(self, place: Any) -> Any:
            found = super().__getitem__(place)
            asked.append(len(found))
            return found

    quantised(paper[0], Watched(paper[1][:3]))
    assert asked == [1, 1, 1]


def test_onnx_runtime_and_openvino_agree(
    paper: tuple[bytes, list[dict[str, Array]], onnx.ModelProto],
) -> None:
    """Both compute whole numbers, so they differ where a value lies at a half; and both are near float32."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from icface.openvino_core import the_core

    made = paper[2].SerializeToString()
    network = the_core().compile_model(
        the_core().read_model(made), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for feeds in paper[1][:3]:
        found, exact = (by_onnxruntime(graph, feeds)["frame"] for graph in (made, paper[0]))
        assert psnr_db(found, network(feeds)["frame"]) > 38 and psnr_db(found, exact) > 38


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_tensorrt_rtx_builds_it(paper: tuple[bytes, Any, onnx.ModelProto], capability: str) -> None:
    assert engine_bytes(paper[2].SerializeToString(), capability) > 10_000


@pytest.mark.parametrize("name", ["zero padding", "image encoder", "no blocks"])
def test_other_networks(name: str) -> None:
    """Also the graph for photos, whose outputs are pixels and the stem."""
    config, graphs = NETWORKS[name], graphs_of(name)
    made = quantised(graphs.neutralise, [{"crop": random_crop(config, i)} for i in range(3)])
    found, exact = (
        by_onnxruntime(graph, {"crop": random_crop(config, 1)}) for graph in (made, graphs.neutralise)
    )
    assert found[graphs.cache].shape == graphs.cache_shape
    assert psnr_db(found["neutral"], exact["neutral"]) > 35
