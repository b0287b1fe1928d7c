"""Writing a data set. Shards are named by their content, so a new data set grows beside an earlier one.

The earlier one stays as it was until the new index takes the place of the old one in one step.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.errors import ConfigError
from icface.files import replacing_file, write_file
from training.dataset.index import INDEX_FILE, SCHEMA, SHARDS_FOLDER, Index, Shard, Track, read_index


@dataclass(frozen=True, kw_only=True)
class TrackData:
    """One track to be written, n frames."""

    name: str
    identity: str
    video: str
    fps: float
    jpegs: Sequence[bytes]
    """(n) aligned crops."""
    attributes: FloatArray
    """(n, 20) full-shape."""
    times_s: NDArray[np.float32]
    """(n,) in the clip."""
    presence: NDArray[np.int8]
    """(n, 17) OpenFace's AUxx_c; −1: not known."""

    def batch(self) -> pa.RecordBatch:
        """The record batch of a shard."""
        columns = (self.attributes.astype(np.float32), self.presence.astype(np.int8))
        attributes, presence = (
            pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]) for values in columns
        )
        times_s = pa.array(self.times_s.astype(np.float32))
        return pa.record_batch(
            [pa.array(self.jpegs, pa.large_binary()), attributes, times_s, presence], schema=SCHEMA
        )


def write_dataset(
    folder: Path,
    groups: Iterable[Sequence[TrackData]],
    *,
    splits: Mapping[str, tuple[str, ...]],
    size_px: int,
    attribute_source: str,
    seed: int,
    shard_bytes: int = 256_000_000,
    stored: Callable[[Shard, Sequence[Track]], None] | None = None,
) -> Index:
    """Write shards and an index into `folder`.

    An earlier data set there is replaced at the end, and stays whole where this fails. Files that no index names are
    left to `remove_leftovers`.

    Args:
        folder: of the data set.
        groups: tracks; those of one group come into one shard. Groups are read one after another, so they need not
            be in memory together.
        splits: identities of `train` and `test`.
        size_px: side of the crops.
        attribute_source: of the index.
        seed: of the split.
        shard_bytes: a shard that has reached this size is closed.
        stored: is told of every shard that is on the disk for good, with its tracks in the order of its batches.

    Raises:
        OSError: nothing can be written, or the disk is full.
    """
    shards: list[Shard] = []
    tracks: list[Track] = []
    left = iter(groups)
    while (group := next(left, None)) is not None:
        shard, written = _write_shard(folder, len(shards), itertools.chain([group], left), shard_bytes)
        row = tracks[-1].rows.stop if tracks else 0
        for track in written:
            tracks.append(replace(track, first=row))
            row += track.frames
        shards.append(shard)
        if stored is not None:
            stored(shard, tracks[-len(written) :])
    index = Index(
        size_px=size_px,
        attribute_source=attribute_source,
        seed=seed,
        splits=splits,
        shards=tuple(shards),
        tracks=tuple(tracks),
    )
    write_file(folder / INDEX_FILE, index.to_json())
    return index


def _write_shard(
    folder: Path, number: int, groups: Iterator[Sequence[TrackData]], shard_bytes: int
) -> tuple[Shard, list[Track]]:
    """Take groups until the shard is large enough; the rows of its tracks are counted from 0 each."""
    tracks: list[Track] = []
    path = folder / SHARDS_FOLDER / f"{number:05d}.arrow"
    with (
        replacing_file(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for data in itertools.chain.from_iterable(_until_full(groups, sink, shard_bytes)):
            writer.write_batch(data.batch())
            names = {"name": data.name, "identity": data.identity, "video": data.video}
            tracks.append(Track(**names, shard=number, first=0, frames=len(data.jpegs), fps=data.fps))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{SHARDS_FOLDER}/{number:05d}-{sha256[:12]}.arrow"
    size = path.stat().st_size
    path.replace(folder / name)
    return Shard(file=name, bytes=size, sha256=sha256), tracks


def _until_full(
    groups: Iterator[Sequence[TrackData]], sink: pa.OSFile, shard_bytes: int
) -> Iterator[Sequence[TrackData]]:
    for group in groups:
        yield group
        if sink.tell() >= shard_bytes:
            return


def remove_leftovers(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove shards that the index does not name: of an earlier data set, or of one that was not finished.

    Args:
        folder: of the data set. Where its index cannot be read, nothing is removed.
        keep: shards, relative to the folder, that stay all the same.
    """
    named = set(keep)
    if (folder / INDEX_FILE).exists():
        try:
            named.update(shard.file for shard in read_index(folder).shards)
        except ConfigError:
            return
    for path in (folder / SHARDS_FOLDER).glob("*"):
        if f"{SHARDS_FOLDER}/{path.name}" not in named:
            path.unlink(missing_ok=True)
