"""The paper's method: which image and attributes go where, every loss by hand, and who learns from what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, log, log1p
from statistics import fmean
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from msgspec.structs import replace
from torch import Tensor, nn
from torch.optim import Optimizer

from icface.attributes import COUNT, neutral
from icface.errors import ConfigError
from icface.networks import DiscriminatorConfig, GeneratorConfig, Judgement, NetworksConfig
from training.learning.paper import losses
from training.learning.paper.config import LossConfig, TrainConfig
from training.learning.paper.gan import pseudo_neutral
from training.learning.paper.icface import IcfaceMethod
from training.learning.paper.methods import build_method
from training.learning.runtime import Runtime
from training.learning.settings import OptimizerConfig
from training.networks.lightcnn import IdentityFeatures

SIZE = 32
CONFIG = TrainConfig(
    networks=NetworksConfig(
        size_px=SIZE,
        generator=GeneratorConfig(width=8, blocks=1, dropout=0.0),
        discriminator=DiscriminatorConfig(width=8),
    ),
    losses=LossConfig(identity=0.0),
    optimizer=OptimizerConfig(name="adam", rate=1e-3),
    steps=100,
)
WEIGHTS = LossConfig(attributes=3.0, identity=5.0, reconstruction=7.0, r1=11.0, anchor=13.0)
ABLATION = replace(CONFIG.networks, neutraliser=False)
FA_N = torch.from_numpy(neutral(COUNT))


def runtime() -> Runtime:
    return Runtime(Fabric(accelerator="cpu", devices=1))


def method_of(config: TrainConfig, identity: Any = None) -> IcfaceMethod:
    torch.manual_seed(config.seed)
    method = build_method(config, runtime(), identity)
    assert isinstance(method, IcfaceMethod)
    return method


def batch_of(count: int = 2) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "source": 2 * torch.rand(count, 3, SIZE, SIZE, generator=rng) - 1,
        "driving": 2 * torch.rand(count, 3, SIZE, SIZE, generator=rng) - 1,
        "source_attributes": torch.rand(count, COUNT, generator=rng),
        "driving_attributes": torch.rand(count, COUNT, generator=rng),
        "identity": torch.arange(count),
    }


# Faces of one grey each, made by generators that add a known shade: every loss is a few numbers.


class Shade(nn.Module):
    """Stands in for a generator: adds to the picture its weight times what the attributes differ from FA_N."""

    def __init__(self, shade: float) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.shade = nn.Parameter(torch.tensor(shade))

    def forward(self, picture: Tensor, attributes: Tensor) -> Tensor:
        self.seen.append((picture.detach(), attributes))
        return picture + self.shade * (1 + attributes[:, 19, None, None, None])


class Grey(nn.Module):
    """Stands in for D: every logit is twice the picture's mean grey, plus .25 for C2; the classes' are 0 and that."""

    def __init__(self, identities: bool = False) -> None:
        super().__init__()
        self.identities = identities
        self.seen: list[Tensor] = []
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor) -> Judgement:
        self.seen.append(image.detach())
        logit = self.gain * image.mean((1, 2, 3))
        classes = torch.stack([torch.zeros_like(logit), logit], dim=1) if self.identities else None
        return Judgement(logit[:, None, None, None], (logit[:, None] + 0.25).expand(-1, COUNT), classes)


class Colours(nn.Module):
    """Stands in for the identity network; its two features differ in size, so that one cannot pass for the other."""

    def forward(self, image: Tensor) -> IdentityFeatures:
        return IdentityFeatures(image.mean((2, 3)), 4 * image.mean((2, 3)))


SOURCE, DRIVING = (0.1, -0.3), (0.2, 0.5)
AU45 = (0.75, 0.0)
"""Of the driving frames; their other attributes are FA_N's. The second happens to be neutral."""
SHADE_N, SHADE_A = 0.05, 0.1
NEUTRAL = tuple(grey + SHADE_N for grey in SOURCE)
OUTPUT = tuple(grey + SHADE_A * (1 + eye) for grey, eye in zip(NEUTRAL, AU45, strict=True))
PSEUDO = tuple(grey + SHADE_A for grey in SOURCE)


