"""A trained model on disk: one safetensors file with the generators' weights. Its header says what they are.

Nothing in it can run code. A file whose names, shapes or numbers do not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from icface.bundle_checks import ATTRIBUTE_SCALES
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT
from icface.files import replacing_file
from icface.networks.config import NetworksConfig, read_settings
from icface.networks.icface import ICface
from icface.networks.patch import PatchConfig, PatchCorrector

FORMAT: Final = 1
_HEADER: Final = "icface"
_CORRECTOR: Final = "icface-corrector"
HALF_FROM: Final = 1024
"""A corrector's tensors of so many values and more are stored in float16."""

_Info = TypeVar("_Info", bound=Struct)


class ModelInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is and where it comes from."""

    networks: NetworksConfig
    attribute_scale: str = "full-shape"
    """`full-shape` or `openface`: the scale of the attributes that it was trained on."""
    alignment: str = ALIGNMENT
    """How the faces were cropped."""
    provenance: str
    """What it was trained on."""
    licence: str
    """The licence under which it may be used."""
    step: int
    """How many training steps made it."""

    def __post_init__(self) -> None:
        if self.attribute_scale not in ATTRIBUTE_SCALES:
            choices = " or ".join(ATTRIBUTE_SCALES)
            raise ConfigError(f"attribute_scale is {self.attribute_scale!r}; choose {choices}")


class CorrectorInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a patch corrector is and where it comes from."""

    network: PatchConfig
    provenance: str
    """What it was trained on."""
    licence: str
    """The licence under which it may be used."""
    step: int
    """How many training steps made it."""


def save_model(path: Path, model: ICface, info: ModelInfo) -> None:
    """Write a model. The file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    # The numbers of the discriminator are part of the header, its weights are not part of the model.
    save_described(path, model, _HEADER, info)


def load_model(path: Path) -> tuple[ICface, ModelInfo]:
    """Read a model, ready to be run (`eval`, no gradients).

    Raises:
        ConfigError: it is missing, damaged or not one of ours, or a weight is not a finite number.
    """
    writers = "training/train.py or training/import_checkpoint.py"
    info, tensors = read_described(path, _HEADER, ModelInfo, f"an ICface model; one is written by {writers}")
    model = ICface(info.networks)
    load_weights(model, tensors, str(path))
    return model.eval().requires_grad_(False), info


def save_corrector(path: Path, model: PatchCorrector, info: CorrectorInfo) -> None:
    """Write a patch corrector. Its convolutions are rounded to float16. The file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    tensors = {
        name: tensor.half() if tensor.numel() >= HALF_FROM else tensor
        for name, tensor in model.state_dict().items()
    }
    write_tensors(path, tensors, {_CORRECTOR: _header_of(info)})


def load_corrector(path: Path) -> tuple[PatchCorrector, CorrectorInfo]:
    """Read a patch corrector, ready to be run (`eval`, no gradients).

    Raises:
        ConfigError: it is missing, damaged or not one, or a weight is not a finite number.
    """
    what = "a patch corrector; one is written by training/train.py with a config whose method is patch"
    info, tensors = read_described(path, _CORRECTOR, CorrectorInfo, what)
    model = PatchCorrector(info.network)
    load_weights(model, tensors, str(path))
    return model.eval().requires_grad_(False), info


def save_described(path: Path, model: nn.Module, header: str, info: Struct) -> None:
    """Write a network's weights, and what it is under the name `header`. The file appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    write_tensors(path, model.state_dict(), {header: _header_of(info)})


def _header_of(info: Struct) -> str:
    return json.dumps({"format": FORMAT, **msgspec.to_builtins(info)})


def read_described(path: Path, header: str, kind: type[_Info], what: str) -> tuple[_Info, dict[str, Tensor]]:
    """What `save_described` wrote: the header, checked, and the weights.

    Args:
        what: what the file should be and what writes it, for the message.

    Raises:
        ConfigError: it is missing, damaged or something else.
    """
    tensors, metadata = read_tensors(path)
    if header not in metadata:
        raise ConfigError(f"{path} is not {what}")
    try:
        raw = msgspec.json.decode(metadata[header], type=dict[str, Any])
        if raw.pop("format", None) != FORMAT:
            raise ConfigError(f"its format is not {FORMAT}, which this version reads")
        return read_settings(kind, raw), tensors
    except (msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: its header does not fit: {error}") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module, if every name, shape and number is right.

    Raises:
        ConfigError: with the first weight that does not fit.
    """
    wanted = module.state_dict()
    for name in wanted:
        if name not in tensors:
            raise ConfigError(f"{where} lacks the weight {name}")
    for name, tensor in tensors.items():
        if name not in wanted:
            raise ConfigError(f"{where} has the weight {name}, which this network does not have")
        if tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{where}: {name} is {tuple(tensor.shape)}, while the network takes {tuple(wanted[name].shape)}"
            )
        if not _is_finite(tensor):
            raise ConfigError(f"{where}: {name} has values that are not finite numbers; its training failed")
    module.load_state_dict(tensors, strict=True)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header texts of a safetensors file.

    Raises:
        ConfigError: it cannot be read or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return tensors, metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file. It appears whole or not at all, and an older one stays when writing fails.

    Raises:
        ConfigError: it cannot be written (no space, no permission), or a value is not a finite number.
    """
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ConfigError(f"{path} is not written: {name} has values that are not finite numbers")
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing_file(path) as unfinished:
            # safetensors makes a file that only its owner can read. The mode of a new file is what the umask gives.
            unfinished.touch()
            mode = unfinished.stat().st_mode
            save_file(contiguous, unfinished, metadata)
            unfinished.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot write {path}: {error}") from error
