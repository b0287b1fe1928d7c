"""Precision in the graph: which values get the low type, what they become, and who accepts it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.edge_graph import build_edge_graph
from export.paper_graph import build_paper_graphs
from export.precision import bfloat16_bits, cleaned, in_precision, subpixel_kernel, types_of
from export.running import emulated, session_of
from icface.errors import ConfigError
from icface.networks.config import NetworksConfig
from icface.networks.icface import ICface
from tests.export.models import NETWORKS, random_attributes, random_crop, random_model
from tests.export.rtx import CAPABILITIES, engine_bytes

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}

Array = NDArray[Any]
Value = tuple[str, int, list[int | str]]


def model_of(
    nodes: list[onnx.NodeProto], inputs: list[Value], outputs: list[Value], constants: dict[str, Array]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def node(kind: str, inputs: str, output: str, **settings: Any) -> onnx.NodeProto:
    """`node("Add", "a b", "c")`"""
    return helper.make_node(kind, inputs.split(), output.split(), **settings)


def one_convolution(weight: Array, bias: Array, shape: list[int | str]) -> onnx.ModelProto:
    """x → Conv → Relu → y, all float32."""
    out = [1, len(weight), *shape[2:]]
    return model_of(
        [node("Conv", "x w b", "c"), node("Relu", "c", "y")],
        [("x", FLOAT, shape)],
        [("y", FLOAT, out)],
        {"w": weight, "b": bias},
    )


def rounded(values: Array, precision: str) -> NDArray[np.float32]:
    """To the low type, to nearest and even, and back."""
    if precision == "fp16":
        return values.astype(np.float16).astype(np.float32)
    return (bfloat16_bits(values).astype(np.uint32) << np.uint32(16)).view(np.float32)


def test_bfloat16_by_hand() -> None:
    """Seven digits after the one: steps of 1/128 from 1 to 2, halves to even."""
    values = np.array([1.0, 1 + 1 / 256, 1 + 3 / 256, 1 + 1 / 255, -0.1, 3.4e38], dtype=np.float32)
    found = (bfloat16_bits(values).astype(np.uint32) << np.uint32(16)).view(np.float32)
    np.testing.assert_array_equal(found[:4], np.float32([1, 1, 1 + 2 / 128, 1 + 1 / 128]))
    assert found[4] == np.float32(-0.10009765625) and np.isposinf(found[5])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_convolution_by_hand(precision: str) -> None:
    """1 × 1 on one channel: a product, a sum, each of rounded values."""
    x = np.array([[[[0.1, -1 / 3, 2.7], [100.3, 1e-3, 0.0]]]], dtype=np.float32)
    weight, bias = np.float32([[[[1 / 3]]]]), np.float32([0.05])
    low = in_precision(one_convolution(weight, bias, [1, 1, 2, 3]), precision)
    values = rounded(x, precision) * rounded(weight, precision) + rounded(bias, precision)
    expected = np.maximum(rounded(values, precision), 0)
    (found,) = session_of(emulated(low)).run(None, {"x": x})
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, np.maximum(x * weight + bias, 0))


def test_the_fp16_graph_itself_in_onnx_runtime() -> None:
    x = np.linspace(-2, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    low = in_precision(one_convolution(np.float32([[[[1 / 3]]]]), np.float32([0.05]), [1, 1, 4, 4]), "fp16")
    (found,) = session_of(low).run(None, {"x": x})
    np.testing.assert_allclose(found, np.maximum(x / 3 + 0.05, 0), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_type_of_every_value(precision: str) -> None:
    """Pixels → range → Conv, pooling and sums → image → pixels; a table on the side, and a mean over the picture."""
    low = in_precision(_with_everything(), precision)
    onnx.checker.check_model(low, full_check=True)
    types = types_of(low)
    expected = {
        **dict.fromkeys(["crop", "frame"], UINT8),
        **dict.fromkeys(["attributes", "table", "row", "mean", "feature", "float", "scaled"], FLOAT),
        **dict.fromkeys(["image", "levels", "raised", "whole", "bounded"], FLOAT),
        # What is reflected is the rounded picture: the cast stands before it.
        **dict.fromkeys(
            ["padded", "first", "pooled", "larger", "shift", "answered", "last", "w1", "w2"], LOW[precision]
        ),
    }
    assert {name: types[name] for name in expected} == expected


def _with_everything() -> onnx.ModelProto:
    constants: dict[str, Array] = {
        "scale": np.float32(1 / 255),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64),
        "w1": np.full((4, 3, 3, 3), 0.1, dtype=np.float32),
        "w2": np.full((3, 4, 1, 1), 0.2, dtype=np.float32),
        "table": np.full((2, 4), 0.5, dtype=np.float32),
        "column": np.array([1, 4, 1, 1], dtype=np.int64),
        "twice": np.float32([1, 1, 2, 2]),
        "half": np.float32(127.5),
        "up": np.float32(128.0),
        "zero": np.float32(0),
        "top": np.float32(255),
    }
    return model_of(
        [
            node("Cast", "crop", "float", to=FLOAT),
            node("Mul", "float scale", "scaled"),
            node("Pad", "scaled pads", "padded", mode="reflect"),
            node("Conv", "padded w1", "first"),
            node("MaxPool", "first", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Resize", ["pooled", "", "twice"], ["larger"], mode="nearest"),
            node("MatMul", "attributes table", "row"),
            node("Reshape", "row column", "shift"),
            node("Add", "larger shift", "answered"),
            node("ReduceMean", "answered", "mean", axes=[2, 3], keepdims=1),
            node("Identity", "mean", "feature"),
            node("Conv", "answered w2", "last"),
            node("Tanh", "last", "image"),
            node("Mul", "image half", "levels"),
            node("Add", "levels up", "raised"),
            node("Floor", "raised", "whole"),
            node("Clip", "whole zero top", "bounded"),
            node("Cast", "bounded", "frame", to=UINT8),
        ],
        [("crop", UINT8, [1, 3, 8, 8]), ("attributes", FLOAT, [1, 2])],
        [("frame", UINT8, [1, 3, 8, 8]), ("mean", FLOAT, [1, 4, 1, 1]), ("feature", FLOAT, [1, 4, 1, 1])],
        constants,
    )


def test_positions_stay_float32_and_so_does_the_picture_read_at_them() -> None:
    """Positions from a network of their own: its convolution is not lowered, the one before the picture is."""
    model = model_of(
        [
            node("Conv", "x wf", "flow"),
            node("Relu", "flow", "moved"),
            node("Transpose", "moved", "grid", perm=[0, 2, 3, 1]),
            node("Conv", "x wp", "picture"),
            node("GridSample", "picture grid", "read", align_corners=1),
            node("Conv", "read wp2", "y"),
        ],
        [("x", FLOAT, [1, 3, 8, 8])],
        [("y", FLOAT, [1, 1, 8, 8])],
        {
            "wf": np.full((2, 3, 1, 1), 0.1, np.float32),
            "wp": np.full((2, 3, 1, 1), 0.1, np.float32),
            "wp2": np.full((1, 2, 1, 1), 0.1, np.float32),
        },
    )
    low = in_precision(model, "fp16")
    types = types_of(low)
    assert {types[name] for name in ("x", "wf", "flow", "moved", "grid", "read", "y")} == {FLOAT}
    assert {types[name] for name in ("wp", "wp2", "picture")} == {LOW["fp16"]}
    (sampling,) = (each for each in low.graph.node if each.op_type == "GridSample")
    assert [types[name] for name in sampling.input] == [FLOAT, FLOAT]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_edge_graph_is_the_same_in_every_precision(precision: str) -> None:
    made = in_precision(build_edge_graph(), precision)
    assert LOW["fp16"] not in types_of(made).values() and LOW["bf16"] not in types_of(made).values()
    assert made.graph == cleaned(build_edge_graph()).graph


@pytest.mark.parametrize("options", [{}, {"split": False}, {"fold": False}], ids=["usual", "whole", "norms"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_networks(name: str, precision: str, options: dict[str, bool]) -> None:
    """Inputs and outputs as before, no cast after a cast, no weight twice, and nearly the same frames."""
    config = NETWORKS[name]
    graphs = build_paper_graphs(random_model(config), **options)
    made = session_of(graphs.neutralise).run(None, {"crop": random_crop(config)})
    given = dict(zip([value.name for value in graphs.neutralise.graph.output], made, strict=True))
    feeds = {graphs.cache: given[graphs.cache], "attributes": random_attributes()}
    for before, tensors in ((graphs.neutralise, {"crop": random_crop(config)}), (graphs.animate, feeds)):
        after = in_precision(before, precision)
        onnx.checker.check_model(after, full_check=True)
        assert after.graph.input == before.graph.input and after.graph.output == before.graph.output
        _check_casts(after)
        _check_convolutions(after, precision)
        wanted = session_of(before).run(None, tensors)[0].astype(float)
        found = session_of(emulated(after)).run(None, tensors)[0].astype(float)
        db = 10 * np.log10(255**2 / max(np.mean((found - wanted) ** 2), 1e-9))
        assert db > (50 if precision == "fp16" else 40)


def _check_casts(model: onnx.ModelProto) -> None:
    makers = {name: each.op_type for each in model.graph.node for name in each.output}
    for each in model.graph.node:
        if each.op_type == "Cast":
            assert makers.get(each.input[0]) != "Cast", f"{each.output[0]} is cast twice"
    pairs = [(each.input[0], each.attribute[0].i) for each in model.graph.node if each.op_type == "Cast"]
    assert len(pairs) == len(set(pairs)), "something is cast to the same type twice"


def _check_convolutions(model: onnx.ModelProto, precision: str) -> None:
    types, used = types_of(model), {name for each in model.graph.node for name in each.input}
    for each in model.graph.node:
        if each.op_type in ("Conv", "ConvTranspose"):
            assert {types[name] for name in (*each.input, *each.output)} == {LOW[precision]}
        elif each.op_type in ("BatchNormalization", "Tanh", "Floor"):
            assert {types[name] for name in (*each.input, *each.output)} == {FLOAT}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_a_constant_that_both_read_is_there_in_both_types() -> None:
    """1/3 is added before the convolution and after it; exactly in the one place, rounded in the other."""
    model = model_of(
        [node("Add", "x third", "a"), node("Conv", "a w", "c"), node("Add", "c third", "y")],
        [("x", FLOAT, [1, 1, 1, 1])],
        [("y", FLOAT, [1, 1, 1, 1])],
        {"third": np.float32([1 / 3]), "w": np.ones((1, 1, 1, 1), np.float32)},
    )
    low = in_precision(model, "fp16")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in low.graph.initializer}
    assert values["third"].dtype == np.float32 and values["third"] == np.float32(1 / 3)
    assert values["third_fp16"].dtype == np.float16 and values["third_fp16"] == np.float16(1 / 3)
    assert values["w"].dtype == np.float16 and len(values) == 3


def test_pixels_are_cast_once() -> None:
    """uint8 straight to the low type, where nothing but a convolution reads it."""
    model = model_of(
        [node("Cast", "x", "float", to=FLOAT), node("Conv", "float w", "y")],
        [("x", UINT8, [1, 1, 2, 2])],
        [("y", FLOAT, [1, 1, 2, 2])],
        {"w": np.ones((1, 1, 1, 1), np.float32)},
    )
    low = in_precision(model, "fp16")
    assert [each.op_type for each in low.graph.node] == ["Cast", "Conv", "Cast"]
    assert low.graph.node[0].input[0] == "x" and types_of(low)[low.graph.node[0].output[0]] == LOW["fp16"]


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    large = one_convolution(np.float32([[[[1e5]]]]), np.float32([0]), [1, 1, 2, 2])
    with pytest.raises(ConfigError, match=r"w has the value 100000, and fp16 holds at most 65504; .* bf16"):
        in_precision(large, "fp16")
    assert rounded(np.float32([1e5]), "bf16") == 99840
    in_precision(large, "bf16")
    broken = one_convolution(np.float32([[[[np.nan]]]]), np.float32([0]), [1, 1, 2, 2])
    with pytest.raises(ConfigError, match="w has the value nan"):
        in_precision(broken, "fp16")


def test_small_weights_lose_digits_then_vanish() -> None:
    weight = np.float32([2**-14, 2**-20, 2**-24, 2**-26]).reshape(4, 1, 1, 1)
    low = in_precision(one_convolution(weight, np.zeros(4, np.float32), [1, 1, 2, 2]), "fp16")
    (found,) = (numpy_helper.to_array(each) for each in low.graph.initializer if each.name == "w")
    np.testing.assert_array_equal(found.ravel(), np.float16([2**-14, 2**-20, 2**-24, 0]))


def test_only_float32_graphs_are_converted() -> None:
    graph = one_convolution(np.float32([[[[1]]]]), np.float32([0]), [1, 1, 2, 2])
    with pytest.raises(ConfigError, match="is float16 in a graph that should be float32"):
        in_precision(in_precision(graph, "fp16"), "fp16")
    with pytest.raises(ConfigError, match="int8 is made by"):
        in_precision(graph, "int8")
    with pytest.raises(ConfigError, match="choose fp32, fp16 or bf16"):
        in_precision(graph, "fp8")


def test_what_does_nothing_goes() -> None:
    model = model_of(
        [
            helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
            node("Identity", "x", "same"),
            node("Mul", "same two", "double"),
            node("Dropout", "double", "kept mask"),
            node("MaxPool", "kept", "largest where", kernel_shape=[1, 1]),
            node("Identity", "largest", "again"),
            node("Identity", "again", "y"),
            node("Neg", "kept", "dead"),
            node("Add", "dead unused", "deader"),
            node("Identity", "x", "through"),
        ],
        [("x", FLOAT, [1, 1, 2, 2])],
        [("y", FLOAT, [1, 1, 2, 2]), ("through", FLOAT, [1, 1, 2, 2])],
        {"unused": np.float32(1), "nobody": np.float32(1)},
    )
    found = cleaned(model)
    onnx.checker.check_model(found, full_check=True)
    assert [(each.op_type, list(each.input), list(each.output)) for each in found.graph.node] == [
        ("Mul", ["x", "two"], ["double"]),
        ("MaxPool", ["double"], ["y"]),
        ("Identity", ["x"], ["through"]),
    ]
    assert [tensor.name for tensor in found.graph.initializer] == ["two"]
    assert len(model.graph.node) == 10, "the model that was given is left as it was"
    x = np.float32([[[[1, 2], [3, 4]]]])
    for expected, value in zip((2 * x, x), session_of(found).run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(
    ("size", "stride", "before", "more"),
    [(3, 2, 1, 1), (4, 2, 1, 0), (2, 2, 0, 0), (5, 2, 2, 1), (6, 3, 2, 1), (3, 3, 0, 0)],
)
def test_a_transposed_convolution_in_parts_is_the_same(
    size: int, stride: int, before: int, more: int
) -> None:
    rng = np.random.default_rng(size)
    weight = rng.integers(-4, 5, (3, 2, size, size)).astype(np.float32)
    bias = np.float32([10, 20])
    x = rng.integers(-4, 5, (1, 3, 5, 4)).astype(np.float32)
    settings = {"strides": [stride] * 2, "pads": [before] * 4, "output_padding": [more] * 2}
    model = model_of(
        [node("ConvTranspose", "x w b", "y", **settings)],
        [("x", FLOAT, [1, 3, 5, 4])],
        [("y", FLOAT, [1, 2, 5 * stride, 4 * stride])],
        {"w": weight, "b": bias},
    )
    (expected,) = session_of(model).run(None, {"x": x})
    low = in_precision(model, "bf16")
    assert [each.op_type for each in low.graph.node] == ["Cast", "Conv", "DepthToSpace", "Cast"]
    # Whole numbers up to 256 are exact in bfloat16; so are their sums in float32, before the one rounding.
    (found,) = session_of(emulated(low)).run(None, {"x": x})
    np.testing.assert_array_equal(found, rounded(expected, "bf16"))


def test_the_parts_of_a_transposed_convolution_by_hand() -> None:
    """Weights 1 2 3 in a row, stride 2, one cut off: even pixels 2·x, odd ones 3·x + 1·(x to the right)."""
    weight = np.zeros((1, 1, 3, 3), np.float32)
    weight[0, 0, 1] = [1, 2, 3]
    kernel, first = subpixel_kernel(weight, 2, 1)
    assert first == 0 and kernel.shape == (4, 1, 2, 2)
    np.testing.assert_array_equal(kernel[0, 0], [[2, 0], [0, 0]])
    np.testing.assert_array_equal(kernel[1, 0], [[3, 1], [0, 0]])


def test_a_transposed_convolution_that_does_not_enlarge_evenly_stays_float32_in_bf16() -> None:
    model = model_of(
        [node("ConvTranspose", "x w", "y", strides=[2, 2])],
        [("x", FLOAT, [1, 1, 4, 4])],
        [("y", FLOAT, [1, 1, 9, 9])],
        {"w": np.ones((1, 1, 3, 3), np.float32)},
    )
    assert set(types_of(in_precision(model, "bf16")).values()) == {FLOAT}
    assert LOW["fp16"] in types_of(in_precision(model, "fp16")).values()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_openvino_reads_it_and_agrees(precision: str) -> None:
    ov = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from icface.engines.openvino import the_core

    config = NETWORKS["as published"]
    graphs = build_paper_graphs(random_model(config))
    (stem,) = session_of(graphs.neutralise).run([graphs.cache], {"crop": random_crop(config)})
    feeds = {graphs.cache: stem, "attributes": random_attributes()}
    low = in_precision(graphs.animate, precision)
    read = the_core().read_model(low.SerializeToString())
    assert isinstance(read, ov.Model)
    compiled = the_core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(feeds)["frame"].astype(float)
    (wanted,) = session_of(emulated(low)).run(None, feeds)
    # It rounds where it likes: one level where a value lies at a half, more in bfloat16.
    assert np.abs(found - wanted).mean() < (0.05 if precision != "bf16" else 0.7)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_the_edge_graph(precision: str, capability: str) -> None:
    assert engine_bytes(in_precision(build_edge_graph(), precision), capability) > 10_000


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("part", ["neutralise", "animate"])
def test_tensorrt_rtx_builds_the_paper_graphs(part: str, precision: str, capability: str) -> None:
    graphs = build_paper_graphs(random_model(NETWORKS["as published"]))
    assert engine_bytes(in_precision(getattr(graphs, part), precision), capability) > 10_000


@pytest.fixture(scope="module")
def published() -> onnx.ModelProto:
    """G_A as the authors released it: 128 channels, 6 blocks, 128 × 128. Its weights do not matter here."""
    torch.manual_seed(0)
    return build_paper_graphs(ICface(NetworksConfig()).eval().requires_grad_(False)).animate


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_the_published_generator(
    published: onnx.ModelProto, precision: str, capability: str
) -> None:
    """The engine holds the weights: 4 bytes each in float32, 2 in FP16."""
    found = engine_bytes(in_precision(published, precision), capability)
    weights = sum(int(np.prod(tensor.dims)) for tensor in published.graph.initializer)
    assert weights > 31e6
    assert found > weights * {"fp32": 4, "fp16": 2}[precision] * 0.98
