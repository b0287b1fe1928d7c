"""How large a network is and how much it computes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """The number of weights and biases, with those of normalisations and without their statistics."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one forward pass, as papers count them.

    Convolutions, transposed convolutions and linear layers are counted: one for each use of each weight, at padded
    places too. Biases, normalisations, activations, pooling and resizing are not counted; they are below 1 % in the
    networks here. A batch counts as often as it has images.

    Args:
        module: any network; on the device `meta` nothing is computed and no memory needed.
        inputs: what its `forward` takes, on the same device.
    """
    total = 0

    def count(layer: nn.Module, taken: tuple[Any, ...], made: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            # Each input element meets every weight of its channel.
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
        # In `eval`, counting does not change the statistics of batch normalisations.
        module.eval()
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes.items():
            part.training = training
    return total
