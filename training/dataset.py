"""Reading a prepared data set: any frame by its row, pairs of frames for the paper's method, portraits for the unpaired.

Item i of a data set depends on the seed and on i alone, so that a run that is resumed sees what it would have seen.
Layout on disk: training/preparation/index.py.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from icface.attributes import ACTION_UNITS, AU_NAMES, COUNT, POSE, FloatArray, mirror
from icface.errors import ConfigError
from training.preparation.index import (
    ATTRIBUTES_FILE,
    FRAMES_FILE,
    INDEX_FILE,
    PRESENCE_FILE,
    TIMES_FILE,
    Index,
    Track,
    index_from_json,
)

Sampling = Literal["uniform", "expression", "pose"]
_FLOOR: Final = 0.1
"""Of the mean weight: what a driving frame that equals the source still has."""


class FaceTracks:
    """An open data set; frames may be read by several threads and processes at once.

    Args:
        folder: written by training/prepare.py.

    Raises:
        ConfigError: it is missing, damaged, or what its index says does not fit its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / INDEX_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigError(
                f"{folder} holds no data set ({INDEX_FILE} is missing); run training/prepare.py, to its end"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        try:
            self.index: Index = index_from_json(text)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        rows = self.index.rows
        files = {name: folder / file for name, file in self.index.tables.items()}
        self.attributes: FloatArray = _table(files[ATTRIBUTES_FILE], (rows, COUNT), np.float32)
        """(N, 20) full-shape, one row a frame."""
        self.times_s: NDArray[np.float32] = _table(files[TIMES_FILE], (rows,), np.float32)
        self.presence: NDArray[np.int8] = _table(files[PRESENCE_FILE], (rows, len(AU_NAMES)), np.int8)
        self._places: NDArray[np.int64] = _table(files[FRAMES_FILE], (rows, 2), np.int64)
        self._shards = tuple(folder / shard.file for shard in self.index.shards)
        self._check_files()
        self._firsts = np.array([track.first for track in self.index.tracks], dtype=np.int64)
        self._numbers = {name: number for number, name in enumerate(self.identities)}
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def size_px(self) -> int:
        """Side S of the crops."""
        return self.index.size_px

    @property
    def attribute_scale(self) -> str:
        return self.index.attribute_scale

    @property
    def alignment(self) -> str:
        return self.index.alignment

    @property
    def tracks(self) -> tuple[Track, ...]:
        return self.index.tracks

    @property
    def identities(self) -> tuple[str, ...]:
        """Those to train on come first, so that they are numbered from 0."""
        return (*self.index.splits["train"], *self.index.splits["test"])

    def split(self, name: str) -> tuple[int, ...]:
        """Numbers of the tracks of `train` or `test`.

        Raises:
            ConfigError: no such split.
        """
        if name not in self.index.splits:
            raise ConfigError(f"split {name!r} is unknown; choose {' or '.join(self.index.splits)}")
        identities = set(self.index.splits[name])
        return tuple(n for n, track in enumerate(self.tracks) if track.identity in identities)

    def identity_number(self, track: int) -> int:
        """Place of a track's identity in `identities`."""
        return self._numbers[self.tracks[track].identity]

    def track_of(self, row: int) -> int:
        """Number of the track that a row belongs to."""
        return int(np.searchsorted(self._firsts, row, side="right")) - 1

    def jpeg(self, row: int) -> bytes:
        """A frame as it is stored.

        Raises:
            ConfigError: its shard cannot be read.
        """
        shard = self.tracks[self.track_of(row)].shard
        offset, length = (int(value) for value in self._places[row])
        try:
            content = os.pread(self._descriptor(shard), length, offset)
        except OSError as error:
            raise ConfigError(f"cannot read {self._shards[shard]}: {error.strerror or error}") from error
        if len(content) != length:
            raise ConfigError(f"{self._shards[shard]} ends before frame {row}; prepare the data again")
        return content

    def frame(self, row: int) -> NDArray[np.uint8]:
        """(S, S, 3) RGB, a new array.

        Raises:
            ConfigError: it cannot be read, or its bytes are no picture of that size.
        """
        picture = cv2.imdecode(np.frombuffer(self.jpeg(row), dtype=np.uint8), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != (self.size_px, self.size_px, 3):
            shard = self._shards[self.tracks[self.track_of(row)].shard]
            raise ConfigError(
                f"frame {row} in {shard} is no picture of {self.size_px} pixels; prepare the data again"
            )
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def verify(self) -> None:
        """Read every shard and compare its sha256.

        Raises:
            ConfigError: one is not what was written.
        """
        for path, shard in zip(self._shards, self.index.shards, strict=True):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise ConfigError(f"{path} is damaged: its sha256 is another; prepare the data again")

    def close(self) -> None:
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process that is not forked opens the files anew.
        return FaceTracks, (self.folder,)

    def _descriptor(self, shard: int) -> int:
        # `pread` does not move a shared position, so threads and forked processes may share a descriptor.
        with self._lock:
            if shard not in self._descriptors:
                self._descriptors[shard] = os.open(self._shards[shard], os.O_RDONLY)
            return self._descriptors[shard]

    def _check_files(self) -> None:
        sizes = []
        for path, shard in zip(self._shards, self.index.shards, strict=True):
            try:
                size = path.stat().st_size
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
            if size != shard.bytes:
                raise ConfigError(
                    f"{path} has {size} bytes instead of {shard.bytes}; copy it again or prepare the data again"
                )
            sizes.append(size)
        starts, lengths = self._places[:, 0], self._places[:, 1]
        frames = [track.frames for track in self.tracks]
        ends = np.repeat(np.array([sizes[track.shard] for track in self.tracks], dtype=np.int64), frames)
        if (starts < 0).any() or (lengths < 1).any() or (lengths > ends - starts).any():
            raise ConfigError(
                f"{self.folder / self.index.tables[FRAMES_FILE]} points outside the shards; prepare the data again"
            )
        # Written so that what is not a number is out of range too.
        if not ((self.attributes >= 0) & (self.attributes <= 1)).all():
            raise ConfigError(
                f"{self.folder / self.index.tables[ATTRIBUTES_FILE]} has values outside 0 to 1; prepare the data again"
            )


def _table(path: Path, shape: tuple[int, ...], dtype: type) -> Any:
    """A table, mapped into memory, not read.

    Raises:
        ConfigError: missing, damaged, or of another shape.
    """
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if table.shape != shape or table.dtype != dtype:
        raise ConfigError(
            f"{path} is {table.dtype} {table.shape} instead of {np.dtype(dtype)} {shape}; prepare the data again"
        )
    return table


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Which two frames of a track make a pair."""

    sampling: Sampling = "uniform"
    """`uniform`; `expression` or `pose`: the driving frame is rather one whose Action Units or whose head pose differ."""
    flip: bool = True
    """Half of the pairs are mirrored: pictures and attributes."""
    seed: int = 20

    def __post_init__(self) -> None:
        if self.sampling not in ("uniform", "expression", "pose"):
            raise ConfigError(f"sampling {self.sampling!r} is unknown; choose uniform, expression or pose")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it is not negative")


class PairDataset(Dataset[dict[str, Tensor]]):
    """Pairs of two frames of one track: the same person, another moment.

    An item holds `source` and `driving` (3, S, S) float32 RGB in [−1, 1], `source_attributes` and
    `driving_attributes` (20,) float32, `identity` int64 (place in `FaceTracks.identities`).

    Args:
        tracks: the data set.
        split: `train` or `test`.
        config: how pairs are drawn.
        length: how many items it says it has, as samplers need; any i from 0 on can be asked for. By default as many
            as the split has frames.

    Raises:
        ConfigError: the split has no track of two frames.
    """

    def __init__(
        self,
        tracks: FaceTracks,
        split: str = "train",
        config: PairConfig | None = None,
        length: int | None = None,
    ) -> None:
        self._tracks = tracks
        self._config = config or PairConfig()
        self._numbers = tuple(n for n in tracks.split(split) if tracks.tracks[n].frames > 1)
        if not self._numbers:
            raise ConfigError(f"{tracks.folder} has no clip of two frames or more to {split} on")
        frames = sum(tracks.tracks[n].frames for n in self._numbers)
        self._length = frames if length is None else length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.item(i)

    def rows(self, i: int) -> tuple[int, int, bool]:
        """Rows of source and driving frame of pair i, and whether it is mirrored."""
        rng = np.random.default_rng([self._config.seed, i])
        # Every track equally often: a long clip does not teach more than a short one.
        track = self._tracks.tracks[self._numbers[rng.integers(len(self._numbers))]]
        source = int(rng.integers(track.frames))
        weights = self._weights(track, source)
        driving = int(rng.choice(track.frames, p=weights / weights.sum()))
        flipped = bool(rng.random() < 0.5) and self._config.flip
        return track.first + source, track.first + driving, flipped

    def item(self, i: int) -> dict[str, Tensor]:
        source, driving, flipped = self.rows(i)
        track = self._tracks.track_of(source)
        source_image, source_attributes = _seen(self._tracks, source, flipped)
        driving_image, driving_attributes = _seen(self._tracks, driving, flipped)
        return {
            "source": source_image,
            "driving": driving_image,
            "source_attributes": source_attributes,
            "driving_attributes": driving_attributes,
            "identity": torch.tensor(self._tracks.identity_number(track), dtype=torch.int64),
        }

    def _weights(self, track: Track, source: int) -> NDArray[np.float64]:
        """(n,) chance of each frame to drive; the source itself has none."""
        if self._config.sampling == "uniform":
            weights = np.ones(track.frames)
        else:
            part = ACTION_UNITS if self._config.sampling == "expression" else POSE
            values = self._tracks.attributes[track.first : track.first + track.frames, part].astype(
                np.float64
            )
            distance = np.linalg.norm(values - values[source], axis=1)
            # A person who does not move at all leaves a uniform choice.
            weights = distance + max(_FLOOR * float(distance.mean()), 1e-6)
        weights[source] = 0.0
        return weights


class PortraitDataset(Dataset[dict[str, Tensor]]):
    """Single pictures with somebody else's attributes, for unpaired training.

    An item holds `portrait` (3, S, S) float32 RGB in [−1, 1], `portrait_attributes` (20,) and `random_attributes`
    (20,), which are those of a frame of another track of the same split, mirrored by a coin of their own.

    Args:
        tracks: the data set; clips give portraits too, one track as often as another.
        split: `train` or `test`.
        flip: mirror half of the portraits.
        seed: with i, decides item i.
        length: as for `PairDataset`.

    Raises:
        ConfigError: the split is empty.
    """

    def __init__(
        self,
        tracks: FaceTracks,
        split: str = "train",
        *,
        flip: bool = True,
        seed: int = 20,
        length: int | None = None,
    ) -> None:
        self._tracks = tracks
        self._flip = flip
        self._seed = seed
        self._numbers = tracks.split(split)
        if not self._numbers:
            raise ConfigError(f"{tracks.folder} has nothing to {split} on")
        frames = sum(tracks.tracks[n].frames for n in self._numbers)
        self._length = frames if length is None else length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.item(i)

    def rows(self, i: int) -> tuple[int, int]:
        """Rows of the portrait and of the frame whose attributes are asked for."""
        return self._draw(np.random.default_rng([self._seed, i]))

    def item(self, i: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, i])
        portrait, other = self._draw(rng)
        image, attributes = _seen(self._tracks, portrait, bool(rng.random() < 0.5) and self._flip)
        asked = np.array(self._tracks.attributes[other])
        if bool(rng.random() < 0.5) and self._flip:
            asked = mirror(asked)
        return {
            "portrait": image,
            "portrait_attributes": attributes,
            "random_attributes": torch.from_numpy(asked),
        }

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        count = len(self._numbers)
        here = int(rng.integers(count))
        there = (here + 1 + int(rng.integers(count - 1))) % count if count > 1 else here
        first, second = (self._tracks.tracks[self._numbers[n]] for n in (here, there))
        return first.first + int(rng.integers(first.frames)), second.first + int(rng.integers(second.frames))


def _seen(tracks: FaceTracks, row: int, flipped: bool) -> tuple[Tensor, Tensor]:
    """A frame as an image (3, S, S) in [−1, 1], and its attributes (20,); both mirrored or neither."""
    frame = tracks.frame(row)
    attributes = np.array(tracks.attributes[row])
    if flipped:
        frame, attributes = frame[:, ::-1], mirror(attributes)
    image = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32) / np.float32(127.5) - np.float32(
        1
    )
    return torch.from_numpy(image), torch.from_numpy(attributes)
