"""Which graph serves a precision, for bundles of today and of before."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest

from export.pack_paper import pack
from icface.bundle import MANIFEST, Bundle
from icface.engines.precision import graph_for, has_convolutions
from icface.engines.samples import Samples
from icface.errors import BundleError, ConfigError
from icface.networks import ModelInfo
from tests.export.geometry_alone import geometry_alone
from tests.export.models import NETWORKS, random_model


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = NETWORKS["no blocks"]
    info = ModelInfo(networks=config, step=1, provenance="a test", licence="none")
    return pack(random_model(config), info, tmp_path_factory.mktemp("models") / "m.icface", name="mine")


def never() -> Samples:
    raise AssertionError("int8 alone needs samples")


def edited(bundle: Bundle, folder: Path, *, half: bool = True, content: bytes | None = None) -> Bundle:
    """A copy of a bundle without its graph in half precision, or with another `animate.onnx`."""
    shutil.copytree(bundle.path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    if not half:
        del manifest["variants"]["graph"]["graph_fp16"], manifest["files"]["animate.fp16.onnx"]
        (folder / "animate.fp16.onnx").unlink()
    if content is not None:
        (folder / "animate.onnx").write_bytes(content)
        manifest["files"]["animate.onnx"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.load(folder)


@pytest.mark.parametrize(
    ("precision", "file"),
    [("fp32", "animate.onnx"), ("bf16", "animate.onnx"), ("fp16", "animate.fp16.onnx")],
)
def test_the_files_of_a_bundle(paper: Bundle, precision: str, file: str) -> None:
    assert graph_for(paper, precision, never) == paper.file(file).read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_graph_without_convolutions_is_the_same_in_every_precision(precision: str) -> None:
    """In half precision its pixel positions would be half a pixel off."""
    bundle = Bundle.load(geometry_alone())
    assert bundle.graph.graph_fp16 is None
    graph = graph_for(bundle, precision, never)
    assert graph == bundle.file("animate.onnx").read_bytes() and not has_convolutions(graph)


def test_a_bundle_of_before_has_no_half_precision_and_says_what_to_do(paper: Bundle, tmp_path: Path) -> None:
    before = edited(paper, tmp_path / "before.icface", half=False)
    assert before.graph.graph_fp16 is None
    with pytest.raises(
        ConfigError, match=r"^mine has no graph in half precision; pack the model again"
    ) as error:
        graph_for(before, "fp16", never)
    assert "\n" not in str(error.value)
    assert graph_for(before, "fp32", never) == graph_for(paper, "fp32", never)


def test_a_graph_in_half_precision_is_hashed_like_every_file(paper: Bundle, tmp_path: Path) -> None:
    bundle = edited(paper, tmp_path / "m.icface")
    bundle.file("animate.fp16.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"animate\.fp16\.onnx is not the file"):
        Bundle.load(bundle.path)
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    del manifest["files"]["animate.fp16.onnx"]
    (bundle.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"'files' gives no hash for animate\.fp16\.onnx"):
        Bundle.load(bundle.path)


def test_what_is_no_graph_of_the_bundle(paper: Bundle, tmp_path: Path) -> None:
    other = paper.file("neutralise.onnx").read_bytes()
    bundle = edited(paper, tmp_path / "b", content=other)
    with pytest.raises(BundleError, match="asks for crop"):
        graph_for(bundle, "fp32", never)


def test_no_other_precision(paper: Bundle) -> None:
    with pytest.raises(ConfigError, match="choose from fp32, fp16, bf16, int8"):
        graph_for(paper, "fp8", never)


def test_what_lowers() -> None:
    def graph(operator: str) -> bytes:
        node = onnx.helper.make_node(operator, ["x", "w"], ["y"])
        made = onnx.helper.make_graph([node], "g", [], [])
        return bytes(onnx.helper.make_model(made).SerializeToString())

    assert [has_convolutions(graph(name)) for name in ("Conv", "ConvTranspose", "GridSample")] == [
        True,
        True,
        False,
    ]
