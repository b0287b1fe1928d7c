"""How large a network is and how much it computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


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
    modes = {part: part.training for part in module.modules()}
    try:
        # In `eval`, counting does not change the statistics of batch normalisations.
        module.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        for part, training in modes.items():
            part.training = training
    return int(counter.get_total_flops()) // 2
