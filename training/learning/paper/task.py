"""Training of the paper's networks: a data set of tracks, one of the methods, and models as they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.utils.data import Dataset

from icface.errors import ConfigError
from icface.networks import ICface, ModelInfo, load_model, save_model
from training.dataset.index import INDEX_FILE
from training.dataset.pairs import PairConfig, PairDataset, PortraitDataset
from training.dataset.reading import FaceTracks
from training.learning.paper.config import TrainConfig
from training.learning.paper.methods import build_method
from training.learning.paper.validation import validate, validation_pairs
from training.learning.runtime import Runtime
from training.learning.task import Batch, Task, digest_of
from training.networks.lightcnn import load_lightcnn

GRID_ROWS = 8


class PaperTask(Task):
    """See `Task`.

    Args:
        data: folder that training/prepare.py made.
        portraits: data set of portraits for the method `unpaired`; None takes them from `data`.
        identity: weights of the identity network.

    Raises:
        ConfigError: settings and data do not fit each other.
    """

    judged_by = "l1"

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        runtime: Runtime,
        portraits: Path | None = None,
        identity: Path | None = None,
    ) -> None:
        self.config: TrainConfig = config
        self._runtime = runtime
        tracks = FaceTracks(data, stored=True)
        _check_data(config, tracks)
        self._info = ModelInfo(
            networks=config.networks,
            attribute_scale=tracks.attribute_scale,
            provenance=config.provenance or f"trained on {data.name}",
            licence=config.licence,
            step=0,
        )
        pairs = PairConfig(sampling=config.sampling.mode, flip=config.sampling.flip, seed=config.seed)
        self._datasets: list[Dataset[dict[str, Tensor]]] = [PairDataset(tracks, "train", pairs)]
        self.digests = {"data": digest_of(data / INDEX_FILE)}
        if config.method == "unpaired":
            self.digests["portraits"] = digest_of((portraits or data) / INDEX_FILE)
            faces = tracks if portraits is None else FaceTracks(portraits, stored=True)
            _check_data(config, faces)
            self._datasets.append(PortraitDataset(faces, "train", seed=config.seed))
        network = None if identity is None else load_lightcnn(identity)
        self._method = build_method(config, runtime, network)
        self.modules, self.optimizers = self._method.modules, self._method.optimizers
        # Without the loss the network is not asked.
        self.digests["identity"] = digest_of(identity if config.losses.identity > 0 else None)
        self._validation_pairs = validation_pairs(tracks)

    def model(self) -> ICface:
        return self._method.model()

    def datasets(self) -> Sequence[Dataset[dict[str, Tensor]]]:
        return self._datasets

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return self._method.step(batch)

    def validate(self, shown: ICface) -> tuple[dict[str, float], Batch]:
        return validate(shown, self._validation_pairs, self.config, self._runtime)

    @torch.no_grad()
    def picture(self, shown: ICface, batch: Batch) -> tuple[str, Tensor]:
        """Rows of source, neutral image, output and driving frame; puts the model in `eval`."""
        shown.eval()
        source, driving = batch["source"][:GRID_ROWS], batch["driving"][:GRID_ROWS]
        neutral = shown.neutralise(source)
        output = shown.animate(neutral, batch["driving_attributes"][:GRID_ROWS])
        columns = torch.cat([source, neutral.float(), output.float(), driving], dim=3)
        return "source, neutral, output, driving", torch.cat(list(columns), dim=1) / 2 + 0.5

    def save(self, path: Path, shown: ICface, step: int) -> None:
        save_model(path, shown, replace(self._info, step=step))

    def start_from(self, path: Path) -> None:
        """See `Task`."""
        model, info = load_model(path)
        if info.networks != self.config.networks:
            raise ConfigError(f"{path} has other networks than the settings; give a model of the same ones")
        self.model().load_state_dict(model.state_dict())


def _check_data(config: TrainConfig, tracks: FaceTracks) -> None:
    size_px = config.networks.size_px
    if tracks.size_px != size_px:
        raise ConfigError(
            f"{tracks.folder} holds crops of {tracks.size_px} pixels, the settings say {size_px}; "
            f"prepare it with --size {size_px}, or --set networks.size_px={tracks.size_px}"
        )
    scale, named = tracks.attribute_scale, config.attribute_scale
    if scale != named:
        raise ConfigError(
            f"{tracks.folder} has attributes on the scale {scale}, the settings say {named}; prepare it with "
            f"--scale {named} (what is measured is kept), or --set attribute_scale={scale}"
        )
    wanted, found = config.networks.discriminator.identities, len(tracks.index.splits["train"])
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"{tracks.folder} has {found} identities to train on, D's head {wanted}; "
            f"--set networks.discriminator.identities={found}"
        )
