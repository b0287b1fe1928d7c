"""The networks that ship, in torch: their weights are read out of the shipped bundle's own graphs."""

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

_PREFIX: Final = "network."
_NETWORK: Final = "Network: "


def corrector_of(path: Path = DEFAULT_BUNDLE) -> tuple[PatchCorrector, CorrectorInfo]:
    """The corrector of an edge bundle, ready to be run (`eval`, no gradients), and what it is.

    Raises:
        ConfigError: the bundle has none, or one of another shape.
        BundleError: the bundle cannot be used.
    """
    bundle = Bundle.load(path)
    if bundle.correct is None:
        raise ConfigError(f"{path} has no corrector to start from")
    model = _network_of(bundle.file(bundle.correct.graph))
    told = bundle.provenance.partition(_NETWORK)[2] or bundle.provenance
    return model, CorrectorInfo(network=model.config, provenance=told, licence="MIT", step=0)


def neutraliser_of(path: Path = DEFAULT_BUNDLE) -> PatchCorrector | None:
    """The neutraliser of an edge bundle, ready to be run; None where it has none. Errors as of `corrector_of`."""
    bundle = Bundle.load(path)
    if bundle.neutralise is None:
        return None
    return _network_of(bundle.file(bundle.neutralise.graph), opens_eyes=True)


def _network_of(graph: Path, *, opens_eyes: bool = False) -> PatchCorrector:
    try:
        values = {each.name: numpy_helper.to_array(each) for each in onnx.load(graph).graph.initializer}
    except (OSError, DecodeError) as error:
        raise ConfigError(f"cannot read the network of {graph} ({error})") from error
    weights = {
        name.removeprefix(_PREFIX): torch.from_numpy(each.astype(np.float32))
        for name, each in values.items()
        if name.startswith(_PREFIX)
    }
    try:
        layers = ("stem", "down.0", "down.1", "down.2")
        a, b, c, d = (len(weights[f"{layer}.weight"]) for layer in layers)
        config = PatchConfig(
            channels=(a, b, c, d), hidden=len(weights["style.0.weight"]), opens_eyes=opens_eyes
        )
    except KeyError as error:
        raise ConfigError(f"{graph} has another network: it lacks {error}") from error
    model = PatchCorrector(config)
    fixed = {name for name, _ in model.named_buffers()} - set(model.state_dict())
    load_weights(model, {name: each for name, each in weights.items() if name not in fixed}, str(graph))
    return model.eval().requires_grad_(False)
