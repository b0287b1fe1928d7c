"""Tests of building engines and of the command: what is kept, refused and printed, and what runs afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.pack_paper import pack as pack_paper
from icface.bundle import MANIFEST, Bundle
from icface.engines import Engine, backends, building, command, needs_build, neutralise, open_engine
from icface.engines.backends import onnxruntime as onnxruntime_engine
from icface.engines.backends import openvino as openvino_engine
from icface.engines.backends import tensorrt_rtx
from icface.engines.base import PRECISIONS, Job, Target
from icface.engines.building import build
from icface.engines.cache import CONTENT, FACTS, EngineCache
from icface.engines.command import capabilities, main, pictures
from icface.engines.opening import worth_building
from icface.engines.samples import Samples, collect
from icface.errors import BundleError, ConfigError, EngineError, NotBuiltError, RefusedError
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.openvino_core import the_core
from tests.conftest import REPOSITORY
from tests.export.geometry_alone import geometry_alone
from tests.export.models import random_model

ON_CPUS = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    networks = NetworksConfig(size_px=32, generator=GeneratorConfig(width=8, blocks=1))
    info = ModelInfo(networks=networks, provenance="random", licence="MIT", step=0)
    folder = tmp_path_factory.mktemp("paper") / "m.icface"
    return pack_paper(random_model(networks), info, folder, name="paper")


@pytest.fixture(scope="module")
def samples(paper: Bundle) -> Samples:
    return collect(paper, rows=12)


def frame_of(engine: Engine, bundle: Bundle) -> np.ndarray:
    golden = bundle.golden_tensors()
    engine.set_source(golden)
    return engine.animate(golden).copy()


def has_bf16() -> bool:
    pytest.importorskip("openvino")
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def never() -> Samples:
    raise AssertionError("float32 is compared with nothing")


# Engines that are built


@pytest.mark.parametrize("backend", ON_CPUS)
@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32"])
def test_what_is_built_is_what_runs(
    backend: str, precision: str, paper: Bundle, samples: Samples, cache_dir: Path
) -> None:
    pytest.importorskip(backend)
    if precision == "bf16" and (backend == "onnxruntime" or not has_bf16()):
        pytest.skip("bfloat16 is OpenVINO's, on CPUs that have it")
    name = f"{backend}:{precision}"
    steps: list[float] = []
    job = Job(bundle=paper, backend=backend, precision=precision)
    if needs_build(name):
        with pytest.raises(NotBuiltError, match=r"run icface-build-engine"):
            open_engine(name, paper)
    built = build(job, lambda: samples, lambda done, what: steps.append(done))
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == 1
    assert built.ran and built.seconds > 0 and built.size_bytes > 1000
    exact = open_engine(backend, paper)
    engine = open_engine(name, paper)
    difference = np.abs(frame_of(engine, paper).astype(int) - frame_of(exact, paper)).mean()
    # Rounding changes the frames a little. float32 is the same arithmetic.
    bounds = {"int8": (0.05, 8.0), "bf16": (0.05, 1.5), "fp32": (0.0, 0.02)}[precision]
    assert bounds[0] <= difference <= bounds[1]
    assert (precision in engine.description) == needs_build(name)
    engine.close()
    exact.close()
    facts = json.loads((Path(built.folder) / FACTS).read_text())
    assert facts["model"] == paper.sha256 and facts["precision"] == precision
    assert (facts["parity"] is None) == (precision == "fp32")
    there = build(job, never)
    assert there.seconds == 0 and there.folder == built.folder
    assert there.size_bytes == built.size_bytes and there.parity == built.parity


def test_an_engine_for_another_size_is_built_again(cache_dir: Path) -> None:
    pytest.importorskip("openvino")
    edge = Bundle.load(geometry_alone())
    jobs = [Job(bundle=edge, backend="openvino", precision="fp32", size_px=px) for px in (256, 256, 1024)]
    assert [build(job, never).seconds > 0 for job in jobs] == [True, False, True]


def test_auto_takes_what_is_built_and_tells_what_would_be_worth_it(
    paper: Bundle, samples: Samples, cache_dir: Path
) -> None:
    if not has_bf16():
        pytest.skip("this CPU has no bfloat16, so nothing is worth building unasked")
    assert worth_building(paper)[-1] == "openvino:bf16"
    assert "openvino:bf16" not in worth_building(Bundle.load(geometry_alone()))  # its warp runs on the host
    before = open_engine("auto", paper)
    assert (before.name, before.unbuilt[-1]) == ("openvino", "openvino:bf16")
    assert open_engine("auto", paper, step="neutralise").name == "openvino"
    build(Job(bundle=paper, backend="openvino", precision="bf16"), lambda: samples)
    after = open_engine("auto", paper)
    assert after.name == "openvino:bf16" and "openvino:bf16" not in after.unbuilt
    before.close()
    after.close()


def test_photos_are_neutralised_in_float32(paper: Bundle, samples: Samples, cache_dir: Path) -> None:
    pytest.importorskip("onnxruntime")
    golden = paper.golden_tensors()
    made = neutralise("onnxruntime:int8", paper, {"crop": golden["crop"]})  # it is not built, and need not be
    np.testing.assert_allclose(made["stem"], np.asarray(golden["stem"], np.float32), atol=1e-4)


# Engines that are refused


def spoilt(graph: bytes, *_: object) -> bytes:
    """A graph whose first convolution is off."""
    made = onnx.load_from_string(graph)
    name = next(node.input[1] for node in made.graph.node if node.op_type == "Conv")
    for tensor in made.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.5), name))
    return bytes(made.SerializeToString())


def spoilt_graph(bundle: Bundle, *_: object) -> bytes:
    """The bundle's graph with a wrong convolution."""
    return spoilt(bundle.file("animate.onnx").read_bytes())


