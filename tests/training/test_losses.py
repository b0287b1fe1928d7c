"""Equations 1–5 against numbers computed by hand, and gradients against where they belong."""

from __future__ import annotations

from math import exp, log
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from icface.attributes import COUNT, NAMES, mirror, neutral
from icface.networks import Discriminator, DiscriminatorConfig, GeneratorConfig, ICface, NetworksConfig
from training.learning.paper import losses
from training.learning.paper.config import Adversarial
from training.networks.lightcnn import IdentityFeatures


def logits(*values: float) -> Tensor:
    """One image each, of one patch."""
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def logit(share: float) -> float:
    return log(share / (1 - share))


def test_log_form_of_d_has_a_term_for_each_generator() -> None:
    # σ = .8 and .5 on real, .25 on G_N's, .1 on G_A's.
    found = losses.adversarial_discriminator(
        logits(logit(0.8), logit(0.5)), [logits(logit(0.25)), logits(logit(0.1))]
    )
    # Each generator's L_adv has the term for the real images.
    assert float(found) == pytest.approx(-2 * (log(0.8) + log(0.5)) / 2 - log(0.75) - log(0.9), abs=1e-6)


def test_log_form_of_a_generator() -> None:
    fake = logits(logit(0.25), logit(0.1))
    assert float(losses.adversarial_generator(fake)) == pytest.approx(-(log(0.25) + log(0.1)) / 2, abs=1e-6)
    # The minimax form is the paper's line itself: log(1 − C1).
    assert float(losses.adversarial_generator(fake, "saturating")) == pytest.approx(
        (log(0.75) + log(0.9)) / 2, abs=1e-6
    )


def test_saturating_form_differs_for_the_generators_only() -> None:
    real, fake = logits(0.7), logits(-1.3)
    assert torch.equal(
        losses.adversarial_discriminator(real, [fake], "log"),
        losses.adversarial_discriminator(real, [fake], "saturating"),
    )


def test_where_d_is_sure_only_the_default_form_has_a_gradient() -> None:
    gradients = {}
    modes: tuple[Adversarial, ...] = ("log", "saturating")
    for mode in modes:
        fake = logits(-20.0).requires_grad_()
        losses.adversarial_generator(fake, mode).backward()
        assert fake.grad is not None
        gradients[mode] = fake.grad.item()
    # d/dx: −σ(−x) and −σ(x).
    assert gradients["log"] == pytest.approx(-1.0, abs=1e-6)
    assert gradients["saturating"] == pytest.approx(-exp(-20), rel=1e-3)


@pytest.mark.parametrize("value", [-1e4, 1e4])
@pytest.mark.parametrize("mode", get_args(Adversarial))
def test_extreme_logits_stay_finite(mode: Adversarial, value: float) -> None:
    real, fake = logits(value).requires_grad_(), logits(value).requires_grad_()
    total = losses.adversarial_discriminator(real, [fake], mode) + losses.adversarial_generator(fake, mode)
    total.backward()
    assert bool(torch.isfinite(total))
    for logit_ in (real, fake):
        assert logit_.grad is not None
        assert bool(torch.isfinite(logit_.grad).all())


def test_lsgan_values() -> None:
    # ½(.5−1)², ½(3−1)² on real, once for each generator; ½·2², ½·1² on the fakes.
    found = losses.adversarial_discriminator(logits(0.5, 3.0), [logits(2.0), logits(-1.0)], "lsgan")
    assert float(found) == pytest.approx(2 * (0.125 + 2.0) / 2 + 2.0 + 0.5)
    assert float(losses.adversarial_generator(logits(0.0, 3.0), "lsgan")) == pytest.approx((0.5 + 2.0) / 2)