def grey_batch() -> dict[str, Tensor]:
    def faces(greys: tuple[float, ...]) -> Tensor:
        return torch.tensor(greys)[:, None, None, None].expand(-1, 3, SIZE, SIZE)

    attributes = FA_N.repeat(2, 1)
    attributes[:, 19] = torch.tensor(AU45)
    other = torch.full((2, COUNT), 0.9)
    return {
        "source": faces(SOURCE),
        "driving": faces(DRIVING),
        "source_attributes": other,
        "driving_attributes": attributes,
        "identity": torch.tensor([1, 0]),
    }


class Stage:
    """A method with stand-ins, and what it wanted to minimise."""

    def __init__(self, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, identity: Any = None) -> None:
        self.method = method_of(config, identity)
        self.animate, self.neutralise = Shade(SHADE_A), Shade(SHADE_N)
        generators = self.method.model()
        generators.generator_animate = self.animate  # type: ignore[assignment]
        if generators.generator_neutral is not None:
            generators.generator_neutral = self.neutralise  # type: ignore[assignment]
        self.judge = Grey(identities=config.networks.discriminator.identities is not None)
        monkeypatch.setitem(self.method.modules, "discriminator", self.judge)
        self.minimised: list[tuple[Optimizer, float]] = []

        def minimise(_: Runtime, total: Tensor, optimizer: Optimizer, terms: dict[str, Tensor]) -> None:
            self.minimised.append((optimizer, total.item()))

        monkeypatch.setattr(Runtime, "minimise", minimise)

    def step(self) -> dict[str, float]:
        found = self.method.step(grey_batch())
        assert not any(loss.requires_grad for loss in found.values())
        return {name: loss.item() for name, loss in found.items()}


def mean(values: Iterable[float]) -> float:
    return fmean(values)


