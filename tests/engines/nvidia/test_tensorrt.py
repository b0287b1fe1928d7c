"""Tests of TensorRT and TensorRT-RTX. Engines are really built. They run on a fake GPU, or on a real one where it is."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from msgspec import structs

from export.edge_golden import golden_inputs, reference_frame
from export.pack_paper import pack as pack_paper
from icface.bundle import Bundle
from icface.engines import needs_build, open_engine
from icface.engines.backends import tensorrt, tensorrt_rtx
from icface.engines.base import Job, Progress, Target
from icface.engines.cache import EngineCache, EngineKey
from icface.engines.nvidia import building, running
from icface.engines.nvidia import cuda as cuda_layer
from icface.engines.nvidia import library as nvidia_library
from icface.engines.nvidia.building import Shares, keep_timings, network_flags, open_timings
from icface.engines.nvidia.library import Library
from icface.engines.nvidia.running import TrtEngine
from icface.errors import EngineError, NotBuiltError
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from tests.engines.nvidia.fakes import FakeCuda, Status, fake_trt
from tests.export.geometry_alone import geometry_alone
from tests.export.models import random_model

Tensors = dict[str, np.ndarray]


def _has_gpu() -> bool:
    try:
        cuda_layer.device()
    except EngineError:
        return False
    return True


HAS_GPU = _has_gpu()
WITHOUT_A_GPU = pytest.mark.skipif(HAS_GPU, reason="there is a GPU")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(geometry_alone())


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    networks = NetworksConfig(size_px=32, generator=GeneratorConfig(width=4, blocks=1))
    info = ModelInfo(networks=networks, provenance="random", licence="MIT", step=0)
    return pack_paper(
        random_model(networks), info, tmp_path_factory.mktemp("paper") / "m.icface", name="paper"
    )


# Building


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra [tensorrt] is not installed")


def built(
    bundle: Bundle,
    *capabilities: str,
    graph: bytes | None = None,
    target: Target | None = None,
    progress: Progress = lambda done, what: None,
    backend: Any = tensorrt_rtx,
    **changes: Any,
) -> bytes:
    """Build an engine in float32, ahead of time by TensorRT-RTX where nothing else is asked for."""
    job = Job(bundle=bundle, backend="tensorrt_rtx", precision="fp32", **changes)
    graph = graph or bundle.file("animate.onnx").read_bytes()
    engine: bytes = backend.build(
        job, graph, target or tensorrt_rtx.target(capabilities or ("8.6",)), progress
    )
    return engine


@pytest.mark.parametrize("capabilities", [("8.6",), ("8.6", "8.9")])
@pytest.mark.parametrize("model", ["bundle", "paper"])
def test_engines_are_built_without_a_gpu(
    rtx: Any,
    request: pytest.FixtureRequest,
    model: str,
    capabilities: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = built(request.getfixturevalue(model), *capabilities)
    assert len(engine) > 10_000
    assert capfd.readouterr() == ("", "")


def test_capabilities_that_the_library_does_not_know_are_named(rtx: Any) -> None:
    assert tensorrt_rtx.target(("8.9", "8.6", "8.9")).capability == "8.6+8.9"
    assert tensorrt_rtx.target(("12.0",)).describe() == f"TensorRT-RTX {rtx.__version__} on GPUs, SM 12.0"
    with pytest.raises(
        EngineError, match=r"does not build for SM 3\.5; choose from 7\.5, .*8\.6, 8\.9, 12\.0"
    ):
        tensorrt_rtx.target(("8.6", "3.5"))


def test_an_operator_that_the_library_lacks_is_named(
    rtx: Any, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    graph = onnx.load_from_string(bundle.file("animate.onnx").read_bytes())
    graph.graph.node[5].op_type = "Conjure"
    with caplog.at_level(logging.DEBUG, logger="icface"), pytest.raises(EngineError) as caught:
        built(bundle, graph=graph.SerializeToString())
    line = str(caught.value)
    assert line.startswith("TensorRT-RTX cannot build animate.onnx: node 5 (Conjure): Plugin not found")
    assert line.endswith("; use --backend onnxruntime or another precision") and "\n" not in line
    assert "Conjure" in caplog.text  # the library's own message is in the log


def test_what_is_no_graph_is_an_error_of_one_line(rtx: Any, bundle: Bundle) -> None:
    with pytest.raises(
        EngineError, match=r"cannot build animate\.onnx: .*Failed to parse the ONNX model; use"
    ):
        built(bundle, graph=b"no graph")


def test_a_graph_of_another_model_is_an_error(rtx: Any, bundle: Bundle, paper: Bundle) -> None:
    with pytest.raises(
        EngineError, match=r"asks for attributes, stem, while .* of edge geometry states inner, "
    ):
        built(bundle, graph=paper.file("animate.onnx").read_bytes())


def test_sizes_that_contradict_are_an_error(rtx: Any, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"^TensorRT-RTX (refuses the sizes|cannot build)"):
        built(bundle, size_px=4)


def test_layers_with_a_margin_may_be_larger_than_the_frame(bundle: Bundle) -> None:
    profile = Mock()
    builder = Mock(**{"create_optimization_profile.return_value": profile})
    config = Mock(**{"add_optimization_profile.return_value": 0})
    names = [
        [SimpleNamespace(name=spec.name) for spec in specs]
        for specs in (bundle.graph.inputs, bundle.graph.outputs)
    ]
    network = Mock(num_inputs=len(names[0]), num_outputs=len(names[1]))
    network.get_input, network.get_output = names[0].__getitem__, names[1].__getitem__
    building._set_sizes(builder, config, network, Job(bundle=bundle, backend="tensorrt", size_px=512))
    shapes = {name: shapes for name, *shapes in (call.args for call in profile.set_shape.call_args_list)}
    assert shapes["skin"] == [[16, 16, 4], [768, 768, 4], [3072, 3072, 4]]
    assert shapes["plate"] == [[16, 16, 3], [512, 512, 3], [2048, 2048, 3]]


def test_progress_never_goes_back_and_ends(rtx: Any, bundle: Bundle) -> None:
    told: list[tuple[float, str]] = []
    built(bundle, progress=lambda done, what: told.append((done, what)))
    shares = [done for done, _ in told]
    assert shares == sorted(shares) and len(shares) > 20
    assert told[0] == (0.0, "reading the graph") and told[-1] == (1.0, "built")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("enough")])
def test_what_progress_raises_stops_the_build(
    rtx: Any, bundle: Bundle, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told = []

    def progress(done: float, what: str) -> None:
        told.append(done)
        if done > 0.1:
            raise error

    with caplog.at_level(logging.INFO), pytest.raises(type(error)) as caught:
        built(bundle, progress=progress)
    assert "Build canceled by user" in caplog.text  # it was not built to the end
    assert caught.value is error and max(told) < 0.5
    assert len(built(bundle)) > 10_000  # the next build is not stopped


def test_tensorrt_rtx_is_not_asked_for_timings(rtx: Any, bundle: Bundle, tmp_path: Path) -> None:
    """It would warn, ask for a GPU, and not use them."""
    built(bundle, timing_cache=tmp_path / "timings")
    assert not list(tmp_path.iterdir())


@WITHOUT_A_GPU
def test_building_for_this_machines_gpu_needs_one(rtx: Any, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=cuda_layer.NO_GPU):
        tensorrt_rtx.target()
    target = Target(library="TensorRT-RTX", device="NVIDIA GeForce RTX 3060", capability="8.6")
    with pytest.raises(
        EngineError, match=r"cannot build animate\.onnx in fp32 for .* RTX 3060, SM 8\.6: .*driver"
    ):
        built(bundle, target=target)


@WITHOUT_A_GPU
def test_an_engine_without_a_gpu_to_run_it(
    rtx: Any, bundle: Bundle, cuda: FakeCuda, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real library cannot load an engine here, and gives None. CUDA is faked, so that it is asked at all."""
    library = tensorrt_rtx.LIBRARY
    for content in (built(bundle), b"no engine"):
        with pytest.raises(
            EngineError, match=r"^TensorRT-RTX cannot load edge geometry's engine: .*; build it again"
        ):
            TrtEngine(library, bundle, content, "engine")
    assert not cuda.live and not cuda.misuse
    assert capfd.readouterr() == ("", "")


