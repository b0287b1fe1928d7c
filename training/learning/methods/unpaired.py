"""Paired and unpaired training: frames of one track, and portraits of which no second picture is known.

The method translates between domains A and B with two mappings, each judged by a discriminator of its images (D_A,
D_B) and one of (output, input) pairs (D_C, D_D). Paired batches show the pair discriminators true pairs; in unpaired
ones the pair (A, fake B) is true and (A cycled through fake B, fake B) is fake, an adversarial cycle. Both have an L1
cycle (λ 10) and the mappings leave alone what is already in their domain (λ 5).

What that is here. A is a face with the attributes it has, B the same face with those asked for. Taking the neutral
faces for B, and G_N and G_A for the two mappings, would be nearer to the letter, but there are no pictures of that
domain: no true pairs, and a cycle face → neutral → face that never asks for other attributes. With A and B as above,
both directions are one mapping, R(image, FA) = G_A(G_N(image), FA), and both domains are faces; so D_A and D_B are one
D, the paper's, whose C2 says which attributes a face shows, and D_C and D_D are one pair discriminator, which asks: is
this the same person in the same place? That is what an identity network is for otherwise. So

- paired: A and B are the frames of a pair, in both directions. Pair (B, A) is true, (R(A, FA_B), A) fake; the cycle
  R(R(A, FA_B), FA_A) is A. The other frame is known, so equation 4's L1 to it holds as well (λ3).
- unpaired: A is a portrait, the attributes asked for are a stranger's, and B = R(A, FA_random). Pair (A, B) is true,
  (R(B, FA_A), B) fake; R(B, FA_A) is A: cycled back to its own attributes.
- both: R(A, FA_A) is A; D judges G_N(A) and R(A, FA) with C1 and C2 (equations 1 and 2), G_N has its pseudo ground
  truth (equation 4), its anchor and, if there is an identity network, equation 3, all with the weights of `losses`.

There is no pool of older fakes, as some cycle methods have: it would be state that a resumed run has lost.

A step has about five times as many passes through generators as one of the paper's method.

Source: Tripathy, Kannala, Rahtu, Learning image-to-image translation using paired and unpaired training samples, ACCV
2018 (arXiv 1805.03189); ICface (arXiv 1904.01909).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from icface.errors import ConfigError
from icface.networks import Discriminator, ICface, Judgement
from training.learning import losses
from training.learning.config import TrainConfig, UnpairedConfig
from training.learning.methods import Batch, pseudo_neutral
from training.learning.runtime import Runtime, build_optimizer, initialise

if TYPE_CHECKING:
    from icface.networks.lightcnn import LightCNN29

_GOLDEN: Final = (5**0.5 - 1) / 2


def build(config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None) -> UnpairedMethod:
    """See `training.learning.methods.build_method`."""
    return UnpairedMethod(config, runtime, identity)


def is_paired(step: int, steps: int, config: UnpairedConfig) -> bool:
    """Which kind of batch a step, counted from 0, takes.

    First paired ones only. Then the multiples of the golden ratio decide: any stretch of steps has both kinds in
    their proportion, without a rhythm that the steps that are logged could share.
    """
    joined = step - round(config.paired_share * steps)
    unpaired_share = config.unpaired_per_paired / (1 + config.unpaired_per_paired)
    return joined < 0 or joined * _GOLDEN % 1 >= unpaired_share


class Task(NamedTuple):
    """N pictures to be given other attributes."""

    images: Tensor
    """(N, 3, S, S) real ones."""
    own: Tensor
    """(N, 20) what they show."""
    asked: Tensor
    """(N, 20) what their outputs are to show."""
    targets: Tensor | None
    """(N, 3, S, S) real pictures of the same faces with `asked`; None where there are none."""


def paired_task(batch: Batch) -> Task:
    """Source to driving frame, and driving frame to source."""
    source, driving = batch["source"], batch["driving"]
    source_attributes, driving_attributes = batch["source_attributes"], batch["driving_attributes"]
    return Task(
        torch.cat([source, driving]),
        torch.cat([source_attributes, driving_attributes]),
        torch.cat([driving_attributes, source_attributes]),
        torch.cat([driving, source]),
    )


def unpaired_task(batch: Batch) -> Task:
    """Portraits to somebody else's attributes."""
    return Task(batch["portrait"], batch["portrait_attributes"], batch["random_attributes"], None)


