"""What torch's exporter is asked for: names, sizes, no traces of this machine, and silence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.writing import OPSET, write_bundle, written
from icface.errors import ConfigError
from tests.export.models import by_onnxruntime


class Scaled(nn.Module):
    """A convolution, and the input enlarged to the height and width of another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, picture: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        large = nn.functional.interpolate(picture, size=size.shape, mode="bilinear")
        return self.layer(picture), large


SHAPES: dict[str, tuple[int | str, ...]] = {"picture": (1, 2, "h", "w"), "size": ("height", "width")}


def graph() -> bytes:
    inputs = {"picture": torch.zeros(1, 2, 5, 6), "size": torch.zeros(7, 8)}
    return written(Scaled(), "scaled", inputs, ["features", "large"], SHAPES)


def shapes_of(values: object) -> dict[str, list[int | str]]:
    return {
        value.name: [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in values  # type: ignore[attr-defined]
    }


def test_names_and_sizes() -> None:
    model = onnx.load_from_string(graph())
    assert model.graph.name == "scaled"
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert shapes_of(model.graph.input) == {name: list(shape) for name, shape in SHAPES.items()}
    assert shapes_of(model.graph.output) == {
        "features": [1, 3, "h", "w"],
        "large": [1, 2, "height", "width"],
    }


def test_it_means_what_the_module_computes_at_any_size() -> None:
    rng = np.random.default_rng(2)
    for h, w, height, width in ((5, 6, 7, 8), (9, 4, 3, 20)):
        picture = rng.normal(size=(1, 2, h, w)).astype(np.float32)
        size = np.zeros((height, width), np.float32)
        found = by_onnxruntime(graph(), {"picture": picture, "size": size})
        with torch.no_grad():
            expected = Scaled()(torch.from_numpy(picture), torch.from_numpy(size))
        for value, wanted in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(value, wanted.numpy(), atol=1e-5)


def test_the_same_module_gives_the_same_bytes_without_traces_of_this_machine() -> None:
    content = graph()
    assert content == graph()
    for trace in (str(Path(__file__).parent), "site-packages", "Scaled"):
        assert trace.encode() not in content


def test_the_exporter_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings are errors in these tests; its log is hidden, and shown again afterwards."""
    graph()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("torch.onnx").isEnabledFor(logging.WARNING)


def test_where_no_bundle_can_be_written_the_advice_fits_every_command(tmp_path: Path) -> None:
    """`pack_edge.py` has --out, `icface-live personalise` has --output."""
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "me.icface"):
        with pytest.raises(ConfigError, match=r"; give another name for the output$"):
            write_bundle(out, {}, {})