def test_shares_of_phases_within_phases() -> None:
    told: list[tuple[float, str]] = []
    progress = Shares(lambda done, what: told.append((round(done, 3), what)))
    progress.start("all", None, 2)
    progress.start("first", "all", 4)
    progress.step("first", 0)  # an eighth
    progress.step("first", 1)
    progress.finish("first")  # half, also when steps are left out
    progress.step("all", 0)
    progress.start("second", "all", 1)
    progress.step("second", 0)
    progress.step("unknown", 0)
    progress.start("again", None, 10)
    progress.step("again", 0)  # does not go back
    progress.finish("all")
    assert told == [(0.125, "first"), (0.25, "first"), (0.5, "first"), (0.99, "second")]


# Builders of other versions


class Config:
    """A builder's configuration that keeps a timing cache."""

    def __init__(self, accepted: bytes, made: bytes = b"new timings") -> None:
        self.accepted, self.made = accepted, made
        self.flags: list[str] = []
        self.attached: list[bytes] = []

    def create_timing_cache(self, content: bytes) -> bytes | None:
        if content == b"broken":
            raise RuntimeError("bad magic")
        return None if content == b"damaged" else content or b"empty"

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.attached.append(cache)
        return cache in (b"empty", self.accepted)

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: self.made)

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)


