"""Settings of a run: every file that ships is valid, every mistake is one line with the key in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from icface.errors import ConfigError
from training.learning.config import KINDS, load_config
from training.learning.paper.config import TrainConfig

PAPER = Path(__file__).resolve().parents[2] / "training/configs/paper.toml"
CONFIGS = [path for path in sorted(PAPER.parent.glob("*.toml")) if not path.stem.startswith("pairs")]
"""Those that say how pairs are made are not of training runs."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_that_ship(path: Path) -> None:
    config = load_config(path)
    assert msgspec.json.decode(msgspec.json.encode(config), type=KINDS[config.method]) == config


def paper_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    config = load_config(path, overrides)
    assert isinstance(config, TrainConfig)
    return config


def test_paper_is_the_released_configuration() -> None:
    config = paper_config(PAPER)
    generator = config.networks.generator
    assert (generator.width, generator.blocks, generator.norm, config.networks.size_px) == (
        128,
        6,
        "batch",
        128,
    )
    assert config.networks.discriminator.width == 256
    assert (config.optimizer.name, config.optimizer.rate, config.losses.adversarial) == (
        "rmsprop",
        2e-4,
        "log",
    )
    assert (config.losses.attributes, config.losses.identity, config.losses.reconstruction) == (10, 10, 10)
    assert (config.attribute_scale, config.networks.discriminator.layers, config.ema) == (
        "openface",
        "release",
        0,
    )


def test_ablation_differs_in_the_neutraliser_alone() -> None:
    paper, ablation = paper_config(PAPER), paper_config(PAPER.with_stem("paper_no_neutraliser"))
    assert replace(paper, networks=replace(paper.networks, neutraliser=False)) == ablation


def test_overrides() -> None:
    overrides = [
        "optimizer.rate=1",
        "networks.generator.width=8",
        "sampling.mode=pose",
        "sampling.flip=false",
    ]
    config = paper_config(PAPER, overrides)
    assert (config.optimizer.rate, config.networks.generator.width) == (1.0, 8)
    assert (config.sampling.mode, config.sampling.flip) == ("pose", False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepz=3", "unknown setting `stepz`"),
        ("optimizer.speed=3", "optimizer: unknown setting `speed`"),
        ("steps=many", "steps: Expected `int`, got `str`"),
        ("steps=true", "steps: Expected `int`, got `bool`"),
        ("steps=0", "steps: Expected `int` >= 1"),
        (
            "networks.generator.norm=instance",
            "norm 'instance' is refused: attributes enter as constant planes",
        ),
        ("networks.generator.norm=group", "norm is 'group'; choose batch or none"),
        ("networks.generator.head_kernel=4", "head_kernel is 4; choose 3 or 5 or 7"),
        ("networks.generator.padding=circular", "padding is 'circular'; choose reflect or zero"),
        ("networks.generator.dropout=1.0", "networks.generator.dropout: Expected `float` < 1.0"),
        ("networks.size_px=100", "networks.size_px: Expected `int` that's a multiple of 16"),
        ("networks.size_px=16", "networks.size_px: Expected `int` >= 32"),
        (
            "networks.image_encoder.kind=release",
            "image_encoder.depth is 3, but kind 'release' has no steps down",
        ),
        (
            "attribute_scale=percent",
            "attribute_scale: Invalid enum value 'percent'; choose full-shape, openface",
        ),
        ("losses.identity_reduction=max", "Invalid enum value 'max'; choose mean, sum"),
        ("networks.image_encoder.depth=7", "image_encoder.depth 7 is too deep for size_px 128"),
        ("losses.identity=-1", "losses.identity: Expected `float` >= 0.0"),
        ("losses.identity=nan", "losses.identity: Expected `float` >= 0.0"),
        (
            "losses.adversarial=wgan",
            "losses.adversarial: Invalid enum value 'wgan'; choose log, saturating, lsgan",
        ),
        ("losses.attribute_norm=l3", "losses.attribute_norm: Invalid enum value 'l3'; choose l2, l1"),
        ("optimizer.rate=0", "optimizer.rate: Expected `float` > 0.0"),
        ("optimizer.name=sgd", "optimizer.name: Invalid enum value 'sgd'; choose rmsprop, adam"),
        ("method=sgd", "method is 'sgd'; choose icface, unpaired, patch"),
        ("networks=3", "networks: Expected a table of settings, got `int`"),
        ("steps", "expected KEY=VALUE"),
        ("steps.more=3", "is not a table of settings"),
        ("ema=1.0", "ema: Expected `float` < 1.0"),
        ("seed=-1", "seed: Expected `int` >= 0"),
    ],
)
def test_mistakes(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PAPER, [override])
    message = str(caught.value)
    assert "\n" not in message
    assert said in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = = 3")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(broken)


def test_rate_falls_as_the_schedule_says() -> None:
    linear = TrainConfig(steps=100)
    assert [linear.rate_factor(step) for step in (0, 49, 50, 75, 99)] == [1, 1, 1, 0.5, 0.02]
    step = load_config(PAPER, ["steps=100", "optimizer.schedule=step"])
    assert step.rate_factor(99) == 0.1
    cosine = load_config(PAPER, ["steps=100", "optimizer.schedule=cosine"])
    found = [cosine.rate_factor(step) for step in (49, 50, 75, 100)]
    assert found == pytest.approx([1, 1, 0.02 + 0.98 / 2, 0.02])
