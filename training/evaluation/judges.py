"""The measuring networks that are there: those whose weights were given. Pictures in, numbers out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from icface.errors import ConfigError
from training.evaluation.animators import to_images
from training.evaluation.cnniqa import CNNIQA, PATCH_PX, load_cnniqa
from training.evaluation.lpips import LPIPS, load_lpips
from training.evaluation.wadiqam import WaDIQaM, load_wadiqam

if TYPE_CHECKING:
    from icface.networks.lightcnn import LightCNN29

Frame = NDArray[np.uint8]
Scores = NDArray[np.float64]

_BATCH = 16


@dataclass
class Judges:
    """Networks, or None where no weights were given. Every method takes frames (n, S, S, 3) and gives (n,)."""

    cnniqa: CNNIQA | None = None
    deepiqa: WaDIQaM | None = None
    lpips: LPIPS | None = None
    identity: LightCNN29 | None = None
    device: str = "cpu"
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each weights file, by the judge's name."""

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

    @torch.inference_mode()
    def likeness(self, frames: Frame, source: Frame) -> Scores | None:
        """CSIM: cosine between the identity features of frames and of one source (S, S, 3)."""
        if self.identity is None:
            return None
        network = self.identity
        wanted = network(to_images(source[None]).to(self.device)).fc
        scores = [
            torch.cosine_similarity(network(to_images(part).to(self.device)).fc, wanted, dim=1).cpu().numpy()
            for part in _parts(frames)
        ]
        return np.concatenate(scores).astype(np.float64)

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
    size_px: int,
    device: str = "cpu",
) -> Judges:
    """Networks with the user's weights.

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
    if identity is not None:
        from icface.networks.lightcnn import load_lightcnn

        judges.identity = load_lightcnn(identity).to(device)
    given = {"cnniqa": cnniqa, "deepiqa": deepiqa, "lpips": lpips, "identity": identity}
    judges.files = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in given.items()
        if path is not None
    }
    return judges
