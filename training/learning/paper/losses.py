"""Equations 1–5 of the paper, each a small function. `gan.py` has the weights λ.

Source: ICface (arXiv 1904.01909); LSGAN: arXiv 1611.04076; R1: arXiv 1801.04406.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from training.learning.paper.config import Adversarial, Norm, Reduction
from training.networks.lightcnn import IdentityFeatures

NEUTRAL_RMS: Final = 0.05
"""A face counts as neutral where its attributes differ by less than this from FA_N (root of the mean square)."""


def adversarial_discriminator(real: Tensor, fakes: Sequence[Tensor], mode: Adversarial = "log") -> Tensor:
    """Equation 1 for D, to be minimised: real patches up, patches of every generated image down.

    It is the sum of L_adv(G, D) over the generators, as in equation 5. Each L_adv has a term for the real images. With
    G_N and G_A these count twice, so real and generated images weigh the same.

    `log`, `saturating`: Σ (−log C1(real) − log(1 − C1(fake))), the paper's form.
    `lsgan`: Σ (½ (real − 1)² + ½ fake²).

    Args:
        real: (B, 1, h, w) logits of C1.
        fakes: the same for each generator's images.
    """
    if mode == "lsgan":
        of_real = 0.5 * (real - 1).square().mean()
        return len(fakes) * of_real + sum_of([0.5 * fake.square().mean() for fake in fakes])
    # softplus(−x) = −log σ(x) and softplus(x) = −log(1 − σ(x)), finite at any x.
    of_real = functional.softplus(-real).mean()
    return len(fakes) * of_real + sum_of([functional.softplus(fake).mean() for fake in fakes])


def adversarial_generator(fake: Tensor, mode: Adversarial = "log") -> Tensor:
    """Equation 1 for one generator, to be minimised.

    `log`: −log C1(fake), non-saturating. `saturating`: log(1 − C1(fake)), the minimax form, which has the same optimum
    but hardly a gradient where D is sure. `lsgan`: ½ (fake − 1)².
    """
    if mode == "lsgan":
        return 0.5 * (fake - 1).square().mean()
    if mode == "saturating":
        return -functional.softplus(fake).mean()
    return functional.softplus(-fake).mean()


def attribute_loss(logits: Tensor, attributes: Tensor, norm: Norm = "l2") -> Tensor:
    """Equation 2: ‖C2(image) − FA‖, summed over the 20 attributes, mean over the batch.

    Real frames with their own attributes train D. Generated ones with the attributes asked for train the generators.

    Args:
        logits: (B, 20); their sigmoid is C2.
        attributes: (B, 20) in [0, 1].
        norm: `l2` is the squared distance; `l1` of a later draft.
    """
    difference = torch.sigmoid(logits) - attributes
    distance = difference.square() if norm == "l2" else difference.abs()
    return distance.sum(dim=1).mean()


def identity_loss(made: IdentityFeatures, source: IdentityFeatures, reduction: Reduction = "mean") -> Tensor:
    """Equation 3: ‖f^p(made) − f^p(source)‖₁ + ‖f^fc(made) − f^fc(source)‖₁, mean over the batch.

    No gradient flows into the source's features.

    Args:
        made, source: features of (B) images, 128·8·8 and 256 numbers each.
        reduction: `mean` over each feature's elements, or their `sum`, which is the L1 norm. Where all elements differ
            by 1, these are 2 and 8,448.
    """
    found = []
    for ours, theirs in zip(made, source, strict=True):
        distance = functional.l1_loss(ours, theirs.detach())
        found.append(distance if reduction == "mean" else distance * ours[0].numel())
    return sum_of(found)


def reconstruction_loss(output: Tensor, driving: Tensor) -> Tensor:
    """Equation 4, first term: ‖G_A(G_N(source), FA_D) − driving frame‖₁, mean over pixels of images in [−1, 1]."""
    return functional.l1_loss(output, driving)


def neutral_pseudo_loss(by_neutraliser: Tensor, by_animator: Tensor) -> Tensor:
    """Equation 4, second term: ‖G_N(source) − G_A(source, FA_N)‖₁, mean over pixels.

    There is no true neutral image, so G_A's stands for it. It gets no gradient, or both could agree on any image.
    """
    return functional.l1_loss(by_neutraliser, by_animator.detach())


def anchor_loss(neutral_image: Tensor, pictures: Tensor, attributes: Tensor, neutral: Tensor) -> Tensor:
    """L1 of G_N's images to real pictures of the same faces that happen to be neutral; 0 without such pictures.

    It is not in the paper; see `LossConfig.anchor`.

    Args:
        neutral_image: (B, 3, S, S) from G_N.
        pictures: (B, 3, S, S) real ones of the same faces.
        attributes: (B, 20) of `pictures`, full-shape.
        neutral: (20,) FA_N.
    """
    is_neutral = ((attributes - neutral).square().mean(1).sqrt() < NEUTRAL_RMS).float()
    error = (neutral_image - pictures).abs().mean((1, 2, 3))
    return (is_neutral * error).sum() / is_neutral.sum().clamp(min=1)


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """½ ‖∇ D(real)‖², mean over the batch; keeps D flat at real images.

    Args:
        logits: D's patches (B, 1, h, w) for `images`, still in the graph; each image's are summed.
        images: (B, C, S, S) real ones that require gradients.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Equation 5: the terms' sum, each with its λ; a term without one counts once."""
    return sum_of([weights.get(name, 1.0) * term for name, term in terms.items()])


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """Sum of single numbers."""
    return torch.stack(list(terms)).sum()
