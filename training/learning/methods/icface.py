"""The paper's method: two frames of one face track, G_N, G_A and one D that judges both. Equations 1–5.

Without a neutraliser it is the paper's ablation; with an identity head in D and I_E, its first arXiv version, where
the head stands for the identity network.

Source: ICface (arXiv 1904.01909).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from icface.errors import ConfigError
from icface.networks import Discriminator, ICface, Judgement
from training.learning import losses
from training.learning.config import TrainConfig
from training.learning.methods import Batch, pseudo_neutral
from training.learning.runtime import Runtime, build_optimizer, initialise

if TYPE_CHECKING:
    from icface.networks.lightcnn import LightCNN29


def build(config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None) -> IcfaceMethod:
    """See `training.learning.methods.build_method`."""
    return IcfaceMethod(config, runtime, identity)


class IcfaceMethod:
    """Implements `training.learning.methods.Method`.

    Raises:
        ConfigError: identity is to be kept, but nothing measures it.
    """

    def __init__(self, config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> None:
        self._weights = config.losses
        self._runtime = runtime
        has_head = config.networks.discriminator.identities is not None
        if config.losses.identity > 0 and identity is None and not has_head:
            raise ConfigError(
                f"losses.identity is {config.losses.identity}, but no identity network is given: "
                "--identity LIGHTCNN_WEIGHTS, or --set losses.identity=0"
            )
        self._generators = ICface(config.networks)
        initialise(self._generators)
        runtime.place(self._generators)
        self._discriminator = Discriminator(config.networks.discriminator, config.networks.size_px)
        initialise(self._discriminator)
        runtime.place(self._discriminator)
        self._identity = identity if config.losses.identity > 0 else None
        if self._identity is not None:
            runtime.place(self._identity)
        self.modules: dict[str, nn.Module] = {
            "generators": self._generators,
            "discriminator": self._discriminator,
        }
        self.optimizers: dict[str, Optimizer] = {
            name: build_optimizer(config.optimizer, module.parameters())
            for name, module in self.modules.items()
        }

    def model(self) -> ICface:
        return self._generators

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See Method."""
        self._generators.train()
        source, attributes = batch["source"], batch["driving_attributes"]
        nothing = self._generators.neutral_attributes.expand(len(source), -1)
        with self._runtime.autocast():
            neutral = self._generators.neutralise(source)
            output = self._generators.animate(neutral, attributes)
            # Without G_N there is one generated image, with it two; each with the attributes it was asked for.
            made = [(output, attributes)]
            if self._generators.generator_neutral is not None:
                made.append((neutral, nothing))
        judged = self._step_discriminator(batch, [image.detach() for image, _ in made])
        return {**judged, **self._step_generators(batch, made)}

    def _step_discriminator(self, batch: Batch, fakes: Sequence[Tensor]) -> dict[str, Tensor]:
        """D learns to tell the real driving frame from all generated ones, and to read its attributes."""
        weights = self._weights
        self._discriminator.requires_grad_(True)
        real = batch["driving"].detach().requires_grad_(weights.r1 > 0)
        with self._runtime.autocast():
            on_real = _in_float(self._discriminator(real))
            on_fakes = _in_float(self._discriminator(torch.cat(list(fakes))))
        found: dict[str, Tensor] = {
            "d_adversarial": losses.adversarial_discriminator(
                on_real.patches, on_fakes.patches.chunk(len(fakes)), weights.adversarial
            )
        }
        total = found["d_adversarial"]
        if on_real.attributes is not None:
            found["d_attributes"] = losses.attribute_loss(
                on_real.attributes, batch["driving_attributes"], weights.attribute_norm
            )
            total = total + weights.attributes * found["d_attributes"]
        if on_real.identities is not None:
            found["d_identity"] = functional.cross_entropy(on_real.identities, batch["identity"])
            total = total + weights.identity * found["d_identity"]
        if weights.r1 > 0:
            found["d_r1"] = losses.r1_penalty(on_real.patches, real)
            total = total + weights.r1 * found["d_r1"]
        self._runtime.minimise(total, self.optimizers["discriminator"], found)
        return _detached(found)

    def _step_generators(self, batch: Batch, made: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        weights, source = self._weights, batch["source"]
        self._discriminator.requires_grad_(False)
        images = [image for image, _ in made]
        with self._runtime.autocast():
            judged = _in_float(self._discriminator(torch.cat(images)))
        parts = range(len(made))
        patches = judged.patches.chunk(len(made))
        found = {
            "adversarial": losses.sum_of(
                [losses.adversarial_generator(patches[i], weights.adversarial) for i in parts]
            ),
            "reconstruction": losses.reconstruction_loss(images[0].float(), batch["driving"]),
        }
        if judged.attributes is not None:
            read = judged.attributes.chunk(len(made))
            found["attributes"] = losses.sum_of(
                [losses.attribute_loss(read[i], made[i][1], weights.attribute_norm) for i in parts]
            )
        if len(made) > 1:
            found["neutral"] = losses.neutral_pseudo_loss(
                images[1].float(), pseudo_neutral(self._generators, self._runtime, source)
            )
            if weights.anchor > 0:
                found["anchor"] = losses.anchor_loss(
                    images[1].float(),
                    batch["driving"],
                    batch["driving_attributes"],
                    self._generators.neutral_attributes,
                )
        if judged.identities is not None:
            of_source = batch["identity"].repeat(len(made))
            found["identity"] = functional.cross_entropy(judged.identities, of_source)
        elif self._identity is not None:
            with torch.no_grad():
                wanted = self._identity(source)
            found["identity"] = losses.sum_of(
                [losses.identity_loss(self._identity(image.float()), wanted) for image in images]
            )
        total = losses.total_loss(
            found,
            {
                "attributes": weights.attributes,
                "identity": weights.identity,
                "reconstruction": weights.reconstruction,
                "neutral": weights.reconstruction,
                "anchor": weights.anchor,
            },
        )
        self._runtime.minimise(total, self.optimizers["generators"], found)
        return _detached({**found, "total": total})


def _in_float(judgement: Judgement) -> Judgement:
    """Losses are computed in full precision."""
    return Judgement(*(None if part is None else part.float() for part in judgement))


def _detached(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in found.items()}
