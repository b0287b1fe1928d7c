"""How large a network is, and how much it computes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Numbers that training changes: weights and biases, those of normalisations included, statistics not."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one forward pass, as papers count them.

    Counted are convolutions, transposed convolutions and linear layers: one for each weight each time it is used,
    at padded places too. Biases, normalisations, activations, pooling and resizing are not; in the networks here they
    are below 1 %. A batch counts as often as it has images.

    Args:
        module: any network; on the device `meta` nothing is computed and no memory needed.
        inputs: what its `forward` takes, on the same device.
    """
    total = 0

    def count(layer: nn.Module, taken: tuple[Any, ...], made: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            # Each element taken meets every weight of its channel.
            places = taken[0].numel() // layer.in_channels
        elif isinstance(layer, nn.Conv2d):
            places = made.numel() // layer.out_channels
        else:
            places = made.numel() // made.shape[-1]
        assert isinstance(layer.weight, Tensor)
        total += places * math.prod(layer.weight.shape)

    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    modes = {part: part.training for part in module.modules()}
    try:
        # Counting leaves the statistics of batch normalisations alone.
        module.eval()
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes.items():
            part.training = training
    return total
