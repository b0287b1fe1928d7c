"""What all methods share: the generators, the discriminators that they are trained against, and equations 1–5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from icface.attributes import COUNT, from_openface
from icface.errors import ConfigError
from icface.networks import ICface, Judgement
from training.learning.paper import losses
from training.learning.paper.config import TrainConfig
from training.learning.runtime import Runtime, build_optimizer, initialise
from training.networks.lightcnn import LightCNN29

Batch = Mapping[str, Tensor]
Pairs = Sequence[tuple[Tensor, Tensor]]
"""Images (B, 3, S, S), each with attributes (B, 20)."""


class Gan:
    """Base of methods. It has fresh networks on the runtime's device, and the frozen identity network if there is one.

    Raises:
        ConfigError: identity is to be kept, but nothing measures it.
    """

    modules: dict[str, nn.Module]
    """Everything that is trained, by name."""
    optimizers: dict[str, Optimizer]

    def __init__(self, config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> None:
        has_head = config.networks.discriminator.identities is not None
        if config.losses.identity > 0 and identity is None and not has_head:
            raise ConfigError(
                f"losses.identity is {config.losses.identity}, but no identity network is given: "
                "--identity LIGHTCNN_WEIGHTS, or --set losses.identity=0"
            )
        self._config = config
        weights = self._weights = config.losses
        self._factors = {
            **dict.fromkeys(("attributes", "d_attributes"), weights.attributes),
            **dict.fromkeys(("identity", "d_identity"), weights.identity),
            **dict.fromkeys(("reconstruction", "neutral"), weights.reconstruction),
            "d_r1": weights.r1,
            "anchor": weights.anchor,
        }
        unit = np.ones(COUNT, dtype=np.float32)
        if config.attribute_scale == "openface":
            unit = from_openface(unit, clamp=False)
        self._to_full_shape = torch.from_numpy(unit).to(runtime.device)
        self._runtime = runtime
        self._identity = identity if config.losses.identity > 0 else None
        if self._identity is not None:
            runtime.place(self._identity)
        self.modules = {}
        self.optimizers = {}
        self._generators = ICface(config.networks)
        self._add("generators", self._generators)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimisation step of all networks.

        Args:
            batch: `source`, `driving` (B, 3, S, S) in [−1, 1], `source_attributes`, `driving_attributes` (B, 20),
                `identity` (B,); with portraits also `portrait`, `portrait_attributes`, `random_attributes`.

        Returns:
            The losses, unweighted and detached, one number each.

        Raises:
            DivergedError: a loss or a gradient is not a finite number. The state in memory is useless then.
        """
        raise NotImplementedError

    def model(self) -> ICface:
        """What is averaged, validated and exported; the trained modules themselves, not a copy."""
        return self._generators

    def _add(self, name: str, module: nn.Module) -> None:
        """Train a network, too, from fresh weights."""
        initialise(module)
        self.modules[name] = self._runtime.place(module)
        self.optimizers[name] = build_optimizer(self._config.optimizer, module.parameters())

    def _judge(self, name: str, *stacks: Tensor) -> list[Judgement]:
        """A discriminator's judgements of stacks of images, in float32, in which losses are computed."""
        with self._runtime.autocast():
            judged = [self.modules[name](images) for images in stacks]
        return [
            Judgement(patches.float(), *(None if head is None else head.float() for head in heads))
            for patches, *heads in judged
        ]

    def _teach_judge(
        self,
        name: str,
        real: Tensor,
        fakes: Sequence[Tensor],
        attributes: Tensor | None = None,
        identities: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """A discriminator learns to tell real images from generated ones, and to read the real ones."""
        weights, judge = self._weights, self.modules[name]
        judge.requires_grad_(True)
        real = real.detach().requires_grad_(weights.r1 > 0)
        on_real, on_fakes = self._judge(name, real, torch.cat([fake.detach() for fake in fakes]))
        found = {
            "d_adversarial": losses.adversarial_discriminator(
                on_real.patches, on_fakes.patches.chunk(len(fakes)), weights.adversarial
            )
        }
        if on_real.attributes is not None and attributes is not None:
            found["d_attributes"] = losses.attribute_loss(
                on_real.attributes, attributes, weights.attribute_norm
            )
        if on_real.identities is not None and identities is not None:
            found["d_identity"] = functional.cross_entropy(on_real.identities, identities)
        if weights.r1 > 0:
            found["d_r1"] = losses.r1_penalty(on_real.patches, real)
        self._minimise(name, found)
        # The generators' step follows, through a judge that stays as it is.
        judge.requires_grad_(False)
        return found

    def _judged(self, made: Pairs, source: Tensor, identities: Tensor | None = None) -> dict[str, Tensor]:
        """Equations 1 to 3 as the generators see them, for images made with the attributes that were asked for."""
        weights, images = self._weights, [image.float() for image, _ in made]
        (judged,) = self._judge("discriminator", torch.cat(images))
        patches = judged.patches.chunk(len(made))
        found = {
            "adversarial": losses.sum_of(
                [losses.adversarial_generator(part, weights.adversarial) for part in patches]
            )
        }
        if judged.attributes is not None:
            read = zip(judged.attributes.chunk(len(made)), made, strict=True)
            found["attributes"] = losses.sum_of(
                [losses.attribute_loss(part, asked, weights.attribute_norm) for part, (_, asked) in read]
            )
        if judged.identities is not None and identities is not None:
            found["identity"] = functional.cross_entropy(judged.identities, identities.repeat(len(made)))
        elif self._identity is not None:
            with torch.no_grad():
                wanted = self._identity(source)
            found["identity"] = losses.sum_of(
                [
                    losses.identity_loss(self._identity(image), wanted, weights.identity_reduction)
                    for image in images
                ]
            )
        return found

    def _neutral(self, neutral: Tensor, source: Tensor, known: Pairs) -> dict[str, Tensor]:
        """The pseudo ground truth of equation 4, and the anchor to real pictures of the same faces."""
        pseudo = pseudo_neutral(self._generators, self._runtime, source)
        found = {"neutral": losses.neutral_pseudo_loss(neutral, pseudo)}
        if self._weights.anchor > 0:
            nothing = self._generators.neutral_attributes
            found["anchor"] = losses.sum_of(
                [
                    losses.anchor_loss(neutral, pictures, shown * self._to_full_shape, nothing)
                    for pictures, shown in known
                ]
            )
        return found

    def _minimise(self, name: str, found: Mapping[str, Tensor], **more: float) -> Tensor:
        """One step of a network on its losses, each with its λ; `more` has those that only a method knows."""
        total = losses.total_loss(found, self._factors | more)
        self._runtime.minimise(total, self.optimizers[name], found)
        return total


@torch.no_grad()
def pseudo_neutral(generators: ICface, runtime: Runtime, images: Tensor) -> Tensor:
    """G_A(images, FA_N), which G_N's neutral images are compared with: (B, 3, S, S) float32 without gradients.

    It has no dropout and leaves no trace in the statistics of batch norm, which are to be those of what G_A is
    given later: G_N's images. It is normalised by the statistics of its own batch, as in training. The running ones
    lag behind the weights and are of other images: with those the neutral face was off, and a small model never
    moved its lips.
    """
    modes = {part: part.training for part in generators.modules()}
    norms = [part for part in generators.modules() if isinstance(part, nn.BatchNorm2d)]
    try:
        generators.eval()
        for norm in norms:
            norm.train()
            norm.track_running_stats = False
        with runtime.autocast():
            asked = generators.neutral_attributes.expand(len(images), -1)
            return generators.animate(images, asked).float()
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for part, training in modes.items():
            part.training = training
