"""The paper's method: two frames of one face track, G_N, G_A and one D that judges both. Equations 1–5.

Without a neutraliser it is the paper's ablation. With an identity head in D and I_E it is the paper's first arXiv
version, where the head stands for the identity network.

Source: ICface (arXiv 1904.01909).
"""

from __future__ import annotations

from torch import Tensor

from icface.networks import Discriminator
from training.learning.paper import losses
from training.learning.paper.config import TrainConfig
from training.learning.paper.gan import Batch, Gan, Pairs
from training.learning.runtime import Runtime
from training.networks.lightcnn import LightCNN29


class IcfaceMethod(Gan):
    """See `Gan`."""

    def __init__(self, config: TrainConfig, runtime: Runtime, identity: LightCNN29 | None = None) -> None:
        super().__init__(config, runtime, identity)
        self._add("discriminator", Discriminator(config.networks.discriminator, config.networks.size_px))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See `Gan`."""
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
        # D learns from the real driving frame and all generated ones.
        judged = self._teach_judge(
            "discriminator", batch["driving"], [image for image, _ in made], attributes, batch["identity"]
        )
        found = {**judged, **self._step_generators(batch, made)}
        return {name: loss.detach() for name, loss in found.items()}

    def _step_generators(self, batch: Batch, made: Pairs) -> dict[str, Tensor]:
        source, driving = batch["source"], batch["driving"]
        found = self._judged(made, source, batch["identity"])
        found["reconstruction"] = losses.reconstruction_loss(made[0][0].float(), driving)
        if len(made) > 1:
            known = [(driving, batch["driving_attributes"])]
            found |= self._neutral(made[1][0].float(), source, known)
        return {**found, "total": self._minimise("generators", found)}
