"""From a checkpoint to a bundle on the command line: what is written, and every refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

from export.pack_paper import default_name, main, neutral_look, pack
from export.writing import write_bundle
from icface.bundle import MANIFEST, Bundle
from icface.engines import open_engine
from icface.errors import ConfigError
from icface.images import load_photo
from icface.networks import ModelInfo, save_model
from icface.networks.config import EncoderConfig, GeneratorConfig, NetworksConfig
from tests.export.models import frame_of, image_of, random_model

NETWORKS = NetworksConfig(size_px=32, generator=GeneratorConfig(width=4, blocks=1))
INFO = ModelInfo(
    networks=NETWORKS,
    provenance="rendered faces (MIT)",
    licence="CC-BY-4.0",
    step=1200,
    attribute_scale="openface",
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    save_model(path, random_model(NETWORKS), INFO)
    return path


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and the one line of a run that must fail."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    return code, err


def test_a_checkpoint_becomes_a_bundle(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint)]) == 0
    out = checkpoint.with_suffix(".icface")
    assert capsys.readouterr().out.startswith(f"{out}: ICface 32 px, width 4, 1 blocks, step 1200, ")
    bundle = Bundle.load(out)
    assert (bundle.family, bundle.size_px, bundle.host_code, bundle.host) == ("paper", 32, None, None)
    assert (bundle.licence, bundle.provenance) == (INFO.licence, INFO.provenance)
    assert (bundle.attribute_scale, bundle.alignment) == ("openface", INFO.alignment)
    assert bundle.neutralise is not None
    assert [spec.name for spec in bundle.neutralise.outputs] == ["neutral", "stem"]
    assert (bundle.graph.graph, bundle.graph.graph_fp16) == ("animate.onnx", "animate.fp16.onnx")
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["networks"] == NETWORKS.to_dict() and manifest["training_steps"] == 1200
    assert set(bundle.hashes) | {MANIFEST} == {file.name for file in out.iterdir()}
    assert [path.name for path in checkpoint.parent.iterdir() if path.name.startswith(".")] == []


def test_the_golden_tensors_are_torchs(checkpoint: Path) -> None:
    assert main([str(checkpoint), "--no-split", "--name", "mine"]) == 0
    bundle = Bundle.load(checkpoint.with_suffix(".icface"))
    assert bundle.name == "mine"
    golden = bundle.golden_tensors()
    model = random_model(NETWORKS)
    with torch.no_grad():
        neutral = model.neutralise(image_of(np.asarray(golden["crop"])).float())
        frame = model.animate(neutral, torch.from_numpy(golden["attributes"]))
    np.testing.assert_allclose(np.asarray(golden["picture"], np.float32), neutral.numpy(), atol=1e-5)
    for name, image in (("neutral", neutral), ("frame", frame)):
        assert np.abs(golden[name].astype(int) - frame_of(image)).max() <= 1
    assert len(np.unique(golden["attributes"])) == 20, "an exchange of two attributes would be seen"
    for step in ("animate", "neutralise"):
        open_engine("auto", bundle, step=step).close()


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert main([str(checkpoint), "--out", str(tmp_path / out)]) == 0
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_names_say_what_was_left_out() -> None:
    networks = replace(NETWORKS, neutraliser=False, image_encoder=EncoderConfig())
    assert default_name(replace(INFO, networks=networks)) == (
        "ICface 32 px, width 4, 1 blocks, without neutraliser, with image encoder, step 1200"
    )


def test_a_look_at_the_neutral_face(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, random_model(NETWORKS), INFO)
    assert main([str(path), "--neutral", str(repository / "examples/rendered.jpg")]) == 0
    with Image.open(tmp_path / "m.neutral.png") as picture:
        assert picture.size == (64, 32)
        crop = np.asarray(picture)[:, :32].astype(int)
    # The face of the portrait: skin in the middle, redder than blue.
    assert (crop[10:22, 10:22, 0] > crop[10:22, 10:22, 2] + 20).mean() > 0.9


def test_the_look_is_at_the_picture_that_was_prepared(
    checkpoint: Path, repository: Path, tmp_path: Path
) -> None:
    """A photo that lies on its side is put upright first."""
    bundle = tmp_path / "m.icface"
    assert main([str(checkpoint), "--out", str(bundle)]) == 0
    upright = load_photo(repository / "examples/rendered.jpg").frame
    lying = tmp_path / "lying.png"
    Image.fromarray(np.rot90(upright)).save(lying)
    looks = [
        neutral_look(Bundle.load(bundle), path) for path in (repository / "examples/rendered.jpg", lying)
    ]
    left, right = (look[:, :32].astype(int) for look in looks)
    assert np.abs(left - right).mean() < 8


def test_as_a_script(checkpoint: Path, repository: Path, tmp_path: Path) -> None:
    """From a folder with a file of the same name as a package of ours, which is not taken."""
    (tmp_path / "icface.py").write_text("raise AssertionError('the wrong icface')")
    command = [sys.executable, str(repository / "export/pack_paper.py"), str(checkpoint)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    Bundle.load(checkpoint.with_suffix(".icface"))


# What cannot be packed


def test_checkpoints_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign, text, nothing = (tmp_path / name for name in ("foreign.safetensors", "text.safetensors", "no"))
    save_file({"weight": np.zeros(3, np.float32)}, foreign)
    text.write_text("not a model")
    for path, words in (
        (foreign, "is not an ICface model"),
        (text, "cannot read"),
        (nothing, "cannot read"),
        (tmp_path, "cannot read"),
    ):
        code, line = error_of(capsys, path)
        assert code == 2 and words in line and str(path) in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.safetensors", "text.safetensors"]


def test_weights_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a version that still wrote them."""
    path = tmp_path / "m.safetensors"
    save_model(path, random_model(NETWORKS), INFO)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["generator_animate.head.1.bias"][0] = float("nan")
    save_file(tensors, path, metadata)
    assert "its training failed" in error_of(capsys, path)[1]


