"""Training of image translation: folders of pictures, the method, and models as they are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.utils.data import Dataset

from icface.errors import ConfigError
from icface.quality import psnr_of_error_db
from training.learning.runtime import Runtime
from training.learning.task import Batch, Task
from training.learning.translation.config import TranslationConfig
from training.learning.translation.method import TranslationMethod
from training.learning.translation.pictures import (
    Pictures,
    TranslationPictures,
    as_image,
    find_pictures,
    read_picture,
)
from training.networks.translation import TranslatorInfo, Translators, load_translators, save_translators

logger = logging.getLogger(__name__)

GRID = 8


class TranslationTask(Task):
    """See `Task`.

    Args:
        data: folder of pictures; see `pictures.py`.

    Raises:
        ConfigError: settings and data do not fit each other.
    """

    def __init__(self, config: TranslationConfig, data: Path, runtime: Runtime) -> None:
        self.config: TranslationConfig = config
        self._runtime = runtime
        pictures = find_pictures(data)
        _check(config, pictures, data)
        self.digests = {"data": pictures.digest()}
        self._info = TranslatorInfo(
            network=config.generator,
            size_px=config.size_px,
            provenance=config.provenance or f"trained on {data.name}",
            licence=config.licence,
            step=0,
        )
        self._datasets = [TranslationPictures(pictures, config, config.batch_size * runtime.processes)]
        self._method = TranslationMethod(config, runtime)
        self.modules, self.optimizers = self._method.modules, self._method.optimizers
        self.judged_by = "l1" if pictures.test else "cycle"
        if not pictures.test:
            logger.warning(
                "%s is missing; what is best is chosen by the cycle, on pictures that are trained on",
                data / "test",
            )
        known = pictures.test or list(zip(pictures.a, pictures.b, strict=False))
        self._validation = known[: config.validation_pairs]

    def model(self) -> Translators:
        return self._method.translators

    def datasets(self) -> Sequence[Dataset[dict[str, Tensor]]]:
        return self._datasets

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return self._method.step(batch)

    @torch.no_grad()
    def validate(self, shown: Translators) -> tuple[dict[str, float], Batch]:
        """L1 on [0, 1] of the cycles, and of outputs against their true counterparts with PSNR (dB), both directions."""
        shown.eval()
        sums = dict.fromkeys(("cycle", "l1_to_b", "l1_to_a", "squared_to_b", "squared_to_a"), 0.0)
        first: dict[str, Tensor] = {}
        size = self.config.batch_size
        for start in range(0, len(self._validation), size):
            batch = self._batch(start, start + size)
            first = first or batch
            a, b = batch["a"], batch["b"]
            with self._runtime.autocast():
                to_b, to_a = shown.to_b(a), shown.to_a(b)
                cycles = (shown.to_a(to_b) - a).abs().mean() + (shown.to_b(to_a) - b).abs().mean()
            share = len(a) / len(self._validation)
            # Differences on [−1, 1] are twice those on [0, 1].
            sums["cycle"] += share * float(cycles) / 4
            for name, error in (("to_b", to_b.float() - b), ("to_a", to_a.float() - a)):
                sums[f"l1_{name}"] += share * float(error.abs().mean()) / 2
                sums[f"squared_{name}"] += share * float(error.square().mean()) / 4
        numbers = {"cycle": sums["cycle"]}
        if self.judged_by == "l1":
            numbers |= {"l1": (sums["l1_to_b"] + sums["l1_to_a"]) / 2}
            for name in ("to_b", "to_a"):
                numbers[f"l1_{name}"] = sums[f"l1_{name}"]
                numbers[f"psnr_db_{name}"] = psnr_of_error_db(max(sums[f"squared_{name}"], 1e-12), peak=1.0)
        return numbers, first

    def _batch(self, start: int, stop: int) -> dict[str, Tensor]:
        size_px = self.config.size_px
        pairs = [
            [as_image(read_picture(path, size_px)) for path in pair] for pair in self._validation[start:stop]
        ]
        a, b = (torch.stack(list(images)) for images in zip(*pairs, strict=True))
        return self._runtime.put({"a": a, "b": b})

    @torch.no_grad()
    def picture(self, shown: Translators, batch: Batch) -> tuple[str, Tensor]:
        """Rows of A, A in B and back, B, B in A and back; puts the model in `eval`."""
        shown.eval()
        a, b = batch["a"][:GRID], batch["b"][:GRID]
        to_b, to_a = shown.to_b(a), shown.to_a(b)
        columns = torch.cat([a, to_b, shown.to_a(to_b), b, to_a, shown.to_b(to_a)], dim=3)
        return "A, to B, and back, B, to A, and back", torch.cat(list(columns), dim=1) / 2 + 0.5

    def save(self, path: Path, shown: Translators, step: int) -> None:
        save_translators(path, shown, replace(self._info, step=step))

    def start_from(self, path: Path) -> None:
        """See `Task`."""
        model, info = load_translators(path)
        if info.network != self.config.generator:
            raise ConfigError(f"{path} has other networks than the settings; give a model of the same ones")
        self.model().load_state_dict(model.state_dict())


def _check(config: TranslationConfig, pictures: Pictures, data: Path) -> None:
    if (config.paired_first or config.paired_later) and not pictures.pairs:
        raise ConfigError(
            f"{data / 'pairs'} has no pairs, which the settings ask for; put them there, or go without: "
            "--set paired_first=0 --set paired_later=0"
        )
