"""`index.json`, the table of contents of a data set, and the layout of the shards that it names.

A shard is an Arrow file; each of its record batches is one track, and each row of a batch is one frame. Rows are counted
through all tracks, in the order of the index.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

import pyarrow as pa

from icface.attributes import AU_NAMES, COUNT
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT

FORMAT: Final = 3
INDEX_FILE: Final = "index.json"
SHARDS_FOLDER: Final = "shards"
SPLITS: Final = ("train", "test")
SOURCES: Final = ("tracker", "openface", "mixed")
SIZES_PX: Final = (16, 1024)
"""Smallest and largest side of a crop."""
SCHEMA: Final = pa.schema(
    [
        pa.field("jpeg", pa.large_binary(), nullable=False),
        pa.field("attributes", pa.list_(pa.float32(), COUNT), nullable=False),
        pa.field("time_s", pa.float32(), nullable=False),
        pa.field("presence", pa.list_(pa.int8(), len(AU_NAMES)), nullable=False),
    ]
)
"""One frame: aligned crop, full-shape attributes, seconds in its clip, and OpenFace's AUxx_c (0, 1, or −1: not known)."""

_SHARD_NAME: Final = re.compile(rf"{SHARDS_FOLDER}/[0-9]+-[0-9a-f]{{12}}\.arrow")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_AGAIN: Final = "prepare the data again"
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Arrow file."""

    file: str
    """Relative to the data set's folder, with slashes."""
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Track:
    """One face through one clip, without gaps or jumps."""

    name: str
    """`identity/video/clip#0`."""
    identity: str
    video: str
    shard: int
    first: int
    """Row of the first frame."""
    frames: int
    fps: float

    @property
    def rows(self) -> range:
        return range(self.first, self.first + self.frames)


@dataclass(frozen=True, kw_only=True)
class Index:
    """What a data set holds."""

    size_px: int
    """Side of the crops."""
    attribute_source: str
    """`tracker`: measured here; `openface`: from its CSV files; `mixed`."""
    seed: int
    """Decided the split."""
    splits: Mapping[str, tuple[str, ...]]
    """Identities to train on and to test on. Nobody is in both."""
    shards: tuple[Shard, ...]
    tracks: tuple[Track, ...]
    attribute_scale: str = "full-shape"
    alignment: str = ALIGNMENT

    @property
    def rows(self) -> int:
        """Frames in all."""
        return sum(track.frames for track in self.tracks)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def read_index(folder: Path) -> Index:
    """The index of a data set, checked field by field.

    Raises:
        ConfigError: it is missing, damaged or of another version, or it contradicts itself.
    """
    path = folder / INDEX_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no data set ({INDEX_FILE} is missing); run training/prepare.py, to its end"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise ConfigError(f"{path}: format {found!r} is not known, only {FORMAT}; {_AGAIN}")
    try:
        index = _record(
            Index,
            raw
            | {
                "splits": {name: tuple(map(_text, raw["splits"][name])) for name in SPLITS},
                "shards": tuple(_record(Shard, one) for one in raw["shards"]),
                "tracks": tuple(_record(Track, one) for one in raw["tracks"]),
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: a field is missing or wrong: {error}; {_AGAIN}") from error
    fault = _fault(index)
    if fault:
        raise ConfigError(f"{path}: {fault}; {_AGAIN}")
    return index


def _record(kind: type[_Record], raw: Mapping[str, Any]) -> _Record:
    """A dataclass from JSON's values; text is text, and numbers are not negative."""
    types = get_type_hints(kind)
    values = {}
    for name in (field.name for field in dataclasses.fields(kind)):  # type: ignore[arg-type]
        value = raw[name]
        if types[name] is str:
            _text(value)
        elif types[name] in (int, float) and (
            type(value) not in {int, types[name]} or not 0 <= value < 2**62
        ):
            raise ValueError(f"{name} {value!r} is not a number from 0")
        values[name] = value
    return kind(**values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _fault(index: Index) -> str:
    """The first thing in which an index contradicts itself or this version; empty where there is none."""
    if not SIZES_PX[0] <= index.size_px <= SIZES_PX[1]:
        return f"crops of {index.size_px} pixels are not possible"
    for name, value, known in (
        ("attribute scale", index.attribute_scale, ("full-shape",)),
        ("alignment", index.alignment, (ALIGNMENT,)),
        ("attribute source", index.attribute_source, SOURCES),
    ):
        if value not in known:
            return f"{name} {value!r} is not known, only {', '.join(known)}"
    for shard in index.shards:
        # A shard lies in the shards folder and nowhere else, whatever an index from elsewhere says.
        if not _SHARD_NAME.fullmatch(shard.file) or not _SHA256.fullmatch(shard.sha256):
            return f"shard {shard.file!r} has a name or a sha256 that no shard can have"
    train, test = (set(index.splits[name]) for name in SPLITS)
    if train & test:
        return f"identity {min(train & test)!r} is in train and in test"
    row = shard_number = 0
    for track in index.tracks:
        follows = track.first == row and track.frames > 0 and shard_number <= track.shard < len(index.shards)
        if not follows or not 0 < track.fps < 1e4:
            return f"track {track.name!r} does not follow from what is before it"
        if track.identity not in train and track.identity not in test:
            return f"track {track.name!r} is of {track.identity!r}, which is in no split"
        row, shard_number = row + track.frames, track.shard
    return ""