class _Made(NamedTuple):
    """What the generators make of a task's images; each (N, 3, S, S)."""

    neutral: Tensor
    """G_N(A)."""
    output: Tensor
    """R(A, FA_B), fake B."""
    cycled: Tensor
    """R(fake B, FA_A), A again."""
    unchanged: Tensor
    """R(A, FA_A), also A."""


class _Schedule(nn.Module):
    """Counts steps in a buffer, so that it is saved with the networks and a resumed run goes on with its count."""

    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))


class UnpairedMethod:
    """Implements `training.learning.methods.Method`.

    Losses are named `paired_…` or `unpaired_…`; a step has those of one kind.

    Raises:
        ConfigError: identity is to be kept by a network that is not given, or by a head that portraits cannot teach.
    """

    def __init__(self, config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> None:
        self._config = config
        self._runtime = runtime
        if config.networks.discriminator.identities is not None:
            raise ConfigError(
                f"networks.discriminator.identities is {config.networks.discriminator.identities}, but whose the "
                "portraits are is not known; leave it out with the method unpaired"
            )
        if config.losses.identity > 0 and identity is None:
            raise ConfigError(
                f"losses.identity is {config.losses.identity}, but no identity network is given: "
                "--identity LIGHTCNN_WEIGHTS, or --set losses.identity=0"
            )
        size_px = config.networks.size_px
        judge = config.networks.discriminator
        self._generators = ICface(config.networks)
        self._discriminator = Discriminator(judge, size_px)
        self._pair_discriminator = Discriminator(
            dataclasses.replace(judge, attributes=False), size_px, in_channels=6
        )
        # Not placed: it is read at each step, which would make a GPU wait.
        self._schedule = _Schedule()
        self._identity = identity if config.losses.identity > 0 else None
        trained: dict[str, nn.Module] = {
            "generators": self._generators,
            "discriminator": self._discriminator,
            "pair_discriminator": self._pair_discriminator,
        }
        for module in trained.values():
            initialise(module)
            runtime.place(module)
        if self._identity is not None:
            runtime.place(self._identity)
        self.modules: dict[str, nn.Module] = {**trained, "schedule": self._schedule}
        self.optimizers: dict[str, Optimizer] = {
            name: build_optimizer(config.optimizer, module.parameters()) for name, module in trained.items()
        }

    def model(self) -> ICface:
        return self._generators

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See Method."""
        self._generators.train()
        paired = is_paired(int(self._schedule.done), self._config.steps, self._config.unpaired)
        self._schedule.done += 1
        task = paired_task(batch) if paired else unpaired_task(batch)
        made = self._make(task)
        found = {
            **self._step_discriminator(task, made),
            **self._step_pair_discriminator(task, made),
            **self._step_generators(task, made),
        }
        kind = "paired" if paired else "unpaired"
        return {f"{kind}_{name}": loss.detach() for name, loss in found.items()}

    def _make(self, task: Task) -> _Made:
        with self._runtime.autocast():
            neutral = self._generators.neutralise(task.images)
            output = self._generators.animate(neutral, task.asked)
            cycled = self._generators(output, task.own)
            unchanged = self._generators.animate(neutral, task.own)
        return _Made(neutral.float(), output.float(), cycled.float(), unchanged.float())

    def _step_discriminator(self, task: Task, made: _Made) -> dict[str, Tensor]:
        """D learns to tell real faces from generated ones, and to read the real ones' attributes."""
        weights = self._config.losses
        on_real, found = self._tell_apart(
            "discriminator", task.images, [made.output.detach(), made.neutral.detach()]
        )
        if on_real.attributes is not None:
            found["d_attributes"] = losses.attribute_loss(
                on_real.attributes, task.own, weights.attribute_norm
            )
        self._minimise_judge("discriminator", found)
        return found

    def _step_pair_discriminator(self, task: Task, made: _Made) -> dict[str, Tensor]:
        """Learns to tell (output, input) pairs from true ones."""
        true, drawn, given = (picture.detach() for picture in _pairs(task, made))
        _, found = self._tell_apart(
            "pair_discriminator", torch.cat([true, given], dim=1), [torch.cat([drawn, given], dim=1)]
        )
        self._minimise_judge("pair_discriminator", found)
        return {name.replace("d_", "d_pair_", 1): loss for name, loss in found.items()}

    def _tell_apart(
        self, name: str, real: Tensor, fakes: Sequence[Tensor]
    ) -> tuple[Judgement, dict[str, Tensor]]:
        """What a discriminator says of real images, and its losses."""
        weights, judge = self._config.losses, self.modules[name]
        judge.requires_grad_(True)
        real = real.detach().requires_grad_(weights.r1 > 0)
        with self._runtime.autocast():
            on_real = _in_float(judge(real))
            on_fakes = _in_float(judge(torch.cat(list(fakes))))
        found = {
            "d_adversarial": losses.adversarial_discriminator(
                on_real.patches, on_fakes.patches.chunk(len(fakes)), weights.adversarial
            )
        }
        if weights.r1 > 0:
            found["d_r1"] = losses.r1_penalty(on_real.patches, real)
        return on_real, found

    def _minimise_judge(self, name: str, found: dict[str, Tensor]) -> None:
        weights = self._config.losses
        total = losses.total_loss(found, {"d_attributes": weights.attributes, "d_r1": weights.r1})
        self._runtime.minimise(total, self.optimizers[name], found)
        # What follows is the generators' step, through a judge that stays as it is.
        self.modules[name].requires_grad_(False)

    def _step_generators(self, task: Task, made: _Made) -> dict[str, Tensor]:
        weights, cycle = self._config.losses, self._config.unpaired.cycle
        nothing = self._generators.neutral_attributes
        _, drawn, given = _pairs(task, made)
        with self._runtime.autocast():
            judged = _in_float(self._discriminator(torch.cat([made.output, made.neutral])))
            pair = _in_float(self._pair_discriminator(torch.cat([drawn, given], dim=1)))
        found = {
            "adversarial": losses.sum_of(
                [
                    losses.adversarial_generator(patches, weights.adversarial)
                    for patches in judged.patches.chunk(2)
                ]
            ),
            "pair": losses.adversarial_generator(pair.patches, weights.adversarial),
            "cycle": functional.l1_loss(made.cycled, task.images),
            "unchanged": functional.l1_loss(made.unchanged, task.images),
            "neutral": losses.neutral_pseudo_loss(
                made.neutral, pseudo_neutral(self._generators, self._runtime, task.images)
            ),
        }
        if judged.attributes is not None:
            of_output, of_neutral = judged.attributes.chunk(2)
            found["attributes"] = losses.sum_of(
                [
                    losses.attribute_loss(of_output, task.asked, weights.attribute_norm),
                    losses.attribute_loss(of_neutral, nothing.expand_as(task.own), weights.attribute_norm),
                ]
            )
        if task.targets is not None:
            found["reconstruction"] = losses.reconstruction_loss(made.output, task.targets)
        if weights.anchor > 0:
            # A neutral picture is its own neutral image; of a pair, it is also that of the other frame.
            known = [(task.images, task.own)]
            if task.targets is not None:
                known.append((task.targets, task.asked))
            found["anchor"] = losses.sum_of(
                [losses.anchor_loss(made.neutral, pictures, shown, nothing) for pictures, shown in known]
            )
        if self._identity is not None:
            with torch.no_grad():
                wanted = self._identity(task.images)
            found["identity"] = losses.sum_of(
                [losses.identity_loss(self._identity(image), wanted) for image in (made.output, made.neutral)]
            )
        total = losses.total_loss(
            found,
            {
                "cycle": cycle,
                "unchanged": cycle / 2,
                "attributes": weights.attributes,
                "identity": weights.identity,
                "reconstruction": weights.reconstruction,
                "neutral": weights.reconstruction,
                "anchor": weights.anchor,
            },
        )
        self._runtime.minimise(total, self.optimizers["generators"], found)
        return {**found, "total": total}


def _pairs(task: Task, made: _Made) -> tuple[Tensor, Tensor, Tensor]:
    """True output, generated output and the input of both, as the pair discriminator compares them."""
    if task.targets is not None:
        return task.targets, made.output, task.images
    return task.images, made.cycled, made.output


def _in_float(judgement: Judgement) -> Judgement:
    """Losses are computed in full precision."""
    patches, attributes, _ = judgement
    return Judgement(patches.float(), None if attributes is None else attributes.float(), None)
