"""Training of the patch corrector on made-up pairs: losses computed by hand, exact resume, and that it learns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from icface.errors import ConfigError
from icface.geometry.patch import PATCH_PX
from icface.networks import load_corrector
from tests.training.tiny_patches import make_tiny_pairs
from training.evaluate_patch import main as evaluate
from training.learning import trainer
from training.learning.patch import losses
from training.learning.patch.judge import Judge
from training.learning.patch.metrics import corrected, load_pairs, measure, ssim, table
from training.networks.squeezenet import load_squeezenet
from training.train import main

TINY = """
method = "patch"
steps = 4
batch_size = 2
workers = 0
ema = 0.5
log_every = 1
pictures_every = 2
save_every = 100
validate_every = 2
validation_pairs = 3
judge_width = 4

[network]
channels = [4, 4, 6, 6]
hidden = 6

[losses]
perceptual = 0.0

[optimizer]
name = "adam"
rate = 2e-3
schedule = "constant"
most_norm = 1.0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "pairs", {"photos": "true", "jaws": "opened"})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(config: Path, data: Path, out: Path, *more: str) -> int:
    return main(
        ["--config", str(config), "--data", str(data), "--out", str(out), "--accelerator", "cpu", *more]
    )


def random_squeezenet(path: Path) -> Path:
    """Weights of the right shapes; the graph itself is never run."""
    shapes = [(64, 3, 3)]
    for inputs, squeezed, expanded in ((64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128)):
        shapes += [(squeezed, inputs, 1), (expanded, squeezed, 1), (expanded, squeezed, 3)]
    rng = np.random.default_rng(1)
    weights = []
    for index, (outputs, inputs, kernel) in enumerate(shapes):
        weight = rng.normal(0, 0.1, (outputs, inputs, kernel, kernel)).astype(np.float32)
        weights += [
            numpy_helper.from_array(weight, f"w{index}"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), f"b{index}"),
        ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "taps", [x], [x], weights)
    onnx.save(helper.make_model(graph), path)
    return path


