"""The edge family's graph: what it computes, told by ONNX's own reference, and who accepts it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
import pytest
from onnx.reference import ReferenceEvaluator

from export.edge_graph import build_edge_graph
from export.pack_edge import golden_inputs, reference_frame

INPUTS = ("skin", "inner", "skin_map", "inner_map", "inner_alpha", "inner_shade")


def test_the_graph_means_what_the_contract_says() -> None:
    """Evaluated by the ONNX project's reference, not by an engine; one level where a value lies at .5."""
    inputs = {name: value[::6, ::6] if name.count("_") else value for name, value in golden_inputs().items()}
    feeds = {name: np.ascontiguousarray(inputs[name]) for name in INPUTS}
    # The reference knows GridSample by its newer names alone.
    model = onnx.version_converter.convert_version(build_edge_graph(), 20)
    (frame,) = ReferenceEvaluator(model).run(None, feeds)
    assert frame.dtype == np.uint8 and frame.shape == (12, 15, 3)
    assert np.abs(frame.astype(int) - reference_frame(feeds)).max() <= 1


def test_a_frame_of_any_size_from_pictures_of_any_size() -> None:
    shapes = {
        value.name: [
            dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim
        ]
        for value in (*build_edge_graph().graph.input, *build_edge_graph().graph.output)
    }
    assert shapes == {
        "skin": ["skin_h", "skin_w", 3],
        "inner": ["inner_h", "inner_w", 3],
        "skin_map": ["height", "width", 2],
        "inner_map": ["height", "width", 2],
        "inner_alpha": ["height", "width"],
        "inner_shade": ["height", "width"],
        "frame": ["height", "width", 3],
    }


def test_operators_are_those_that_every_engine_has() -> None:
    model = build_edge_graph()
    assert {node.domain for node in model.graph.node} == {""}
    assert 16 <= model.opset_import[0].version <= 20  # GridSample came with 16
    assert {node.op_type for node in model.graph.node} <= {
        "Add", "Cast", "Clip", "Div", "Floor", "Gather", "GridSample", "Mul", "Shape", "Squeeze", "Sub",
        "Transpose", "Unsqueeze",
    }  # fmt: skip


def test_reference_by_hand() -> None:
    """Half way between 10 and 30, and between that and 240 · .2, a fifth: 20 · .8 + 48 · .2 = 25.6."""
    inputs = {
        "skin": np.repeat(np.array([[[10], [30]], [[10], [30]]], dtype=np.uint8), 3, axis=2),
        "inner": np.full((2, 2, 3), 240, dtype=np.uint8),
        "skin_map": np.array([[[0.5, 0.25]]], dtype=np.float32),
        "inner_map": np.zeros((1, 1, 2), dtype=np.float32),
        "inner_alpha": np.array([[51]], dtype=np.uint8),
        "inner_shade": np.array([[51]], dtype=np.uint8),
    }
    np.testing.assert_array_equal(reference_frame(inputs), [[[26, 26, 26]]])


def test_tensorrt_rtx_builds_it_without_a_gpu() -> None:
    """For an RTX 30 card, every size from 64 to 2048; building needs no driver."""
    trt = pytest.importorskip("tensorrt_rtx", reason="the extra [tensorrt] is not installed")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    model = build_edge_graph()
    assert parser.parse(model.SerializeToString()), [
        str(parser.get_error(i)) for i in range(parser.num_errors)
    ]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        profile.set_shape(
            tensor.name, *([side if size < 0 else size for size in tensor.shape] for side in (64, 512, 2048))
        )
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None and engine.nbytes > 10_000


def test_the_file_is_a_valid_model_with_every_shape_inferred() -> None:
    model = onnx.shape_inference.infer_shapes(build_edge_graph(), strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
