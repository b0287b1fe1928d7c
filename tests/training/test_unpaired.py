"""The paired + unpaired method: which batch when, which network learns from what, and whether it learns at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from msgspec.structs import replace
from torch import Tensor, nn

from icface.attributes import COUNT, neutral
from icface.errors import ConfigError
from icface.networks import DiscriminatorConfig, GeneratorConfig, NetworksConfig
from training.learning.paper.config import LossConfig, TrainConfig, UnpairedConfig
from training.learning.paper.methods import build_method
from training.learning.paper.unpaired import UnpairedMethod, is_paired, paired_task, unpaired_task
from training.learning.runtime import DivergedError, Runtime
from training.learning.settings import OptimizerConfig
from training.networks.lightcnn import IdentityFeatures

SIZE = 32
CONFIG = TrainConfig(
    method="unpaired",
    networks=NetworksConfig(
        size_px=SIZE,
        generator=GeneratorConfig(width=8, blocks=1, dropout=0.0),
        discriminator=DiscriminatorConfig(width=8),
    ),
    losses=LossConfig(adversarial="lsgan", identity=0.0),
    optimizer=OptimizerConfig(name="adam", rate=1e-3),
    unpaired=UnpairedConfig(paired_share=0.0, unpaired_per_paired=1.0),
    steps=100,
)
PAIRED = replace(CONFIG, unpaired=UnpairedConfig(paired_share=1.0))
UNPAIRED = replace(CONFIG, unpaired=UnpairedConfig(paired_share=0.0, unpaired_per_paired=1e9))


def method_of(config: TrainConfig, identity: Any = None) -> UnpairedMethod:
    torch.manual_seed(config.seed)
    method = build_method(config, Runtime(Fabric(accelerator="cpu", devices=1)), identity)
    assert isinstance(method, UnpairedMethod)
    return method


def batch_of(count: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Faces of one colour each, which yaw turns brighter to one side: something attributes can be seen in."""
    rng = torch.Generator().manual_seed(seed)

    def face(colour: Tensor, attributes: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, SIZE)
        slope = attributes[:, 1, None, None, None] - 0.5
        return (0.6 * colour[:, :, None, None] + slope * ramp.expand(3, SIZE, SIZE)).clamp(-1, 1)

    def attributes() -> Tensor:
        return torch.rand(count, COUNT, generator=rng)

    person, other = (2 * torch.rand(count, 3, generator=rng) - 1 for _ in range(2))
    source, driving, portrait, asked = (attributes() for _ in range(4))
    return {
        "source": face(person, source),
        "driving": face(person, driving),
        "source_attributes": source,
        "driving_attributes": driving,
        "identity": torch.zeros(count, dtype=torch.int64),
        "portrait": face(other, portrait),
        "portrait_attributes": portrait,
        "random_attributes": asked,
    }