def test_timings_are_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "timings"
    config = Config(b"old timings")
    open_timings(config, path)
    assert config.attached == [b"empty"]
    keep_timings(config, path)
    assert path.read_bytes() == b"new timings" and [file.name for file in path.parent.iterdir()] == [
        "timings"
    ]
    path.write_bytes(b"old timings")
    config = Config(b"old timings")
    open_timings(config, path)
    assert config.attached == [b"old timings"]


@pytest.mark.parametrize("content", [b"damaged", b"broken", b"of another GPU"])
def test_timings_that_are_damaged_or_foreign_are_no_error(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "timings"
    path.write_bytes(content)
    config = Config(b"old timings")
    with caplog.at_level(logging.INFO):
        open_timings(config, path)
    assert config.attached[-1] == b"empty" and "measured again" in caplog.text


def test_timings_that_cannot_be_written_are_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.INFO):
        keep_timings(Config(b""), tmp_path / "file" / "timings")
    assert "not kept" in caplog.text
    open_timings(SimpleNamespace(), tmp_path / "timings")  # this builder has no timing cache


def test_networks_are_strongly_typed_where_that_is_a_choice() -> None:
    def version(**flags: int) -> SimpleNamespace:
        return SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(**flags))

    assert network_flags(version(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)) == 2
    assert network_flags(version()) == 0


# Running, on a fake GPU


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    monkeypatch.setattr(cuda_layer, "runtime", lambda: fake)
    monkeypatch.setattr(cuda_layer, "_pause", lambda seconds: None)
    yield fake
    assert not fake.misuse


def frame_of(tensors: Mapping[str, np.ndarray]) -> Tensors:
    return {"frame": reference_frame(dict(tensors))}


@pytest.fixture
def trt(cuda: FakeCuda, bundle: Bundle) -> Any:
    return fake_trt(cuda, bundle.graph, frame_of)


@dataclass(frozen=True, kw_only=True)
class Given(Library):
    """A library that is given instead of being imported."""

    module: Any

    def load(self) -> Any:
        return self.module


def opened(trt: Any, bundle: Bundle, content: bytes = b"engine", kernels: Path | None = None) -> TrtEngine:
    library = Given(
        name=trt.__name__, title="TensorRT", install="", rtx=trt.__name__ == "tensorrt_rtx", module=trt
    )
    return TrtEngine(library, bundle, content, "TensorRT 10.9.0 (fp16)", kernels)


@pytest.fixture
def engine(trt: Any, bundle: Bundle) -> Iterator[TrtEngine]:
    found = opened(trt, bundle)
    yield found
    found.close()


def inputs_of(height: int = 40, width: int = 52) -> Tensors:
    inputs = golden_inputs()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inputs["skin_map"] = np.stack([x * 1.2 - 3, y * 1.6 - 9], axis=-1)
    inputs["inner_map"] = np.stack([x * 0.6 - 5, y * 1.1 - 7], axis=-1)
    inputs["inner_alpha"] = (((x + y) * 3) % 256).astype(np.uint8)
    inputs["inner_shade"] = (255 - y).astype(np.uint8)
    inputs["plate"] = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    return inputs


def assert_frame(engine: TrtEngine, inputs: Tensors) -> None:
    np.testing.assert_array_equal(engine.animate(inputs), reference_frame(inputs))


def test_frames_after_the_first_are_launches_of_one_graph(
    engine: TrtEngine, trt: Any, cuda: FakeCuda
) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    assert_frame(engine, inputs)
    (context,) = trt.engines[0].contexts
    assert (context.enqueued, cuda.calls["cudaGraphLaunch"]) == (
        2,
        0,
    )  # the work was done once and captured once
    before = dict(cuda.calls)
    for step in (4.0, 9.0):
        inputs["skin_map"] += np.float32(step)  # the host writes into the same array
        assert_frame(engine, inputs)
    assert (context.enqueued, cuda.calls["cudaGraphLaunch"]) == (2, 2)
    used = {name for name, count in cuda.calls.items() if count != before.get(name, 0)}
    assert used == {"cudaGraphLaunch", "cudaStreamQuery"}  # so nothing is allocated


