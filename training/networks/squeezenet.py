"""SqueezeNet 1.1 up to its fifth fire module, whose features say how alike two pictures look.

Its weights come as an ONNX file that names them w0, b0, w1, b1 and so on; they are only used in training and measuring.

Source: Iandola et al., SqueezeNet (arXiv 1602.07360).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from icface.errors import ConfigError

LAYERS: Final = 13
"""Convolutions that are used: the first one, and three of each of four fire modules."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SqueezeNet(nn.Module):
    """Features of RGB pictures (B, 3, H, W) in [0, 1]: after the first convolution, and two and four fire modules."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for index in range(LAYERS):
            weight = weights[f"w{index}"]
            outputs, inputs, kernel, _ = weight.shape
            layer = nn.Conv2d(
                inputs,
                outputs,
                kernel,
                stride=2 if index == 0 else 1,
                padding=kernel // 2 if index > 0 else 0,
            )
            layer.load_state_dict({"weight": weight, "bias": weights[f"b{index}"]})
            self.layers.append(layer)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None])
        self.requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        first = functional.relu(self.layers[0]((picture - self.mean) / self.deviation))
        second = self._fire(4, self._fire(1, functional.max_pool2d(first, 3, 2)))
        return [first, second, self._fire(10, self._fire(7, functional.max_pool2d(second, 3, 2)))]

    def _fire(self, index: int, x: Tensor) -> Tensor:
        x = functional.relu(self.layers[index](x))
        return functional.relu(torch.cat([self.layers[index + 1](x), self.layers[index + 2](x)], dim=1))


def load_squeezenet(path: Path) -> SqueezeNet:
    """Read its weights.

    Raises:
        ConfigError: the file cannot be read or is another network.
    """
    try:
        held = onnx.load(str(path), load_external_data=False).graph.initializer
        return SqueezeNet({tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in held})
    except (OSError, DecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} is not SqueezeNet 1.1 with weights w0, b0, …: {error}") from error
