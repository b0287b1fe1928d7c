"""The gate: what it measures, what it lets through, what it refuses and how it says so."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.pack_paper import pack
from icface.arrays import Frame
from icface.attributes import COUNT, INDEX
from icface.bundle import Bundle
from icface.engines.parity import (
    LARGEST_DB,
    LEAST_PSNR_DB,
    compared,
    frames_of,
    gate,
    gate_frames,
    noisy,
    rounding,
)
from icface.engines.precision import graph_for
from icface.engines.samples import EXAMPLE_PHOTO, Samples, collect
from icface.errors import EngineError, RefusedError
from icface.networks import ModelInfo
from icface.quality import psnr_db
from tests.export.geometry_alone import geometry_alone
from tests.export.models import NETWORKS, by_onnxruntime, feeds_of, graphs_of, random_model

needs_example = pytest.mark.skipif(not EXAMPLE_PHOTO.is_file(), reason="examples/ is only in a checkout")


@pytest.fixture(scope="module")
def edge_samples() -> Samples:
    """The example's photo, 12 rows of the track, 256 pixels."""
    if not EXAMPLE_PHOTO.is_file():
        pytest.skip("examples/ is only in a checkout")
    return collect(Bundle.load(geometry_alone()), rows=12)


@pytest.fixture(scope="module")
def edge_graph() -> bytes:
    return Bundle.load(geometry_alone()).file("animate.onnx").read_bytes()


@pytest.fixture(scope="module")
def faces(edge_samples: Samples, edge_graph: bytes) -> list[Frame]:
    """Moved faces, (256, 256, 3) each."""
    return list(map(frames_of(edge_graph), edge_samples.feeds()))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = NETWORKS["as published"]
    info = ModelInfo(networks=config, step=1, provenance="a test", licence="none")
    return pack(random_model(config), info, tmp_path_factory.mktemp("models") / "m.icface", name="random")


def test_pixels_alone_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """No face in grey frames: the mean square of 0 and 2² is 2, the worst frame has 4."""
    grey = np.full((64, 64, 3), 100, np.uint8)
    with caplog.at_level(logging.WARNING):
        report = gate_frames([grey, grey], [grey, grey + 2], "fp16")
    assert report.psnr_db == pytest.approx(45.12, abs=0.01)
    assert report.worst_psnr_db == pytest.approx(42.11, abs=0.01)
    assert (report.frames, report.faces_compared, report.faces_lost) == (2, 0, 0)
    assert "no face was found to measure" in report.describe() and "pixels alone" in caplog.text
    with pytest.raises(
        RefusedError, match=r"fp16 against fp32: 42\.1 dB .* at least 45 dB is wanted, use .* fp32"
    ):
        gate_frames([grey], [grey + 2], "fp16")
    gate_frames([grey], [grey + 2], "int8")


def test_frames_must_go_together() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    with pytest.raises(EngineError, match="no frame is there to compare"):
        gate_frames([grey, grey], [grey], "fp16")
    with pytest.raises(EngineError, match="more frames"):
        gate_frames([grey], [grey, grey], "fp16")
    with pytest.raises(EngineError, match=r"a frame of \(32, 64, 3\)"):
        gate_frames([grey], [grey[:32]], "fp16")
    with pytest.raises(EngineError, match="there is no frame"):
        gate_frames([], [], "fp16")


def test_noise_of_one_level_changes_little(faces: list[Frame]) -> None:
    rng = np.random.default_rng(7)
    report = gate_frames(faces, [noisy(face, rng) for face in faces], "fp16")
    assert report.faces_compared == len(faces) and report.faces_lost == 0
    assert report.psnr_db == pytest.approx(49.9, abs=0.2)
    assert report.pose_error_deg < 0.3
    # The unit is the one with the largest excess over its reading's own noise, so the excess is what is bounded.
    assert report.au_error - report.au_noise < 0.02
    assert json.loads(json.dumps(asdict(report)))["faces_compared"] == len(faces)
    assert "pose within" in report.describe() and "\n" not in report.describe()


def test_noise_is_one_level_at_most() -> None:
    frame = np.array([[[0, 128, 255]]] * 50, np.uint8)
    difference = noisy(frame, np.random.default_rng(0)).astype(int) - frame
    assert set(np.unique(difference)) == {-1, 0, 1} and difference[..., 0].min() == 0


