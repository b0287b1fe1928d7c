"""I_E, the image encoder of the first arXiv version: an hourglass over the image, before both generators.

The paper says that it is an hourglass that keeps the resolution, that G_N and G_A share it, and that the attributes join
its features instead of the image. Its layers were not published. Ours follow the hourglass of Newell et al. (arXiv
1603.06937), with one 3×3 convolution in place of a residual module, and strides in place of pooling. The final version of
the paper has no I_E.
"""

from __future__ import annotations

from torch import Tensor, nn

from icface.networks.config import EncoderConfig

WIDEST = 4
"""Channels at the lowest sizes, as a multiple of `width`."""


class ImageEncoder(nn.Module):
    """(B, 3, H, W) in [−1, 1] to features (B, channels, H, W), H and W multiples of 2^depth.

    Its output is batch normalised, so that features and attributes enter the generators at similar scales. It has no
    instance normalisation, because a photo's brightness and contrast have to reach the generators.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.out_channels = config.channels
        self.layers = nn.Sequential(
            _layer(3, config.width),
            Hourglass(config.width, WIDEST * config.width, config.depth),
            nn.Conv2d(config.width, config.channels, 1, bias=False),
            nn.BatchNorm2d(config.channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Features of an image, pixel by pixel."""
        features: Tensor = self.layers(image)
        return features


class Hourglass(nn.Module):
    """Features at this size, plus features that went to half the size, through the next hourglass and back."""

    def __init__(self, channels: int, most_channels: int, depth: int) -> None:
        super().__init__()
        lower = min(2 * channels, most_channels)
        self.here = _layer(channels, channels)
        self.below = nn.Sequential(
            _layer(channels, lower, stride=2),
            Hourglass(lower, most_channels, depth - 1) if depth > 1 else _layer(lower, lower),
            _layer(lower, channels),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.here(x) + self.below(x)
        return result


def _layer(channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(channels, out_channels, 3, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
