"""`index.json`, the table of contents of a data set, and the layout of the shards that it names.

A shard is an Arrow file; each of its record batches is one track, and each row of a batch is one frame. Rows are counted
through all tracks, in the order of the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from icface.attributes import AU_NAMES, COUNT
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT

INDEX_FILE: Final = "index.json"
SHARDS_FOLDER: Final = "shards"
SPLITS: Final = ("train", "validation", "test")
"""People to train on, to choose the best model on, and to report."""
Source = Literal["tracker", "openface", "mixed"]
"""`tracker`: attributes are measured here; `openface`: they come from CSV files; `mixed`."""
Scale = Literal["full-shape", "openface"]
"""Of the Action Units (docs/attributes.md): `openface` is AUxx_r / 5, as the paper has it."""
SCHEMA: Final = pa.schema(
    [
        pa.field("jpeg", pa.large_binary(), nullable=False),
        pa.field("attributes", pa.list_(pa.float32(), COUNT), nullable=False),
        pa.field("time_s", pa.float32(), nullable=False),
        pa.field("presence", pa.list_(pa.int8(), len(AU_NAMES)), nullable=False),
    ]
)
"""One frame: aligned crop, attributes on the scale of the index, seconds in its clip, and OpenFace's AUxx_c (0, 1, or −1:
not known)."""

_Count = Annotated[int, Meta(ge=0)]


class Shard(Struct, frozen=True, kw_only=True):
    """One Arrow file."""

    # A shard lies in the shards folder and nowhere else, whatever an index from elsewhere says.
    file: Annotated[str, Meta(pattern=rf"\A{SHARDS_FOLDER}/[0-9]+-[0-9a-f]{{12}}\.arrow\Z")]
    """Relative to the data set's folder, with slashes."""
    bytes: _Count
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Track(Struct, frozen=True, kw_only=True):
    """One face through one clip, without gaps or jumps."""

    name: str
    """`identity/video/clip#0`."""
    identity: str
    video: str
    shard: _Count
    first: _Count
    """Row of the first frame."""
    frames: Annotated[int, Meta(ge=1)]
    fps: Annotated[float, Meta(gt=0, lt=1e4)]

    @property
    def rows(self) -> range:
        return range(self.first, self.first + self.frames)


class Index(Struct, frozen=True, kw_only=True):
    """What a data set holds."""

    format: Literal[3]
    size_px: Annotated[int, Meta(ge=16, le=1024)]
    """Side of the crops."""
    attribute_source: Source
    seed: _Count
    """Decided the split."""
    splits: Mapping[str, tuple[str, ...]]
    """Identities by split. Nobody is in two. Data sets of earlier versions lack `validation`."""
    shards: tuple[Shard, ...]
    tracks: tuple[Track, ...]
    attribute_scale: Scale = "full-shape"
    alignment: str = ALIGNMENT

    def __post_init__(self) -> None:
        """Raise ValueError where the index contradicts itself."""
        if self.alignment != ALIGNMENT:
            raise ValueError(f"alignment {self.alignment!r} is not known, only {ALIGNMENT}")
        if set(self.splits) not in (set(SPLITS), set(SPLITS) - {"validation"}):
            raise ValueError(f"its splits are {', '.join(self.splits)} instead of {', '.join(SPLITS)}")
        for one, other in combinations(SPLITS, 2):
            both = set(self.people(one)) & set(self.people(other))
            if both:
                raise ValueError(f"identity {min(both)!r} is in {one} and in {other}")
        known = {name for people in self.splits.values() for name in people}
        row = shard = 0
        for track in self.tracks:
            if track.first != row or not shard <= track.shard < len(self.shards):
                raise ValueError(f"track {track.name!r} does not follow from what is before it")
            if track.identity not in known:
                raise ValueError(f"track {track.name!r} is of {track.identity!r}, which is in no split")
            row, shard = track.rows.stop, track.shard

    def people(self, split: str) -> tuple[str, ...]:
        """Identities of a split; none where an earlier version did not know it."""
        return self.splits.get(split, ())

    @property
    def rows(self) -> int:
        """Frames in all."""
        return sum(track.frames for track in self.tracks)

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def read_index(folder: Path) -> Index:
    """The index of a data set, checked field by field.

    Raises:
        ConfigError: it is missing, damaged or of another version, or it contradicts itself.
    """
    path = folder / INDEX_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no data set ({INDEX_FILE} is missing); run training/prepare.py, to its end"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged or of another version: {error}; prepare the data again"
        ) from error
