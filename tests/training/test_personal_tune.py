"""Tuning to one person: it starts from what ships, keeps that where nothing is better, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from icface.errors import ConfigError
from icface.networks import load_corrector
from tests.conftest import REPOSITORY
from tests.export.geometry_alone import geometry_alone
from tests.training.tiny_patches import make_tiny_pairs
from training.personal import tune as tuning
from training.personal.start import corrector_of, neutraliser_of
from training.personal.tune import tune

SETTINGS = """
method = "patch"
steps = 100
batch_size = 2
workers = 0
ema = 0.5
save_every = 1
validate_every = 50
[losses]
perceptual = 0.0
adversarial = 0.0
features = 0.0
[optimizer]
name = "adam"
schedule = "constant"
most_norm = 1.0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("personal")
    for part in ("learn", "held"):
        make_tiny_pairs(folder / part, {"person": "talk"}, 2)
    return folder


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "WARM_STEPS", 1)
    monkeypatch.setattr(tuning, "MOST_STEPS", 2)


def with_rate(rate: float, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "settings.toml"
    path.write_text(SETTINGS + f"rate = {rate}\n")
    monkeypatch.setattr(tuning, "CONFIG", path)


def test_the_start_is_what_ships() -> None:
    found, info = corrector_of()
    assert "openpeople" in info.provenance
    calms = neutraliser_of()
    assert calms is not None
    for model, name in ((found, "edge_face"), (calms, "edge_neutral")):
        ours, told = load_corrector(REPOSITORY / f"training/weights/{name}.safetensors")
        assert model.config == told.network
        wanted, weights = ours.state_dict(), model.state_dict()
        assert weights.keys() == wanted.keys()
        assert [key for key, tensor in weights.items() if not torch.equal(tensor, wanted[key])] == []


def test_a_bundle_without_networks_is_no_start() -> None:
    with pytest.raises(ConfigError, match="has no corrector to start from"):
        corrector_of(geometry_alone())
    assert neutraliser_of(geometry_alone()) is None


def test_where_nothing_is_better_the_weights_that_ship_are_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rate(1.0, tmp_path, monkeypatch)  # ruins every weight at the first step
    out = tmp_path / "corrector.safetensors"
    assert "they are kept" in tune(data, out, 5, lambda _: None, accelerator="cpu")
    kept, info = load_corrector(out)
    assert info.step == 0
    assert torch.equal(kept.head.weight, corrector_of()[0].head.weight)


def test_it_learns_and_goes_on_where_it_was_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rate(3e-4, tmp_path, monkeypatch)
    out = tmp_path / "corrector.safetensors"

    def stop_late(share: float) -> None:
        calls.append(share)
        if len(calls) == 2:  # before the second step
            raise KeyboardInterrupt

    calls: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        tune(data, out, 5, stop_late, accelerator="cpu")
    assert not out.exists()
    told: list[float] = []
    said = tune(data, out, 5, told.append, accelerator="cpu")
    assert "after 4 steps of 4" in said
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert any(0.4 < share < 1 for share in told), "steps are told, and not the five minutes"
    assert load_corrector(out)[1].step == 4


def test_no_time_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        tune(data, tmp_path / "x.safetensors", 0, lambda _: None)
