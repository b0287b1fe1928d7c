"""What training draws from a data set: pairs of frames for the paper's method, portraits for the unpaired one.

Item i depends on the seed and on i alone, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from icface.attributes import ACTION_UNITS, POSE, mirror
from icface.errors import ConfigError
from training.dataset.reading import FaceTracks

SAMPLINGS: Final = ("uniform", "expression", "pose")
_FLOOR: Final = 0.1
"""A driving frame that equals the source keeps this part of the mean weight."""


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Which two frames of a track make a pair."""

    sampling: str = "uniform"
    """`uniform`; `expression` or `pose` prefer driving frames that differ from the source in those."""
    flip: bool = True
    """Half of the pairs are mirrored: pictures and attributes."""
    seed: int = 20


class PairDataset(Dataset[dict[str, Tensor]]):
    """Pairs of two frames of one track: the same person, another moment. There is an item for any number from 0.

    An item holds `source` and `driving` (3, S, S) float32 RGB in [−1, 1], `source_attributes` and
    `driving_attributes` (20,) float32, `identity` int64 (place in `FaceTracks.identities`).

    Raises:
        ConfigError: the split has no track of two frames.
    """

    def __init__(self, tracks: FaceTracks, split: str = "train", config: PairConfig | None = None) -> None:
        self._tracks = tracks
        self._config = config or PairConfig()
        self._numbers = tuple(n for n in tracks.split(split) if tracks.tracks[n].frames > 1)
        if not self._numbers:
            raise ConfigError(f"{tracks.folder} has no clip of two frames or more to {split} on")

    def rows(self, i: int) -> tuple[int, int, bool]:
        """Rows of source and driving frame of pair i, and whether it is mirrored."""
        rng = np.random.default_rng([self._config.seed, i])
        # Every track equally often: a long clip does not teach more than a short one.
        number = self._numbers[rng.integers(len(self._numbers))]
        track = self._tracks.tracks[number]
        source = int(rng.integers(track.frames))
        weights = self._weights(number, source)
        driving = int(rng.choice(track.frames, p=weights / weights.sum()))
        flipped = bool(rng.random() < 0.5) and self._config.flip
        return track.first + source, track.first + driving, flipped

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        source, driving, flipped = self.rows(i)
        identity = self._tracks.identity_number(self._tracks.track_of(source))
        return {
            **_seen("source", self._tracks, source, flipped),
            **_seen("driving", self._tracks, driving, flipped),
            "identity": torch.tensor(identity),
        }

    def _weights(self, number: int, source: int) -> NDArray[np.float64]:
        """(n,) chance of each frame of a track to drive; the source itself has none."""
        if self._config.sampling == "uniform":
            weights = np.ones(self._tracks.tracks[number].frames)
        else:
            part = ACTION_UNITS if self._config.sampling == "expression" else POSE
            values = self._tracks.values(number).attributes[:, part].astype(np.float64)
            distance = np.linalg.norm(values - values[source], axis=1)
            # A person who does not move at all leaves a uniform choice.
            weights = distance + max(_FLOOR * float(distance.mean()), 1e-6)
        weights[source] = 0.0
        return weights


class PortraitDataset(Dataset[dict[str, Tensor]]):
    """Single pictures with somebody else's attributes, for unpaired training. There is an item for any number from 0.

    An item holds `portrait` (3, S, S) float32 RGB in [−1, 1], `portrait_attributes` (20,) and `random_attributes`
    (20,). The latter are those of a frame of another track of the same split. Each of the two is mirrored or not.

    Clips give portraits too, one track as often as another.

    Raises:
        ConfigError: the split is empty.
    """

    def __init__(
        self, tracks: FaceTracks, split: str = "train", *, flip: bool = True, seed: int = 20
    ) -> None:
        self._tracks = tracks
        self._flip = flip
        self._seed = seed
        self._numbers = tracks.split(split)
        if not self._numbers:
            raise ConfigError(f"{tracks.folder} has nothing to {split} on")

    def rows(self, i: int) -> tuple[int, int, bool, bool]:
        """Rows of the portrait and of the frame whose attributes are asked for, and whether each is mirrored."""
        rng = np.random.default_rng([self._seed, i])
        count = len(self._numbers)
        here = int(rng.integers(count))
        there = (here + 1 + int(rng.integers(count - 1))) % count if count > 1 else here
        tracks = [self._tracks.tracks[self._numbers[number]] for number in (here, there)]
        portrait, other = (track.first + int(rng.integers(track.frames)) for track in tracks)
        flipped, asked_flipped = (rng.random(2) < 0.5) & self._flip
        return portrait, other, bool(flipped), bool(asked_flipped)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        portrait, other, flipped, asked_flipped = self.rows(i)
        asked = self._tracks.values_of([other]).attributes[0]
        return {
            **_seen("portrait", self._tracks, portrait, flipped),
            "random_attributes": torch.from_numpy(mirror(asked) if asked_flipped else asked),
        }


def _seen(name: str, tracks: FaceTracks, row: int, flipped: bool) -> dict[str, Tensor]:
    """A frame as an image (3, S, S) in [−1, 1], and its attributes (20,); both mirrored or neither."""
    frame, attributes = tracks.frame(row), tracks.values_of([row]).attributes[0]
    if flipped:
        frame, attributes = frame[:, ::-1], mirror(attributes)
    image = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32)
    return {
        name: torch.from_numpy(image / np.float32(127.5) - np.float32(1)),
        f"{name}_attributes": torch.from_numpy(attributes),
    }
