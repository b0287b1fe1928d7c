"""The segmentation networks that ship are what the script makes of MediaPipe's files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from icface.segmentation.segmenters import FOLDER
from tests.conftest import shared_file

pytest.importorskip("tflite", reason="reading .tflite files needs tflite")

from training.assets.derive_segmenters import FILES, Converter


def test_what_ships_is_what_the_script_makes(tmp_path: Path, repository: Path) -> None:
    models = shared_file("models/selfie_segmentation.tflite").parent
    command = [repository / "training/assets/derive_segmenters.py", "--models", models, "--out", tmp_path]
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    for name in FILES.values():
        assert onnx.load(str(tmp_path / name)) == onnx.load(str(FOLDER / name))


def test_an_operator_that_is_not_known_is_named() -> None:
    content = shared_file("models/selfie_segmentation.tflite").read_bytes()
    converter = Converter(content.replace(b"Convolution2DTransposeBias", b"Convolution2DTransposeBaas"))
    with pytest.raises(NotImplementedError, match="Baas"):
        converter.convert()
