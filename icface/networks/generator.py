"""G_N and G_A: an image and 20 attributes in, an image out. And I_E, which may stand before both.

Source: ICface (arXiv 1904.01909); the residual generator of Johnson et al. as its authors released it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks.config import EncoderConfig, GeneratorConfig


class Generator(nn.Module):
    """The attributes join the picture as constant planes, so an RGB image of 3 `in_channels` makes 23 channels.

    One with 0 `attributes` sees the picture alone.
    """

    def __init__(self, config: GeneratorConfig, in_channels: int = 3, attributes: int = COUNT) -> None:
        super().__init__()
        self.config = config
        width = config.width
        # Batch normalisation, which follows, has its own bias, and instance normalisation would take a bias away.
        bias = config.norm == "none"
        self.pad = padded(config.padding, 3)
        self.stem = nn.Conv2d(in_channels + attributes, width, 7, bias=bias)
        self.stem_norm = normalised(config.norm, width)
        self.down = nn.Sequential(
            *_step(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias), config.norm),
            *_step(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=bias), config.norm),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width, config) for _ in range(config.blocks)))
        self.up = nn.Sequential(
            *_step(_doubling(4 * width, 2 * width, bias), config.norm),
            *_step(_doubling(2 * width, width, bias), config.norm),
        )
        self.head = nn.Sequential(
            padded(config.padding, config.head_kernel // 2),
            nn.Conv2d(width, 3, config.head_kernel),
            nn.Tanh(),
        )

    def forward(self, picture: Tensor, attributes: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) RGB in [−1, 1] from attributes (B, 20) in [0, 1] and a picture (B, C, H, W).

        The picture is an image in [−1, 1], or features of one. H and W are multiples of 4.
        """
        if attributes is not None:
            planes = attributes[:, :, None, None].expand(-1, -1, *picture.shape[2:])
            picture = torch.cat([picture, planes], dim=1)
        return self.decode(self.stem(self.pad(picture)))

    def decode(self, stem: Tensor) -> Tensor:
        """From the first convolution's output (B, width, H, W) to the image."""
        image: Tensor = self.head(self.up(self.blocks(self.down(torch.relu(self.stem_norm(stem))))))
        return image


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions whose result is added to their input. No activation follows the sum."""

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()

        def half() -> tuple[nn.Module, ...]:
            convolution = nn.Conv2d(channels, channels, 3, bias=config.norm == "none")
            return padded(config.padding, 1), convolution, normalised(config.norm, channels)

        between = nn.ReLU(inplace=True), nn.Dropout(config.dropout)
        self.layers = nn.Sequential(*half(), *between, *half())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


def padded(kind: str, width: int) -> nn.Module:
    """A border of `width` pixels, for a convolution without padding."""
    return nn.ReflectionPad2d(width) if kind == "reflect" else nn.ZeroPad2d(width)


def normalised(kind: str, channels: int) -> nn.Module:
    """The normalisation after a convolution: `batch`, `instance` or `none`."""
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


def _step(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: str) -> tuple[nn.Module, ...]:
    return convolution, normalised(norm, convolution.out_channels), nn.ReLU(inplace=True)


def _doubling(channels: int, out_channels: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)


class ImageEncoder(nn.Module):
    """I_E of the first arXiv version: (B, 3, H, W) in [−1, 1] to features (B, channels, H, W).

    H and W are multiples of 2^depth. G_N and G_A share it, and the attributes join its features instead of the image. The
    final version of the paper has no I_E.

    `release` has the layers of the authors' first test code: 3→64→64→128→3 channels at full size, zero padding, and tanh
    at the end, so that the generators again see three channels in [−1, 1]. It is no hourglass.

    `hourglass` is ours. It follows that of Newell et al. (arXiv 1603.06937), with one 3×3 convolution in place of a
    residual module, and strides in place of pooling. The output is batch normalised, so that features and attributes
    enter the generators at similar scales.

    Neither has instance normalisation, because a photo's brightness and contrast have to reach the generators.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.out_channels = config.channels
        self.layers = _released(config) if config.kind == "release" else _hourglass(config)

    def forward(self, image: Tensor) -> Tensor:
        """Features of an image, pixel by pixel."""
        features: Tensor = self.layers(image)
        return features


def _released(config: EncoderConfig) -> nn.Sequential:
    width, wide = config.width, 2 * config.width
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, wide, 3, padding=1),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
        nn.Conv2d(wide, config.channels, 3, padding=1),
        nn.Tanh(),
    )


def _hourglass(config: EncoderConfig) -> nn.Sequential:
    return nn.Sequential(
        _layer(3, config.width),
        Hourglass(config.width, 4 * config.width, config.depth),
        nn.Conv2d(config.width, config.channels, 1, bias=False),
        nn.BatchNorm2d(config.channels),
    )


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
