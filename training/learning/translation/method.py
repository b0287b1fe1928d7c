"""One step of translation between two domains, from pairs or from pictures whose counterparts are not known.

Two mappings, A to B and B to A. Each domain has two discriminators, which all learn in every step:

- D_A and D_B ask of a picture whether it is a real one of its domain.
- The pair discriminators ask of (picture, its counterpart in the other domain) whether they belong together.
  In a paired step the known pair is true, and (output, input) is false. In an unpaired step the input with its own
  output is true, and the input that went there and back with the same output is false: an adversarial cycle.

The mappings are trained to pass for real with both, by L1 of the cycle, and to leave alone what is in their domain.

Source: Tripathy, Kannala, Rahtu, Learning image-to-image translation using paired and unpaired training samples, ACCV
2018 (arXiv 1805.03189). docs/training.md says which numbers are whose.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from training.learning.runtime import Runtime, build_optimizer, initialise
from training.learning.task import Batch
from training.learning.translation.config import TranslationConfig
from training.learning.translation.pool import ImagePool
from training.networks.translation import PatchGan, Translators


class Made(NamedTuple):
    """What the mappings make of pictures of one domain, each (B, 3, S, S) in [−1, 1]."""

    there: Tensor
    """In the other domain."""
    back: Tensor
    """There and back."""
    unchanged: Tensor | None
    """By the mapping to their own domain; None where that is not asked for."""


class Claim(NamedTuple):
    """What a pair discriminator is to tell apart, each (B, 6, S, S)."""

    true: Tensor
    false: Tensor


class TranslationMethod:
    """Fresh networks on the runtime's device, and the step."""

    def __init__(self, config: TranslationConfig, runtime: Runtime) -> None:
        self._config, self._runtime = config, runtime
        self.translators = Translators(config.generator)
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Optimizer] = {}
        self._add("translators", self.translators)
        for domain in "ab":
            self._add(f"judge_{domain}", PatchGan(config.judge_width, 3))
            self._add(f"pair_judge_{domain}", PatchGan(config.judge_width, 6), config.pair_rate)
            self.modules[f"pool_{domain}"] = runtime.place(ImagePool(config.pool, config.size_px))

    def _add(self, name: str, module: nn.Module, rate_share: float = 1.0) -> None:
        initialise(module)
        self.modules[name] = self._runtime.place(module)
        self.optimizers[name] = build_optimizer(self._config.optimizer, module.parameters())
        for group in self.optimizers[name].param_groups:
            group["rate_share"] = rate_share

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimisation step: first the mappings, then each discriminator, as in the release.

        Args:
            batch: `a`, `b` (B, 3, S, S) in [−1, 1], `paired` (B,), the same for all of them.

        Returns:
            The losses, unweighted and detached, one number each. A step has those of one kind, `paired_…` or
            `unpaired_…`.

        Raises:
            DivergedError: a loss or a gradient is not a finite number. The state in memory is useless then.
        """
        self.translators.train()
        a, b, paired = batch["a"], batch["b"], bool(batch["paired"][0])
        of_a = self._make(a, self.translators.to_b, self.translators.to_a)
        of_b = self._make(b, self.translators.to_a, self.translators.to_b)
        claims = claims_of(a, b, of_a, of_b, paired)
        found = self._step_translators(a, b, of_a, of_b, claims, paired)
        for domain, real, output in (("a", a, of_b.there), ("b", b, of_a.there)):
            pool = self.modules[f"pool_{domain}"]
            assert isinstance(pool, ImagePool)
            shown = pool.exchange(output.detach())
            found[f"d_{domain}"] = self._teach(f"judge_{domain}", real, shown)
            claim = claims[domain]
            found[f"d_pair_{domain}"] = self._teach(
                f"pair_judge_{domain}", claim.true.detach(), claim.false.detach()
            )
        kind = "paired" if paired else "unpaired"
        return {f"{kind}_{name}": loss.detach() for name, loss in found.items()}

    def _make(self, images: Tensor, there: nn.Module, back: nn.Module) -> Made:
        with self._runtime.autocast():
            output = there(images)
            cycled = back(output)
            same = back(images).float() if self._config.losses.unchanged > 0 else None
        return Made(output.float(), cycled.float(), same)

    def _step_translators(
        self, a: Tensor, b: Tensor, of_a: Made, of_b: Made, claims: dict[str, Claim], paired: bool
    ) -> dict[str, Tensor]:
        weights = self._config.losses
        for name, module in self.modules.items():
            module.requires_grad_(name == "translators")
        found = {
            "adversarial": passing(self._judge("judge_a", of_b.there))
            + passing(self._judge("judge_b", of_a.there)),
            "pair": passing(self._judge("pair_judge_a", claims["a"].false))
            + passing(self._judge("pair_judge_b", claims["b"].false)),
            "cycle": l1_loss(of_a.back, a) + l1_loss(of_b.back, b),
        }
        factors = {"adversarial": 1.0, "pair": 1.0, "cycle": weights.cycle}
        if of_a.unchanged is not None and of_b.unchanged is not None:
            found["unchanged"] = l1_loss(of_a.unchanged, a) + l1_loss(of_b.unchanged, b)
            factors["unchanged"] = weights.unchanged
        if paired and weights.reconstruction > 0:
            found["reconstruction"] = l1_loss(of_a.there, b) + l1_loss(of_b.there, a)
            factors["reconstruction"] = weights.reconstruction
        total = torch.stack([factors[name] * loss for name, loss in found.items()]).sum()
        self._minimise("translators", total, found)
        return {**found, "total": total}

    def _teach(self, name: str, real: Tensor, false: Tensor) -> Tensor:
        self.modules[name].requires_grad_(True)
        loss = telling(self._judge(name, real), self._judge(name, false))
        self._minimise(name, loss, {name: loss})
        return loss

    def _judge(self, name: str, images: Tensor) -> Tensor:
        with self._runtime.autocast():
            verdicts: Tensor = self.modules[name](images)
        return verdicts.float()

    def _minimise(self, name: str, total: Tensor, found: dict[str, Tensor]) -> None:
        self._runtime.minimise(total, self.optimizers[name], found, self._config.optimizer.most_norm)


def claims_of(a: Tensor, b: Tensor, of_a: Made, of_b: Made, paired: bool) -> dict[str, Claim]:
    """What the pair discriminators of each domain tell apart: a picture of that domain first, its counterpart second."""
    if paired:
        return {"a": _claim(a, of_b.there, b), "b": _claim(b, of_a.there, a)}
    return {"a": _claim(a, of_a.back, of_a.there), "b": _claim(b, of_b.back, of_b.there)}


def _claim(true: Tensor, false: Tensor, given: Tensor) -> Claim:
    return Claim(torch.cat([true, given], dim=1), torch.cat([false, given], dim=1))


def passing(verdicts: Tensor) -> Tensor:
    """What a mapping minimises so that its output passes for real: (D − 1)², mean over patches.

    Source: LSGAN (arXiv 1611.04076).
    """
    return (verdicts - 1).square().mean()


def telling(of_real: Tensor, of_false: Tensor) -> Tensor:
    """What a discriminator minimises: ½ (D(real) − 1)² + ½ D(false)², means over patches."""
    return 0.5 * (of_real - 1).square().mean() + 0.5 * of_false.square().mean()
