"""Paired and unpaired training of faces: frames of one track, and portraits without a known second picture.

This is our adaptation of a method that translates pictures between two domains A and B. The method as it was published
is in `training/learning/translation/`.

Here A is a face with the attributes it has, and B is the same face with the attributes asked for. So both directions
are one mapping, R(image, FA) = G_A(G_N(image), FA), and both domains are faces. D_A and D_B are one D, the paper's;
its C2 says which attributes a face shows. D_C and D_D are one pair discriminator, which asks: is this the same person
in the same place? It does the work of an identity network. Neutral faces as B, with G_N and G_A as the two mappings,
would be nearer to the text, but nobody has pictures of that domain: there are no true pairs, and the cycle face →
neutral → face asks for no attributes.

- paired: A and B are the frames of a pair, in both directions. Pair (B, A) is true, (R(A, FA_B), A) fake; the cycle
  R(R(A, FA_B), FA_A) is A. The other frame is known, so equation 4's L1 to it holds as well (λ3).
- unpaired: A is a portrait, the attributes asked for are a stranger's, and B = R(A, FA_random). Pair (A, B) is true,
  (R(B, FA_A), B) fake; R(B, FA_A), cycled back to its own attributes, is A.
- both: R(A, FA_A) is A; D judges G_N(A) and R(A, FA) with C1 and C2 (equations 1 and 2). G_N has its pseudo ground truth
  (equation 4), its anchor and, if there is an identity network, equation 3. The weights are those of `losses`.

There is no pool of older outputs. A step passes through generators about five times as often as a step of the paper's
method.

Source: Tripathy, Kannala, Rahtu, Learning image-to-image translation using paired and unpaired training samples, ACCV
2018 (arXiv 1805.03189); ICface (arXiv 1904.01909).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from icface.errors import ConfigError
from icface.networks import Discriminator
from training.learning.mixing import takes_pairs
from training.learning.paper import losses
from training.learning.paper.config import TrainConfig, UnpairedConfig
from training.learning.paper.gan import Batch, Gan
from training.learning.runtime import Runtime
from training.networks.lightcnn import LightCNN29


def is_paired(step: int, steps: int, config: UnpairedConfig) -> bool:
    """Which kind of batch a step, counted from 0, takes: paired ones come first, then both."""
    share = 1 / (1 + config.unpaired_per_paired)
    return takes_pairs(step, round(config.paired_share * steps), share)


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
    images = torch.cat([batch["source"], batch["driving"]])
    own = torch.cat([batch["source_attributes"], batch["driving_attributes"]])
    half = len(batch["source"])
    return Task(images, own, own.roll(half, dims=0), images.roll(half, dims=0))


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


class UnpairedMethod(Gan):
    """See `Gan`.

    Losses are named `paired_…` or `unpaired_…`; a step has those of one kind.

    Raises:
        ConfigError: identity is to be kept by a network that is not given, or by a head that portraits cannot teach.
    """

    def __init__(self, config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> None:
        judge, size_px = config.networks.discriminator, config.networks.size_px
        if judge.identities is not None:
            raise ConfigError(
                f"networks.discriminator.identities is {judge.identities}, but whose the portraits are is not known; "
                "leave it out with the method unpaired"
            )
        super().__init__(config, runtime, identity)
        self._add("discriminator", Discriminator(judge, size_px))
        of_pairs = replace(judge, attributes=False)
        self._add("pair_discriminator", Discriminator(of_pairs, size_px, in_channels=6))
        # Counts steps. It is saved with the networks, so a resumed run goes on with its count. It is not placed on the
        # device: it is read at each step, and a GPU would have to wait.
        schedule = nn.Module()
        schedule.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self._done = schedule.get_buffer("done")
        self.modules["schedule"] = schedule

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See `Gan`."""
        self._generators.train()
        paired = is_paired(int(self._done), self._config.steps, self._config.unpaired)
        self._done += 1
        task = paired_task(batch) if paired else unpaired_task(batch)
        made = self._make(task)
        true, drawn, given = (picture.detach() for picture in _pairs(task, made))
        found = self._teach_judge("discriminator", task.images, [made.output, made.neutral], task.own)
        of_pairs = self._teach_judge(
            "pair_discriminator", torch.cat([true, given], dim=1), [torch.cat([drawn, given], dim=1)]
        )
        found |= {name.replace("d_", "d_pair_", 1): loss for name, loss in of_pairs.items()}
        found |= self._step_generators(task, made)
        kind = "paired" if paired else "unpaired"
        return {f"{kind}_{name}": loss.detach() for name, loss in found.items()}

    def _make(self, task: Task) -> _Made:
        with self._runtime.autocast():
            neutral = self._generators.neutralise(task.images)
            output = self._generators.animate(neutral, task.asked)
            cycled = self._generators(output, task.own)
            unchanged = self._generators.animate(neutral, task.own)
        return _Made(neutral.float(), output.float(), cycled.float(), unchanged.float())

    def _step_generators(self, task: Task, made: _Made) -> dict[str, Tensor]:
        nothing = self._generators.neutral_attributes.expand_as(task.own)
        found = self._judged([(made.output, task.asked), (made.neutral, nothing)], task.images)
        _, drawn, given = _pairs(task, made)
        (of_pairs,) = self._judge("pair_discriminator", torch.cat([drawn, given], dim=1))
        found["pair"] = losses.adversarial_generator(of_pairs.patches, self._weights.adversarial)
        found["cycle"] = functional.l1_loss(made.cycled, task.images)
        found["unchanged"] = functional.l1_loss(made.unchanged, task.images)
        # A neutral picture is its own neutral image; of a pair, it is also that of the other frame.
        known = [(task.images, task.own)]
        if task.targets is not None:
            found["reconstruction"] = losses.reconstruction_loss(made.output, task.targets)
            known.append((task.targets, task.asked))
        found |= self._neutral(made.neutral, task.images, known)
        cycle = self._config.unpaired.cycle
        total = self._minimise("generators", found, cycle=cycle, unchanged=cycle / 2)
        return {**found, "total": total}


def _pairs(task: Task, made: _Made) -> tuple[Tensor, Tensor, Tensor]:
    """True output, generated output and the input of both, as the pair discriminator compares them."""
    if task.targets is not None:
        return task.targets, made.output, task.images
    return task.images, made.cycled, made.output
