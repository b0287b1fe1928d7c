"""Measures the generators on people who are neither trained on nor reported, with the same pairs each time."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.utils.data import default_collate

from icface.networks import ICface
from icface.quality import psnr_of_error_db
from training.dataset.pairs import PairConfig, PairDataset
from training.dataset.reading import FaceTracks
from training.learning.paper.config import TrainConfig
from training.learning.runtime import Runtime

logger = logging.getLogger(__name__)


def validation_pairs(tracks: FaceTracks) -> PairDataset:
    """Pairs of the validation split. Where it has no clip, they are of the training split, and a warning says so.

    They are never of the test split: a model that was chosen on people would be reported on the same people.
    """
    moving = any(tracks.tracks[number].frames > 1 for number in tracks.split("validation"))
    split = "validation" if moving else "train"
    if not moving:
        logger.warning(
            "%s has nobody for validation: best.safetensors is chosen on people who are trained on; prepare the data "
            "again with --validation-share or --validation-identity",
            tracks.folder,
        )
    return PairDataset(tracks, split, PairConfig(flip=False, seed=0))


@torch.no_grad()
def validate(
    model: ICface, pairs: PairDataset, config: TrainConfig, runtime: Runtime
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """L1 on [0, 1] and PSNR (dB) of outputs against driving frames, and the first batch. It leaves the model in `eval`.

    Also how much attributes matter: the mean change (on [0, 1]) of the output between the driving attributes
    and those of a neutral face. Near 0 they are ignored.
    """
    model.eval()
    count, size = config.validation_pairs, config.batch_size
    absolute = squared = change = 0.0
    first: dict[str, Tensor] = {}
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        batch = runtime.put(default_collate([pairs[i] for i in numbers]))
        first = first or batch
        with runtime.autocast():
            neutral = model.neutralise(batch["source"])
            output = model.animate(neutral, batch["driving_attributes"]).float()
            rest = model.animate(neutral, model.neutral_attributes.expand(len(output), -1)).float()
        share = len(output) / count / 2
        absolute += share * float((output - batch["driving"]).abs().mean())
        squared += share / 2 * float((output - batch["driving"]).square().mean())
        change += share * float((output - rest).abs().mean())
    psnr_db = psnr_of_error_db(max(squared, 1e-12), peak=1.0)
    return {"l1": absolute, "psnr_db": psnr_db, "response": change}, first
