"""A bundle of one person as it is packed: what is known of her, her picture and her word come back as they went in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from export import pack_edge
from export.pack_edge import pack
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError
from icface.geometry.topology import face_tables


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
