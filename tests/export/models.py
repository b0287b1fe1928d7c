"""Small models of the paper family with weights that no initialisation gives, and their graphs."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.onnx._internal.exporter import _registration

from export.paper_graph import PaperGraphs, build_paper_graphs
from icface.arrays import Frame
from icface.attributes import COUNT
from icface.networks.config import EncoderConfig, GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface

SIZE_PX = 32

# torch reads its table of operators anew for each graph, which takes longer than the graphs of these small models.
_table = functools.cache(_registration.ONNXRegistry.from_torchlib)
_registration.ONNXRegistry.from_torchlib = staticmethod(_table)  # type: ignore[method-assign]

NETWORKS: dict[str, NetworksConfig] = {
    "as published": NetworksConfig(size_px=SIZE_PX, generator=GeneratorConfig(width=8, blocks=2)),
    "zero padding": NetworksConfig(
        size_px=SIZE_PX, generator=GeneratorConfig(width=8, blocks=1, padding="zero")
    ),
    "no normalisation": NetworksConfig(
        size_px=SIZE_PX, generator=GeneratorConfig(width=8, blocks=1, norm="none")
    ),
    "zero padding, no normalisation": NetworksConfig(
        size_px=SIZE_PX,
        generator=GeneratorConfig(width=6, blocks=1, norm="none", padding="zero", head_kernel=3),
    ),
    "without neutraliser": NetworksConfig(
        size_px=SIZE_PX, generator=GeneratorConfig(width=8, blocks=1), neutraliser=False
    ),
    "image encoder": NetworksConfig(
        size_px=SIZE_PX,
        generator=GeneratorConfig(width=8, blocks=1),
        image_encoder=EncoderConfig(width=4, depth=2, channels=5),
    ),
    "no blocks": NetworksConfig(size_px=48, generator=GeneratorConfig(width=5, blocks=0, head_kernel=5)),
}


def random_model(config: NetworksConfig, seed: int = 1) -> ICface:
    """A model in which every weight and statistic matters, and whose images use the range without saturating."""
    torch.manual_seed(seed)
    model = ICface(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.momentum = None  # the mean over all batches
    for generator in (model.generator_neutral, model.generator_animate):
        if generator is not None:
            # So that the attributes are seen beside the picture.
            generator.stem.weight.data[:, -COUNT:] *= 8
            head = generator.head[1]
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.normal_(head.bias, 0.0, 0.2)
            nn.init.normal_(head.weight, 0.0, 0.6 / (head.in_channels * head.kernel_size[0] ** 2) ** 0.5)
    # Statistics of what flows through, so that nothing vanishes or explodes.
    model.train()
    with torch.no_grad():
        for i in range(3):
            crops = [image_of(random_crop(config, 100 * i + j)) for j in range(8)]
            model(torch.cat(crops).float(), torch.rand(8, COUNT))
    return model.eval().requires_grad_(False)


@functools.cache
def graphs_of(name: str, *, split: bool = True) -> PaperGraphs:
    """The graphs of a random model; written once a test run."""
    return build_paper_graphs(random_model(NETWORKS[name]), split=split)


def by_onnxruntime(graph: bytes, feeds: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What a graph gives in ONNX Runtime on the CPU, by name."""
    import onnxruntime as ort

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds), strict=True))


def feeds_of(name: str, count: int, *, split: bool = True) -> list[dict[str, NDArray[Any]]]:
    """Inputs of a random model's `animate`: three photos take turns, the attributes are always others."""
    config, graphs = NETWORKS[name], graphs_of(name, split=split)
    made = [
        by_onnxruntime(graphs.neutralise, {"crop": random_crop(config, i)})[graphs.cache]
        for i in range(min(3, count))
    ]
    return [{graphs.cache: made[i % 3], "attributes": random_attributes(i)} for i in range(count)]


def random_crop(config: NetworksConfig, seed: int = 2) -> Frame:
    """(S, S, 3)"""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (config.size_px, config.size_px), interpolation=cv2.INTER_CUBIC))


def random_attributes(seed: int = 3) -> NDArray[np.float32]:
    """(1, 20)"""
    return np.random.default_rng(seed).random((1, COUNT), dtype=np.float32)


def image_of(frame: Frame) -> torch.Tensor:
    """(1, 3, S, S) float64 in [−1, 1]."""
    return torch.from_numpy(frame.astype(np.float64) / 127.5 - 1).permute(2, 0, 1)[None]


def frame_of(image: torch.Tensor) -> Frame:
    """(S, S, 3), rounded to nearest."""
    pixels = ((image[0].permute(1, 2, 0).double() + 1) * 127.5).round()
    return pixels.clamp(0, 255).to(torch.uint8).numpy()
