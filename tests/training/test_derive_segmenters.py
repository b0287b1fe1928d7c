"""The segmentation networks that ship are what the script makes of MediaPipe's files."""

from __future__ import annotations

import onnx
import pytest

from icface.segmentation.segmenters import FOLDER
from tests.conftest import shared_file

pytest.importorskip("tflite", reason="reading .tflite files needs tflite")

from training.assets.derive_segmenters import FILES, Converter


@pytest.mark.parametrize("name", FILES)
def test_what_ships_is_what_the_script_makes(name: str) -> None:
    made = Converter(shared_file(f"models/{name}").read_bytes()).convert()
    assert made == onnx.load(str(FOLDER / FILES[name]))


def test_an_operator_that_is_not_known_is_named() -> None:
    content = shared_file("models/selfie_segmentation.tflite").read_bytes()
    converter = Converter(content.replace(b"Convolution2DTransposeBias", b"Convolution2DTransposeBaas"))
    with pytest.raises(NotImplementedError, match="Baas"):
        converter.convert()