def test_the_source_goes_over_once(engine: TrtEngine, cuda: FakeCuda) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    assert cuda.calls["cudaMemcpyAsync"] == 3
    engine.animate(inputs)
    kept = cuda.calls["cudaMemcpyAsync"]
    assert kept == 3 + 2 * 5  # four motion tensors and the frame, done and captured
    engine.animate(inputs)
    assert cuda.calls["cudaMemcpyAsync"] == kept


def test_a_source_outlives_what_it_was_given_in(engine: TrtEngine) -> None:
    inputs = inputs_of()
    given = {name: inputs[name].copy() for name in ("skin", "plate", "inner")}
    engine.set_source(given)
    for tensor in given.values():
        tensor[:] = 77
    assert_frame(engine, inputs)


def test_another_source_is_seen_by_the_graph(engine: TrtEngine, cuda: FakeCuda) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    assert_frame(engine, inputs)
    inputs["skin"] = inputs["skin"][::-1].copy()
    engine.set_source(inputs)
    assert_frame(engine, inputs)
    assert cuda.calls["cudaGraphLaunch"] == 1 and cuda.calls["cudaStreamBeginCapture"] == 1


@pytest.mark.parametrize("larger", [False, True])
def test_a_source_of_another_size(engine: TrtEngine, cuda: FakeCuda, larger: bool) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    assert_frame(engine, inputs)
    skin = inputs["skin"]
    inputs["skin"] = np.concatenate([skin, skin[::-1]]) if larger else np.ascontiguousarray(skin[:-7])
    engine.set_source(inputs)
    for _ in range(2):
        assert_frame(engine, inputs)
    assert cuda.calls["cudaStreamBeginCapture"] == 2


def test_frames_of_other_sizes(engine: TrtEngine, cuda: FakeCuda) -> None:
    held = []
    for height, width in ((40, 52), (71, 33), (9, 11), (40, 52)):
        inputs = inputs_of(height, width)
        engine.set_source(inputs)
        for _ in range(2):
            assert_frame(engine, inputs)
        held.append(engine.animate(inputs))
    assert cuda.calls["cudaStreamBeginCapture"] == 4
    assert [frame.shape for frame in held] == [(40, 52, 3), (71, 33, 3), (9, 11, 3), (40, 52, 3)]


def test_sizes_that_it_was_not_built_for_are_named(engine: TrtEngine) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    wide = inputs_of(2, 2049)
    engine.set_source(wide)
    with pytest.raises(
        EngineError, match=r"takes plate from \(2, 2, 3\) to \(2048, 2048, 3\), not \(2, 2049, 3\)"
    ):
        engine.animate(wide)
    engine.set_source(inputs)
    assert_frame(engine, inputs)


def test_a_frame_that_is_held_is_there_after_closing(engine: TrtEngine, cuda: FakeCuda) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    frame = engine.animate(inputs)
    engine.close()
    gc.collect()
    np.testing.assert_array_equal(frame, reference_frame(inputs))
    assert list(cuda.live.values()) == ["page-locked memory"]
    del frame
    gc.collect()
    assert not cuda.live


def test_closing_gives_everything_back_once(trt: Any, bundle: Bundle, cuda: FakeCuda) -> None:
    engine = opened(trt, bundle)
    for size in ((40, 52), (71, 33)):
        engine.set_source(inputs_of(*size))
        engine.animate(inputs_of(*size))
    assert set(cuda.live.values()) == {"device memory", "page-locked memory", "stream", "executable graph"}
    engine.close()
    engine.close()
    gc.collect()
    assert not cuda.live and set(cuda.given_back.values()) == {1}
    with pytest.raises(EngineError, match="is closed"):
        engine.set_source(inputs_of())


def test_what_has_one_size_is_allocated_when_it_is_opened(paper: Bundle, cuda: FakeCuda) -> None:
    golden = dict(paper.golden_tensors())
    trt = fake_trt(
        cuda,
        paper.graph,
        lambda tensors: {"frame": golden["frame"] ^ np.uint8(tensors["stem"][0, 0, 0, 0] > 1e6)},
    )
    engine = opened(trt, paper)
    assert cuda.calls["cudaMalloc"] == 3
    engine.set_source(golden)
    np.testing.assert_array_equal(engine.animate(golden), golden["frame"])
    assert cuda.calls["cudaMalloc"] == 3
    engine.close()


