"""Tests of the contract, run on every backend, and of choosing, checking and refusing engines."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load, save

from export.edge_golden import golden_inputs, reference_frame
from export.pack_paper import pack as pack_paper
from icface import engines
from icface.arrays import Frame, Tensors
from icface.bundle import MANIFEST, Bundle
from icface.engines import Engine, Outputs, available, golden_psnr_db, neutralise, open_engine
from icface.engines.backends import host
from icface.engines.backends import onnxruntime as onnxruntime_engine
from icface.engines.base import GOLDEN_PSNR_DB
from icface.engines.cache import EngineCache, EngineKey
from icface.errors import BundleError, ConfigError, EngineError
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from tests.conftest import REPOSITORY
from tests.export.geometry_alone import geometry_alone
from tests.export.models import random_model

GRAPH_ENGINES = tuple(name for name in available() if name != "host")
# The error of an engine that cannot be opened on this machine: its library, the GPU, or the build is missing.
NOT_HERE = "not installed|no NVIDIA GPU|is built for"
# cv2.remap reads at multiples of 1/32 pixel: at most 1/64 pixel off each way, which between neighbours that differ
# by all of 255 is 4 levels an axis. Graph engines compute in float32: one level where a value lies at .5.
TOLERANCE = {"host": 8}


@contextmanager
def opened(name: str, bundle: Bundle) -> Iterator[Engine]:
    """An open engine. The test is skipped where its library or its GPU is not on this machine."""
    try:
        engine = open_engine(name, bundle)
    except EngineError as error:
        if not re.search(NOT_HERE, str(error)):
            raise
        pytest.skip(str(error))
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(geometry_alone())


def odd_inputs() -> dict[str, np.ndarray]:
    """Inputs of an odd size that is not square, with positions beyond every border and every weight."""
    inputs = golden_inputs()
    y, x = np.mgrid[:75, :131].astype(np.float32)
    inputs["skin_map"] = np.stack([x * 1.2 - 20, y * 1.6 - 9], axis=-1)
    inputs["inner_map"] = np.stack([x * 0.6 - 5, y * 1.1 - 7], axis=-1)
    inputs["inner_alpha"] = (((x + y) * 3) % 256).astype(np.uint8)
    inputs["inner_shade"] = (255 - y).astype(np.uint8)
    inputs["regions"] = np.array([[0, 0, 131, 75]], dtype=np.int32)
    inputs["plate"] = np.stack([x, 2 * y, 200 - x], axis=-1).astype(np.uint8)
    return inputs


def hand_made(weight: int, shade: int) -> dict[str, np.ndarray]:
    """Inputs for one row of three pixels. They are read at pixel 1, half way to pixel 0, and left of the border."""
    skin = np.zeros((2, 2, 4), dtype=np.uint8)
    skin[:, 0], skin[:, 1] = (10, 100, 200, 255), (30, 110, 100, 255)
    skin_map = np.array([[[1, 0], [0.5, 1], [-5, 0]]], dtype=np.float32)
    return {
        "skin": skin,
        "plate": np.full((1, 3, 3), 99, dtype=np.uint8),
        "inner": np.full((4, 4, 3), 240, dtype=np.uint8),
        "skin_map": skin_map,
        "inner_map": np.ones((1, 3, 2), dtype=np.float32),
        "inner_alpha": np.full((1, 3), weight, dtype=np.uint8),
        "inner_shade": np.full((1, 3), shade, dtype=np.uint8),
        "regions": np.array([[0, 0, 3, 1]], dtype=np.int32),
    }


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize(
    ("weight", "shade", "expected"),
    [
        (0, 255, [(30, 110, 100), (20, 105, 150), (10, 100, 200)]),
        (255, 255, [(240, 240, 240)] * 3),
        (255, 51, [(48, 48, 48)] * 3),  # 240 · 51/255
        # 30·204/255 + 240·.2·51/255 = 24 + 9.6, 88 + 9.6, 80 + 9.6; 16, 84, 120; 8, 80, 160
        (51, 51, [(34, 98, 90), (26, 94, 130), (18, 90, 170)]),
    ],
)
def test_frames_by_hand(
    name: str, bundle: Bundle, weight: int, shade: int, expected: list[tuple[int, int, int]]
) -> None:
    with opened(name, bundle) as engine:
        inputs = hand_made(weight, shade)
        engine.set_source(inputs)
        frame = engine.animate(inputs)
        assert frame.shape == (1, 3, 3) and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame[0], expected)


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize(
    ("reads_at", "last"),
    [
        (-5.5, (10, 100, 200)),  # 6 pixels from its neighbour: no edge
        # All of the average with its neighbour (20, 105, 150) at weights 1, 3: 12.5, 101.25, 187.5
        (-9.5, (13, 101, 188)),
        (-7.5, (11, 101, 194)),  # half of it: 11.25, 100.6, 193.75
    ],
)
def test_an_edge_of_the_mesh_is_smoothed(
    name: str, bundle: Bundle, reads_at: float, last: tuple[int, int, int]
) -> None:
    inputs = hand_made(0, 255)
    inputs["skin_map"][0, 2, 0] = reads_at
    with opened(name, bundle) as engine:
        engine.set_source(inputs)
        # The middle pixel is the average of its neighbours already. The first is no part of the edge.
        np.testing.assert_array_equal(engine.animate(inputs)[0], [(30, 110, 100), (20, 105, 150), last])


@pytest.mark.parametrize("name", available())
def test_the_plate_is_seen_through_the_layer_by_hand(name: str, bundle: Bundle) -> None:
    """A fifth of the person, 20 · .2 before, and four fifths of the plate; then the whole plate."""
    with opened(name, bundle) as engine:
        inputs = hand_made(0, 255)
        inputs["skin"] = np.array([[[4, 4, 4, 51], [0, 0, 0, 0]]] * 2, dtype=np.uint8)
        inputs["skin_map"] = np.array([[[0, 0], [1, 0], [1, 1]]], dtype=np.float32)
        inputs["plate"] = np.array([[[100, 50, 200], [7, 8, 9], [255, 0, 1]]], dtype=np.uint8)
        engine.set_source(inputs)
        np.testing.assert_array_equal(engine.animate(inputs)[0], [[84, 44, 164], [7, 8, 9], [255, 0, 1]])


@pytest.mark.parametrize("name", available())
def test_maps_have_the_size_of_the_plate(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        inputs = odd_inputs()
        engine.set_source(golden_inputs())
        with pytest.raises(EngineError, match="the tensor skin_map is "):
            engine.animate(inputs)


@pytest.mark.parametrize("name", available())
def test_parity_with_the_reference(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        inputs = odd_inputs()
        engine.set_source(inputs)
        difference = np.abs(engine.animate(inputs).astype(int) - reference_frame(inputs))
        assert difference.max() <= TOLERANCE.get(name, 1)
        assert difference.mean() < 0.5


@pytest.mark.parametrize("name", available())
def test_motion_in_the_same_arrays_is_seen(name: str, bundle: Bundle) -> None:
    """The host overwrites its maps in place; an engine must read them anew for each frame."""
    with opened(name, bundle) as engine:
        inputs: dict[str, np.ndarray] = golden_inputs()
        engine.set_source(inputs)
        first = engine.animate(inputs).copy()
        inputs["skin_map"] += np.float32(9)
        second = engine.animate(inputs)
        assert np.abs(second.astype(int) - reference_frame(inputs)).max() <= TOLERANCE.get(name, 1)
        assert np.abs(second.astype(int) - first).max() > 20


@pytest.mark.parametrize("name", available())
def test_another_source_is_used_at_once_and_at_its_own_size(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        for inputs in (golden_inputs(), odd_inputs(), golden_inputs()):
            inputs["skin"] = np.ascontiguousarray(inputs["skin"][-8::-1])
            engine.set_source(inputs)
            difference = np.abs(engine.animate(inputs).astype(int) - reference_frame(inputs))
            assert difference.max() <= TOLERANCE.get(name, 1)


@pytest.mark.parametrize("name", available())
def test_a_source_outlives_what_it_was_given_in(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        inputs = golden_inputs()
        engine.set_source({key: inputs[key].copy() for key in ("skin", "plate", "inner")})
        # New arrays would take the memory of tensors that nobody keeps.
        rubbish = [np.full(96 * 96 * 3, 77, dtype=np.uint8) for _ in range(50)]
        difference = np.abs(engine.animate(inputs).astype(int) - reference_frame(inputs))
        assert difference.max() <= TOLERANCE.get(name, 1) and len(rubbish) == 50


@pytest.mark.parametrize("name", available())
def test_without_a_source_it_says_so(name: str, bundle: Bundle) -> None:
    """It does not keep the golden source that it was checked with."""
    with opened(name, bundle) as engine, pytest.raises(EngineError, match="no source is set"):
        engine.animate(golden_inputs())


@pytest.mark.parametrize("name", available())
def test_a_source_that_does_not_fit_is_named(name: str, bundle: Bundle) -> None:
    inputs = golden_inputs()
    wrong = {
        "inner is missing": {key: inputs[key] for key in ("skin", "plate")},
        "skin is .* of float32": inputs | {"skin": inputs["skin"].astype(np.float32)},
        "inner is": inputs | {"inner": inputs["inner"][0]},
    }
    with opened(name, bundle) as engine:
        for expected, cache in wrong.items():
            with pytest.raises(EngineError, match=expected):
                engine.set_source(cache)


@pytest.mark.parametrize("name", available())
def test_motion_that_does_not_fit_is_named(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        inputs = golden_inputs()
        engine.set_source(inputs)
        for key, value in (
            ("inner_alpha", np.zeros((5, 7), np.uint8)),
            ("skin_map", np.zeros((4, 4, 2), "i4")),
        ):
            with pytest.raises(EngineError, match=f"the tensor {key} is "):
                engine.animate(inputs | {key: value})


@pytest.mark.parametrize("name", available())
def test_one_thread_owns_it_until_released(name: str, bundle: Bundle) -> None:
    with opened(name, bundle) as engine:
        inputs = golden_inputs()
        engine.set_source(inputs)
        engine.animate(inputs)
        for use in (lambda: engine.animate(inputs), lambda: engine.set_source(inputs)):
            assert "two threads" in str(in_another_thread(use))
        engine.release()

        def take_over() -> None:
            engine.set_source(inputs)
            engine.animate(inputs)

        assert in_another_thread(take_over) is None
        with pytest.raises(EngineError, match="two threads"):
            engine.animate(inputs)


def in_another_thread(use: Callable[[], object]) -> EngineError | None:
    caught: list[EngineError] = []

    def run() -> None:
        try:
            use()
        except EngineError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


# Steps with several outputs


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    networks = NetworksConfig(size_px=32, generator=GeneratorConfig(width=4, blocks=1))
    info = ModelInfo(networks=networks, provenance="random", licence="MIT", step=0)
    return pack_paper(
        random_model(networks), info, tmp_path_factory.mktemp("paper") / "m.icface", name="paper"
    )


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_neutralising_gives_every_output_by_name(name: str, paper: Bundle) -> None:
    golden: Tensors = paper.golden_tensors()
    with opened(name, paper):  # skipped where the library is missing
        made = neutralise(name, paper, {"crop": golden["crop"]})
    assert list(made) == ["neutral", "stem"]
    assert np.abs(made["neutral"].astype(int) - golden["neutral"]).max() <= 1
    np.testing.assert_allclose(made["stem"], golden["stem"], atol=1e-4)
    made["neutral"][:] = 0  # it belongs to the caller


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_engine_knows_what_it_was_opened_by(name: str, paper: Bundle) -> None:
    with opened(name, paper) as engine:
        assert engine.name == name
    engine = open_engine("auto", paper, step="neutralise")
    assert engine.name in GRAPH_ENGINES
    engine.close()


def test_a_model_without_a_graph_to_neutralise(bundle: Bundle) -> None:
    for name in GRAPH_ENGINES:
        with pytest.raises(
            EngineError, match=r"has no graph for neutralise|makes frames alone|not installed"
        ):
            open_engine(name, bundle, step="neutralise")
    with pytest.raises(EngineError, match="no variant that runs on the host"):
        open_engine("host", bundle, step="neutralise")


@pytest.mark.parametrize("tensor", ["neutral", "stem"])
def test_every_golden_output_is_looked_at(tensor: str, paper: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paper.path, tmp_path / "m.icface"))
    golden = dict(paper.golden_tensors())
    golden[tensor] = np.ascontiguousarray(golden[tensor][..., ::-1])
    rewrite(folder, "golden.safetensors", save(golden))
    for name in GRAPH_ENGINES:
        with pytest.raises(
            EngineError, match=r"gives a wrong golden neutral image \(|not installed|makes frames alone"
        ):
            open_engine(name, Bundle.load(folder), step="neutralise")


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_a_graph_with_other_outputs_is_refused(name: str, paper: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paper.path, tmp_path / "m.icface"))
    graph = onnx.load_from_string((folder / "neutralise.onnx").read_bytes())
    del graph.graph.output[1]
    rewrite(folder, "neutralise.onnx", graph.SerializeToString())
    with pytest.raises(
        EngineError,
        match=r"neutralise\.onnx gives neutral, while the manifest of paper states neutral, stem|not installed"
        "|makes frames alone",
    ):
        open_engine(name, Bundle.load(folder), step="neutralise")


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Write another content for a file of a bundle, and its hash."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


# Choosing and verifying


class Substitute(Engine):
    """Stands in for a backend that computes something else."""

    def __init__(self, compute: Callable[[Tensors], Frame]) -> None:
        super().__init__(Bundle.load(geometry_alone()).graph, "substitute")
        self._frame = compute
        self.closed = False

    def _keep_source(self, cache: Tensors) -> None:
        self._cache = cache

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        return (self._frame({**self._cache, **motion}),)

    def close(self) -> None:
        self.closed = True


def moved(tensors: Tensors, by_px: float) -> Frame:
    return reference_frame({**tensors, "skin_map": tensors["skin_map"] + np.float32(by_px)})


def in_half_precision(tensors: Tensors) -> Frame:
    """The frame from positions that are normalised and rounded to bfloat16, as a graph of that precision has them."""
    maps = {}
    for name, picture in (("skin_map", "skin"), ("inner_map", "inner")):
        last = np.array(tensors[picture].shape[1::-1], dtype=np.float32) - 1
        unit = np.ascontiguousarray(tensors[name] * 2 / last - 1, dtype=np.float32)
        unit = (unit.view(np.uint32) & 0xFFFF0000).view(np.float32)
        maps[name] = (unit + 1) * last / 2
    return reference_frame({**tensors, **maps})


WRONG: dict[str, Callable[[Tensors], Frame]] = {
    "a shift of a quarter pixel": lambda tensors: moved(tensors, 0.25),
    "blue for red": lambda tensors: np.ascontiguousarray(reference_frame(dict(tensors))[..., ::-1]),
    "positions in half precision": in_half_precision,
    "no shade": lambda tensors: reference_frame({**tensors, "inner_shade": tensors["inner_shade"] | 255}),
    "no inner layer": lambda tensors: reference_frame({**tensors, "inner_alpha": tensors["inner_alpha"] & 0}),
    "nearest neighbours": lambda tensors: reference_frame({**tensors, "skin_map": np.round(tensors["skin_map"])}),
    "black": lambda tensors: np.zeros_like(reference_frame(dict(tensors))),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_the_golden_frame_finds_what_is_wrong(bundle: Bundle, what: str) -> None:
    assert golden_psnr_db(Substitute(WRONG[what]), bundle) < GOLDEN_PSNR_DB - 3


def test_the_golden_frame_passes_what_rounds_differently(bundle: Bundle) -> None:
    def cut(tensors: Tensors) -> Frame:
        """The frame with every second value one level lower."""
        frame = reference_frame(dict(tensors)).astype(int)
        return np.asarray(np.clip(frame - (np.indices(frame.shape).sum(0) % 2), 0, 255), dtype=np.uint8)

    assert golden_psnr_db(Substitute(cut), bundle) > GOLDEN_PSNR_DB
    assert golden_psnr_db(Substitute(lambda tensors: reference_frame(dict(tensors))), bundle) == float("inf")


@pytest.mark.parametrize("frame", [np.zeros((72, 87, 3), np.uint8), np.zeros((72, 88, 3), np.float32)])
def test_a_frame_of_another_shape_or_type_is_an_error(bundle: Bundle, frame: np.ndarray) -> None:
    with pytest.raises(EngineError, match="substitute gives a frame"):
        golden_psnr_db(Substitute(lambda tensors: frame), bundle)


def test_an_engine_that_is_wrong_is_closed_and_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Substitute(WRONG["black"])
    monkeypatch.setattr(host, "open_engine", lambda *args, **kwargs: wrong)
    with pytest.raises(EngineError, match=r"substitute gives a wrong golden frame \(\d+\.\d dB"):
        open_engine("host", bundle)
    assert wrong.closed


def test_auto_takes_the_host_where_no_graph_is_left(bundle: Bundle) -> None:
    with opened("auto", bundle) as engine:
        assert engine.description.startswith("host warp on the CPU for edge geometry, golden frame ")


def test_auto_goes_on_to_the_next_with_a_reason(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host, "open_engine", lambda *args, **kwargs: Substitute(WRONG["black"]))
    with caplog.at_level(logging.WARNING, logger="icface"), opened("auto", bundle) as engine:
        assert engine.description.startswith(("OpenVINO", "ONNX Runtime"))
    assert "engine host is not used: substitute gives a wrong golden frame" in caplog.text


def test_auto_tells_of_all_when_none_works(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "open_engine", lambda *args, **kwargs: Substitute(WRONG["black"]))
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError) as caught:
        open_engine("auto", bundle)
    for part in (
        "no engine works here",
        "host: substitute",
        "pip install openvino",
        "pip install onnxruntime",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", ("host", "openvino", "onnxruntime")),
        ("AMD64", ("host", "openvino", "onnxruntime")),
        ("aarch64", ("host", "onnxruntime", "openvino")),
        ("arm64", ("host", "onnxruntime", "openvino")),
    ],
)
def test_the_order_follows_the_processor(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, machine: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert engines.candidates(bundle) == expected


def test_names_and_numbers_that_are_flags_to_mend(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="there is no engine 'tensorflow'; choose from auto, host, "):
        open_engine("tensorflow", bundle)
    with pytest.raises(ConfigError, match=r"there is no engine '\.\./host'"):
        open_engine("../host", bundle)
    with pytest.raises(ConfigError, match="at least 1 thread"):
        open_engine("auto", bundle, threads=0)


@pytest.mark.parametrize("name", available())
def test_an_option_that_is_unknown_is_named(name: str, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"'abacus'|not installed"):
        open_engine(f"{name}:abacus", bundle)


# Precisions of OpenVINO


ENGINES_THAT_COME_AND_GO = """
import signal, sys, threading
from pathlib import Path
from icface.bundle import Bundle
from icface.engines import open_engine
bundle = Bundle.load(Path(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda number, frame: print("heard", flush=True))
first = open_engine("openvino", bundle)
second = open_engine("openvino", bundle)
first.close()
del first
second.close()
closing = threading.Thread(target=lambda engines: engines.clear(), args=([second],))
del second
closing.start()
closing.join()
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_are_heard_after_engines_have_come_and_gone(bundle: Bundle) -> None:
    """OpenVINO's handling of signal stacks kills the process where Cores are destroyed in another order."""
    pytest.importorskip("openvino")
    result = subprocess.run(
        [sys.executable, "-c", ENGINES_THAT_COME_AND_GO, bundle.path],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "heard\n"), result.stderr


def test_half_the_precision_where_the_cpu_has_none(
    paper: Bundle, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine was built on another CPU of the same name."""
    ov = pytest.importorskip("openvino")
    from icface.engines.backends import openvino as module

    graph = paper.file("animate.onnx").read_bytes()
    EngineCache().store(EngineKey.of(paper, "openvino", "bf16", module.target()), graph, {})
    monkeypatch.setattr(ov.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(EngineError, match="no bfloat16; use the engine openvino"):
        open_engine("openvino:bf16", paper)
    assert module.unasked(paper) == ""


# Providers of ONNX Runtime


def test_a_provider_that_the_build_lacks_is_an_error(bundle: Bundle) -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match="no CUDAExecutionProvider; install"):
        open_engine("onnxruntime:cuda", bundle)


def test_a_provider_that_silently_fell_back_is_an_error(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu lists and accepts a provider whose libraries are missing, and does not use it."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession
    monkeypatch.setattr(
        ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda path, options, providers: session(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(EngineError, match="did not load CUDAExecutionProvider and fell back to CPU"):
        open_engine("onnxruntime:cuda", bundle)


@pytest.mark.skipif(sys.platform != "linux", reason="loaders of other systems do not name what is missing")
@pytest.mark.parametrize("option", ["cuda", "tensorrt"])
@pytest.mark.parametrize(
    ("missing", "advice"),
    [("libcublasLt.so.13", r"pip install .*\[cuda,cudnn"), ("libcuda.so.1", "NVIDIA's driver")],
)
def test_the_library_that_a_provider_misses_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, missing: str, advice: str
) -> None:
    ort = pytest.importorskip("onnxruntime")
    provider = onnxruntime_engine.PROVIDERS[option]
    file = tmp_path / "capi" / onnxruntime_engine._LIBRARIES[provider]
    file.parent.mkdir()
    file.touch()

    def load(name: str) -> None:
        assert name == str(file)
        raise OSError(f"{missing}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ort, "get_available_providers", lambda: [provider])
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr("ctypes.CDLL", load)
    with pytest.raises(
        EngineError, match=f"{provider} did not load: {re.escape(missing)} is missing; .*{advice}"
    ):
        open_engine(f"onnxruntime:{option}", bundle)


@pytest.mark.parametrize(
    ("option", "package"),
    [
        ("directml", "on Windows: pip install onnxruntime-directml"),
        ("coreml", "on macOS: pip install onnxruntime"),
    ],
)
def test_the_package_that_has_a_provider_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, option: str, package: str
) -> None:
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match=f"has no .*ExecutionProvider; .*{package}"):
        open_engine(f"onnxruntime:{option}", bundle)


# Bundles of other models


def with_files(folder: Path, **contents: bytes) -> Bundle:
    """A copy of the shipped bundle with other contents in its files, and their hashes."""
    shutil.copytree(geometry_alone(), folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, content in zip(("animate.onnx", "golden.safetensors"), contents.values(), strict=False):
        (folder / name).write_bytes(content)
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return Bundle.load(folder)


def foreign_graph() -> bytes:
    """A valid ONNX file with other inputs."""
    value = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Abs", ["picture"], ["frame"])], "foreign", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def graph_of_unknown_operators() -> bytes:
    model = onnx.load_from_string((geometry_alone() / "animate.onnx").read_bytes())
    model.graph.node[0].op_type = "Conjure"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("name", GRAPH_ENGINES)
@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (foreign_graph(), "animate.onnx asks for picture, while the manifest of edge geometry states inner"),
        (graph_of_unknown_operators(), "cannot load animate.onnx"),
    ],
    ids=["foreign", "unknown operators"],
)
def test_a_graph_that_is_not_ours(tmp_path: Path, name: str, graph: bytes, expected: str) -> None:
    foreign = with_files(tmp_path / "b.icface", graph=graph)
    with pytest.raises(EngineError, match=f"{expected}|{NOT_HERE}"):
        open_engine(name, foreign)


@pytest.mark.parametrize("name", ["auto", *available()])
def test_a_golden_frame_of_another_model_is_refused(tmp_path: Path, name: str) -> None:
    graph = (geometry_alone() / "animate.onnx").read_bytes()
    golden = load((geometry_alone() / "golden.safetensors").read_bytes())
    other = save(golden | {"frame": cv2.flip(golden["frame"], 1)})
    with pytest.raises(EngineError, match=f"wrong golden frame|{NOT_HERE}"):
        open_engine(name, with_files(tmp_path / "b.icface", graph=graph, golden=other))


def test_a_golden_file_that_lacks_tensors_is_the_bundles_fault(tmp_path: Path) -> None:
    graph = (geometry_alone() / "animate.onnx").read_bytes()
    with pytest.raises(BundleError, match="lacks"):
        open_engine("auto", with_files(tmp_path / "b.icface", graph=graph, golden=save({"a": np.zeros(1)})))