def test_attributes_squared_and_absolute() -> None:
    # σ(0) = .5 against .5 everywhere, but for one attribute of .9 in the first of two faces and two of .2 in the other.
    wanted = torch.full((2, COUNT), 0.5)
    wanted[0, 4] = 0.9
    wanted[1, [0, 19]] = 0.2
    read = torch.zeros(2, COUNT)
    assert float(losses.attribute_loss(read, wanted)) == pytest.approx((0.16 + 2 * 0.09) / 2, abs=1e-6)
    assert float(losses.attribute_loss(read, wanted, "l1")) == pytest.approx((0.4 + 2 * 0.3) / 2, abs=1e-6)


def test_neutral_target_is_frontal_not_zero() -> None:
    """C2 that reads a frontal face with slack muscles costs G_N nothing; pose 0 would be 40° away three times."""
    read = torch.full((1, COUNT), -40.0)
    read[0, :3] = 0.0
    fa_n = ICface(tiny_networks()).neutral_attributes
    assert torch.equal(fa_n, torch.from_numpy(neutral(COUNT)))
    assert float(losses.attribute_loss(read, fa_n.expand(1, -1))) == pytest.approx(0.0, abs=1e-12)
    assert float(losses.attribute_loss(read, torch.zeros(1, COUNT))) == pytest.approx(0.75)


def test_a_flipped_picture_has_mirrored_yaw_and_roll() -> None:
    """The flip trap: attributes left as they were cost what twice the turn costs."""
    face = neutral(COUNT)
    face[[NAMES.index("pitch"), NAMES.index("yaw"), NAMES.index("roll")]] = 0.7, 0.8, 0.4
    face[NAMES.index("AU12")] = 0.6
    mirrored = mirror(face)
    assert np.allclose(mirrored[:3], [0.7, 0.2, 0.6])
    assert np.array_equal(mirrored[3:], face[3:])
    read = torch.logit(torch.from_numpy(mirrored), eps=1e-7)[None]
    assert float(losses.attribute_loss(read, torch.from_numpy(mirrored)[None])) == pytest.approx(0, abs=1e-9)
    assert float(losses.attribute_loss(read, torch.from_numpy(face)[None])) == pytest.approx(
        0.6**2 + 0.2**2, abs=1e-5
    )


def test_identity_is_the_distance_of_both_features() -> None:
    pool = torch.zeros(2, 128, 8, 8)
    made = IdentityFeatures(pool.clone().fill_(0.25).requires_grad_(), torch.zeros(2, 256).requires_grad_())
    source = IdentityFeatures(pool.requires_grad_(), torch.full((2, 256), -3.0).requires_grad_())
    found = losses.identity_loss(made, source)
    assert found.item() == pytest.approx(0.25 + 3.0)
    found.backward()
    assert made.pool.grad is not None and made.fc.grad is not None
    assert source.pool.grad is None and source.fc.grad is None


def test_reconstruction_is_the_mean_absolute_difference() -> None:
    output, driving = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    driving[0, 1] = -0.5
    driving[0, 2, 0, 0] = 1.0
    assert float(losses.reconstruction_loss(output, driving)) == pytest.approx((16 * 0.5 + 1.0) / 48)


def test_pseudo_ground_truth_teaches_the_neutraliser_only() -> None:
    by_neutraliser = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    by_animator = torch.full((1, 3, 4, 4), 0.2, requires_grad=True)
    found = losses.neutral_pseudo_loss(by_neutraliser, by_animator)
    assert found.item() == pytest.approx(0.3)
    found.backward()
    assert by_neutraliser.grad is not None
    assert torch.allclose(by_neutraliser.grad, torch.full((1, 3, 4, 4), 1 / 48))
    assert by_animator.grad is None


def test_anchor_looks_at_neutral_pictures_only() -> None:
    fa_n = torch.from_numpy(neutral(COUNT))
    attributes = fa_n.repeat(3, 1)
    attributes[1, 7] = 0.5  # root of the mean square .5 / √20 = .11
    attributes[2, 7] = 0.2  # .045: still neutral
    pictures = torch.tensor([0.1, 0.9, 0.3])[:, None, None, None].expand(3, 3, 4, 4)
    made = torch.zeros(3, 3, 4, 4)
    assert float(losses.anchor_loss(made, pictures, attributes, fa_n)) == pytest.approx((0.1 + 0.3) / 2)
    assert float(losses.anchor_loss(made, pictures, attributes + 0.2, fa_n)) == 0.0


