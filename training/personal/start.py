"""The corrector that ships, as a network in torch: its weights are read out of the shipped bundle's own graph."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError
from icface.networks import CorrectorInfo, PatchConfig, PatchCorrector
from icface.networks.checkpoint import load_weights

GRAPH: Final = "correct.onnx"
_PREFIX: Final = "network."
_NETWORK: Final = "Network: "


def corrector_of(path: Path = DEFAULT_BUNDLE) -> tuple[PatchCorrector, CorrectorInfo]:
    """The corrector of an edge bundle, ready to be run (`eval`, no gradients), and what it is.

    Raises:
        ConfigError: the bundle has none, or one of another shape.
        BundleError: the bundle cannot be used.
    """
    bundle = Bundle.load(path)
    try:
        graph = onnx.load(path / GRAPH).graph
    except (OSError, DecodeError) as error:
        raise ConfigError(f"{path} has no corrector to start from ({error})") from error
    weights = {
        each.name.removeprefix(_PREFIX): torch.from_numpy(numpy_helper.to_array(each).astype(np.float32))
        for each in graph.initializer
        if each.name.startswith(_PREFIX)
    }
    config = PatchConfig()
    model = PatchCorrector(config)
    fixed = {name for name, _ in model.named_buffers()} - set(model.state_dict())
    load_weights(
        model, {name: tensor for name, tensor in weights.items() if name not in fixed}, str(path / GRAPH)
    )
    told = bundle.provenance.partition(_NETWORK)[2] or bundle.provenance
    info = CorrectorInfo(network=config, provenance=told, licence="MIT", step=0)
    return model.eval().requires_grad_(False), info