def weights_of(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def kinds(steps: int, share: float, per_paired: float) -> list[bool]:
    config = UnpairedConfig(paired_share=share, unpaired_per_paired=per_paired)
    return [is_paired(step, steps, config) for step in range(steps)]


def test_paired_batches_only_at_first() -> None:
    found = kinds(1000, 0.3, 3.0)
    assert all(found[:300])
    assert not all(found[300:])


@pytest.mark.parametrize(("per_paired", "share"), [(1.0, 0.5), (3.0, 0.25), (0.25, 0.8)])
def test_both_kinds_come_in_their_proportion_in_any_stretch(per_paired: float, share: float) -> None:
    found = kinds(3000, 0.0, per_paired)
    for start in range(0, 3000, 100):
        assert sum(found[start : start + 100]) == pytest.approx(100 * share, abs=4)
    # Also among those that are logged.
    assert sum(found[49::50]) == pytest.approx(60 * share, abs=4)


def test_without_unpaired_steps_all_are_paired() -> None:
    assert all(kinds(100, 0.0, 0.0))
    assert all(kinds(100, 1.0, 5.0))


def test_steps_follow_the_schedule_and_a_copy_goes_on_with_it() -> None:
    """The count of steps is in a module's state, so that it comes back with a run's state."""

    def took(method: UnpairedMethod, steps: int) -> list[bool]:
        return ["paired_total" in method.step(batch_of(1, seed)) for seed in range(steps)]

    wanted = kinds(100, 0.0, 1.0)
    first = method_of(CONFIG)
    assert took(first, 3) == wanted[:3]
    resumed = method_of(CONFIG)
    for name, module in resumed.modules.items():
        module.load_state_dict(first.modules[name].state_dict())
    assert took(resumed, 3) == wanted[3:6]


def test_paired_task_goes_both_ways() -> None:
    batch = batch_of(1)
    task = paired_task(batch)
    assert task.targets is not None
    assert torch.equal(task.images, torch.cat([batch["source"], batch["driving"]]))
    assert torch.equal(task.targets, task.images.flip(0))
    assert torch.equal(task.asked, task.own.flip(0))
    assert torch.equal(task.own[:1], batch["source_attributes"])


class Recorder(nn.Module):
    """Stands in for a generator: gives the picture on, one step darker, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []
        self.shade = nn.Parameter(torch.tensor(0.125))

    def forward(self, picture: Tensor, attributes: Tensor) -> Tensor:
        self.asked.append(attributes)
        return picture - self.shade


def test_a_portrait_gets_random_attributes_and_is_cycled_back_to_its_own() -> None:
    method = method_of(UNPAIRED)
    animate, neutralise = Recorder(), Recorder()
    method.model().generator_animate = animate  # type: ignore[assignment]
    method.model().generator_neutral = neutralise  # type: ignore[assignment]
    batch = batch_of()
    made = method._make(unpaired_task(batch))
    assert torch.equal(animate.asked[0], batch["random_attributes"])
    assert torch.equal(animate.asked[1], batch["portrait_attributes"]), "the cycle"
    assert torch.equal(animate.asked[2], batch["portrait_attributes"]), "unchanged"
    assert all(
        torch.equal(asked, torch.from_numpy(neutral(COUNT)).expand(2, -1)) for asked in neutralise.asked
    )
    steps = {"neutral": 1, "output": 2, "cycled": 4, "unchanged": 2}
    for name, count in steps.items():
        assert torch.allclose(getattr(made, name), batch["portrait"] - 0.125 * count), name


@pytest.mark.parametrize("config", [PAIRED, UNPAIRED], ids=["paired", "unpaired"])
def test_pair_discriminator_sees_output_and_input(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paired: (B, A) against (R(A), A). Unpaired: (A, fake B) against (A cycled through fake B, fake B)."""
    method = method_of(config)
    batch = batch_of(1)
    task = paired_task(batch) if config is PAIRED else unpaired_task(batch)
    made = method._make(task)
    monkeypatch.setattr(method, "_make", lambda _: made)
    seen: list[Tensor] = []
    method.modules["pair_discriminator"].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].detach())
    )
    method.step(batch)
    if config is PAIRED:
        assert task.targets is not None
        true, fake = torch.cat([task.targets, task.images], 1), torch.cat([made.output, task.images], 1)
    else:
        true, fake = torch.cat([task.images, made.output], 1), torch.cat([made.cycled, made.output], 1)
    assert len(seen) == 3
    assert torch.equal(seen[0], true), "D's step, true"
    assert torch.equal(seen[1], fake), "D's step, fake"
    assert torch.equal(seen[2], fake), "the generators' step"


