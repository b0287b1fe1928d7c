"""The learned correction in every engine: the same picture everywhere, none where its gates are closed, and no harm where
it fails."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load, save

from icface.arrays import Frame
from icface.attributes import INDEX, FloatArray, neutral
from icface.bundle import GEOMETRY, MANIFEST, Bundle
from icface.engines import available, golden_psnr_db, open_engine
from icface.engines.backends.host import HostEngine
from icface.engines.base import GOLDEN_PSNR_DB
from icface.engines.parity import frames_of, gate_frames
from icface.errors import EngineError
from icface.families import edge
from icface.images import load_photo
from icface.quality import psnr_db
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

NOT_HERE = ("not installed", "no NVIDIA GPU", "is built for")
POSES: dict[str, dict[str, float]] = {
    "at rest": {},
    "turned and talking": {"yaw": 0.6, "pitch": 0.4, "AU25": 0.6, "AU26": 0.8},
    "blinking and smiling": {"roll": 0.6, "AU45": 1.0, "AU12": 0.9, "AU06": 0.5},
}


def posed(**values: float) -> FloatArray:
    attributes = neutral()
    for name, value in values.items():
        attributes[INDEX[name]] = value
    return attributes


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of these tests changes every face; no gate closes for it."""
    monkeypatch.setattr(edge, "rest_change", lambda cache, corrected: np.zeros((), dtype=np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def shown(bundle: Bundle, name: str, folder: Path, attributes: FloatArray, **settings: Any) -> Frame:
    """A frame of the example's photo by an engine; the test is skipped where the engine is not on this machine."""
    try:
        reenactor = Reenactor(bundle, name, 320, source_cache=SourceCache(folder), **settings)
    except EngineError as error:
        if not any(words in str(error) for words in NOT_HERE):
            raise
        pytest.skip(str(error))
    reenactor.set_source(reenactor.prepare_source(load_photo(REPOSITORY / "examples/rendered.jpg")))
    frame = reenactor.animate(attributes).copy()
    reenactor.close()
    return frame


@pytest.mark.parametrize("name", available())
def test_every_engine_gives_the_golden_frame(corrected_bundle: Bundle, name: str) -> None:
    """Which has the correction in it: an engine that leaves it out is 20 dB away."""
    golden = corrected_bundle.golden_tensors()
    assert psnr_db(golden["frame"], golden[GEOMETRY]) < 38 < GOLDEN_PSNR_DB
    try:
        engine = open_engine(name, corrected_bundle)
    except EngineError as error:
        assert any(words in str(error) for words in NOT_HERE), error
        pytest.skip(str(error))
    assert golden_psnr_db(engine, corrected_bundle) >= 50
    engine.release()
    golden = {**golden, "gates": np.zeros_like(golden["gates"])}
    engine.set_source(golden)
    assert psnr_db(engine.animate(golden), golden[GEOMETRY]) >= 55, "with closed gates geometry alone is left"
    engine.close()


@pytest.mark.parametrize("pose", POSES)
def test_real_frames_are_the_same_on_the_host_and_in_one_graph(
    corrected_bundle: Bundle, folder: Path, pose: str
) -> None:
    attributes = posed(**POSES[pose])
    plain = shown(corrected_bundle, "host", folder, attributes, corrected=False)
    on_host = shown(corrected_bundle, "host", folder, attributes)
    assert psnr_db(on_host, plain) < 40
    for name in ("openvino", "onnxruntime"):
        frame = shown(corrected_bundle, name, folder, attributes)
        assert psnr_db(on_host, frame) >= 50, name


@pytest.mark.parametrize("name", ["host", "onnxruntime"])
def test_without_correction_the_frame_is_what_geometry_makes(
    corrected_bundle: Bundle, folder: Path, name: str
) -> None:
    from icface.bundle import DEFAULT_BUNDLE

    attributes = posed(**POSES["turned and talking"])
    plain = shown(corrected_bundle, name, folder, attributes, corrected=False)
    expected = shown(Bundle.load(DEFAULT_BUNDLE), name, folder, attributes, corrected=False)
    np.testing.assert_array_equal(plain, expected)


def test_a_head_turned_far_is_not_corrected(corrected_bundle: Bundle, folder: Path) -> None:
    attributes = posed(yaw=1.0)
    plain = shown(corrected_bundle, "host", folder, attributes, corrected=False)
    np.testing.assert_array_equal(shown(corrected_bundle, "host", folder, attributes), plain)


def test_half_precision_shows_the_same_golden_frame(corrected_bundle: Bundle) -> None:
    graph = corrected_bundle.graph.graph_fp16
    assert graph is not None
    golden = corrected_bundle.golden_tensors()
    half = frames_of(corrected_bundle.file(graph).read_bytes())
    assert psnr_db(half(golden), golden["frame"]) >= GOLDEN_PSNR_DB


def test_the_host_says_what_runs_its_network(corrected_bundle: Bundle) -> None:
    engine = open_engine("host", corrected_bundle)
    assert "corrected by OpenVINO" in engine.description or "corrected by ONNX Runtime" in engine.description
    assert not engine.geometry_alone
    engine.close()


# Networks that fail


def with_network(bundle: Bundle, out: Path, change: Callable[[bytes], bytes]) -> Bundle:
    """A copy of a bundle whose network's graph was changed, with its new hash."""
    shutil.copytree(bundle.path, out)
    content = change((out / "correct.onnx").read_bytes())
    (out / "correct.onnx").write_bytes(content)
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"]["correct.onnx"] = hashlib.sha256(content).hexdigest()
    (out / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return Bundle.load(out)


def scaled(graph: bytes, factor: float) -> bytes:
    """The graph with its last convolution's weights multiplied."""
    model = onnx.load_from_string(graph)
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1].input[1]
    for tensor in model.graph.initializer:
        if tensor.name == last:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, last))
    return bytes(model.SerializeToString())


