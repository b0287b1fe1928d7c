"""D judges an image: whether each patch is real, which attributes the face shows, and, in the first version, whose it is.

One D judges both generators. Its heads share one trunk.

Source: ICface (arXiv 1904.01909). The layers are those of the release: nine 3×3 convolutions from 128² to 128×8×8,
without normalisation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks.config import DiscriminatorConfig

_STRIDES: Final = (1, 2, 1, 2, 1, 2, 1, 1, 2)


class Judgement(NamedTuple):
    """D's judgement of a batch. All values are logits."""

    patches: Tensor
    """(B, 1, h, w) C1: real or generated, patch by patch."""
    attributes: Tensor | None
    """(B, 20) C2: their sigmoid should be the attributes; None without that head."""
    identities: Tensor | None
    """(B, K) classes; None without that head."""


class Discriminator(nn.Module):
    """C1, C2 and the identity head on one trunk.

    `size_px` is the side of the images, a multiple of 16. `in_channels` is 3, or 6 for a pair of images.
    """

    def __init__(self, config: DiscriminatorConfig, size_px: int, in_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        gathered = config.width // 2
        widths = [*(factor * config.width for factor in (1, 1, 2, 2, 4, 4, 8, 8)), gathered]
        layers: list[nn.Module] = []
        for (channels, out_channels), stride in zip(pairwise([in_channels, *widths]), _STRIDES, strict=True):
            layers += [nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.patches = nn.Conv2d(gathered, 1, 4, padding=1)
        features = gathered * (size_px // 16) ** 2
        self.attributes = nn.Linear(features, COUNT) if config.attributes else None
        self.identities = None if config.identities is None else nn.Linear(features, config.identities)

    def forward(self, image: Tensor) -> Judgement:
        """Judge images (B, C, H, W) in [−1, 1]."""
        features = self.trunk(image)
        flat = features.flatten(1)
        return Judgement(
            self.patches(features),
            None if self.attributes is None else self.attributes(flat),
            None if self.identities is None else self.identities(flat),
        )
