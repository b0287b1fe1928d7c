"""The edge family's graph: what it computes, judged by ONNX's own reference, and which libraries accept it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from export.edge_golden import golden_inputs, reference_frame
from export.edge_graph import SHAPES, EdgeWarp, build_edge_graph
from export.pack_edge import pack_trained
from icface.arrays import Tensors
from icface.bundle import DEFAULT_BUNDLE
from tests.export.rtx import CAPABILITIES, engine_bytes


@pytest.fixture(scope="module")
def graph() -> bytes:
    return build_edge_graph()


@pytest.fixture(scope="module")
def model(graph: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(graph)


def test_the_graph_means_what_the_contract_says(model: onnx.ModelProto) -> None:
    """Evaluated by the ONNX project's reference, not by an engine; one level where a value lies at .5."""
    inputs = {
        name: value[::6, ::6] if "_" in name or name == "plate" else value
        for name, value in golden_inputs().items()
    }
    feeds = {name: np.ascontiguousarray(inputs[name]) for name in SHAPES}
    # The reference knows GridSample by its newer names alone.
    newer = onnx.version_converter.convert_version(model, 20)
    results: Any = ReferenceEvaluator(newer).run(None, feeds)
    (frame,) = results
    assert frame.dtype == np.uint8 and frame.shape == (12, 15, 3)
    assert np.abs(frame.astype(int) - reference_frame(feeds)).max() <= 1


def test_the_module_means_what_the_contract_says() -> None:
    inputs = golden_inputs()
    frame = EdgeWarp()(*(torch.from_numpy(inputs[name]) for name in SHAPES)).numpy()
    assert np.abs(frame.astype(int) - reference_frame(inputs)).max() <= 1


def test_a_frame_of_any_size_from_pictures_of_any_size(model: onnx.ModelProto) -> None:
    shapes = {
        value.name: [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "skin": ["skin_h", "skin_w", 4],
        "plate": ["height", "width", 3],
        "inner": ["inner_h", "inner_w", 3],
        "skin_map": ["height", "width", 2],
        "inner_map": ["height", "width", 2],
        "inner_alpha": ["height", "width"],
        "inner_shade": ["height", "width"],
        "frame": ["height", "width", 3],
    }


def test_operators_are_those_that_every_engine_has(model: onnx.ModelProto) -> None:
    assert {node.domain for node in model.graph.node} == {""}
    assert 16 <= model.opset_import[0].version <= 20  # GridSample came with 16
    assert {node.op_type for node in model.graph.node} <= {
        "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Floor", "Gather", "GridSample", "Max", "Mul", "Pad",
        "ReduceMax", "Shape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
    }  # fmt: skip


def test_everything_is_float32_between_the_ends(model: onnx.ModelProto) -> None:
    types = {
        value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    assert types == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}  # whole numbers are sizes
    # TensorRT knows uint8 at the ends alone: the first thing that happens to a picture is a cast.
    for node in model.graph.node:
        if set(node.input) & {"skin", "plate", "inner", "inner_alpha", "inner_shade"}:
            assert node.op_type in ("Cast", "Shape")


def test_the_shipped_bundle_is_what_this_code_packs(tmp_path: Path) -> None:
    """Every file bit for bit with the same version of torch; the same graph with any."""
    pack_trained(tmp_path)
    made, shipped = (onnx.load(str(folder / "animate.onnx")) for folder in (tmp_path, DEFAULT_BUNDLE))
    if made.producer_version == shipped.producer_version:
        for file in DEFAULT_BUNDLE.iterdir():
            assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in shipped.graph.node]


def test_reference_by_hand() -> None:
    """Half way between 10 and 30, and between that and 240 · .2, a fifth: 20 · .8 + 48 · .2 = 25.6."""
    inputs: Tensors = {
        "skin": np.array([[[10, 10, 10, 255], [30, 30, 30, 255]]] * 2, dtype=np.uint8),
        "plate": np.full((1, 1, 3), 99, dtype=np.uint8),
        "inner": np.full((2, 2, 3), 240, dtype=np.uint8),
        "skin_map": np.array([[[0.5, 0.25]]], dtype=np.float32),
        "inner_map": np.zeros((1, 1, 2), dtype=np.float32),
        "inner_alpha": np.array([[51]], dtype=np.uint8),
        "inner_shade": np.array([[51]], dtype=np.uint8),
    }
    np.testing.assert_array_equal(reference_frame(inputs), [[[26, 26, 26]]])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_tensorrt_rtx_builds_it_without_a_gpu(graph: bytes, capability: str) -> None:
    """Every size from 16 to 2048."""
    assert engine_bytes(graph, capability, side_px=512) > 10_000


def test_the_file_is_a_valid_model_with_every_shape_inferred(model: onnx.ModelProto) -> None:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