def test_r1_of_a_quadratic() -> None:
    """D(x) = ½ x² summed in two patches: the gradient is x, the penalty ½‖x‖², and its own gradient x / batch."""
    images = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(5)).requires_grad_()
    halves = (0.5 * images.square()).sum(dim=(1, 2)).reshape(3, 1, 2, 2)
    found = losses.r1_penalty(halves, images)
    assert found.item() == pytest.approx(float(0.5 * images.detach().square().sum()) / 3, rel=1e-6)
    (gradient,) = torch.autograd.grad(found, images)
    assert torch.allclose(gradient, images.detach() / 3)


def test_r1_reaches_the_weights() -> None:
    """D(x) = w·x: the penalty is ½w² for any x."""
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    images = torch.ones(2, 2, 1, 1, requires_grad=True)
    found = losses.r1_penalty((weight[:, None, None] * images).sum(1, keepdim=True), images)
    assert found.item() == pytest.approx(12.5)
    found.backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, weight.detach())


def test_total_weighs_each_term() -> None:
    terms = {"adversarial": torch.tensor(1.5), "attributes": torch.tensor(0.2), "neutral": torch.tensor(0.1)}
    assert float(losses.total_loss(terms, {"attributes": 10.0, "neutral": 4.0})) == pytest.approx(3.9)


def tiny_networks() -> NetworksConfig:
    return NetworksConfig(
        size_px=32,
        generator=GeneratorConfig(width=4, blocks=1),
        discriminator=DiscriminatorConfig(width=4),
    )


def test_each_side_of_the_game_moves_its_own_network() -> None:
    """D's step on detached images leaves the generators alone; theirs through a frozen D reaches both, not D."""
    torch.manual_seed(1)
    generators = ICface(tiny_networks())
    discriminator = Discriminator(tiny_networks().discriminator, 32)
    source, real, asked = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.rand(2, COUNT)
    neutral_image = generators.neutralise(source)
    images = [generators.animate(neutral_image, asked), neutral_image]

    judged = discriminator(real)
    losses.adversarial_discriminator(
        judged.patches, [discriminator(image.detach()).patches for image in images]
    ).backward()
    assert judged.attributes is not None
    assert touched(discriminator) == {"trunk", "patches"}
    assert touched(generators) == set()
    losses.attribute_loss(discriminator(real).attributes, asked).backward()
    assert touched(discriminator) == {"trunk", "patches", "attributes"}

    discriminator.zero_grad(set_to_none=True)
    discriminator.requires_grad_(False)
    again = discriminator(images[0])
    (losses.adversarial_generator(again.patches) + losses.attribute_loss(again.attributes, asked)).backward()
    assert touched(discriminator) == set()
    assert touched(generators) == {"generator_neutral", "generator_animate"}


def touched(module: nn.Module) -> set[str]:
    """Parts that have a gradient other than 0."""
    return {
        name.partition(".")[0]
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.any())
    }


def test_identity_as_a_sum_is_the_l1_norm() -> None:
    """Unit differences: 2 as means, 8·8·128 + 256 as the norm; λ2 of 10 for one is 10 / 4,224 for the other."""
    ones = IdentityFeatures(torch.ones(2, 128, 8, 8), torch.ones(2, 256))
    zeros = IdentityFeatures(torch.zeros(2, 128, 8, 8), torch.zeros(2, 256))
    assert float(losses.identity_loss(ones, zeros)) == 2.0
    assert float(losses.identity_loss(ones, zeros, "sum")) == 8448.0
    # The mean over the batch stays: one face that differs of two.
    half = IdentityFeatures(ones.pool * torch.tensor([1.0, 0.0])[:, None, None, None], zeros.fc - 0.5)
    assert float(losses.identity_loss(half, zeros, "sum")) == 8192 / 2 + 128
