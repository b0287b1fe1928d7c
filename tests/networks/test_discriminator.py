"""D: its heads, and that they share one trunk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from icface.attributes import COUNT
from icface.networks import Discriminator, DiscriminatorConfig


def images(size_px: int, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, size_px, size_px, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("size_px", "patches"), [(32, 1), (64, 3), (128, 7)])
def test_heads(size_px: int, patches: int) -> None:
    """The trunk makes (S/16)², 8×8 of 128²; a 4×4 convolution padded by 1 makes one less each way."""
    judged = Discriminator(DiscriminatorConfig(width=4, identities=6), size_px)(images(size_px))
    assert judged.patches.shape == (2, 1, patches, patches)
    assert judged.attributes is not None and judged.attributes.shape == (2, COUNT)
    assert judged.identities is not None and judged.identities.shape == (2, 6)


def test_identity_head_only_in_the_first_version() -> None:
    final = Discriminator(DiscriminatorConfig(width=4), 32)
    assert final(images(32)).identities is None
    first = Discriminator(DiscriminatorConfig(width=4, identities=6), 32)
    assert set(first.state_dict()) - set(final.state_dict()) == {"identities.weight", "identities.bias"}


def test_pair_discriminator_has_no_attributes() -> None:
    pairs = Discriminator(DiscriminatorConfig(width=4, attributes=False), 32, in_channels=6)
    judged = pairs(images(32, channels=6))
    assert judged.attributes is None and judged.identities is None
    assert judged.patches.shape == (2, 1, 1, 1)
    assert not any(name.startswith("attributes") for name in pairs.state_dict())


def test_heads_share_the_trunk() -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=4, identities=6), 32)
    runs: list[None] = []
    network.trunk.register_forward_hook(lambda *_: runs.append(None))
    judged = network(images(32))
    assert len(runs) == 1
    trunk = list(network.trunk.parameters())
    heads = {name for name, _ in network.named_parameters() if not name.startswith("trunk.")}
    assert heads == {
        f"{head}.{kind}" for head in ("patches", "attributes", "identities") for kind in ("weight", "bias")
    }
    for logits in judged:
        assert logits is not None
        gradients = torch.autograd.grad(logits.square().sum(), trunk, retain_graph=True)
        assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_answers_are_logits() -> None:
    """Losses take the logarithm of a sigmoid of them; a sigmoid inside would make it two."""
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(width=4, identities=6), 32)
    with torch.no_grad():
        for head in (network.patches, network.attributes, network.identities):
            assert head is not None and head.bias is not None
            head.bias.fill_(5.0)
        assert all(logits is not None and 4 < float(logits.mean()) < 6 for logits in network(images(32)))


def test_the_released_layers() -> None:
    """Activations after the second, fourth, sixth and seventh convolution; biases in the first and last two."""
    network = Discriminator(DiscriminatorConfig(width=4, layers="release"), 32)
    drawn = "".join(
        "R" if isinstance(part, nn.ReLU) else "c" if part.bias is None else "C" for part in network.trunk
    )
    assert drawn == "CCRccRccRcRCC"
    assert network.patches.bias is not None
    # The last features have both signs; with an activation they would have one.
    torch.manual_seed(3)
    features = network.trunk(images(32)).detach()
    assert float(features.min()) < 0 < float(features.max())
    every = Discriminator(DiscriminatorConfig(width=4), 32).trunk
    assert "".join("R" if isinstance(part, nn.ReLU) else "C" for part in every) == "CR" * 9
