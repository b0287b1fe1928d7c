"""G_N and G_A: the attributes reach the picture, and the first convolution may be split."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from icface.attributes import COUNT, neutral
from icface.errors import ConfigError
from icface.networks import EncoderConfig, Generator, GeneratorConfig, ICface, NetworksConfig

SMALL = GeneratorConfig(width=8, blocks=1)


def picture(size_px: int = 32, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, size_px, size_px, generator=torch.Generator().manual_seed(1)) * 2 - 1


def change_by_attributes(generator: Generator) -> float:
    """Largest change of any pixel between all attributes at 0 and all at 1."""
    with torch.no_grad():
        low, high = (
            generator(picture(), attributes) for attributes in (torch.zeros(1, COUNT), torch.ones(1, COUNT))
        )
    return float((high - low).abs().max())


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_attributes_reach_the_picture(norm: str, padding: str) -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(width=8, blocks=2, norm=norm, padding=padding)).eval()
    assert change_by_attributes(generator) > 1e-3


@pytest.mark.parametrize("everywhere", [False, True], ids=["after the first convolution", "everywhere"])
def test_instance_norm_would_lose_the_attributes(everywhere: bool) -> None:
    """Why it is refused: the same generator, with the same weights, does not see them any more."""
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    assert change_by_attributes(generator) > 1e-3

    generator.stem_norm = nn.InstanceNorm2d(8)
    if everywhere:
        for parent in list(generator.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.InstanceNorm2d(child.num_features))
    assert change_by_attributes(generator) < 1e-4


def test_instance_norm_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"constant planes.*subtracts them.*batch or none") as caught:
        GeneratorConfig(norm="instance")
    assert "\n" not in str(caught.value)


def test_constant_planes_are_a_bias_where_padding_reflects() -> None:
    """conv([picture, planes]) = conv(picture) + Σ over the kernel · attributes, exactly: the split first layer."""
    torch.manual_seed(0)
    generator = Generator(SMALL).double()
    image, attributes = picture().double(), torch.rand(1, COUNT, dtype=torch.float64)
    generator.requires_grad_(False)
    planes = attributes[:, :, None, None].expand(-1, -1, 32, 32)
    whole = generator.stem(generator.pad(torch.cat([image, planes], dim=1)))

    of_picture = nn.functional.conv2d(generator.pad(image), generator.stem.weight[:, :3])
    bias = attributes @ generator.stem.weight[:, 3:].sum((2, 3)).T
    assert float((whole - of_picture - bias[:, :, None, None]).abs().max()) < 1e-13


def test_constant_planes_are_no_bias_at_zero_padded_borders() -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(width=8, blocks=1, padding="zero")).double()
    generator.requires_grad_(False)
    planes = torch.ones(1, COUNT, 32, 32, dtype=torch.float64)
    black = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    stem = generator.stem(generator.pad(torch.cat([black, planes], dim=1)))
    bias = generator.stem.weight[:, 3:].sum((1, 2, 3))[None, :, None, None]
    off = (stem - bias).abs().amax((0, 1))
    assert float(off[3:-3, 3:-3].max()) < 1e-13
    assert float(off[0].min()) > 1e-3


@pytest.mark.parametrize("head_kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_size_stays(size: tuple[int, int], head_kernel: int) -> None:
    generator = Generator(GeneratorConfig(width=4, blocks=1, head_kernel=head_kernel), in_channels=5).eval()
    made = generator(torch.zeros(2, 5, *size), torch.zeros(2, COUNT))
    assert made.shape == (2, 3, *size)
    assert float(made.detach().abs().max()) <= 1


def test_dropout_only_while_training() -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(width=8, blocks=2, norm="none"))
    inputs = picture(), torch.zeros(1, COUNT)
    assert not torch.equal(generator(*inputs), generator(*inputs))
    generator.eval()
    assert torch.equal(generator(*inputs), generator(*inputs))


def test_model_is_both_generators_in_turn() -> None:
    torch.manual_seed(0)
    model = ICface(NetworksConfig(size_px=32, generator=SMALL)).eval()
    attributes = torch.rand(2, COUNT)
    image = picture(batch=2)
    assert model.generator_neutral is not None
    with torch.no_grad():
        fa_n = torch.from_numpy(neutral(COUNT)).expand(2, -1)
        by_hand = model.generator_animate(model.generator_neutral(image, fa_n), attributes)
        assert torch.equal(model(image, attributes), by_hand)
        assert not torch.equal(model.generator_neutral(image, fa_n), model.generator_animate(image, fa_n)), (
            "two generators, not one"
        )


def test_ablation_animates_the_source_itself() -> None:
    model = ICface(NetworksConfig(size_px=32, generator=SMALL, neutraliser=False)).eval()
    image, attributes = picture(), torch.rand(1, COUNT)
    assert model.neutralise(image) is image
    assert torch.equal(model(image, attributes), model.generator_animate(image, attributes))
    assert not any(name.startswith("generator_neutral") for name in model.state_dict())


def test_one_image_encoder_serves_both_generators() -> None:
    config = NetworksConfig(
        size_px=32, generator=SMALL, image_encoder=EncoderConfig(width=4, depth=2, channels=5)
    )
    torch.manual_seed(0)
    model = ICface(config).eval()
    assert model.image_encoder is not None and model.generator_neutral is not None
    assert model.generator_neutral.stem.in_channels == model.generator_animate.stem.in_channels == 5 + COUNT
    seen: list[tuple[int, ...]] = []
    model.image_encoder.register_forward_hook(
        lambda _, taken, made: seen.append((*taken[0].shape, made.shape[1]))
    )
    model(picture(), torch.rand(1, COUNT))
    assert seen == [(1, 3, 32, 32, 5)] * 2
    weight = next(model.image_encoder.parameters())
    for image in (model.neutralise(picture()), model.animate(picture(), torch.rand(1, COUNT))):
        (gradient,) = torch.autograd.grad(image.sum(), weight)
        assert float(gradient.abs().sum()) > 0