def test_tensorrt_rtx_captures_by_itself(bundle: Bundle, cuda: FakeCuda) -> None:
    trt = fake_trt(cuda, bundle.graph, frame_of, name="tensorrt_rtx", version="1.7.1")
    engine = opened(trt, bundle)
    inputs = inputs_of()
    engine.set_source(inputs)
    for step in range(3):
        inputs["skin_map"] += np.float32(step)
        assert_frame(engine, inputs)
    config = trt.engines[0].config
    assert config.cuda_graph_strategy == "whole"
    assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert trt.engines[0].contexts[0].enqueued == 3 and not cuda.calls["cudaStreamBeginCapture"]
    engine.close()


@pytest.mark.parametrize("before", [None, b"kernels of another start", b"of another GPU"])
def test_kernels_that_tensorrt_rtx_compiles_are_kept(
    bundle: Bundle, cuda: FakeCuda, tmp_path: Path, before: bytes | None
) -> None:
    """Kernels of an earlier start are used where they fit, and replaced where they do not."""
    path = tmp_path / "engines" / "a.kernels"
    if before is not None:
        path.parent.mkdir()
        path.write_bytes(before)
    trt = fake_trt(cuda, bundle.graph, frame_of, name="tensorrt_rtx", version="1.7.1")
    engine = opened(trt, bundle, kernels=path)
    engine.set_source(inputs_of())
    assert_frame(engine, inputs_of())
    used = before if before is not None and before.startswith(b"kernels") else b"kernels of this start"
    assert trt.engines[0].config.kernels.content == used == path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["a.kernels"]
    engine.close()


