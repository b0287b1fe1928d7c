"""Image translation from pairs and unpaired pictures: losses, pool, networks, who learns what when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from msgspec.structs import replace
from torch import Tensor, nn

from icface.networks import GeneratorConfig
from training.learning.runtime import DivergedError, Runtime
from training.learning.settings import OptimizerConfig
from training.learning.translation.config import TranslationConfig, TranslationLossConfig
from training.learning.translation.method import Made, TranslationMethod, claims_of, passing, telling
from training.learning.translation.pool import ImagePool
from training.networks.translation import PatchGan, TranslatorConfig, Translators

SIZE = 32
JUDGES = ("judge_a", "pair_judge_a", "judge_b", "pair_judge_b")
CONFIG = TranslationConfig(
    size_px=SIZE,
    load_px=SIZE,
    generator=TranslatorConfig(width=4, blocks=1),
    judge_width=4,
    pool=4,
    optimizer=OptimizerConfig(name="adam", rate=1e-3),
)


def method_of(config: TranslationConfig = CONFIG) -> TranslationMethod:
    torch.manual_seed(config.seed)
    return TranslationMethod(config, Runtime(Fabric(accelerator="cpu", devices=1)))


def batch_of(paired: bool, count: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """A: ramps of random slopes and colours. B: the same in opposite colours."""
    rng = torch.Generator().manual_seed(seed)
    slope = 2 * torch.rand(count, 3, 1, 1, generator=rng) - 1
    a = (slope * torch.linspace(-1, 1, SIZE)).expand(count, 3, SIZE, SIZE).contiguous()
    b = -a if paired else -a.flip(0)
    return {"a": a, "b": b, "paired": torch.full((count,), paired)}


def test_losses_of_two_by_two_patches() -> None:
    real, false = torch.tensor([[[[1.0, 0.0], [3.0, -1.0]]]]), torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])
    # (0 + 1 + 4 + 4) / 4
    assert float(passing(real)) == pytest.approx(2.25)
    # ½ · 2.25 + ½ · (4 + 0 + 0 + 0) / 4
    assert float(telling(real, false)) == pytest.approx(1.625)


def test_networks_have_the_templates_size() -> None:
    """Without the biases that instance normalisation takes away; 11,378,179, 2,764,737 and 2,767,809 with them."""

    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    # Biases of the first five convolutions and transposed ones, and of 18 in the blocks.
    assert size(Translators(TranslatorConfig()).to_b) == 11_378_179 - (64 + 128 + 256 + 18 * 256 + 128 + 64)
    assert size(PatchGan(64, 3)) == 2_764_737 - (128 + 256 + 512)
    assert size(PatchGan(64, 6)) == 2_767_809 - (128 + 256 + 512)
    assert PatchGan(4, 3)(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    assert Translators(TranslatorConfig(width=4, blocks=1)).to_a(torch.zeros(1, 3, 36, 40)).shape == (
        1,
        3,
        36,
        40,
    )


def test_instance_normalisation_stays_refused_where_attributes_enter() -> None:
    with pytest.raises(Exception, match="instance"):
        GeneratorConfig(norm="instance")
    assert TranslatorConfig().norm == "instance"


def filled_with(value: float) -> Tensor:
    return torch.full((1, 3, 2, 2), value)


def test_pool_fills_then_exchanges_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ImagePool(2, 2)
    for value in (1.0, 2.0):
        assert torch.equal(pool.exchange(filled_with(value)), filled_with(value)), "while it fills"
    chances, places = iter([0.49, 0.5, 0.0]), iter([0, 1])
    monkeypatch.setattr(torch, "rand", lambda _: torch.tensor(next(chances)))
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(next(places)))
    assert torch.equal(pool.exchange(filled_with(3.0)), filled_with(1.0)), (
        "an older one, whose place it takes"
    )
    assert torch.equal(pool.exchange(filled_with(4.0)), filled_with(4.0)), "itself, and it is not kept"
    assert torch.equal(pool.exchange(filled_with(5.0)), filled_with(2.0))
    assert pool.images[:, 0, 0, 0].tolist() == [3.0, 5.0]


def test_pool_follows_from_the_seed_and_its_state() -> None:
    def shown(pool: ImagePool, first: int) -> list[float]:
        torch.manual_seed(7)
        return [float(pool.exchange(filled_with(float(first + i)))[0, 0, 0, 0]) for i in range(200)]

    pool, other = ImagePool(50, 2), ImagePool(50, 2)
    shown(pool, 0)
    other.load_state_dict(pool.state_dict())
    found = shown(pool, 1000)
    assert shown(other, 1000) == found
    older = sum(value != 1000 + i for i, value in enumerate(found))
    assert 70 < older < 130, "half of the chances"


def test_no_pool_shows_only_new_outputs() -> None:
    pool = ImagePool(0, 2)
    for value in range(5):
        assert torch.equal(pool.exchange(filled_with(value)), filled_with(value))


def test_pair_discriminators_tell_known_pairs_or_the_cycle_apart() -> None:
    a, b, fake_a, fake_b, cycled_a, cycled_b = (filled_with(float(i)) for i in range(6))
    of_a, of_b = Made(fake_b, cycled_a, None), Made(fake_a, cycled_b, None)

    def seen(paired: bool) -> dict[str, list[list[float]]]:
        claims = claims_of(a, b, of_a, of_b, paired)
        # The first channel is of the picture that is judged, the fourth of its counterpart.
        return {
            domain: [pair[0, [0, 3], 0, 0].tolist() for pair in claim] for domain, claim in claims.items()
        }

    # Values: a 0, b 1, fake A 2, fake B 3, A there and back 4, B there and back 5.
    assert seen(paired=True) == {"a": [[0, 1], [2, 1]], "b": [[1, 0], [3, 0]]}
    assert seen(paired=False) == {"a": [[0, 3], [4, 3]], "b": [[1, 2], [5, 2]]}


def weights_of(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.mark.parametrize("paired", [True, False])
def test_the_mappings_move_first_then_each_discriminator_alone(
    paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = method_of()
    trained = ("translators", *JUDGES)
    moved: list[str] = []

    def watch(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            moved.append(name)
            with_gradients = {
                other
                for other in trained
                if any(parameter.grad is not None for parameter in method.modules[other].parameters())
            }
            assert with_gradients == {name}
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
    method.step(batch_of(paired))
    assert moved == list(trained)


def test_discriminators_of_pictures_see_the_pool_and_those_of_pairs_do_not() -> None:
    method = method_of()
    kept = torch.full((4, 3, SIZE, SIZE), 0.25)
    for domain in "ab":
        method.modules[f"pool_{domain}"].load_state_dict({"images": kept, "held": torch.tensor(4)})
    seen: dict[str, list[Tensor]] = {name: [] for name in JUDGES}
    for name in JUDGES:
        method.modules[name].register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(inputs[0].detach())
        )
    batch = batch_of(paired=True, count=6)
    method.step(batch)
    for name in JUDGES:
        _, real, false = seen[name]
        assert torch.equal(real[:, :3], batch[name[-1]]), (
            "the mappings' step comes first, then real ones, then false ones"
        )
        from_pool = sum(bool((image[:3] == 0.25).all()) for image in false)
        assert (from_pool > 0) == (not name.startswith("pair_")), name


def test_losses_of_each_kind_and_their_weighted_sum() -> None:
    config = replace(CONFIG, losses=TranslationLossConfig(cycle=3.0, unchanged=2.0, reconstruction=7.0))
    names = {"adversarial", "pair", "cycle", "unchanged", "total", "d_a", "d_b", "d_pair_a", "d_pair_b"}
    for paired in (True, False):
        found = method_of(config).step(batch_of(paired))
        kind = "paired" if paired else "unpaired"
        more = {"reconstruction"} if paired else set()
        assert set(found) == {f"{kind}_{name}" for name in names | more}
        assert not any(loss.requires_grad for loss in found.values())
        values = {name.removeprefix(f"{kind}_"): float(loss) for name, loss in found.items()}
        wanted = values["adversarial"] + values["pair"] + 3 * values["cycle"] + 2 * values["unchanged"]
        wanted += 7 * values.get("reconstruction", 0.0)
        assert values["total"] == pytest.approx(wanted, rel=1e-5)


def test_l1_terms_are_sums_over_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """With mappings that only add: to B .5, to A .25."""

    class Adds(nn.Module):
        def __init__(self, amount: float) -> None:
            super().__init__()
            self.amount = nn.Parameter(torch.tensor(amount))

        def forward(self, image: Tensor) -> Tensor:
            return image + self.amount

    method = method_of(replace(CONFIG, losses=TranslationLossConfig(reconstruction=1.0)))
    method.translators.to_b, method.translators.to_a = Adds(0.5), Adds(0.25)  # type: ignore[assignment]
    zeros = torch.zeros(1, 3, SIZE, SIZE)
    # So that B is .5 more than A.
    found = method.step({"a": zeros, "b": zeros + 0.5, "paired": torch.tensor([True])})
    assert float(found["paired_cycle"]) == pytest.approx(0.75 + 0.75)
    assert float(found["paired_unchanged"]) == pytest.approx(0.5 + 0.25)
    # To B it fits; A is found as .75 instead of 0.
    assert float(found["paired_reconstruction"]) == pytest.approx(0.0 + 0.75)


def test_without_the_unchanged_term_nothing_is_made_for_it() -> None:
    method = method_of(replace(CONFIG, losses=TranslationLossConfig(unchanged=0.0)))
    calls: list[int] = []
    method.translators.to_b.register_forward_hook(lambda *_: calls.append(1))
    assert "unpaired_unchanged" not in method.step(batch_of(paired=False))
    assert len(calls) == 2, "A to B, and B there and back"


def test_both_mappings_learn_from_each_cycle() -> None:
    method, batch = method_of(), batch_of(paired=False)
    to_a, to_b = method.translators.to_a, method.translators.to_b
    for made, images in (
        (method._make(batch["a"], to_b, to_a), "a"),
        (method._make(batch["b"], to_a, to_b), "b"),
    ):
        method.translators.zero_grad(set_to_none=True)
        (made.back - batch[images]).abs().mean().backward()
        for part in (to_a, to_b):
            assert all(p.grad is not None and bool(p.grad.any()) for p in part.parameters() if p.ndim == 4)


def test_what_is_no_number_surfaces() -> None:
    batch = batch_of(paired=False)
    batch["a"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="is not a finite number"):
        method_of().step(batch)
