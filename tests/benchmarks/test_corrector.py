"""A random corrector after the warp: the bundle that is written for it keeps the contract, and the benchmark runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.corrector import Corrector, main, pack
from icface.attributes import INDEX, neutral
from icface.bundle import Bundle
from icface.engines import open_engine
from icface.errors import EngineError
from icface.images import load_photo
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from tests.conftest import REPOSITORY

GRAPH_ENGINES = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack(tmp_path_factory.mktemp("corrector") / "c.icface", 0.3)[0]


def test_it_takes_about_what_is_asked_for() -> None:
    for gmac in (0.5, 1.2):
        assert gmac <= Corrector(gmac).gmac <= gmac + 0.18  # a block of two convolutions


def test_both_variants_give_the_same_frame_on_a_portrait(corrected: Bundle, tmp_path: Path) -> None:
    """The warp on the host and the network after it, and all of it in one graph; another picture than the warp alone."""
    photo = load_photo(REPOSITORY / "examples/rendered.jpg")
    attributes = neutral()
    attributes[INDEX["AU26"]] = 0.8
    frames = {}
    for name in ("host", *GRAPH_ENGINES):
        try:
            reenactor = Reenactor(corrected, name, 256, source_cache=SourceCache(tmp_path))
        except EngineError as error:
            pytest.skip(str(error))
        reenactor.set_source(reenactor.prepare_source(photo))
        frames[name] = reenactor.animate(attributes).astype(int)
        reenactor.close()
    for name in GRAPH_ENGINES:
        assert np.abs(frames["host"] - frames[name]).max() <= 5, (
            name
        )  # cv2.remap's 4, and rounding before the network


def test_the_host_engine_owns_its_network(corrected: Bundle) -> None:
    engine = open_engine("host", corrected)
    assert "corrected by OpenVINO" in engine.description or "corrected by ONNX Runtime" in engine.description
    golden = corrected.golden_tensors()
    for _ in range(2):
        engine.set_source(golden)
        assert np.abs(engine.animate(golden).astype(int) - golden["frame"]).max() <= 8
        engine.release()
    engine.close()


def test_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "figures.json"
    flags = ["--gmac", "0.3", "--size", "256", "--frames", "10", "--rounds", "1", "--legs", "null"]
    assert main([*flags, "--json", str(report)]) == 0
    document = json.loads(report.read_text())
    assert set(document["legs"]) == {"what ships / null", f"with {document['gmac']:.2f} GMAC / null"}
    assert "corrected by" in capsys.readouterr().out
