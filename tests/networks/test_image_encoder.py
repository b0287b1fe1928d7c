"""I_E: features of every pixel, from all sizes."""

from __future__ import annotations

import math

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from icface.errors import ConfigError
from icface.networks import EncoderConfig, NetworksConfig
from icface.networks.generator import Hourglass, ImageEncoder


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_size_stays(depth: int) -> None:
    encoder = ImageEncoder(EncoderConfig(width=4, depth=depth, channels=7))
    assert encoder.out_channels == 7
    assert encoder(torch.rand(2, 3, 32, 48)).shape == (2, 7, 32, 48)


@pytest.mark.parametrize(("size_px", "depth"), [(32, 4), (64, 5), (80, 4), (128, 6)])
def test_deepest_that_fits(size_px: int, depth: int) -> None:
    networks = NetworksConfig(size_px=size_px, image_encoder=EncoderConfig(width=2, depth=depth, channels=2))
    assert networks.image_encoder is not None
    encoder = ImageEncoder(networks.image_encoder)
    assert encoder(torch.rand(2, 3, size_px, size_px)).shape == (2, 2, size_px, size_px)
    with pytest.raises(ConfigError, match=rf"depth {depth + 1} is too deep for size_px {size_px}"):
        replace(networks, image_encoder=replace(networks.image_encoder, depth=depth + 1))


def test_widths_double_to_four_times() -> None:
    encoder = ImageEncoder(EncoderConfig(width=4, depth=4, channels=4))
    layers = (part.here.get_submodule("1") for part in encoder.modules() if isinstance(part, Hourglass))
    widths = [layer.out_channels for layer in layers]
    assert widths == [4, 8, 16, 16]


def reach_px(encoder: ImageEncoder) -> int:
    """Width of the area of features that the pixel in the middle changes."""
    image = torch.rand(1, 3, 64, 64)
    other = image.clone()
    other[:, :, 32, 32] += 1
    with torch.no_grad():
        changed = (encoder(other) - encoder(image)).abs().amax((0, 1, 2)) > 0
    return int(changed.nonzero().max() - changed.nonzero().min()) + 1


def test_each_step_down_sees_further() -> None:
    torch.manual_seed(0)
    reaches = [reach_px(ImageEncoder(EncoderConfig(width=4, depth=d, channels=4)).eval()) for d in (1, 2, 3)]
    assert reaches[0] < reaches[1] < reaches[2]
    assert reaches[2] > 32


def test_fine_detail_passes_beside_the_hourglass() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(width=4, depth=3, channels=4)).eval()
    with torch.no_grad():
        for part in encoder.modules():
            if isinstance(part, Hourglass):
                for weight in part.below.parameters():
                    weight.zero_()
        checks = torch.ones(1, 3, 32, 32)
        checks[:, :, ::2, ::2] = checks[:, :, 1::2, 1::2] = -1
        made = encoder(checks)
    assert float((made[..., 16, 16] - made[..., 16, 17]).abs().max()) > 1e-4


def test_brightness_is_kept() -> None:
    """No instance norm in it, which would make a dark and a bright photo the same."""
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(width=4, depth=2, channels=4)).eval()
    assert not [part for part in encoder.modules() if isinstance(part, nn.InstanceNorm2d)]
    with torch.no_grad():
        dark, bright = (encoder(torch.full((1, 3, 32, 32), value)) for value in (-0.5, 0.5))
    assert float((bright - dark).abs().max()) > 1e-3


def test_the_released_layers_by_hand() -> None:
    """3→2→2→4→3 channels at full size: a bright spot in the middle, through convolutions that copy it."""
    encoder = ImageEncoder(EncoderConfig(kind="release", width=2, depth=0, channels=3)).eval()
    convolutions = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (3, 2, (3, 3), (1, 1)), (2, 2, (3, 3), (1, 1)), (2, 4, (3, 3), (1, 1)), (4, 3, (3, 3), (1, 1)),
    ]  # fmt: skip
    with torch.no_grad():
        for convolution in convolutions:
            assert convolution.bias is not None
            convolution.weight.zero_()
            convolution.bias.fill_(0.1)
            convolution.weight[0, 0, 1, 1] = 2.0
        image = torch.zeros(1, 3, 5, 5)
        image[0, 0, 2, 2] = 0.05
        made = encoder(image)
    # .05 → .2 → .5 → 1.1 → 2.3; elsewhere 0 → .1 → .3 → .7 → 1.5. Batch norm leaves them, but for its ε.
    assert float(made[0, 0, 2, 2]) == pytest.approx(math.tanh(2.3), abs=1e-4)
    assert float(made[0, 0, 0, 0]) == pytest.approx(math.tanh(1.5), abs=1e-4)
    assert float(made[0, 1, 2, 2]) == pytest.approx(math.tanh(0.1), abs=1e-6)


@pytest.mark.parametrize(("kind", "depth"), [("release", 1), ("hourglass", 0)])
def test_only_an_hourglass_has_steps_down(kind: str, depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"image_encoder.depth is {depth}, but kind '{kind}' has"):
        EncoderConfig(kind=kind, depth=depth)  # type: ignore[arg-type]
