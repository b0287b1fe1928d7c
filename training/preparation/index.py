"""`index.json`, the table of contents of a data set, and the names of the files beside it.

The pictures lie in WebDataset shards, which can be streamed; the tables say where each picture's bytes are, so that
any frame can also be read by itself. A row is one frame; the frames of a track are rows one after another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT

FORMAT: Final = 2
READ_FORMATS: Final = (1, 2)
"""1 had files of fixed names, as `shards/00000.tar` and `attributes.npy`."""
INDEX_FILE: Final = "index.json"
ATTRIBUTES_FILE: Final = "attributes.npy"
"""(N, 20) float32 full-shape."""
FRAMES_FILE: Final = "frames.npy"
"""(N, 2) int64: offset and length of each JPEG inside its shard."""
TIMES_FILE: Final = "times.npy"
"""(N,) float32 seconds in the clip."""
PRESENCE_FILE: Final = "presence.npy"
"""(N, 17) int8: OpenFace's AUxx_c, 0 or 1; −1 where it is not known."""
TABLES: Final = (ATTRIBUTES_FILE, FRAMES_FILE, TIMES_FILE, PRESENCE_FILE)
SHARDS_FOLDER: Final = "shards"
SPLITS: Final = ("train", "test")
SOURCES: Final = ("tracker", "openface", "mixed")
SIZES_PX: Final = (16, 1024)
"""Smallest and largest side of a crop that is believed."""

# A shard lies in the shards folder and nowhere else, whatever an index from elsewhere says.
_SHARD_NAME: Final = re.compile(rf"{SHARDS_FOLDER}/[0-9]+(-[0-9a-f]{{12}})?\.tar")
_TABLE_NAME: Final = re.compile(r"([a-z]+)(?:-[0-9a-f]{12})?\.npy")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def content_name(name: str, sha256: str) -> str:
    """`attributes.npy` with the beginning of its content's hash, as `attributes-0123456789ab.npy`.

    Another content has another name, so that a new data set is written beside the old one, and the index alone decides
    which of them is there.
    """
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{sha256[:12]}{dot}{ending}"


def is_table(name: str, kind: str | None = None) -> bool:
    """Whether a file has the name of a table: of any, or of the one that is called `attributes.npy` and so on."""
    match = _TABLE_NAME.fullmatch(name)
    return match is not None and f"{match[1]}.npy" in (TABLES if kind is None else (kind,))


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar file of pictures."""

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
    """Of the split."""
    splits: Mapping[str, tuple[str, ...]]
    """Identities to train on and to test on; none is in both."""
    shards: tuple[Shard, ...]
    tracks: tuple[Track, ...]
    tables: Mapping[str, str] = field(default_factory=lambda: {name: name for name in TABLES})
    """File of each of `TABLES`."""
    attribute_scale: str = "full-shape"
    alignment: str = ALIGNMENT

    @property
    def rows(self) -> int:
        """Frames in all."""
        return sum(track.frames for track in self.tracks)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def index_from_json(text: str) -> Index:
    """What `Index.to_json` gave, checked field by field.

    Raises:
        ConfigError: damaged, of another version, or it contradicts itself. The message has no file name.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"it is no JSON ({error})") from error
    if not isinstance(raw, dict) or raw.get("format") not in READ_FORMATS:
        found = raw.get("format") if isinstance(raw, dict) else None
        known = " and ".join(map(str, READ_FORMATS))
        raise ConfigError(f"format {found!r} is not known, only {known}; prepare the data again")
    try:
        index = Index(
            size_px=_whole(raw["size_px"], *SIZES_PX),
            attribute_scale=_text(raw["attribute_scale"]),
            alignment=_text(raw["alignment"]),
            attribute_source=_text(raw["attribute_source"]),
            seed=_whole(raw["seed"]),
            splits={name: tuple(_text(one) for one in raw["splits"][name]) for name in SPLITS},
            shards=tuple(
                Shard(file=_text(one["file"]), bytes=_whole(one["bytes"]), sha256=_text(one["sha256"]))
                for one in raw["shards"]
            ),
            tracks=tuple(_track(one) for one in raw["tracks"]),
            tables={name: name if raw["format"] == 1 else _text(raw["tables"][name]) for name in TABLES},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a field is missing or wrong: {error}") from error
    _check(index)
    return index


def _track(raw: Mapping[str, Any]) -> Track:
    return Track(
        name=_text(raw["name"]),
        identity=_text(raw["identity"]),
        video=_text(raw["video"]),
        shard=_whole(raw["shard"]),
        first=_whole(raw["first"]),
        frames=_whole(raw["frames"], 1),
        fps=float(raw["fps"]),
    )


def _check(index: Index) -> None:
    if index.attribute_scale != "full-shape":
        raise ConfigError(f"attribute scale {index.attribute_scale!r} is not known, only 'full-shape'")
    if index.alignment != ALIGNMENT:
        raise ConfigError(f"alignment {index.alignment!r} is not known, only {ALIGNMENT!r}")
    if index.attribute_source not in SOURCES:
        raise ConfigError(f"attribute source {index.attribute_source!r} is none of {', '.join(SOURCES)}")
    for shard in index.shards:
        if not _SHARD_NAME.fullmatch(shard.file) or not _SHA256.fullmatch(shard.sha256):
            raise ConfigError(f"shard {shard.file!r} has a name or a sha256 that no shard can have")
    for kind, file in index.tables.items():
        if not is_table(file, kind):
            raise ConfigError(f"{file!r} is no name that the table {kind} can have")
    train, test = (set(index.splits[name]) for name in SPLITS)
    if train & test:
        raise ConfigError(f"identity {min(train & test)!r} is in train and in test")
    row = 0
    for track in index.tracks:
        if track.first != row or track.shard >= len(index.shards) or not 0 < track.fps < 1e4:
            raise ConfigError(f"track {track.name!r} does not follow from what is before it")
        if track.identity not in train and track.identity not in test:
            raise ConfigError(f"track {track.name!r} is of {track.identity!r}, which is in no split")
        row += track.frames


def _whole(value: Any, low: int = 0, high: int = 2**62) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{value!r} is no whole number from {low}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