def test_frames_too_far_off_are_refused_once_and_not_tried_again(
    paper: Bundle, samples: Samples, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    job = Job(bundle=paper, backend="openvino", precision="int8")
    with monkeypatch.context() as patch:
        patch.setattr(building, "graph_for", spoilt_graph)
        with pytest.raises(RefusedError, match=r"int8 against fp32: \d+\.\d dB .*at least 38 dB is wanted"):
            build(job, lambda: samples)
    with pytest.raises(RefusedError, match=r"dB .*\(tried before; --again tries anew\)"):
        build(job, never)
    with pytest.raises(RefusedError, match="openvino:int8 is not used for paper: int8 against fp32"):
        open_engine("openvino:int8", paper)
    assert build(replace(job, again=True), lambda: samples).ran


def test_an_engine_that_gives_other_frames_than_its_graph_goes_again(
    paper: Bundle, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying the engine finds a builder that breaks the graph."""
    pytest.importorskip("openvino")

    def broken(job: Job, graph: bytes, *_: object) -> bytes:
        return spoilt(graph)

    monkeypatch.setattr(openvino_engine, "build", broken)
    with pytest.raises(EngineError, match="gives a wrong golden frame"):
        build(Job(bundle=paper, backend="openvino", precision="fp32"), never)
    assert not list((cache_dir / "engines").rglob(CONTENT))


def test_a_build_that_dies_leaves_nothing(
    paper: Bundle, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")

    def dying(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine, "build", dying)
        with pytest.raises(KeyboardInterrupt):
            build(Job(bundle=paper, backend="openvino", precision="fp32"), never)
    assert not [path for path in (cache_dir / "engines").iterdir() if path.suffix != ".lock"]
    assert build(Job(bundle=paper, backend="openvino", precision="fp32"), never).ran


def test_what_a_backend_does_not_build(paper: Bundle, cache_dir: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="onnxruntime does not build bf16; choose from int8, fp32"):
        build(Job(bundle=paper, backend="onnxruntime", precision="bf16"), never)
    for backend, module in (("openvino", openvino_engine), ("onnxruntime", onnxruntime_engine)):
        pytest.importorskip(backend)
        with pytest.raises(EngineError, match="for this CPU alone; leave out --sm"):
            module.target(("8.6",))


def test_a_graph_without_convolutions_cannot_be_int8(
    cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    assert main([str(geometry_alone()), "--backend", "openvino", "--precision", "int8"]) == 2
    assert "no convolution" in only_error(capsys)


def broken_bundle(paper: Bundle, folder: Path, content: bytes) -> Bundle:
    import hashlib

    shutil.copytree(paper.path, folder)
    (folder / "animate.onnx").write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["animate.onnx"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.load(folder)


def test_a_graph_that_is_not_ours(paper: Bundle, tmp_path: Path) -> None:
    other = paper.file("neutralise.onnx").read_bytes()
    bundle = broken_bundle(paper, tmp_path / "b.icface", other)
    with pytest.raises(BundleError, match="asks for crop, while the manifest of paper"):
        build(Job(bundle=bundle, backend="onnxruntime", precision="fp32"), never)


# The command


def test_it_is_installed_by_its_name() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["icface-build-engine"] == "icface.engines.command:main"


def only_error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.long
def test_the_command_builds_and_tells_what(
    paper: Bundle, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    photo = REPOSITORY / "examples/rendered.jpg"
    flags = ["--backend", "openvino", "--precision", "int8,fp32", "--json", str(tmp_path / "built.json")]
    assert main([str(paper.path), *flags, "--photo", str(photo)]) == 0
    out = capsys.readouterr().out
    assert "openvino:int8" in out and "openvino:fp32" in out and str(cache_dir / "engines") in out
    document = json.loads((tmp_path / "built.json").read_text())
    int8, fp32 = document["built"]
    assert (int8["engine"], fp32["engine"]) == ("openvino:int8", "openvino:fp32") and not document["failed"]
    assert int8["parity"]["psnr_db"] >= 38 and fp32["parity"] is None and int8["ran"]
    assert "--again" not in out
    assert main([str(paper.path), *flags, "--photo", str(photo)]) == 0
    assert "compared on other photos" in capsys.readouterr().out


def test_without_arguments_on_a_machine_without_a_gpu(
    cache_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that ships: nothing is built for this processor, which would never use it."""
    monkeypatch.setattr(command, "worth_building", lambda bundle: ())
    jobs: list[Job] = []

    def build_nothing(job: Job, *others: object) -> None:
        jobs.append(job)
        raise RefusedError("seen")

    monkeypatch.setattr(command, "build", build_nothing)
    monkeypatch.setattr(type(tensorrt_rtx.LIBRARY), "elsewhere", lambda library: ("7.5", "12.0"))
    assert main([]) == 1
    (job,) = jobs
    assert (job.backend, job.capabilities) == ("tensorrt_rtx", ("7.5", "12.0"))
    assert "built for GPUs elsewhere, SM 7.5, 12.0" in capsys.readouterr().out

    def missing(library: object) -> tuple[str, ...]:
        raise EngineError("not installed")

    monkeypatch.setattr(type(tensorrt_rtx.LIBRARY), "elsewhere", missing)
    assert main([]) == 0
    assert len(jobs) == 1 and 'pip install "icface-live[tensorrt]"' in capsys.readouterr().out


def test_one_that_fails_does_not_keep_the_others_from_being_built(
    paper: Bundle, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    assert main([str(paper.path), "--backend", "openvino", "--precision", "fp16,fp32"]) == 1
    captured = capsys.readouterr()
    assert "openvino:fp32" in captured.out
    assert "error: openvino:fp16: openvino does not build fp16; choose from bf16, int8, fp32" in captured.err


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["none.icface"], 1, "none.icface is not a model bundle: a folder with manifest.json is expected"),
        (["--precision", "fp12"], 2, "--precision fp12: choose from fp32, fp16, bf16, int8"),
        (["--size", "5"], 2, "--size 5: must be 16 to 2048"),
        (["--sm", "x"], 2, "'x' is no compute capability; write 86 for 8.6"),
        (["--backend", "tpu"], 2, "invalid choice: 'tpu'"),
        (["--backend", "openvino", "--sm", "86"], 1, "OpenVINO builds for this CPU alone; leave out --sm"),
        (["--bogus"], 2, "there is no flag --bogus"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    flags: list[str], code: int, line: str, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == code
    assert line in only_error(capsys)


def test_a_table_that_cannot_be_written_is_one_line(
    cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "file").touch()
    flags = ["--backend", "onnxruntime", "--json", str(tmp_path / "file" / "built.json")]
    assert main(flags) == 2
    assert f"cannot write {tmp_path / 'file' / 'built.json'}: " in only_error(capsys)


def test_a_bundle_of_a_newer_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(geometry_alone(), tmp_path / "newer.icface"))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    assert main([str(folder)]) == 1
    assert "format 99, while this program reads 1; upgrade icface-live" in only_error(capsys)


def test_an_onnx_file_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((geometry_alone() / "animate.onnx").read_bytes())
    assert main([str(path)]) == 1
    assert f"{path} is not a model bundle" in only_error(capsys)


def test_a_photo_without_a_face_and_none_at_all(
    paper: Bundle, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    pytest.importorskip("openvino")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 300, 3), 128, np.uint8))
    flags = [str(paper.path), "--backend", "openvino", "--precision", "int8", "--photo"]
    assert main([*flags, str(tmp_path / "grey.png")]) == 1
    assert "none of 1 photos has a face that can be used" in only_error(capsys)
    (tmp_path / "empty").mkdir()
    assert main([*flags, str(tmp_path / "empty")]) == 2
    assert "no photo in" in only_error(capsys)
    assert pictures([tmp_path, tmp_path / "x.jpg"]) == [tmp_path / "grey.png", tmp_path / "x.jpg"]


