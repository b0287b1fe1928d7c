"""Reading a prepared data set: any frame by its row, the values of any track."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import FloatArray, from_openface
from icface.errors import ConfigError
from training.dataset.index import SCHEMA, SPLITS, Scale, Track, read_index


class Values(NamedTuple):
    """What is known of n frames; read-only."""

    attributes: FloatArray
    """(n, 20) on the scale that `FaceTracks` was asked for."""
    times_s: NDArray[np.float32]
    """(n,) in their clips."""
    presence: NDArray[np.int8]
    """(n, 17) OpenFace's AUxx_c; −1: not known."""


class FaceTracks:
    """An open data set, as training/prepare.py wrote it into a folder.

    Several threads and processes may read it at once. Shards are mapped into memory, not read.

    Args:
        folder: that of the data set.
        stored: attributes come on the scale of the index, as training takes them. Else they are full-shape; Action
            Units of a data set on OpenFace's scale may then exceed 1, and `to_openface` gives back what is stored.

    Raises:
        ConfigError: it is missing, damaged, or its files do not fit its index.
    """

    def __init__(self, folder: Path, *, stored: bool = False) -> None:
        self.folder, self._stored = folder, stored
        self.index = read_index(folder)
        self.size_px = self.index.size_px
        self.attribute_scale: Scale = self.index.attribute_scale if stored else "full-shape"
        """Of the attributes that come from here."""
        self.tracks = self.index.tracks
        self.identities = tuple(name for split in SPLITS for name in self.index.people(split))
        """Those to train on come first, so that they are numbered from 0."""
        self._paths = tuple(folder / shard.file for shard in self.index.shards)
        for path, shard in zip(self._paths, self.index.shards, strict=True):
            try:
                size = path.stat().st_size
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
            if size != shard.bytes:
                raise ConfigError(
                    f"{path} has {size} bytes instead of {shard.bytes}; copy it again or prepare the data again"
                )
        self._firsts = np.array([track.first for track in self.index.tracks], dtype=np.int64)
        shards = np.array([track.shard for track in self.index.tracks], dtype=np.int64)
        # Tracks follow their shards' order. So a track's place in its shard is its distance from the shard's first.
        self._batches = np.arange(len(shards)) - np.searchsorted(shards, shards)
        self._numbers = {name: number for number, name in enumerate(self.identities)}
        self._readers: dict[int, pa.RecordBatchFileReader] = {}
        self._checked: set[int] = set()
        self._lock = threading.Lock()

    def split(self, name: str) -> tuple[int, ...]:
        """Numbers of the tracks of a split of `SPLITS`; raises ConfigError for any other name."""
        if name not in SPLITS:
            raise ConfigError(f"split {name!r} is unknown; choose {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
        identities = set(self.index.people(name))
        return tuple(n for n, track in enumerate(self.tracks) if track.identity in identities)

    def identity_number(self, track: int) -> int:
        """Place of a track's identity in `identities`."""
        return self._numbers[self.tracks[track].identity]

    def track_of(self, row: int) -> int:
        """Number of the track that a row belongs to."""
        return int(np.searchsorted(self._firsts, row, side="right")) - 1

    def jpeg(self, row: int) -> bytes:
        """A frame as it is stored; raises ConfigError where its shard cannot be read."""
        number = self.track_of(row)
        return bytes(self._batch(number).column("jpeg")[row - self.tracks[number].first].as_buffer())

    def frame(self, row: int) -> Frame:
        """(S, S, 3) RGB, a new array; raises ConfigError where it is not a picture of that size."""
        content, side_px = np.frombuffer(self.jpeg(row), dtype=np.uint8), self.size_px
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if len(content) else None
        if picture is None or picture.shape != (side_px, side_px, 3):
            path = self._paths[self.tracks[self.track_of(row)].shard]
            raise ConfigError(
                f"frame {row} in {path} is not a picture of {side_px} pixels; prepare the data again"
            )
        return np.asarray(picture, dtype=np.uint8)

    def values(self, track: int) -> Values:
        """What is known of a track's frames; raises ConfigError where its shard cannot be read or is damaged."""
        batch = self._batch(track)
        attributes = _rows(batch, "attributes")
        if self.attribute_scale != self.index.attribute_scale:
            attributes = from_openface(attributes, clamp=False)
        return Values(attributes, batch.column("time_s").to_numpy(), _rows(batch, "presence"))

    def values_of(self, rows: Iterable[int]) -> Values:
        """What is known of some frames."""
        found = []
        for row in rows:
            number = self.track_of(row)
            place = row - self.tracks[number].first
            found.append(Values._make(values[place : place + 1] for values in self.values(number)))
        return _joined(found)

    def all_values(self) -> Values:
        """What is known of all frames, row by row; takes about 100 bytes of memory a frame."""
        return _joined([self.values(number) for number in range(len(self.tracks))])

    def verify(self) -> None:
        """Read every shard; raises ConfigError where its sha256 is not what was written."""
        for path, shard in zip(self._paths, self.index.shards, strict=True):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise ConfigError(f"{path} is damaged: its sha256 is another; prepare the data again")

    def close(self) -> None:
        with self._lock:
            self._readers.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process that is not forked opens the files anew.
        return partial(FaceTracks, stored=self._stored), (self.folder,)

    def _batch(self, number: int) -> pa.RecordBatch:
        """The record batch of a track, a view of its shard; checked when it is first used."""
        track = self.tracks[number]
        path = self._paths[track.shard]
        try:
            with self._lock:
                if track.shard not in self._readers:
                    self._readers[track.shard] = open_shard(path)
                batch = self._readers[track.shard].get_batch(self._batches[number])
            if number not in self._checked:
                _check(batch, track)
                self._checked.add(number)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(f"cannot read {path}: {error}; prepare the data again") from error
        return batch


def _rows(batch: pa.RecordBatch, column: str) -> Any:
    """(n, width) values of a column of lists."""
    return batch.column(column).flatten().to_numpy().reshape(batch.num_rows, -1)


def _check(batch: pa.RecordBatch, track: Track) -> None:
    """Raise ArrowException or ValueError where a batch is damaged or is not that of a track."""
    if batch.num_rows != track.frames:
        raise ValueError(f"it has {batch.num_rows} frames of {track.name} instead of {track.frames}")
    batch.validate(full=True)  # places outside the file would be read without it
    attributes = _rows(batch, "attributes")
    # NaN fails these comparisons, too.
    if not ((attributes >= 0) & (attributes <= 1)).all():
        raise ValueError(f"{track.name} has attributes outside 0 to 1")


def open_shard(path: Path) -> pa.RecordBatchFileReader:
    """A shard, mapped into memory; raises ArrowException, OSError or ValueError where it is not one of this version."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if not reader.schema.equals(SCHEMA):
        raise ValueError(f"its columns are {', '.join(reader.schema.names)}")
    return reader


def _joined(parts: Sequence[Values]) -> Values:
    return Values._make(map(np.concatenate, zip(*parts, strict=True)))