@pytest.mark.parametrize("config", [PAIRED, UNPAIRED], ids=["paired", "unpaired"])
def test_each_optimiser_moves_its_own_network_by_its_own_losses(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the three steps, the network that moves is the only one that has gradients."""
    method = method_of(config)
    trained = ("generators", "discriminator", "pair_discriminator")
    moved: list[tuple[str, set[str]]] = []

    def watch(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            moved.append((name, {other for other in trained if has_gradients(method.modules[other])}))
            before = {other: weights_of(method.modules[other]) for other in trained}
            result = whole(*args, **kwargs)
            for other in trained:
                same = all(map(torch.equal, before[other], weights_of(method.modules[other])))
                assert same == (other != name)
            method.optimizers[name].zero_grad(set_to_none=True)
            return result

        return step

    for name, optimizer in method.optimizers.items():
        monkeypatch.setattr(optimizer, "step", watch(name, optimizer.step))
    method.step(batch_of())
    assert moved == [(name, {name}) for name in ("discriminator", "pair_discriminator", "generators")]


def has_gradients(module: nn.Module) -> bool:
    return any(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("config", [PAIRED, UNPAIRED], ids=["paired", "unpaired"])
def test_both_generators_learn_from_the_cycle_alone(config: TrainConfig) -> None:
    method = method_of(config)
    batch = batch_of()
    task = paired_task(batch) if config is PAIRED else unpaired_task(batch)
    made = method._make(task)
    (made.cycled - task.images).abs().mean().backward()
    for part in (method.model().generator_animate, method.model().generator_neutral):
        assert part is not None
        assert all(p.grad is not None and bool(p.grad.any()) for p in part.parameters() if p.ndim == 4)


def test_only_paired_steps_know_a_target() -> None:
    paired, unpaired = method_of(PAIRED).step(batch_of()), method_of(UNPAIRED).step(batch_of())
    terms = {"adversarial", "pair", "cycle", "unchanged", "neutral", "attributes", "total"}
    judges = {"d_adversarial", "d_attributes", "d_pair_adversarial"}
    assert set(unpaired) == {f"unpaired_{name}" for name in terms | judges}
    assert set(paired) == {f"paired_{name}" for name in terms | judges | {"reconstruction"}}
    assert not any(loss.requires_grad for loss in (paired | unpaired).values())


def test_total_is_the_weighted_sum() -> None:
    config = replace(
        UNPAIRED,
        losses=LossConfig(adversarial="lsgan", identity=0.0, attributes=3.0, reconstruction=7.0),
        unpaired=replace(UNPAIRED.unpaired, cycle=4.0),
    )
    found = {
        name.removeprefix("unpaired_"): float(loss)
        for name, loss in method_of(config).step(batch_of()).items()
    }
    wanted = found["adversarial"] + found["pair"] + 4 * found["cycle"] + 2 * found["unchanged"]
    wanted += 7 * found["neutral"] + 3 * found["attributes"]
    assert found["total"] == pytest.approx(wanted, rel=1e-5)


def test_r1_anchor_and_identity_join_where_they_are_asked_for() -> None:
    class Averages(nn.Module):
        def forward(self, image: Tensor) -> IdentityFeatures:
            return IdentityFeatures(image.mean((2, 3)), image.flatten(1))

    config = replace(PAIRED, losses=LossConfig(adversarial="lsgan", identity=1.0, r1=0.05, anchor=1.0))
    batch = batch_of()
    # The driving frames happen to be neutral, so that G_N has a true picture.
    batch["driving_attributes"] = torch.from_numpy(neutral(COUNT)).repeat(2, 1)
    found = method_of(config, Averages()).step(batch)
    for name in ("d_r1", "d_pair_r1", "anchor", "identity"):
        assert float(found[f"paired_{name}"]) > 0, name


def test_statistics_are_of_what_the_generators_are_given_later() -> None:
    """G_A's batch norm sees G_N's images for fake B, the cycle and the unchanged one, and no pseudo ground truth."""
    method = method_of(UNPAIRED)
    method.step(batch_of())
    counts = {
        (name.partition(".")[0], int(tensor))
        for name, tensor in method.model().state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    assert counts == {("generator_animate", 3), ("generator_neutral", 2)}
    assert method.model().training


@pytest.mark.parametrize("config", [PAIRED, UNPAIRED], ids=["paired", "unpaired"])
def test_a_few_steps_shorten_the_cycle(config: TrainConfig) -> None:
    # With other seeds D's swings may throw it back for a while.
    method = method_of(replace(config, seed=21))
    kind = "paired" if config is PAIRED else "unpaired"
    batch = batch_of()
    cycle = [float(method.step(batch)[f"{kind}_cycle"]) for _ in range(40)]
    assert sum(cycle[-3:]) < 0.5 * sum(cycle[:3])


def test_equal_seeds_give_equal_steps() -> None:
    first, second = method_of(CONFIG), method_of(CONFIG)
    for seed in range(2):
        one, two = first.step(batch_of(seed=seed)), second.step(batch_of(seed=seed))
        assert {name: float(loss) for name, loss in one.items()} == {
            name: float(loss) for name, loss in two.items()
        }


def test_what_is_no_number_surfaces() -> None:
    """The loop stops at it: it has to come out, not vanish in a clamp or an average."""
    batch = batch_of()
    batch["portrait"][0, 0, 0, 0] = float("nan")
    method = method_of(UNPAIRED)
    with pytest.raises(DivergedError, match="the loss d_adversarial, d_attributes is not a finite number"):
        method.step(batch)
    batch = batch_of()
    batch["random_attributes"][0, 0] = float("nan")
    with pytest.raises(DivergedError, match="the loss d_adversarial is"):
        method.step(batch)


def test_what_portraits_cannot_teach_is_refused() -> None:
    with pytest.raises(ConfigError, match="no identity network is given: --identity"):
        method_of(replace(CONFIG, losses=LossConfig(identity=10.0)))
    judge = DiscriminatorConfig(width=8, identities=3)
    with pytest.raises(ConfigError, match="identities is 3, but whose the portraits are is not known"):
        method_of(replace(CONFIG, networks=replace(CONFIG.networks, discriminator=judge)))