def test_a_weight_that_half_precision_does_not_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bundle has no graph in half precision then, which is said."""
    caplog.set_level("WARNING")  # whatever a command that ran before has left
    model = random_model(NETWORKS)
    layer = model.generator_animate.head[1]
    assert isinstance(layer, nn.Conv2d)
    layer.weight.data[0, 0, 0, 0] = 1e5
    bundle = pack(model, INFO, tmp_path / "m.icface", name="large")
    assert bundle.graph.graph_fp16 is None and set(bundle.hashes) == {
        "animate.onnx",
        "neutralise.onnx",
        "golden.safetensors",
    }
    assert "large has a weight above 65504" in caplog.text


def test_where_nothing_can_be_written(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = error_of(capsys, checkpoint, "--out", checkpoint / "model.icface")
    assert code == 2 and f"cannot write {checkpoint / 'model.icface'}" in line


@pytest.mark.parametrize("kind", ["a file", "a folder", "a browser extension", "a damaged manifest"])
def test_what_is_no_bundle_is_left_alone(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = checkpoint.parent / "precious"
    kept = out if kind == "a file" else out / "thesis.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    if kind == "a browser extension":
        (out / MANIFEST).write_text('{"manifest_version": 3, "name": "mine"}')
    if kind == "a damaged manifest":
        (out / MANIFEST).write_text('{"format_version": 1, "fam')
    assert f"{out} is there and is no model bundle" in error_of(capsys, checkpoint, "--out", out)[1]
    assert kept.read_text() == "mine"


def test_an_older_bundle_is_replaced_whole(checkpoint: Path) -> None:
    out = checkpoint.with_suffix(".icface")
    assert main([str(checkpoint), "--no-split"]) == 0
    before = Bundle.load(out)
    assert main([str(checkpoint)]) == 0
    assert Bundle.load(out).sha256 != before.sha256
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["best.icface", "best.safetensors"]


@pytest.mark.parametrize("fails", ["writing", "moving"])
def test_when_it_fails_half_way_the_older_bundle_is_still_there(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    out = checkpoint.with_suffix(".icface")
    assert main([str(checkpoint), "--no-split"]) == 0
    capsys.readouterr()
    before = Bundle.load(out)
    write, move = Path.write_bytes, Path.rename

    def no_space(self: Path, content: bytes) -> int:
        if self.name == "golden.safetensors":
            raise OSError(28, "No space left on device")
        return write(self, content)

    def refused(self: Path, target: str | os.PathLike[str]) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return move(self, target)

    if fails == "writing":
        monkeypatch.setattr(Path, "write_bytes", no_space)
    else:
        monkeypatch.setattr(Path, "rename", refused)
    assert "No space left on device" in error_of(capsys, checkpoint)[1]
    assert Bundle.load(out).sha256 == before.sha256
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["best.icface", "best.safetensors"]


def test_a_bundle_that_does_not_read_back_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not read back: .* missing"):
        write_bundle(tmp_path / "m.icface", {"family": "paper"}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [(), ("m.safetensors", "--abacus")])
def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]) -> None:
    code, line = error_of(capsys, *flags)
    assert code == 2 and "; see " in line and line.endswith(" --help\n")