def apart(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    return mean(abs(a - b) for a, b in zip(first, second, strict=True))


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def softplus(x: float) -> float:
    return log1p(exp(x))


def read_error(greys: tuple[float, ...], eyes: tuple[float, ...], power: int = 2) -> float:
    """Of C2, which reads the same in all attributes: FA_N's are .5 three times, 0 sixteen times, and AU45."""
    total = 0.0
    for grey, eye in zip(greys, eyes, strict=True):
        read = sigmoid(2 * grey + 0.25)
        total += 3 * abs(read - 0.5) ** power + 16 * read**power + abs(read - eye) ** power
    return total / len(greys)


def test_who_is_given_what(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(CONFIG, monkeypatch)
    batch = grey_batch()
    stage.step()
    ((pictured, asked),) = stage.neutralise.seen
    assert torch.equal(pictured, batch["source"])
    assert torch.equal(asked, FA_N.expand(2, -1))
    output, pseudo = stage.animate.seen
    assert torch.allclose(output[0], batch["source"] + SHADE_N), "G_A acts on G_N's image"
    assert torch.equal(output[1], batch["driving_attributes"])
    assert torch.equal(pseudo[0], batch["source"]), "the pseudo ground truth is made of the source"
    assert torch.equal(pseudo[1], FA_N.expand(2, -1))
    fakes = torch.tensor(OUTPUT + NEUTRAL)
    on_real, on_fakes, of_generators = stage.judge.seen
    assert torch.equal(on_real, batch["driving"])
    assert torch.allclose(on_fakes.mean((1, 2, 3)), fakes)
    assert torch.allclose(of_generators.mean((1, 2, 3)), fakes)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_every_loss_by_hand(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, losses=replace(WEIGHTS, attribute_norm=norm))
    stage = Stage(config, monkeypatch, Colours())
    found = stage.step()
    power = 2 if norm == "l2" else 1
    fakes = (OUTPUT, NEUTRAL)
    wanted = {
        # Both terms of equation 1 have their own for the real images.
        "d_adversarial": 2 * mean(softplus(-2 * grey) for grey in DRIVING)
        + sum(mean(softplus(2 * grey) for grey in greys) for greys in fakes),
        "d_attributes": read_error(DRIVING, AU45, power),
        # C1's gradient is 2 / (3 S²) in each of 3 S² values.
        "d_r1": 0.5 * 2**2 / (3 * SIZE**2),
        "adversarial": sum(mean(softplus(-2 * grey) for grey in greys) for greys in fakes),
        "attributes": read_error(OUTPUT, AU45, power) + read_error(NEUTRAL, (0.0, 0.0), power),
        "reconstruction": apart(OUTPUT, DRIVING),
        "neutral": apart(NEUTRAL, PSEUDO),
        # The one driving frame that is neutral.
        "anchor": abs(NEUTRAL[1] - DRIVING[1]),
        "identity": 5 * apart(OUTPUT, SOURCE) + 5 * apart(NEUTRAL, SOURCE),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert set(found) == {*wanted, "total"}

    judge = wanted["d_adversarial"] + 3 * wanted["d_attributes"] + 11 * wanted["d_r1"]
    generators = wanted["adversarial"] + 3 * wanted["attributes"] + 5 * wanted["identity"]
    generators += 7 * (wanted["reconstruction"] + wanted["neutral"]) + 13 * wanted["anchor"]
    optimizers = stage.method.optimizers
    assert [optimizer for optimizer, _ in stage.minimised] == [
        optimizers["discriminator"],
        optimizers["generators"],
    ]
    assert [total for _, total in stage.minimised] == pytest.approx([judge, generators], rel=1e-4)
    assert found["total"] == pytest.approx(generators, rel=1e-4)


def test_squares_and_minimax_in_the_place_of_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = Stage(replace(CONFIG, losses=LossConfig(adversarial="lsgan", identity=0.0)), monkeypatch).step()
    fakes = (OUTPUT, NEUTRAL)
    on_real = 2 * mean((2 * grey - 1) ** 2 / 2 for grey in DRIVING)
    on_fakes = sum(mean((2 * grey) ** 2 / 2 for grey in greys) for greys in fakes)
    assert squares["d_adversarial"] == pytest.approx(on_real + on_fakes, rel=1e-4)
    of_generators = sum(mean((2 * grey - 1) ** 2 / 2 for grey in greys) for greys in fakes)
    assert squares["adversarial"] == pytest.approx(of_generators, rel=1e-4)

    minimax = replace(CONFIG, losses=LossConfig(adversarial="saturating", identity=0.0))
    of_generators = sum(mean(-softplus(2 * grey) for grey in greys) for greys in fakes)
    assert Stage(minimax, monkeypatch).step()["adversarial"] == pytest.approx(of_generators, rel=1e-4)


def test_without_the_neutraliser_one_image_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, networks=ABLATION, losses=replace(WEIGHTS, r1=0.0))
    stage = Stage(config, monkeypatch, Colours())
    found = stage.step()
    output = tuple(grey + SHADE_A * (1 + eye) for grey, eye in zip(SOURCE, AU45, strict=True))
    wanted = {
        "d_adversarial": mean(softplus(-2 * grey) for grey in DRIVING)
        + mean(softplus(2 * grey) for grey in output),
        "d_attributes": read_error(DRIVING, AU45),
        "adversarial": mean(softplus(-2 * grey) for grey in output),
        "attributes": read_error(output, AU45),
        "reconstruction": apart(output, DRIVING),
        "identity": 5 * apart(output, SOURCE),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert set(found) == {*wanted, "total"}
    ((pictured, _),) = stage.animate.seen
    assert torch.equal(pictured, grey_batch()["source"])


def test_the_first_versions_head_names_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real frame it learns who it is; of both generated images it has to say who the source is."""
    judge = replace(CONFIG.networks.discriminator, identities=2)
    config = replace(CONFIG, networks=replace(CONFIG.networks, discriminator=judge), losses=WEIGHTS)
    stage = Stage(config, monkeypatch)
    found = stage.step()

    def entropy(greys: tuple[float, ...]) -> float:
        return mean(
            -log(sigmoid(2 * grey if who else -2 * grey)) for grey, who in zip(greys, (1, 0), strict=True)
        )

    assert found["d_identity"] == pytest.approx(entropy(DRIVING), rel=1e-4)
    assert found["identity"] == pytest.approx(mean([entropy(OUTPUT), entropy(NEUTRAL)]), rel=1e-4)
    judged = found["d_adversarial"] + 3 * found["d_attributes"] + 5 * found["d_identity"] + 11 * found["d_r1"]
    assert stage.minimised[0][1] == pytest.approx(judged, rel=1e-4)


# The real networks.


def test_each_optimiser_moves_its_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of the two steps, the network that moves is the only one that has gradients."""
    method = method_of(replace(CONFIG, losses=replace(WEIGHTS, identity=0.0)))
    moved: list[tuple[str, set[str]]] = []

    def watch(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            moved.append((name, {other for other, module in method.modules.items() if has_gradients(module)}))
            before = {other: weights_of(module) for other, module in method.modules.items()}
            result = whole(*args, **kwargs)
            for other, module in method.modules.items():
                assert all(map(torch.equal, before[other], weights_of(module))) == (other != name)
            method.optimizers[name].zero_grad(set_to_none=True)
            return result

        return step

    for name, optimizer in method.optimizers.items():
        monkeypatch.setattr(optimizer, "step", watch(name, optimizer.step))
    method.step(batch_of())
    assert moved == [("discriminator", {"discriminator"}), ("generators", {"generators"})]


def has_gradients(module: nn.Module) -> bool:
    return any(parameter.grad is not None for parameter in module.parameters())


def weights_of(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_both_generators_learn() -> None:
    method = method_of(CONFIG)
    method.step(batch_of())
    for part in (method.model().generator_animate, method.model().generator_neutral):
        assert part is not None
        assert all(p.grad is not None and bool(p.grad.any()) for p in part.parameters() if p.ndim == 4)


def test_pseudo_ground_truth_teaches_nothing_to_the_animator(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Tensor, Tensor]] = []
    whole = losses.neutral_pseudo_loss

    def watched(by_neutraliser: Tensor, by_animator: Tensor) -> Tensor:
        compared.append((by_neutraliser, by_animator))
        return whole(by_neutraliser, by_animator)

    monkeypatch.setattr(losses, "neutral_pseudo_loss", watched)
    method_of(CONFIG).step(batch_of())
    ((by_neutraliser, by_animator),) = compared
    assert by_neutraliser.requires_grad and not by_animator.requires_grad


def test_statistics_are_of_what_the_generators_are_given_later() -> None:
    """G_A's batch norm sees neutral images once a step, never the source that the pseudo ground truth is made of."""
    config = replace(
        CONFIG, networks=replace(CONFIG.networks, generator=GeneratorConfig(width=8, blocks=1, dropout=0.5))
    )
    method = method_of(config)
    method.step(batch_of())
    counts = {
        name: int(tensor)
        for name, tensor in method.model().state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    assert {name.partition(".")[0] for name in counts} == {"generator_animate", "generator_neutral"}
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("training", [True, False])
def test_pseudo_ground_truth_leaves_no_trace(training: bool) -> None:
    """Normalised by its own batch, without dropout, the statistics and the mode as they were."""
    config = replace(
        CONFIG, networks=replace(CONFIG.networks, generator=GeneratorConfig(width=8, blocks=1, dropout=0.5))
    )
    model = method_of(config).model().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    source = batch_of()["source"]
    made = pseudo_neutral(model, runtime(), source)
    assert torch.equal(made, pseudo_neutral(model, runtime(), source))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training == training
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        assert torch.equal(made, model.train().animate(source, FA_N.expand(2, -1)))
        assert not torch.equal(made, model.eval().animate(source, FA_N.expand(2, -1)))


def test_a_few_steps_bring_the_output_nearer() -> None:
    method = method_of(CONFIG)
    batch = grey_batch()
    error = [float(method.step(batch)["reconstruction"]) for _ in range(40)]
    assert sum(error[-3:]) < 0.5 * sum(error[:3])


def test_identity_that_nothing_measures_is_refused() -> None:
    with pytest.raises(ConfigError, match="no identity network is given: --identity"):
        method_of(replace(CONFIG, losses=LossConfig(identity=10.0)))


def test_identity_as_the_norm_and_an_anchor_on_openfaces_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three and three features: the sums are three times the means. AU45 .05 of OpenFace's is .18 full-shape."""
    changed = replace(WEIGHTS, identity_reduction="sum")
    stage = Stage(replace(CONFIG, losses=changed, attribute_scale="openface"), monkeypatch, Colours())
    batch = grey_batch()
    batch["driving_attributes"][:, 19] = torch.tensor((0.07, 0.05))  # root of the mean square .056 and .040
    found = {name: loss.item() for name, loss in stage.method.step(batch).items()}
    assert found["identity"] == pytest.approx(
        3 * (5 * apart(SOURCE, SOURCE) + 5 * abs(SHADE_N))
        + 15 * mean(abs(SHADE_N + SHADE_A * (1 + eye)) for eye in (0.07, 0.05)),
        rel=1e-4,
    )
    assert found["anchor"] == pytest.approx(abs(NEUTRAL[1] - DRIVING[1]), rel=1e-4)
