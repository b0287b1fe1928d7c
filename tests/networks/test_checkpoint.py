"""Models on disk: bit for bit, and nothing that does not fit is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icface.errors import ConfigError
from icface.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    GeneratorConfig,
    ICface,
    ModelInfo,
    NetworksConfig,
    load_model,
    save_model,
)

NETWORKS = {
    "as published": NetworksConfig(size_px=32, generator=GeneratorConfig(width=4, blocks=1)),
    "no norm": NetworksConfig(
        size_px=64, generator=GeneratorConfig(width=4, blocks=2, norm="none", dropout=0)
    ),
    "ablation": NetworksConfig(size_px=32, generator=GeneratorConfig(width=4, blocks=1), neutraliser=False),
    "first version": NetworksConfig(
        size_px=32,
        generator=GeneratorConfig(width=4, blocks=0, padding="zero", head_kernel=3),
        discriminator=DiscriminatorConfig(width=4, identities=5),
        image_encoder=EncoderConfig(width=2, depth=1, channels=3),
    ),
}


def model_of(networks: NetworksConfig) -> tuple[ICface, ModelInfo]:
    """Random weights and statistics."""
    torch.manual_seed(3)
    model = ICface(networks)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.get_buffer("running_mean"))
            nn.init.uniform_(part.get_buffer("running_var"), 0.5, 2)
            part.get_buffer("num_batches_tracked").fill_(7)
    info = ModelInfo(
        networks=networks, attribute_scale="openface", provenance="tests – ünïcode", licence="MIT", step=1200
    )
    return model, info


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    model, info = model_of(NETWORKS[name])
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, model, info)
    again, info_again = load_model(path)
    assert info_again == info
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(
        torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before
    )
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())
    image, attributes = torch.rand(1, 3, 32, 32), torch.rand(1, 20)
    with torch.no_grad():
        assert torch.equal(model.eval()(image, attributes), again(image, attributes))
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, *model_of(NETWORKS["as published"]))
    return path


def rewrite(
    path: Path,
    weights: Callable[[dict[str, Tensor]], object] = lambda held: None,
    header: Callable[[dict[str, Any]], object] = lambda held: None,
) -> None:
    """Change a model's file in place."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["icface"])
    weights(tensors)
    header(about)
    save_file(tensors, path, {"icface": json.dumps(about)})


def refused(path: Path) -> str:
    """The line that says why."""
    with pytest.raises(ConfigError) as caught:
        load_model(path)
    line = str(caught.value)
    assert "\n" not in line and path.name in line
    return line


STEM = "generator_animate.stem.weight"


def test_missing_weight(saved: Path) -> None:
    rewrite(saved, lambda held: held.pop(STEM))
    assert f"lacks the weight {STEM}" in refused(saved)


def test_extra_weight(saved: Path) -> None:
    rewrite(saved, lambda held: held.update(surplus=torch.zeros(1)))
    assert "has the weight surplus" in refused(saved)


def test_renamed_weight(saved: Path) -> None:
    rewrite(saved, lambda held: held.update({"generator_animate.first.weight": held.pop(STEM)}))
    assert STEM in refused(saved)


def test_weight_of_another_shape(saved: Path) -> None:
    rewrite(saved, lambda held: held.update({STEM: held[STEM][:, :22].contiguous()}))
    line = refused(saved)
    assert STEM in line and "(4, 22, 7, 7)" in line and "(4, 23, 7, 7)" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_that_is_no_number(saved: Path, value: float) -> None:
    rewrite(saved, lambda held: held["generator_neutral.head.1.bias"].__setitem__(1, value))
    assert "generator_neutral.head.1.bias" in refused(saved)


def test_statistics_that_are_no_number(saved: Path) -> None:
    rewrite(saved, lambda held: held["generator_animate.stem_norm.running_var"].fill_(float("nan")))
    assert "generator_animate.stem_norm.running_var" in refused(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about["networks"]["generator"].update(width=8), "the network takes ("),
        (lambda about: about["networks"]["generator"].update(blocks=2), "blocks.1"),
        (lambda about: about["networks"]["generator"].update(norm="instance"), "instance normalisation"),
        (lambda about: about["networks"]["generator"].update(norm="group"), "'group'"),
        (lambda about: about["networks"]["generator"].update(width="8"), "networks.generator.width"),
        (
            lambda about: about["networks"]["generator"].update(depth=8),
            "networks.generator: unknown setting `depth`",
        ),
        (lambda about: about["networks"].update(neutraliser=False), "generator_neutral"),
        (lambda about: about["networks"].update(image_encoder={}), "image_encoder"),
        (
            lambda about: about["networks"].update(size_px=40),
            "networks.size_px: Expected `int` that's a multiple of 16",
        ),
        (lambda about: about.update(attribute_scale="percent"), "'percent'"),
        (lambda about: about.update(step="many"), "step"),
        (lambda about: about.update(format=2), "format"),
        (lambda about: about.pop("format"), "format"),
        (lambda about: about.pop("licence"), "licence"),
    ],
)
def test_header_that_does_not_fit(saved: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    rewrite(saved, header=change)
    assert said in refused(saved)


@pytest.mark.parametrize("header", ["", "[]", "null", "3", "{", '{"format": 1, "networks": []}'])
def test_damaged_header(saved: Path, header: str) -> None:
    save_file(load_file(saved), saved, {"icface": header})
    refused(saved)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_file(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    refused(saved)


def test_other_files(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "missing.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    assert "not an ICface model" in refused(other)
    pickled = tmp_path / "pickled.safetensors"
    torch.save({"weight": torch.zeros(2)}, pickled)
    refused(pickled)


def test_failed_writing_keeps_the_older_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    model, info = model_of(NETWORKS["as published"])

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("icface.networks.checkpoint.save_file", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        save_model(saved, model, replace(info, step=2))
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_no_number_is_not_written(saved: Path, value: float) -> None:
    before = saved.read_bytes()
    model, info = model_of(NETWORKS["as published"])
    with torch.no_grad():
        model.get_parameter(STEM)[0, 0, 0, 0] = value
    with pytest.raises(ConfigError, match=f"is not written: {STEM} has values that are not finite"):
        save_model(saved, model, info)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    path = tmp_path / "model.safetensors"
    before = os.umask(umask)
    try:
        save_model(path, *model_of(NETWORKS["as published"]))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_place_that_is_taken_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        save_model(tmp_path / "model.safetensors", *model_of(NETWORKS["as published"]))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
