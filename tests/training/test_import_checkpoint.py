"""The authors' checkpoints: every weight finds its place, and the model computes what theirs does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks import EncoderConfig, load_model
from tests.training.published import save_with_code
from training.import_checkpoint import LICENCE, main

WIDTH, BLOCKS = 6, 2


class Block(nn.Module):
    """A residual block, as in pix2pix."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module], dropout: bool, bias: bool) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm(channels),
            nn.ReLU(True),
            *([nn.Dropout(0.5)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.conv_block(x))


class Published(nn.Module):
    """A generator in the authors' layout, with weights and statistics that all matter."""

    def __init__(
        self,
        seed: int,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        dropout: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        w = width
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3 + COUNT, w, 7, bias=bias), norm(w), nn.ReLU(True),
            nn.Conv2d(w, 2 * w, 3, 2, 1, bias=bias), norm(2 * w), nn.ReLU(True),
            nn.Conv2d(2 * w, 4 * w, 3, 2, 1, bias=bias), norm(4 * w), nn.ReLU(True),
            *(Block(4 * w, norm, dropout, bias) for _ in range(blocks)),
            nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, 1, bias=bias), norm(2 * w), nn.ReLU(True),
            nn.ConvTranspose2d(2 * w, w, 3, 2, 1, 1, bias=bias), norm(w), nn.ReLU(True),
            nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh(),
        )  # fmt: skip
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.weight, 1.0, 0.2)
                nn.init.normal_(part.bias, 0.0, 0.3)
                statistics = dict(part.named_buffers())
                nn.init.normal_(statistics["running_mean"], 0.0, 0.2)
                nn.init.uniform_(statistics["running_var"], 0.1, 0.5)
                statistics["num_batches_tracked"].fill_(seed)
        self.eval()

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        planes = attributes[:, :, None, None].expand(-1, -1, *image.shape[2:])
        made: Tensor = self.model(torch.cat([image, planes], dim=1))
        return made


Weights = OrderedDict[str, Tensor]


def held(network: nn.Module, prefix: str = "module.") -> dict[str, object]:
    """As the authors save it: names as DataParallel makes them, an optimiser beside them."""
    weights = OrderedDict((prefix + name, tensor) for name, tensor in network.state_dict().items())
    optimizer = torch.optim.RMSprop(network.parameters(), lr=2e-4)
    return {"epoch": 12, "state_dict": weights, "optimizer": optimizer.state_dict()}


