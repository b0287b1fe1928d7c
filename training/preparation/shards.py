"""Writing a data set: WebDataset shards, tables, index; what is half written is never taken for whole.

Files are named by their content, so a new data set grows beside an earlier one, which stays as it was until the new
index takes the old one's place in one step.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import FloatArray
from icface.errors import ConfigError
from training.preparation.index import (
    ATTRIBUTES_FILE,
    FRAMES_FILE,
    INDEX_FILE,
    PRESENCE_FILE,
    SHARDS_FOLDER,
    TABLES,
    TIMES_FILE,
    Index,
    Shard,
    Track,
    content_name,
    index_from_json,
    is_table,
)

_BLOCK: Final = tarfile.BLOCKSIZE
_PART: Final = ".part"

Stored = Callable[[Shard, Mapping[str, NDArray[np.int64]]], None]
"""Is told of each shard that lies on the disk for good, and where in it the pictures of each track are: (n, 2) offset
and length by the track's name."""


@dataclass(frozen=True, kw_only=True)
class TrackData:
    """One track, ready to be packed."""

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


class _ShardFile:
    """One tar being written under another name, with where each picture lies and the hash of it all."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder / SHARDS_FOLDER
        self._name = f"{number:05d}.tar"
        self._part = (self._folder / self._name).with_suffix(_PART)
        self._file: IO[bytes] = self._part.open("wb")
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.places: dict[str, NDArray[np.int64]] = {}
        """(n, 2) offset and length of the pictures of each track."""

    def add(self, name: str, content: bytes) -> int:
        """Append a file; gives the offset of its first byte."""
        # The plain header of 512 bytes, without date and owner: the same data make the same bytes.
        header = tarfile.TarInfo(name)
        header.size = len(content)
        head = header.tobuf(tarfile.USTAR_FORMAT)
        offset = self.bytes + len(head)
        self._write(head + content + b"\0" * (-len(content) % _BLOCK))
        return offset

    def close(self) -> Shard:
        self._write(b"\0" * (2 * _BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sha256 = self._hash.hexdigest()
        name = content_name(self._name, sha256)
        self._part.replace(self._folder / name)
        _sync_folder(self._folder)
        return Shard(file=f"{SHARDS_FOLDER}/{name}", bytes=self.bytes, sha256=sha256)

    def abandon(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._hash.update(content)
        self.bytes += len(content)


def write_dataset(
    folder: Path,
    tracks: Iterable[TrackData],
    *,
    splits: Mapping[str, tuple[str, ...]],
    size_px: int,
    attribute_source: str | Callable[[], str],
    seed: int,
    shard_bytes: int = 256_000_000,
    stored: Stored | None = None,
    in_use: Callable[[], Collection[str]] = frozenset,
) -> Index:
    """Pack tracks into `folder`. An earlier data set in it is replaced at the end, or stays whole where that fails.

    Args:
        tracks: read once, one after another: they need not be in memory together.
        splits: identities of `train` and `test`.
        attribute_source: of the index; called after the last track where it is not known before.
        shard_bytes: a shard that has reached this is closed.
        stored: is told of every shard.
        in_use: gives shards that are kept though no index names them.

    Raises:
        OSError: nothing can be written, or the disk is full.
    """
    (folder / SHARDS_FOLDER).mkdir(parents=True, exist_ok=True)
    for old in (folder / SHARDS_FOLDER).glob(f"*{_PART}"):
        old.unlink()
    remove_leftovers(folder, in_use())
    try:
        index = _write_files(folder, tracks, splits, size_px, attribute_source, seed, shard_bytes, stored)
        write_whole(folder / INDEX_FILE, index.to_json().encode())
        _sync_folder(folder)
    finally:
        # Of the old and the new data set one stays, and the other one's room is needed.
        remove_leftovers(folder, in_use())
    return index


def remove_leftovers(folder: Path, in_use: Collection[str] = frozenset()) -> None:
    """Remove shards and tables that the index does not name: of an earlier data set, or of one that was not finished.

    Args:
        folder: the data set's; where its index cannot be read, nothing is removed.
        in_use: shards to keep all the same.
    """
    named: set[str] = set()
    try:
        index = index_from_json((folder / INDEX_FILE).read_text(encoding="utf-8"))
        named = {*(shard.file for shard in index.shards), *index.tables.values()}
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, ConfigError):
        return
    for name in set(_files(folder)) - named - set(in_use):
        (folder / name).unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[str]:
    """Names of all shards and tables that lie in a folder, of whichever data set."""
    for path in (folder / SHARDS_FOLDER).glob("*.tar"):
        yield f"{SHARDS_FOLDER}/{path.name}"
    for path in folder.glob("*.npy*"):
        if is_table(path.name.removesuffix(_PART)):
            yield path.name


def _write_files(
    folder: Path,
    tracks: Iterable[TrackData],
    splits: Mapping[str, tuple[str, ...]],
    size_px: int,
    attribute_source: str | Callable[[], str],
    seed: int,
    shard_bytes: int,
    stored: Stored | None,
) -> Index:
    """Everything but the index, which is given."""
    shards: list[Shard] = []
    entries: list[Track] = []
    tables: dict[str, list[NDArray[Any]]] = {name: [] for name in TABLES}
    row = 0
    shard: _ShardFile | None = None

    def close(whole: _ShardFile) -> None:
        shards.append(whole.close())
        if stored is not None:
            stored(shards[-1], whole.places)

    try:
        for track in tracks:
            if shard is None:
                shard = _ShardFile(folder, len(shards))
            places = shard.places[track.name] = _add_track(shard, track, row)
            entries.append(
                Track(
                    name=track.name,
                    identity=track.identity,
                    video=track.video,
                    shard=len(shards),
                    first=row,
                    frames=len(places),
                    fps=track.fps,
                )
            )
            row += len(places)
            tables[FRAMES_FILE].append(places)
            tables[ATTRIBUTES_FILE].append(track.attributes.astype(np.float32))
            tables[TIMES_FILE].append(track.times_s.astype(np.float32))
            tables[PRESENCE_FILE].append(track.presence.astype(np.int8))
            if shard.bytes >= shard_bytes:
                close(shard)
                shard = None
        if shard is not None:
            close(shard)
            shard = None
    finally:
        if shard is not None:
            shard.abandon()
    files = {name: _write_table(folder, name, np.concatenate(parts)) for name, parts in tables.items()}
    return Index(
        size_px=size_px,
        attribute_source=attribute_source if isinstance(attribute_source, str) else attribute_source(),
        seed=seed,
        splits=splits,
        shards=tuple(shards),
        tracks=tuple(entries),
        tables=files,
    )


def _add_track(shard: _ShardFile, track: TrackData, first_row: int) -> NDArray[np.int64]:
    """(n, 2) offset and length of each picture."""
    places = np.empty((len(track.jpegs), 2), dtype=np.int64)
    for frame, jpeg in enumerate(track.jpegs):
        key = f"{first_row + frame:08d}"
        places[frame] = shard.add(key + ".jpg", jpeg), len(jpeg)
        record = {
            "identity": track.identity,
            "track": track.name,
            "frame": frame,
            "time_s": round(float(track.times_s[frame]), 4),
            "attributes": [round(float(value), 5) for value in track.attributes[frame]],
        }
        shard.add(key + ".json", json.dumps(record, ensure_ascii=False).encode())
    return places


def _write_table(folder: Path, name: str, table: NDArray[Any]) -> str:
    """Gives the name that it got."""
    content = io.BytesIO()
    np.save(content, table, allow_pickle=False)
    file = content_name(name, hashlib.sha256(content.getbuffer()).hexdigest())
    write_whole(folder / file, content.getvalue())
    return file


def _sync_folder(folder: Path) -> None:
    """Make names that were just given last through a loss of power, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(path.name + _PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