def test_resumed_run_equals_one_in_one_go(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perceptual = [
        "--perceptual",
        str(random_squeezenet(tmp_path / "taps.onnx")),
        "--set",
        "losses.perceptual=1",
    ]
    assert run(config, data, tmp_path / "whole", *perceptual) == 0
    whole = trainer.Trainer._step

    def step(self: trainer.Trainer, number: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if number > 2:
            raise KeyboardInterrupt
        return whole(self, number, batch)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "_step", step)
        assert run(config, data, tmp_path / "parts", *perceptual) == 0
    assert run(config, data, tmp_path / "parts", *perceptual) == 0
    one, two = (load_file(tmp_path / name / trainer.STATE) for name in ("whole", "parts"))
    assert any(name.startswith("module/judge/") for name in one)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    said = json.loads(logs[0].splitlines()[0])
    assert {"l1", "gradient", "residual", "perceptual", "adversarial", "features", "judge"} <= said.keys()


def test_a_run_does_not_go_on_with_another_judge_or_other_pairs(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Best would be by another measure, or on other pairs."""
    taps = random_squeezenet(tmp_path / "taps.onnx")
    other = make_tiny_pairs(tmp_path / "other", {"photos": "true"})

    def refused(name: str, *more: str) -> str:
        capsys.readouterr()
        assert run(config, data, tmp_path / name, *more) == 2
        return capsys.readouterr().err.strip().rpartition("is a run ")[2]

    assert run(config, data, tmp_path / "one", "--perceptual", str(taps), "--set", "steps=1") == 0
    advice = "; go on with the same, or choose another --out"
    assert refused("one", "--set", "steps=1") == f"with another --perceptual{advice}"
    both = ["--set", "steps=1", "--perceptual", str(taps), "--validation", str(other)]
    assert refused("one", *both) == f"with another --validation{advice}"
    assert run(config, data, tmp_path / "two", "--set", "steps=1") == 0
    assert refused("two", "--set", "steps=1", "--perceptual", str(taps)) == f"without --perceptual{advice}"


def test_a_state_of_an_earlier_version_goes_on(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows the digest of --data alone."""
    other = make_tiny_pairs(tmp_path / "other", {"photos": "true"})
    given = ["--set", "steps=1", "--validation", str(other)]
    assert run(config, data, tmp_path / "run", *given) == 0
    path = tmp_path / "run" / trainer.STATE
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["icface-training"])
    state["data"] = hashlib.sha256((data / "index.json").read_bytes()).hexdigest()
    save_file(load_file(path), path, {"icface-training": json.dumps(state)})
    assert run(config, data, tmp_path / "run", *given, "--finish", "1") == 0
    assert run(config, other, tmp_path / "run", *given) == 2
    assert "with another --data" in capsys.readouterr().err


@pytest.mark.slow
def test_it_learns_what_the_mouth_lacks(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 steps make the grey mouth whiter; a second run goes on from the model."""
    settings = [
        "steps=40",
        "validate_every=40",
        "pictures_every=40",
        "log_every=40",
        "optimizer.rate=0.01",
        "sampling.shares={photos=1}",
    ]
    flags = [part for setting in settings for part in ("--set", setting)]
    assert run(config, data, tmp_path / "run", *flags) == 0
    model, info = load_corrector(tmp_path / "run" / trainer.MODEL)
    assert info.step == 40
    pairs = load_pairs(data)
    before, after = (
        table(pairs, measure(pairs, correct, None))
        for correct in (None, lambda patch, conditions: corrected(model, patch, conditions))
    )
    rows = [name for name in before if name.startswith("mouth")]
    assert rows
    for name in rows:
        assert after[name]["inside"] < 0.9 * before[name]["inside"]
    start = ["--start", str(tmp_path / "run" / trainer.MODEL), "--minutes", "0"]
    assert run(config, data, tmp_path / "next", *flags, *start) == 0
    assert (
        evaluate(
            ["--data", str(data), "--model", str(tmp_path / "run/best.safetensors"), "--out", str(tmp_path)]
        )
        == 0
    )
    assert "| mouth, " in capsys.readouterr().out
    assert (tmp_path / "best_0_0.png").exists()


def test_weighted_losses_by_hand() -> None:
    """One pixel of 4×4 differs by .5 in one of three channels, and counts twice."""
    target = torch.zeros(1, 3, 4, 4)
    output = target.clone()
    output[0, 1, 2, 1] = 0.5
    weight = torch.ones(1, 1, 4, 4)
    weight[0, 0, 2, 1] = 2
    assert float(losses.weighted_l1(output, target, weight)) == pytest.approx(0.5 * 2 / 48)
    # Down: the steps to it (its weight 2) and from it (the next one's, 1), of 3·3·4; right the same.
    assert float(losses.gradient_l1(output, target, weight)) == pytest.approx(2 * (0.5 * 2 + 0.5) / 36)


def test_detail_counts_how_much_and_not_where() -> None:
    """A line of height .4 in one of three channels of a window of 8 pixels: two steps across, of 8·8·3."""
    output, target = torch.zeros(2, 1, 3, 8, 8)
    target[0, 0, :, 3] = 0.4
    weight = torch.full((1, 1, 8, 8), 2.0)
    assert float(losses.detail_distance(output, target, weight)) == pytest.approx(2 * 2 * 0.4 * 8 / (64 * 3))
    output[0, 0, :, 5] = 0.4  # two pixels beside it
    assert float(losses.detail_distance(output, target, weight)) == pytest.approx(0, abs=1e-7)


def test_perceptual_distance_by_hand() -> None:
    """Features of one pixel: alike but for their length, and at right angles."""
    one = torch.tensor([[3.0, 0], [3, 0]]).reshape(2, 2, 1, 1)
    other = torch.tensor([[5.0, 0], [0, 7]]).reshape(2, 2, 1, 1)
    found = losses.perceptual_distance([one, one], [other, other])
    assert found.tolist() == pytest.approx([0, 4], abs=1e-4)


def test_judge_learns_from_photos_alone() -> None:
    on_real = torch.tensor([0.0, 100.0]).reshape(2, 1, 1, 1)
    on_fake = torch.tensor([0.5, 0.5]).reshape(2, 1, 1, 1)
    assert float(losses.judge_loss(on_real, on_fake, torch.tensor([1.0, 0.0]))) == pytest.approx(0.5 + 0.125)
    assert float(losses.judge_loss(on_real, on_fake, torch.zeros(2))) == pytest.approx(0.125)
    assert float(losses.judged_loss(on_fake)) == pytest.approx(0.125)


def test_feature_distance_by_hand() -> None:
    zero = torch.zeros(1, 2, 2, 2)
    assert float(losses.feature_distance([zero, zero], [zero + 0.25, zero - 0.5])) == pytest.approx(0.75)


def test_judge_sees_picture_and_opening() -> None:
    torch.manual_seed(0)
    judge = Judge(4).eval()
    mouth, opening = torch.rand(2, 3, 112, 112), torch.zeros(2, 1, 112, 112)
    verdicts, features = judge(mouth, opening)
    assert verdicts.shape == (2, 1, 14, 14)
    assert [tuple(layer.shape[1:]) for layer in features] == [(4, 56, 56), (8, 28, 28), (12, 14, 14)]
    assert not torch.equal(verdicts, judge(mouth, opening + 1)[0])


def test_attention_is_on_mouth_and_eyes() -> None:
    weight = losses.attention()[0, 0]
    assert weight.shape == (PATCH_PX, PATCH_PX)
    mouth, eye, cheek, corner = weight[136, 96], weight[64, 60], weight[100, 30], weight[2, 2]
    assert mouth > cheek > corner
    assert eye > cheek
    assert float(corner) == pytest.approx(0.1)


def test_ssim_of_known_pictures() -> None:
    torch.manual_seed(0)
    noise = torch.rand(1, 3, 32, 32)
    assert float(ssim(noise, noise)) == pytest.approx(1, abs=1e-5)
    # Two flat pictures: no structure, (2·.2·.8 + c1) / (.2² + .8² + c1).
    flat = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.8)
    assert float(ssim(*flat)) == pytest.approx((0.32 + 1e-4) / (0.68 + 1e-4), abs=1e-3)


def test_squeezenet_reads_its_weights(tmp_path: Path) -> None:
    path = random_squeezenet(tmp_path / "taps.onnx")
    features = load_squeezenet(path)(torch.rand(1, 3, 64, 64))
    assert [tuple(layer.shape[1:]) for layer in features] == [(64, 31, 31), (128, 15, 15), (256, 7, 7)]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=r"cannot read|is not SqueezeNet"):
        load_squeezenet(broken)
    with pytest.raises(ConfigError, match="cannot read"):
        load_squeezenet(tmp_path / "missing.onnx")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "losses.perceptual=1"], "no network is given: --perceptual SQUEEZENET_ONNX"),
        (["--set", "sampling.shares={talk = 1}"], "has no set talk"),
        (["--set", "network.channels=[4, 4, 4]"], "network.channels"),
        (["--start", "missing.safetensors"], "missing.safetensors"),
        (["--finish", "0"], "--finish is 0; it has to be at least 1"),
    ],
)
def test_one_line_for_what_does_not_fit(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run(config, data, tmp_path / "run", *more) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert error[-1].startswith("error: ")


def test_another_network_is_no_start(
    config: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, data, tmp_path / "run", "--set", "steps=1") == 0
    start = ["--start", str(tmp_path / "run" / trainer.MODEL), "--set", "network.hidden=7"]
    assert run(config, data, tmp_path / "next", *start) == 2
    assert "has another network than the settings" in capsys.readouterr().err.strip().splitlines()[-1]
