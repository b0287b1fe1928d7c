"""A bundle of one person as it is packed: what is known of her, her picture and her word come back as they went in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch

from export import pack_edge
from export.pack_edge import pack
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError
from icface.geometry.topology import face_tables
from icface.networks import PatchConfig, PatchCorrector
from training.personal.start import corrector_of


@pytest.fixture(autouse=True)
def any_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a graph takes seconds, and which one it is does not matter here."""
    monkeypatch.setattr(pack_edge, "build_edge_graph", lambda: (DEFAULT_BUNDLE / "correct.onnx").read_bytes())


def test_person_picture_and_consent_come_back(tmp_path: Path) -> None:
    picture = tmp_path / "me.png"
    cv2.imwrite(str(picture), np.full((20, 30, 3), 90, dtype=np.uint8))
    displacements = (face_tables().displacements * 1.1).astype(np.float16)
    consent = {"who": "Ada", "when": "2026-11-30T10:00:00Z", "agreed": True}
    pack(
        tmp_path / "me.icface",
        name="Ada",
        person={"displacements": displacements},
        source=picture,
        consent=consent,
    )
    bundle = Bundle.load(tmp_path / "me.icface")
    assert bundle.name == "Ada"
    assert bundle.consent is not None
    assert bundle.consent.who == "Ada"
    assert bundle.source_photo is not None
    assert bundle.source_photo.read_bytes() == picture.read_bytes()
    tensors = bundle.person_tensors()
    assert tensors is not None
    assert np.array_equal(tensors["displacements"], displacements)


def test_what_is_wrong_is_said_before_the_graphs_are_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.png"):
        pack(tmp_path / "me.icface", source=tmp_path / "gone.png")
    assert not (tmp_path / "me.icface").exists()


def test_graphs_of_another_bundle_take_the_weights() -> None:
    """The bundle that ships gives itself, byte for byte; another network comes back as it went in."""
    network, _ = corrector_of()
    shipped = Bundle.load(DEFAULT_BUNDLE)
    for name, content in pack_edge._graphs(network, shipped).items():
        assert content == shipped.file(name).read_bytes()
    bias = network.stem.bias
    assert bias is not None
    with torch.no_grad():
        bias += 1.0
    changed = pack_edge._graphs(network, shipped)
    for name, size in (
        ("animate.onnx", np.float32),
        ("animate.fp16.onnx", np.float16),
        ("correct.onnx", np.float32),
    ):
        told = {
            each.name: onnx.numpy_helper.to_array(each)
            for each in onnx.load_from_string(changed[name]).graph.initializer
        }
        (told_bias,) = (value for key, value in told.items() if key.endswith("network.stem.bias"))
        np.testing.assert_array_equal(told_bias, bias.numpy().astype(size))
        onnx.checker.check_model(onnx.load_from_string(changed[name]))


def test_graphs_of_another_network_are_refused() -> None:
    wider = PatchCorrector(PatchConfig(channels=(24, 32, 48, 64)))
    with pytest.raises(ConfigError, match="holds a network of another shape"):
        pack_edge._graphs(wider, Bundle.load(DEFAULT_BUNDLE))