class Files:
    """The command's arguments, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.neutral, self.animate = folder / "latest_net_GN.pth", folder / "latest_net_G.pth"
        self.out = folder / "original.safetensors"

    def run(self, *more: str) -> int:
        flags = {"--generator-neutral": self.neutral, "--generator-animate": self.animate, "--out": self.out}
        return main([str(part) for pair in flags.items() for part in pair] + list(more))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def identity(channels: int) -> nn.Module:
    return nn.Identity()


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        ({}, "module."),
        ({}, ""),
        ({"dropout": False}, "module."),
        ({"width": 4, "blocks": 0}, "module."),
        ({"blocks": 9, "width": 2}, ""),
        ({"norm": identity}, "module."),
        ({"norm": identity, "dropout": False}, ""),
    ],
    ids=["as released", "no prefix", "no dropout", "no blocks", "nine blocks", "no norm", "neither"],
)
def test_outputs_stay(settings: dict[str, object], prefix: str, files: Files) -> None:
    theirs = [Published(seed, **settings) for seed in (1, 2)]  # type: ignore[arg-type]
    for path, network in zip((files.neutral, files.animate), theirs, strict=True):
        torch.save(held(network, prefix), path)
    assert files.run() == 0

    model, info = load_model(files.out)
    assert model.generator_neutral is not None
    config = info.networks.generator
    assert config.width == settings.get("width", WIDTH)
    assert config.blocks == settings.get("blocks", BLOCKS)
    assert config.norm == ("none" if "norm" in settings else "batch")
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    attributes = torch.rand(2, COUNT)
    with torch.no_grad():
        for ours, network in zip((model.generator_neutral, model.generator_animate), theirs, strict=True):
            wanted = network(image, attributes)
            assert float(wanted.std()) > 1e-3, "the comparison means something"
            assert float((ours(image, attributes) - wanted).abs().max()) <= 1e-5


def test_what_the_model_says_of_itself(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(held(Published(1)), files.neutral)
    torch.save(held(Published(2)), files.animate)
    assert files.run() == 0
    _, info = load_model(files.out)
    assert info.attribute_scale == "openface"
    assert info.licence == LICENCE == "non-commercial (original release)"
    assert info.provenance == "imported by the user"
    assert info.networks.neutraliser and info.networks.size_px == 128 and info.step == 0
    assert "NON-COMMERCIAL USE ONLY" in capsys.readouterr().out


def test_released_names() -> None:
    """The numbers in the names, for six blocks and dropout, as the released files have them."""
    names = set(Published(1, width=1, blocks=6).state_dict())
    for name in ("model.15.conv_block.6.weight", "model.15.conv_block.7.running_var", "model.16.weight",
                 "model.17.running_mean", "model.19.weight", "model.20.bias", "model.23.bias"):  # fmt: skip
        assert name in names


def test_files_from_before_batches_were_counted(files: Files) -> None:
    network = Published(1)
    for path in (files.neutral, files.animate):
        whole = held(network)
        weights = whole["state_dict"]
        assert isinstance(weights, dict)
        for name in [name for name in weights if name.endswith("num_batches_tracked")]:
            del weights[name]
        torch.save(whole, path, _use_new_zipfile_serialization=False)
    assert files.run() == 0
    model, _ = load_model(files.out)
    image, attributes = torch.rand(1, 3, 32, 32), torch.rand(1, COUNT)
    with torch.no_grad():
        difference = model.generator_animate(image, attributes) - network(image, attributes)
    assert float(difference.abs().max()) <= 1e-5


def drop(name: str) -> Callable[[Weights], None]:
    return lambda weights: weights.__delitem__(name)


def put(name: str, *shape: int) -> Callable[[Weights], None]:
    return lambda weights: weights.__setitem__(name, torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("model.1.weight"), "no first convolution model.1.weight"),
        (drop("model.4.weight"), "lacks model.4.weight"),
        (drop("model.5.running_var"), "lacks model.5.running_var"),
        (drop("model.11.conv_block.7.bias"), "lacks model.11.conv_block.7.bias"),
        (drop("model.19.bias"), "lacks model.19.bias"),
        (put("model.21.weight", 3), "model.21.weight has no place"),
        (put("fc.weight", 3), "fc.weight has no place"),
        (put("model.4.bias", 12), "model.4.bias has no place"),
        (put("model.13.conv_block.1.weight", 24, 24, 3, 3), "model.13.conv_block.1.weight has no place"),
        (put("model.4.weight", 12, 6, 4, 4), "model.4.weight is (12, 6, 4, 4)"),
        (put("model.19.weight", 1, 6, 7, 7), "model.19.weight is (1, 6, 7, 7)"),
        (put("model.12.weight", 12, 24, 3, 3), "model.12.weight is (12, 24, 3, 3)"),
        (put("model.1.weight", 6, 3, 7, 7), "takes 3 channels; here it is RGB and 20 attributes"),
        (put("model.1.weight", 6), "no first convolution"),
        (lambda weights: weights["model.4.weight"].fill_(float("nan")), "not finite"),
        # A tensor that claims 4.5 TB.
        (lambda w: w.update({"model.1.weight": torch.zeros(1).expand(10**9, 23, 7, 7)}), "more numbers than"),
    ],
)  # fmt: skip
def test_first_weight_that_does_not_fit_is_named(
    change: Callable[[Weights], None], said: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held(Published(1)), files.neutral)
    weights = OrderedDict(Published(2).state_dict())
    change(weights)
    torch.save({"state_dict": weights}, files.animate)
    assert files.run() == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {files.animate}") and captured.err.count("\n") == 1
    assert said in captured.err
    assert not files.out.exists()
    assert not captured.out


@pytest.mark.parametrize(
    ("norm", "bias"),
    [
        (lambda channels: nn.InstanceNorm2d(channels), True),
        # Old torch kept its statistics.
        (lambda channels: nn.BatchNorm2d(channels, affine=False), False),
    ],
    ids=["biases", "statistics"],
)
def test_instance_norm_is_refused(
    norm: Callable[[int], nn.Module], bias: bool, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (files.neutral, files.animate):
        network = nn.Module()
        network.model = Published(1).model
        layers = list(network.model)
        layers[1] = nn.Conv2d(3 + COUNT, WIDTH, 7, bias=bias)
        layers[2] = norm(WIDTH)
        network.model = nn.Sequential(*layers)
        torch.save(held(network), path)
    assert files.run() == 2
    assert "instance norm" in capsys.readouterr().err


def test_two_shapes_are_no_pair(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(held(Published(1)), files.neutral)
    torch.save(held(Published(2, blocks=3)), files.animate)
    assert files.run() == 2
    assert "2 blocks" in (line := capsys.readouterr().err) and "3 blocks" in line


@pytest.mark.parametrize("archive", [True, False])
def test_code_is_never_run(
    archive: bool, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    torch.save(held(Published(1)), files.neutral)
    save_with_code(files.animate, trace, held(Published(2)), archive=archive)
    assert files.run() == 2
    assert "refused" in (line := capsys.readouterr().err) and str(files.animate) in line
    assert not trace.exists() and not files.out.exists()


def test_other_files(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(held(Published(1)), files.neutral)
    assert files.run() == 2
    assert f"cannot read {files.animate}" in capsys.readouterr().err
    torch.save(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict(), files.animate)
    assert files.run() == 2
    assert "not a generator of the authors' layout (its first weight is 0.weight)" in capsys.readouterr().err
    files.animate.write_bytes(files.neutral.read_bytes()[:5000])
    assert files.run() == 2
    assert "damaged" in capsys.readouterr().err


def test_traceback_only_where_asked(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.run("-vv") == 2
    assert "Traceback" in capsys.readouterr().err


def test_help_and_wrong_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "non-commercial" in capsys.readouterr().out
    assert main([]) == 2


class PublishedEncoder(nn.Module):
    """I_E of the first release: a list `features`, and tanh after it."""

    def __init__(self, width: int = 4, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(7)
        w = width
        self.features = nn.Sequential(
            nn.Conv2d(3, w, 3, padding=1), nn.Conv2d(w, w, 3, padding=1), nn.BatchNorm2d(w), nn.ReLU(True),
            nn.Conv2d(w, 2 * w, 3, padding=1), nn.BatchNorm2d(2 * w), nn.ReLU(True),
            nn.Conv2d(2 * w, channels, 3, padding=1),
        )  # fmt: skip
        for part in self.features:
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.bias, 0.0, 0.3)
                nn.init.uniform_(dict(part.named_buffers())["running_var"], 0.1, 0.5)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.features(image))


def test_the_first_releases_encoder_comes_before_both(files: Files, tmp_path: Path) -> None:
    neutral, animate, encoder = Published(1), Published(2), PublishedEncoder()
    for path, network in ((files.neutral, neutral), (files.animate, animate)):
        torch.save(held(network), path)
    weights = held(encoder)["state_dict"]
    assert isinstance(weights, dict)
    for name in [name for name in weights if name.endswith("num_batches_tracked")]:
        del weights[name]  # as torch before 0.4.1 left them
    torch.save(weights, tmp_path / "latest_net_I_E.pth")
    assert files.run("--image-encoder", str(tmp_path / "latest_net_I_E.pth")) == 0
    model, info = load_model(files.out)
    assert info.networks.image_encoder == EncoderConfig(kind="release", width=4, depth=0, channels=3)
    image, asked = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, COUNT)
    with torch.no_grad():
        wanted = animate(encoder(neutral(encoder(image), model.neutral_attributes.expand(2, -1))), asked)
        assert float(wanted.std()) > 1e-3
        assert float((model(image, asked) - wanted).abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Published(1), "is not an image encoder of the authors' first release"),
        (PublishedEncoder(channels=8), "features.7.weight gives 8 channels; the generators here take 3"),
        (
            nn.ModuleDict({"features": nn.Sequential(*PublishedEncoder().features, nn.Conv2d(3, 3, 3))}),
            "layers.8",
        ),
    ],
    ids=["a generator", "wide", "another layer"],
)
def test_other_encoders_are_refused(
    network: nn.Module, said: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held(Published(1)), files.neutral)
    torch.save(held(Published(2)), files.animate)
    torch.save(held(network), tmp_path / "latest_net_I_E.pth")
    assert files.run("--image-encoder", str(tmp_path / "latest_net_I_E.pth")) == 2
    assert said in (line := capsys.readouterr().err) and line.count("\n") == 1 and "I_E.pth" in line
    assert not files.out.exists()
