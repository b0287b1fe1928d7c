"""Settings of a run: every file that ships is valid, every mistake is one line with the key in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.errors import ConfigError
from training.learning.config import TrainConfig, load_config

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "training/configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_that_ship(path: Path) -> None:
    config = load_config(path)
    assert TrainConfig.from_json(config.to_json()) == config


def test_paper_is_the_released_configuration() -> None:
    config = load_config(next(path for path in CONFIGS if path.stem == "paper"))
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


def test_ablation_differs_in_the_neutraliser_alone() -> None:
    by_name = {path.stem: load_config(path) for path in CONFIGS}
    paper, ablation = by_name["paper"].to_json(), by_name["paper_no_neutraliser"].to_json()
    assert paper.replace('"neutraliser": true', '"neutraliser": false') == ablation


def test_overrides() -> None:
    overrides = [
        "optimizer.rate=1",
        "networks.generator.width=8",
        "sampling.mode=pose",
        "sampling.flip=false",
    ]
    config = load_config(CONFIGS[0], overrides)
    assert (config.optimizer.rate, config.networks.generator.width) == (1.0, 8)
    assert (config.sampling.mode, config.sampling.flip) == ("pose", False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepz=3", "unknown setting stepz"),
        ("optimizer.speed=3", "unknown setting optimizer.speed"),
        ("steps=many", "steps should be int, not 'many'"),
        ("steps=true", "steps should be int, not True"),
        ("steps=0", "steps is 0"),
        (
            "networks.generator.norm=instance",
            "norm 'instance' is refused: attributes enter as constant planes",
        ),
        ("networks.size_px=100", "size_px 100 is not a multiple of 16"),
        ("networks.image_encoder.depth=7", "image_encoder.depth 7 is too deep for size_px 128"),
        ("losses.identity=-1", "losses.identity is -1"),
        ("optimizer.rate=0", "optimizer.rate is 0"),
        ("optimizer.name=sgd", "optimizer.name 'sgd' is unknown; choose rmsprop, adam"),
        ("networks=3", "networks should be a table"),
        ("steps", "expected KEY=VALUE"),
        ("steps.more=3", "is not a table of settings"),
        ("ema=1.0", "ema is 1.0"),
    ],
)
def test_mistakes(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS[0], [override])
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
    step = load_config(CONFIGS[0], ["steps=100", "optimizer.schedule=step"])
    assert step.rate_factor(99) == 0.1