def conjuring(graph: bytes) -> bytes:
    """The graph with an operator that no engine has."""
    model = onnx.load_from_string(graph)
    model.graph.node[0].op_type = "Conjure"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (conjuring, "cannot load correct.onnx"),
        (lambda graph: scaled(graph, np.nan), "no numbers|wrong golden frame"),
        (lambda graph: scaled(graph, -1.0), "wrong golden frame"),
    ],
    ids=["does not load", "gives NaN", "other weights"],
)
def test_a_network_that_does_not_work_leaves_geometry(
    corrected_bundle: Bundle,
    tmp_path: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[bytes], bytes],
    why: str,
) -> None:
    broken = with_network(corrected_bundle, tmp_path / "b.icface", change)
    with caplog.at_level(logging.WARNING):
        frame = shown(broken, "host", folder, posed(AU26=0.8))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("geometry alone makes the frames") and "\n" not in line
    assert any(part in line for part in why.split("|"))
    expected = shown(corrected_bundle, "host", folder, posed(AU26=0.8), corrected=False)
    np.testing.assert_array_equal(frame, expected)


class Faulty:
    """A network that works until it is told to fail."""

    def __init__(self, network: Any, value: float) -> None:
        self._network, self._value, self.fails = network, value, False
        self.set_source, self.release, self.close = network.set_source, network.release, network.close

    def run(self, motion: Any) -> Any:
        (correction,) = self._network.run(motion)
        if not self.fails:
            return (correction,)
        wrong = np.array(correction)
        wrong[0, 96, 96, 1] = self._value
        return (wrong,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_fails_while_it_runs_is_dropped_before_the_frame_is_touched(
    corrected_bundle: Bundle, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    engine = open_engine("host", corrected_bundle)
    assert isinstance(engine, HostEngine) and engine._network is not None
    faulty = Faulty(engine._network, value)
    engine._network = faulty  # type: ignore[assignment]
    golden = corrected_bundle.golden_tensors()
    engine.set_source(golden)
    assert psnr_db(engine.animate(golden), golden["frame"]) > 45
    faulty.fails = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert psnr_db(engine.animate(golden), golden[GEOMETRY]) > 50
    assert engine.geometry_alone
    assert [record.getMessage() for record in caplog.records] == [
        "geometry alone makes the frames from now on: the network gives values that are no numbers"
    ]
    engine.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_patch_that_lies_nowhere_is_not_read(
    corrected_bundle: Bundle, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    engine = open_engine("host", corrected_bundle)
    golden = corrected_bundle.golden_tensors()
    engine.set_source(golden)
    with caplog.at_level(logging.WARNING):
        frame = engine.animate({**golden, "patch_to_frame": np.full((2, 3), value, dtype=np.float32)})
    assert psnr_db(frame, golden[GEOMETRY]) > 50 and engine.geometry_alone
    assert "the patch lies outside of every frame" in caplog.text
    engine.close()


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_in_one_graph_a_network_of_no_numbers_leaves_geometry(corrected_bundle: Bundle, name: str) -> None:
    """No check stands between the network and the frame there, so the graph has its own."""
    if name not in available():
        pytest.skip(f"{name} is not here")
    golden = corrected_bundle.golden_tensors()
    run = frames_of(scaled(corrected_bundle.file("animate.onnx").read_bytes(), np.nan))
    assert psnr_db(run(golden), golden[GEOMETRY]) > 60


def test_an_engine_without_the_network_is_held_to_the_golden_frame_of_geometry(
    corrected_bundle: Bundle, tmp_path: Path
) -> None:
    broken = with_network(corrected_bundle, tmp_path / "b.icface", conjuring)
    golden = load(broken.file(broken.golden).read_bytes())
    content = save(golden | {GEOMETRY: golden[GEOMETRY][::-1].copy()})
    broken.file(broken.golden).write_bytes(content)
    manifest = json.loads((broken.path / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][broken.golden] = hashlib.sha256(content).hexdigest()
    (broken.path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(EngineError, match="wrong golden frame"):
        open_engine("host", Bundle.load(broken.path))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precisions_show_the_same_face(corrected_bundle: Bundle, folder: Path, precision: str) -> None:
    """As the gate of built engines sees it, in pixels and attributes."""
    from icface.engines.precision import graph_for
    from icface.engines.samples import collect

    pytest.importorskip("openvino")
    samples = collect(corrected_bundle, rows=6)
    graph = graph_for(corrected_bundle, "fp16" if precision == "fp16" else "fp32", lambda: samples)
    reference = frames_of(corrected_bundle.file("animate.onnx").read_bytes())
    if precision == "fp16":
        made: Any = map(frames_of(graph), samples.feeds())
    else:  # on the host, where the network alone is in bfloat16
        made = (_on_host(corrected_bundle, feeds) for feeds in _with_regions(samples))
    gate_frames(map(reference, samples.feeds()), made, precision)


def _with_regions(samples: Any) -> Any:
    for feeds in samples.feeds():
        height, width = feeds["inner_alpha"].shape
        yield feeds | {"regions": np.array([[0, 0, width, height]], dtype=np.int32)}


def _on_host(bundle: Bundle, feeds: Any) -> Frame:
    engine = open_engine("host", bundle)
    engine.set_source(feeds)
    frame = engine.animate(feeds).copy()
    engine.close()
    return frame
