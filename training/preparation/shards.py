"""Writing a data set: WebDataset shards, tables, index; what is half written is never taken for whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import FloatArray
from training.preparation.index import (
    ATTRIBUTES_FILE,
    FRAMES_FILE,
    INDEX_FILE,
    PRESENCE_FILE,
    SHARDS_FOLDER,
    TIMES_FILE,
    Index,
    Shard,
    Track,
)

_BLOCK: Final = tarfile.BLOCKSIZE


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
        self.name = f"{SHARDS_FOLDER}/{number:05d}.tar"
        self._path = folder / self.name
        self._part = self._path.with_suffix(".part")
        self._file: IO[bytes] = self._part.open("wb")
        self._hash = hashlib.sha256()
        self.bytes = 0

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
        self._part.replace(self._path)
        return Shard(file=self.name, bytes=self.bytes, sha256=self._hash.hexdigest())

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
) -> Index:
    """Pack tracks into `folder`; an earlier data set in it is replaced. The index comes last.

    Args:
        tracks: read once, one after another: they need not be in memory together.
        splits: identities of `train` and `test`.
        attribute_source: of the index; called after the last track where it is not known before.
        shard_bytes: a shard that has reached this is closed.

    Raises:
        OSError: nothing can be written, or the disk is full.
    """
    (folder / SHARDS_FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    for old in (folder / SHARDS_FOLDER).iterdir():
        if old.suffix in (".tar", ".part"):
            old.unlink()
    shards: list[Shard] = []
    entries: list[Track] = []
    tables: dict[str, list[NDArray[Any]]] = {
        name: [] for name in (ATTRIBUTES_FILE, FRAMES_FILE, TIMES_FILE, PRESENCE_FILE)
    }
    row = 0
    shard: _ShardFile | None = None
    try:
        for track in tracks:
            if shard is None:
                shard = _ShardFile(folder, len(shards))
            places = _add_track(shard, track, row)
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
                shards.append(shard.close())
                shard = None
        if shard is not None:
            shards.append(shard.close())
            shard = None
    finally:
        if shard is not None:
            shard.abandon()
    for name, parts in tables.items():
        _write_table(folder / name, np.concatenate(parts))
    index = Index(
        size_px=size_px,
        attribute_source=attribute_source if isinstance(attribute_source, str) else attribute_source(),
        seed=seed,
        splits=splits,
        shards=tuple(shards),
        tracks=tuple(entries),
    )
    write_whole(folder / INDEX_FILE, index.to_json().encode())
    return index


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


def _write_table(path: Path, table: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.save(content, table, allow_pickle=False)
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
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