def test_a_face_that_is_gone_is_refused(faces: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of twelve frames are grey, the others untouched; the pixels' bound, which sees that too, is taken away."""
    monkeypatch.setitem(LEAST_PSNR_DB, "int8", 0.0)
    spoilt = [np.full_like(face, 128) for face in faces[:2]] + faces[2:]
    report = compared(faces, spoilt, "int8")
    assert report.faces_lost == 2 and report.faces_compared == len(faces) - 2
    with pytest.raises(RefusedError, match="the face is lost in 2 frames"):
        gate_frames(faces, spoilt, "int8")


@pytest.mark.parametrize(
    ("name", "precision", "seen_as"),
    [("AU45", "int8", "AU45"), ("AU45", "fp16", "AU45"), ("AU04", "fp16", "AU02")],
)
def test_a_movement_that_is_gone_is_refused_though_the_pixels_are_near(
    edge_samples: Samples,
    edge_graph: bytes,
    faces: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    precision: str,
    seen_as: str,
) -> None:
    """Eyes that never close, brows that never draw together: more than 41 dB, and the tracker sees it."""
    monkeypatch.setitem(LEAST_PSNR_DB, precision, min(41.0, LEAST_PSNR_DB[precision]))
    without = edge_samples.attributes.copy()
    without[:, INDEX[name]] = 0.0
    still = list(map(frames_of(edge_graph), replace(edge_samples, attributes=without).feeds()))
    with pytest.raises(RefusedError, match=rf"{seen_as} within .* more than under noise is allowed"):
        gate_frames(faces, still, precision)


def test_a_pose_that_differs_is_refused(faces: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rolled by 3°: 2° more than is allowed. The pixels' bound, which sees that too, is taken away."""
    monkeypatch.setitem(LEAST_PSNR_DB, "int8", 0.0)
    turned = [rotated(face, 3.0) for face in faces]
    report = compared(faces, turned, "int8")
    assert report.pose_error_deg == pytest.approx(3.0, abs=0.5)
    with pytest.raises(RefusedError, match=r"at most 1° more than under noise is allowed"):
        gate_frames(faces, turned, "int8")


def rotated(face: Frame, degrees: float) -> Frame:
    """Rolled about the middle."""
    side = face.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(face, turn, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@needs_example
def test_equal_frames_pass_with_the_largest_figure(edge_samples: Samples) -> None:
    """The shipped graph is float32 in half precision, too."""
    bundle = Bundle.load(geometry_alone())
    report = gate(bundle, graph_for(bundle, "fp16", lambda: edge_samples), "fp16", edge_samples)
    assert report.psnr_db == LARGEST_DB and report.au_error <= 0.01
    assert report.faces_compared == len(edge_samples)
    assert report.golden_psnr_db is not None and report.golden_psnr_db > 60


def edited(graph: bytes, chosen: Any, change: Any) -> bytes:
    """A graph whose first constant of the kind that `chosen` says has other values."""
    model = onnx.load_from_string(graph)
    tensor = next(each for each in model.graph.initializer if chosen(each))
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))
    return bytes(model.SerializeToString())


@needs_example
def test_a_graph_whose_weights_are_spoilt_is_refused_with_the_figure(paper: Bundle) -> None:
    samples = collect(paper, rows=8)
    graph = graph_for(paper, "fp16", lambda: samples)
    good = gate(paper, graph, "fp16", samples)
    assert 45 < good.psnr_db < 90 and good.golden_psnr_db is not None and good.golden_psnr_db > 45
    noise = np.random.default_rng(0)
    spoilt = edited(
        graph,
        lambda tensor: tensor.data_type == TensorProto.FLOAT16 and len(tensor.dims) == 4,
        lambda values: values + noise.normal(0, 0.3 * values.astype(np.float32).std(), values.shape),
    )
    with pytest.raises(
        RefusedError, match=r"^fp16 against fp32: \d+\.\d dB over 8 frames, .* 45 dB is wanted"
    ):
        gate(paper, spoilt, "fp16", samples)


@needs_example
def test_a_graph_that_ignores_the_attributes_is_refused(paper: Bundle) -> None:
    """Its table of attributes is zeros, so its picture is always the same."""
    samples = collect(paper, rows=8)
    graph = graph_for(paper, "fp32", lambda: samples)
    deaf = edited(graph, lambda tensor: len(tensor.dims) == 2 and tensor.dims[0] == COUNT, np.zeros_like)
    with pytest.raises(RefusedError, match=r"dB is wanted, use --precision bf16, fp16 or fp32$"):
        gate(paper, deaf, "int8", samples)


@needs_example
def test_int8_calibrated_and_compared_on_the_same_samples(
    paper: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of 8 bit, whatever this processor can do: ONNX Runtime sums their products in 32 bit."""
    monkeypatch.setattr("icface.engines.precision._CPUINFO", tmp_path / "none")
    samples = collect(paper, rows=8)
    report = gate(paper, graph_for(paper, "int8", lambda: samples), "int8", samples)
    assert 38 <= report.psnr_db < 60, report.describe()


@needs_example
def test_bfloat16_is_computed_by_openvino(paper: Bundle) -> None:
    """On CPUs that have it: near float32, and not the same. On others it is refused in one line."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from icface.openvino_core import the_core

    samples = collect(paper, rows=8)
    graph = graph_for(paper, "bf16", lambda: samples)
    if "BF16" not in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match="this CPU has no bfloat16"):
            gate(paper, graph, "bf16", samples)
        return
    report = gate(paper, graph, "bf16", samples)
    assert 45 <= report.psnr_db < 70, report.describe()


# Half precision in ONNX Runtime


def test_half_precision_is_rounded_after_every_operation() -> None:
    """1 + 2⁻¹¹ is 1 in half precision, so adding it twice gives 1; in float32 it gives 1 + 2⁻¹⁰."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["a", "small"], ["b"]),
        helper.make_node("Add", ["b", "small"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    small = numpy_helper.from_array(np.array([2**-11], np.float16), "small")
    graph = helper.make_graph(nodes, "by hand", ends[:1], ends[1:], [small])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    found = by_onnxruntime(rounding(model.SerializeToString()), {"x": np.ones(1, np.float32)})["y"]
    assert found.item() == 1.0


def test_values_beyond_half_precision_are_seen() -> None:
    """ONNX Runtime alone goes on in float32, in which nothing overflows; a GPU gives NaN."""
    half, feeds = graphs_of("as published").animate_fp16, feeds_of("as published", 1)[0]
    assert half is not None
    exact = frames_of(graphs_of("as published").animate)(feeds)
    assert 50 < psnr_db(frames_of(half)(feeds), exact) < 90
    large = edited(
        half,
        lambda tensor: tensor.data_type == TensorProto.FLOAT16 and len(tensor.dims) == 4,
        lambda values: np.sign(values) * 6e4,
    )
    assert psnr_db(frames_of(large)(feeds), exact) < 20


def test_rounding_leaves_other_graphs_alone(edge_graph: bytes) -> None:
    rounded = onnx.load_from_string(rounding(edge_graph))
    assert list(rounded.graph.node) == list(onnx.load_from_string(edge_graph).graph.node)
