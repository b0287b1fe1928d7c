"""Writing a data set. Shards are named by their content, so a new data set grows beside an earlier one.

The earlier one stays as it was until the new index takes the place of the old one in one step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.errors import ConfigError
from icface.files import replacing_file, write_file
from training.dataset.index import (
    INDEX_FILE,
    SCHEMA,
    SHARDS_FOLDER,
    Index,
    Scale,
    Shard,
    Source,
    Track,
    read_index,
)


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
    """(n, 20) on the scale of the data set."""
    times_s: NDArray[np.float32]
    """(n,) in the clip."""
    presence: NDArray[np.int8]
    """(n, 17) OpenFace's AUxx_c; −1: not known."""


def write_dataset(
    folder: Path,
    groups: Iterable[Sequence[TrackData]],
    *,
    splits: Mapping[str, tuple[str, ...]],
    size_px: int,
    attribute_source: Source,
    seed: int,
    attribute_scale: Scale = "full-shape",
    shard_bytes: int = 256_000_000,
    stored: Callable[[Shard, Sequence[Track]], None] = lambda shard, tracks: None,
) -> Index:
    """Write shards and an index into `folder`.

    An earlier data set there is replaced at the end, and stays whole where this fails. Files that no index names are
    left to `remove_leftovers`.

    Args:
        groups: tracks; those of one group come into one shard. Groups are read one after another, so they need not
            be in memory together.
        splits, size_px, attribute_source, seed, attribute_scale: of the index.
        shard_bytes: a shard that has reached this size is closed.
        stored: is told of every shard that is on the disk for good, with its tracks in the order of its batches.

    Raises:
        OSError: nothing can be written, or the disk is full.
    """
    shards: list[Shard] = []
    tracks: list[Track] = []
    row = 0
    left = iter(groups)
    for first in left:
        path, written = folder / SHARDS_FOLDER / f"{len(shards):05d}.arrow", len(tracks)
        with (
            replacing_file(path) as unfinished,
            pa.OSFile(str(unfinished), "wb") as sink,
            pa.ipc.new_file(sink, SCHEMA) as writer,
        ):
            group: Sequence[TrackData] | None = first
            while group is not None:
                for data in group:
                    writer.write_batch(_batch(data))
                    names = {"name": data.name, "identity": data.identity, "video": data.video}
                    frames = len(data.jpegs)
                    tracks.append(Track(**names, shard=len(shards), first=row, frames=frames, fps=data.fps))
                    row += frames
                group = next(left, None) if sink.tell() < shard_bytes else None
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        named = path.replace(path.with_stem(f"{path.stem}-{sha256[:12]}"))
        shards.append(Shard(file=f"{SHARDS_FOLDER}/{named.name}", bytes=named.stat().st_size, sha256=sha256))
        stored(shards[-1], tracks[written:])
    index = Index(
        format=3,
        size_px=size_px,
        attribute_source=attribute_source,
        seed=seed,
        attribute_scale=attribute_scale,
        splits=splits,
        shards=tuple(shards),
        tracks=tuple(tracks),
    )
    write_file(folder / INDEX_FILE, index.to_json())
    return index


def _batch(data: TrackData) -> pa.RecordBatch:
    attributes, presence = (
        pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        for values in (data.attributes.astype(np.float32), data.presence.astype(np.int8))
    )
    jpegs, times_s = pa.array(data.jpegs, pa.large_binary()), pa.array(data.times_s.astype(np.float32))
    return pa.record_batch([jpegs, attributes, times_s, presence], schema=SCHEMA)


def remove_leftovers(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove shards that the index does not name: of an earlier data set, or of one that was not finished.

    Shards in `keep`, relative to the folder, stay all the same. Where the index cannot be read, nothing is removed.
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
