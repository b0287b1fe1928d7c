"""The measuring networks whose weights were given. They take pictures and give numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torch import nn

from icface.arrays import Frame
from icface.errors import ConfigError
from training.evaluation.embedding import Embedder, Taken, Vectors, cosines, in_batches, load_embedder
from training.evaluation.picture_networks import PATCH_PX, load_cnniqa, load_lpips, load_wadiqam

_NETWORKS: Final = {
    "cnniqa": (load_cnniqa, "CNNIQA"),
    "deepiqa": (load_wadiqam, "WaDIQaM-FR"),
    "lpips": (load_lpips, "LPIPS (AlexNet)"),
}


@dataclass
class Judges:
    """Methods take frames (n, S, S, 3). They give (n,), or None where no weights were given."""

    networks: dict[str, nn.Module] = field(default_factory=dict)
    """By name: `cnniqa`, `deepiqa`, `lpips`."""
    identity: Embedder | None = None
    device: str = "cpu"
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the judge's name: `network`, and `file` and `sha256` of its weights."""

    def score(self, name: str, *stacks: Frame) -> Vectors | None:
        """CNNIQA of pictures. DeepIQA and LPIPS take the references, one for each picture, as a second stack."""
        network = self.networks.get(name)
        return None if network is None else in_batches(network, self.device, *stacks)

    def likeness(self, frames: Frame, source: Frame) -> Vectors | None:
        """CSIM: cosine between the identity features of frames and of one source (S, S, 3)."""
        if self.identity is None:
            return None
        return cosines(self.identity.embed(frames), self.identity.embed(source[None]))


def load_judges(
    *, size_px: int, taken: Taken | None = None, device: str = "cpu", **weights: Path | None
) -> Judges:
    """Networks with the user's weights, for crops of a size. ONNX networks run on the CPU.

    Args:
        taken: what an ONNX network takes.
        weights: files for `cnniqa`, `deepiqa`, `lpips` and `identity`, which may be an ONNX network.

    Raises:
        ConfigError: a file is missing, damaged or for another network, or the crops are too small for it.
    """
    given = {name: path for name, path in weights.items() if path is not None}
    taken = taken or Taken()
    if taken != Taken() and "identity" not in given:
        raise ConfigError(
            "--identity-range, --identity-colour and --identity-size need --identity NETWORK.onnx"
        )
    judges = Judges(device=device)
    for name, path in given.items():
        if name == "identity":
            judges.identity = load_embedder(path, taken, crop_px=size_px, device=device)
            told = judges.identity.told
        else:
            if name != "lpips" and size_px < PATCH_PX:
                raise ConfigError(
                    f"--{name} looks at patches of {PATCH_PX} pixels; the data's crops have {size_px}"
                )
            load, told = _NETWORKS[name]
            judges.networks[name] = load(path).to(device)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        judges.files[name] = {"network": told, "file": path.name, "sha256": digest}
    return judges
