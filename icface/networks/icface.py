"""The generators of one model, as they are shipped: G_N once per photo, G_A once per frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icface.attributes import COUNT, neutral
from icface.networks.config import NetworksConfig
from icface.networks.generator import Generator, ImageEncoder


class ICface(nn.Module):
    """G_N and G_A, and I_E in the first arXiv version; without G_N in the paper's ablation."""

    neutral_attributes: Tensor

    def __init__(self, config: NetworksConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = None if config.image_encoder is None else ImageEncoder(config.image_encoder)
        channels = 3 if self.image_encoder is None else self.image_encoder.out_channels
        self.generator_neutral = Generator(config.generator, channels) if config.neutraliser else None
        self.generator_animate = Generator(config.generator, channels)
        # FA_N is a constant of the method, so it is not saved with the weights.
        self.register_buffer("neutral_attributes", torch.from_numpy(neutral(COUNT)), persistent=False)

    def neutralise(self, image: Tensor) -> Tensor:
        """G_N(image, FA_N): the neutral image, (B, 3, S, S) in [−1, 1]; the image itself in the ablation."""
        if self.generator_neutral is None:
            return image
        attributes = self.neutral_attributes.expand(len(image), -1)
        result: Tensor = self.generator_neutral(self.encode(image), attributes)
        return result

    def animate(self, image: Tensor, attributes: Tensor) -> Tensor:
        """G_A(image, FA): the face of a neutral image with attributes (B, 20); (B, 3, S, S) in [−1, 1]."""
        result: Tensor = self.generator_animate(self.encode(image), attributes)
        return result

    def encode(self, image: Tensor) -> Tensor:
        """What the generators see of an image: the image itself, or the features that I_E gives."""
        if self.image_encoder is None:
            return image
        features: Tensor = self.image_encoder(image)
        return features

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        """A source image (B, 3, S, S) with attributes (B, 20)."""
        return self.animate(self.neutralise(image), attributes)