def test_kernels_that_cannot_be_kept_do_no_harm(bundle: Bundle, cuda: FakeCuda, tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("in the way")
    trt = fake_trt(cuda, bundle.graph, frame_of, name="tensorrt_rtx", version="1.7.1")
    engine = opened(trt, bundle, kernels=tmp_path / "engines" / "a.kernels")
    engine.set_source(inputs_of())
    assert_frame(engine, inputs_of())
    engine.close()


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_without_a_graph_it_goes_on(
    engine: TrtEngine, cuda: FakeCuda, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.failing[function] = [Status.cudaErrorStreamCaptureUnsupported]
    inputs = inputs_of()
    engine.set_source(inputs)
    with caplog.at_level(logging.DEBUG, logger="icface"):
        for step in range(3):
            inputs["skin_map"] += np.float32(step)
            assert_frame(engine, inputs)
    assert "runs without a CUDA graph" in caplog.text
    assert cuda.calls["cudaStreamBeginCapture"] == 1 and not cuda.calls["cudaGraphLaunch"]


def test_a_network_that_cannot_be_captured_goes_on(engine: TrtEngine, trt: Any, cuda: FakeCuda) -> None:
    trt.engines[0].contexts[0].refuses = [False, True]
    inputs = inputs_of()
    engine.set_source(inputs)
    for _ in range(3):
        assert_frame(engine, inputs)
    assert not cuda.calls["cudaGraphLaunch"]


@pytest.mark.parametrize(
    ("function", "status", "expected"),
    [
        ("cudaStreamCreateWithFlags", Status.cudaErrorMemoryAllocation, "cudaStreamCreateWithFlags failed"),
        ("cudaMalloc", Status.cudaErrorMemoryAllocation, "cudaMalloc failed .*; close other programs"),
        ("cudaHostAlloc", Status.cudaErrorMemoryAllocation, "cudaHostAlloc failed"),
        ("cudaMemcpyAsync", Status.cudaErrorInvalidValue, "cudaMemcpyAsync failed"),
        ("cudaStreamQuery", Status.cudaErrorIllegalAddress, "cudaErrorIllegalAddress; start again"),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_every_stage_that_fails_is_an_error_and_nothing_is_lost(
    trt: Any, bundle: Bundle, cuda: FakeCuda, function: str, status: Status, expected: str, at: int
) -> None:
    cuda.failing[function] = [
        *[None] * (0 if "Create" in function else at),
        status,
    ]  # there is but one stream
    inputs, engine = inputs_of(), None
    with pytest.raises(EngineError, match=expected) as caught:
        engine = opened(trt, bundle)
        engine.set_source(inputs)
        for _ in range(3):
            engine.animate(inputs)
    assert "\n" not in str(caught.value)
    for stream in list(cuda.__dict__.get("streams", {}).values()):
        stream.pending.clear()  # what a fault leaves in a stream is never done
    if engine is not None:
        engine.close()
    del engine, caught
    gc.collect()
    assert not cuda.live and set(cuda.given_back.values()) <= {1}


def test_a_source_that_did_not_go_over_is_not_shown(engine: TrtEngine, cuda: FakeCuda) -> None:
    inputs = inputs_of()
    engine.set_source(inputs)
    engine.animate(inputs)
    cuda.failing["cudaMemcpyAsync"] = [None, Status.cudaErrorInvalidValue]
    with pytest.raises(EngineError, match="cudaMemcpyAsync"):
        engine.set_source(inputs)
    with pytest.raises(EngineError, match="no source is set"):
        engine.animate(inputs)
    engine.set_source(inputs)
    assert_frame(engine, inputs)


def test_a_network_that_fails_says_why(engine: TrtEngine, trt: Any) -> None:
    trt.engines[0].contexts[0].refuses = [True]
    inputs = inputs_of()
    engine.set_source(inputs)
    with pytest.raises(
        EngineError, match=r"^TensorRT 10\.9\.0 \(fp16\) failed: IExecutionContext: the kernels are on"
    ):
        engine.animate(inputs)
    engine._stream.wait(1.0)  # type: ignore[union-attr]


def test_a_gpu_that_stopped_is_an_error_and_left_alone(
    trt: Any,
    bundle: Bundle,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.25
        return now[0]

    monkeypatch.setattr(cuda_layer, "_clock", clock)
    monkeypatch.setattr(running, "_ABANDONED", [])
    engine, inputs = opened(trt, bundle), inputs_of()
    engine.set_source(inputs)
    engine.animate(inputs)
    cuda.hung = True
    before = now[0]
    with pytest.raises(EngineError, match="did not finish within 5 s"):
        engine.animate(inputs)
    assert now[0] - before < running.FRAME_S + 1
    before = now[0]
    for use in (lambda: engine.animate(inputs), lambda: engine.set_source(inputs_of(9, 9))):
        with pytest.raises(EngineError, match=r"not used any more: the GPU did not finish"):
            use()
    assert now[0] == before
    live = dict(cuda.live)
    with caplog.at_level(logging.WARNING):
        engine.close()
    gc.collect()
    # Nothing is freed, because that would wait for ever.
    assert cuda.live == live and len(running._ABANDONED) == 1 and "is left as it is" in caplog.text


def test_an_engine_that_the_library_refuses(trt: Any, bundle: Bundle, cuda: FakeCuda) -> None:
    with pytest.raises(
        EngineError, match=r"cannot load edge geometry's engine: bad magic tag; build it again"
    ) as caught:
        opened(trt, bundle, b"damaged")
    assert "\n" not in str(caught.value) and not cuda.live


def test_a_context_that_finds_no_room(
    trt: Any, bundle: Bundle, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.engines.nvidia.fakes.FakeTrtEngine.create_execution_context", lambda self, config=None: None
    )
    with pytest.raises(EngineError, match=r"cannot load edge geometry's engine: .*; close other programs"):
        opened(trt, bundle)
    assert not cuda.live


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "hide"}, r"asks for hide, inner, .* while the manifest of edge geometry states inner, "),
        (
            {"dtype": "float16"},
            r"tensor skin is \(-1, -1, 4\) of float16, while the manifest .* of uint8; build it",
        ),
        ({"dtype": "bfloat16"}, "of bfloat16, while the manifest"),
        ({"shape": ("h", "w", 3)}, r"tensor skin is \(-1, -1, 3\) of uint8"),
        ({"shape": ("h", "w")}, r"tensor skin is \(-1, -1\) of uint8"),
    ],
)
def test_an_engine_of_another_model(
    bundle: Bundle, cuda: FakeCuda, change: dict[str, Any], expected: str
) -> None:
    spec, *others = bundle.graph.cache
    other = structs.replace(bundle.graph, cache=(structs.replace(spec, **change), *others))
    with pytest.raises(EngineError, match=expected):
        opened(fake_trt(cuda, other, frame_of), bundle)
    assert not cuda.live


@pytest.mark.parametrize("stage", ["deserialize_cuda_engine", "execute_async_v3"])
def test_an_interrupt_within_the_library_is_raised_when_it_has_returned(
    trt: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """An exception must not pass through C++, and must not be lost."""
    from tests.engines.nvidia.fakes import FakeContext

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    kind: Any = trt.Runtime if stage == "deserialize_cuda_engine" else FakeContext
    original = getattr(kind, stage)

    def call(self: Any, *arguments: Any) -> Any:
        log = self.log if hasattr(self, "log") else self.engine.log
        with monkeypatch.context() as patch:
            patch.setattr(nvidia_library.logger, "debug", interrupted)
            log.log(log.Severity.INFO, "something")
        return original(self, *arguments)

    monkeypatch.setattr(kind, stage, call)
    inputs = inputs_of()
    with pytest.raises(KeyboardInterrupt):
        engine = opened(trt, bundle)
        engine.set_source(inputs)
        try:
            engine.animate(inputs)
        finally:
            engine._stream.wait(1.0)  # type: ignore[union-attr]
            engine.close()


# Finding built engines


@pytest.mark.parametrize(
    ("name", "capability", "expected"),
    [
        ("NVIDIA GeForce GTX 1660 SUPER", "7.5", "fp32"),
        ("NVIDIA GeForce GTX 1650", "7.5", "fp32"),
        ("NVIDIA GeForce RTX 2080 Ti", "7.5", "fp16"),
        ("NVIDIA GeForce RTX 3060", "8.6", "fp16"),
        ("Orin", "8.7", "fp16"),
    ],
)
def test_cards_whose_half_precision_gives_nan_get_float32(
    bundle: Bundle, name: str, capability: str, expected: str
) -> None:
    target = Target(library="TensorRT", device=name, capability=capability)
    assert tensorrt.usual(bundle, target) == expected


LIBRARIES = {"tensorrt": ("TensorRT 10.9.0", "10.9.0"), "tensorrt_rtx": ("TensorRT-RTX 1.7.1", "1.7.1")}


@pytest.fixture
def installed(
    cuda: FakeCuda, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, cache_dir: Path
) -> EngineCache:
    """An empty cache on a machine that has both libraries and an RTX 3060."""
    for name, (_, version) in LIBRARIES.items():
        trt = fake_trt(cuda, bundle.graph, frame_of, name=name, version=version)
        monkeypatch.setitem(sys.modules, name, trt)
    return EngineCache()


def key_of(
    bundle: Bundle, backend: str, precision: str, device: str, capability: str, library: str = ""
) -> EngineKey:
    target = Target(library=library or LIBRARIES[backend][0], device=device, capability=capability)
    return EngineKey.of(bundle, backend, precision, target)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("option", ["", "fp16", "int8"])
def test_what_was_built_for_this_gpu_is_opened(
    installed: EngineCache, bundle: Bundle, name: str, option: str
) -> None:
    key = key_of(bundle, name, option or "fp16", "NVIDIA GeForce RTX 3060", "8.6")
    installed.store(key, b"engine", {"golden_psnr_db": 40.0})
    full = f"{name}:{option}" if option else name
    engine = open_engine(full, bundle)
    library = LIBRARIES[name][0]
    assert engine.description.startswith(
        f"{library} ({option or 'fp16'}, NVIDIA GeForce RTX 3060) for edge geometry, "
    )
    assert engine.golden_psnr_db == 37.0 and needs_build(full)
    engine.set_source(inputs_of())
    assert_frame(engine, inputs_of())  # type: ignore[arg-type]
    engine.close()


def test_what_was_built_ahead_for_gpus_of_the_kind_is_opened(installed: EngineCache, bundle: Bundle) -> None:
    installed.store(key_of(bundle, "tensorrt_rtx", "fp16", "any", "8.9+12.0"), b"engine", {})
    with pytest.raises(NotBuiltError, match=r"there is one for TensorRT-RTX 1\.7\.1 on GPUs, SM 8\.9\+12\.0"):
        open_engine("tensorrt_rtx", bundle)
    installed.store(
        key_of(bundle, "tensorrt_rtx", "fp16", "any", "8.6+8.9", "TensorRT-RTX 1.5.0"), b"engine", {}
    )
    with pytest.raises(NotBuiltError):
        open_engine("tensorrt_rtx", bundle)
    installed.store(key_of(bundle, "tensorrt_rtx", "fp16", "any", "8.6+8.9"), b"engine", {})
    open_engine("tensorrt_rtx", bundle).close()


def test_nothing_built_names_what_there_is(installed: EngineCache, bundle: Bundle) -> None:
    with pytest.raises(
        NotBuiltError, match=r"no fp16 engine of tensorrt is built for edge geometry here \(none yet\)"
    ):
        open_engine("tensorrt", bundle)
    installed.store(key_of(bundle, "tensorrt", "fp16", "NVIDIA L4", "8.9", "TensorRT 10.3.0"), b"engine", {})
    with pytest.raises(
        NotBuiltError, match=r"there is one for TensorRT 10\.3\.0 on NVIDIA L4, SM 8\.9.*--backend tensorrt "
    ):
        open_engine("tensorrt", bundle)


def test_a_card_whose_half_precision_gives_nan(
    installed: EngineCache, bundle: Bundle, cuda: FakeCuda
) -> None:
    cuda.name, cuda.capability = b"NVIDIA GeForce GTX 1660", "7.5"
    with pytest.raises(NotBuiltError, match="no fp32 engine of tensorrt_rtx"):
        open_engine("tensorrt_rtx", bundle)


def test_what_is_worth_building_unasked(
    installed: EngineCache, bundle: Bundle, paper: Bundle, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace()
    monkeypatch.setattr(nvidia_library, "find_spec", lambda name: found)
    assert (tensorrt.unasked(paper), tensorrt_rtx.unasked(paper)) == ("fp16", "fp16")
    assert tensorrt.unasked(bundle) == ""  # host code makes its frames
    cuda.count = 0
    assert tensorrt.unasked(paper) == ""
    cuda.count, found = 1, None  # type: ignore[assignment]
    assert tensorrt_rtx.unasked(paper) == ""


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_gpu_makes_frames_alone(installed: EngineCache, paper: Bundle, name: str) -> None:
    with pytest.raises(EngineError, match=r"makes frames alone; .*--engine onnxruntime"):
        open_engine(name, paper, step="neutralise")


def test_tensorrt_builds_for_its_own_gpu(installed: EngineCache) -> None:
    assert tensorrt.target().describe() == "TensorRT 10.9.0 on NVIDIA GeForce RTX 3060, SM 8.6"
    with pytest.raises(EngineError, match=r"this machine's GPU alone; .*tensorrt-rtx"):
        tensorrt.target(("8.6",))


@pytest.mark.parametrize(
    ("name", "package"), [("tensorrt", "tensorrt-cu13"), ("tensorrt_rtx", "tensorrt-rtx-cu13")]
)
def test_what_is_missing_is_named(
    installed: EngineCache, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=rf"^TensorRT\S* is not installed .*pip install {package}"):
        open_engine(name, bundle)


# On a real GPU


def built_here(backend: Any, bundle: Bundle, cache: EngineCache) -> None:
    """Build for this machine's GPU in float32. The test is skipped where there is none."""
    try:
        target = backend.target()
    except EngineError as error:
        pytest.skip(str(error))
    content = built(bundle, target=target, backend=backend)
    name = backend.__name__.rpartition(".")[2]
    cache.store(EngineKey.of(bundle, name, "fp32", target), content, {})


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [tensorrt, tensorrt_rtx], ids=["tensorrt", "tensorrt_rtx"])
def test_frames_of_a_real_gpu_are_those_of_the_contract(
    backend: Any, bundle: Bundle, cache_dir: Path
) -> None:
    built_here(backend, bundle, EngineCache())
    engine = open_engine(f"{backend.__name__.rpartition('.')[2]}:fp32", bundle)
    sources: list[Tensors] = [golden_inputs(), inputs_of(75, 131), golden_inputs()]
    for inputs in sources:
        engine.set_source(inputs)
        for step in (0.0, 2.5, 4.0):
            inputs["skin_map"] += np.float32(step)
            difference = np.abs(engine.animate(inputs).astype(int) - reference_frame(inputs))
            assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    engine.close()


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [tensorrt, tensorrt_rtx], ids=["tensorrt", "tensorrt_rtx"])
def test_a_real_gpu_runs_the_papers_generator(backend: Any, paper: Bundle, cache_dir: Path) -> None:
    """GPUs compute float32 convolutions in TF32, so two levels of difference are allowed."""
    built_here(backend, paper, EngineCache())
    engine = open_engine(f"{backend.__name__.rpartition('.')[2]}:fp32", paper)
    golden = paper.golden_tensors()
    engine.set_source(golden)
    for _ in range(3):
        assert np.abs(engine.animate(golden).astype(int) - golden["frame"]).max() <= 2
    engine.close()
