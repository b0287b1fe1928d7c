"""D judges an image: whether each patch is real, which attributes the face shows, and, in the first version, whose it is.

One D judges both generators. Its heads share one trunk.

Source: ICface (arXiv 1904.01909). As in the release, there are nine 3×3 convolutions from 128² to 128×8×8, without
normalisation. Which of them have an activation and a bias is a setting; docs/paper-numbers.md has the table.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks.config import DiscriminatorConfig

_STRIDES: Final = (1, 2, 1, 2, 1, 2, 1, 1, 2)
_RELEASED_RELU: Final = (1, 3, 5, 6)
"""Places of the convolutions that an activation follows in the release; the others are linear."""
_RELEASED_BIAS: Final = (0, 1, 7, 8)


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
        every = range(len(_STRIDES))
        released = config.layers == "release"
        active, biased = (_RELEASED_RELU, _RELEASED_BIAS) if released else (every, every)
        layers: list[nn.Module] = []
        for i, (channels, out_channels) in enumerate(pairwise([in_channels, *widths])):
            layers.append(nn.Conv2d(channels, out_channels, 3, _STRIDES[i], padding=1, bias=i in biased))
            if i in active:
                layers.append(nn.ReLU(inplace=True))
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
