"""The measuring networks whose weights were given. They take pictures and give numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from icface.arrays import Frame
from icface.errors import ConfigError
from training.evaluation.animators import to_images
from training.evaluation.cnniqa import CNNIQA, PATCH_PX, load_cnniqa
from training.evaluation.embedding import Embedder, Taken, cosines, load_embedder
from training.evaluation.lpips import LPIPS, load_lpips
from training.evaluation.wadiqam import WaDIQaM, load_wadiqam

Scores = NDArray[np.float64]

_BATCH = 16


@dataclass
class Judges:
    """Networks, or None where no weights were given. Every method takes frames (n, S, S, 3) and gives (n,)."""

    cnniqa: CNNIQA | None = None
    deepiqa: WaDIQaM | None = None
    lpips: LPIPS | None = None
    identity: Embedder | None = None
    device: str = "cpu"
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the judge's name: `network`, and `file` and `sha256` of its weights."""

    @torch.inference_mode()
    def quality(self, frames: Frame) -> Scores | None:
        """CNNIQA of pictures by themselves."""
        return None if self.cnniqa is None else self._by_parts(self.cnniqa, frames)

    @torch.inference_mode()
    def quality_against(self, frames: Frame, reference: Frame) -> Scores | None:
        """DeepIQA against one reference (S, S, 3)."""
        return (
            None
            if self.deepiqa is None
            else self._by_parts(self.deepiqa, frames, _repeated(reference, frames))
        )

    @torch.inference_mode()
    def distance(self, frames: Frame, wanted: Frame) -> Scores | None:
        """LPIPS, frame by frame."""
        return None if self.lpips is None else self._by_parts(self.lpips, frames, wanted)

    def likeness(self, frames: Frame, source: Frame) -> Scores | None:
        """CSIM: cosine between the identity features of frames and of one source (S, S, 3)."""
        if self.identity is None:
            return None
        return cosines(self.identity.embed(frames), self.identity.embed(source[None]))

    def _by_parts(self, network: nn.Module, *stacks: Frame) -> Scores:
        """A network over stacks of frames, some at a time."""
        scores = [
            network(*(to_images(part).to(self.device) for part in parts)).cpu().numpy()
            for parts in zip(*(_parts(stack) for stack in stacks), strict=True)
        ]
        return np.concatenate(scores).astype(np.float64)


def _parts(frames: Frame) -> list[Frame]:
    return [frames[i : i + _BATCH] for i in range(0, len(frames), _BATCH)]


def _repeated(frame: Frame, frames: Frame) -> Frame:
    return np.broadcast_to(frame, frames.shape)


def load_judges(
    *,
    cnniqa: Path | None = None,
    deepiqa: Path | None = None,
    lpips: Path | None = None,
    identity: Path | None = None,
    taken: Taken | None = None,
    size_px: int,
    device: str = "cpu",
) -> Judges:
    """Networks with the user's weights.

    Args:
        cnniqa, deepiqa, lpips, identity: files of weights; `identity` may be an ONNX network.
        taken: what such a network takes.
        size_px: side of the crops.
        device: where they run; ONNX networks run on the CPU.

    Raises:
        ConfigError: a file is missing, damaged or for another network, or the crops are too small for it.
    """
    if size_px < PATCH_PX:
        for flag, path in (("--cnniqa", cnniqa), ("--deepiqa", deepiqa)):
            if path is not None:
                raise ConfigError(
                    f"{flag} looks at patches of {PATCH_PX} pixels; the data's crops have {size_px}"
                )
    judges = Judges(device=device)
    if cnniqa is not None:
        judges.cnniqa = load_cnniqa(cnniqa).to(device)
    if deepiqa is not None:
        judges.deepiqa = load_wadiqam(deepiqa).to(device)
    if lpips is not None:
        judges.lpips = load_lpips(lpips).to(device)
    told = {"cnniqa": "CNNIQA", "deepiqa": "WaDIQaM-FR", "lpips": "LPIPS (AlexNet)"}
    if identity is not None:
        judges.identity = load_embedder(identity, taken or Taken(), crop_px=size_px, device=device)
        told["identity"] = judges.identity.told
    elif taken not in (None, Taken()):
        raise ConfigError(
            "--identity-range, --identity-colour and --identity-size need --identity NETWORK.onnx"
        )
    given = {"cnniqa": cnniqa, "deepiqa": deepiqa, "lpips": lpips, "identity": identity}
    judges.files = {
        name: {
            "network": told[name],
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for name, path in given.items()
        if path is not None
    }
    return judges