def test_compute_capabilities_as_they_are_written() -> None:
    assert capabilities("86,89, 120") == ("8.6", "8.9", "12.0") and capabilities("8.6,86") == ("8.6",)
    assert capabilities("") == ()
    for text in ("8", "1234", "8.6.1x"):
        with pytest.raises(ConfigError, match="compute capability"):
            capabilities(text)


def test_what_is_built_where_nothing_is_asked_for(paper: Bundle) -> None:
    pytest.importorskip("openvino")
    found = backends.building()
    cpu = found["openvino"].target()
    assert found["onnxruntime"].usual(paper, cpu) == "fp32"
    assert found["openvino"].usual(Bundle.load(geometry_alone()), cpu) == "fp32"
    assert found["openvino"].usual(paper, cpu) == ("bf16" if has_bf16() else "fp32")
    ahead = Target(library="TensorRT-RTX 1.7.1", device="any", capability="8.6")
    assert found["tensorrt_rtx"].usual(paper, ahead) == "fp16"


def test_every_backend_that_is_built_says_what_it_builds() -> None:
    found = backends.building()
    assert set(found) == {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"}
    for backend in found.values():
        assert set(backend.PRECISIONS) <= set(PRECISIONS)
        assert set(backend.BUILT) <= {"", *backend.PRECISIONS} and backend.BUILT
        assert callable(backend.target) and callable(backend.usual) and callable(backend.unasked)
    # bfloat16 is a setting of OpenVINO. A GPU has FP16, which is as fast and more exact.
    assert [name for name, backend in found.items() if "bf16" in backend.PRECISIONS] == ["openvino"]


@pytest.mark.long
def test_the_command_needs_no_torch(paper: Bundle, cache_dir: Path) -> None:
    """Machines of users may not have torch."""
    pytest.importorskip("onnxruntime")
    code = (
        "import sys; sys.modules['torch'] = None; from icface.engines.command import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(paper.path), "--backend", "onnxruntime", "--precision", "int8"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert EngineCache().folder.parent == cache_dir and "onnxruntime:int8" in result.stdout
