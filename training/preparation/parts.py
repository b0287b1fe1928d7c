"""What is kept of one clip until all is packed: one file each, so that an interrupted run goes on where it was.

A part holds measurements, not attributes: a person's neutral is learned from all of their clips. It also holds the
crops, until a shard has them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from icface.attributes import FloatArray
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT
from icface.face.landmarks import MODEL_SHA256
from icface.files import write_file
from training.dataset.index import Shard
from training.dataset.reading import open_shard
from training.preparation.calibrate import Measured
from training.preparation.clips import Clip

FORMAT: Final = 2
"""Raise it when the meaning of a measurement changes: parts of another format are made again."""
TABLE_FORMAT: Final = 2
"""The same for what is read from CSV files; parts of clips without one stay."""
_PICTURES_TABLE_FORMAT: Final = 3
"""The same for CSV files of folders of pictures."""
PARTS_FOLDER: Final = "parts"
_HEADER: Final = "part"
_PICTURES: Final = frozenset(("ends", "jpegs"))
_DAMAGE: Final = (OSError, SafetensorError, msgspec.DecodeError, ValueError, KeyError)
_Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a part depends on besides its clip."""

    size_px: int = 128
    """Side of the crops."""
    fps: float = 25.0
    """Frames beyond this rate are left out."""
    max_frames: int | None = None
    """How many frames of a clip are looked at; None: all."""
    min_face_px: float = 48.0
    """Tracks whose face's box is smaller (median of its side) are left out."""
    csv_errors: Literal["skip", "tracker"] = "skip"
    """What becomes of a clip whose CSV cannot be used: it is skipped, or measured here."""


class PartInfo(Struct, frozen=True, kw_only=True):
    """What is said of a clip without reading its pictures."""

    fps: float = 0.0
    """Mean rate of the frames that were kept."""
    face_px: float = 0.0
    """Median side of the face's box in the clip."""
    reason: str | None = None
    """Why the clip is not used."""
    notes: tuple[str, ...] = ()
    """What was left out of it, or done otherwise."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A clip's measurements, n frames."""

    info: PartInfo
    track: NDArray[np.int32]
    """(n,) number of the track, from 0, rising."""
    measured: Measured
    openface: FloatArray | None = None
    """(n, 20) full-shape attributes from a CSV, Action Units not clamped."""
    presence: NDArray[np.int8] | None = None
    """(n, 17) from the same."""
    jpegs: tuple[bytes, ...] = field(default=(), repr=False)
    """(n) crops; empty where they were not asked for."""


class _Place(Struct, frozen=True, kw_only=True):
    """Where the pictures of a part lie after they were handed over."""

    file: str
    bytes: int
    batches: tuple[int, ...]
    """Number in the shard of each track in turn."""


class _Header(Struct, frozen=True, kw_only=True):
    stamp: str
    info: PartInfo
    shard: _Place | None = None


def stamp_of(clip: Clip, settings: Settings) -> str:
    """Changes when the clip, its CSV, a setting or the landmark model does."""
    files = [file.stat() for file in (*clip.files, clip.csv) if file]
    sizes = [[file.st_size, file.st_mtime_ns] for file in files]
    made_by: dict[str, Any] = {
        "format": FORMAT,
        "alignment": ALIGNMENT,
        **asdict(settings),
        "landmarker": MODEL_SHA256,
    }
    if clip.csv:
        made_by["table"] = TABLE_FORMAT if clip.frame_rate is None else _PICTURES_TABLE_FORMAT
    if clip.frame_rate is not None:
        made_by["frame_rate"] = clip.frame_rate
        sizes = [[len(sizes), *map(sum, zip(*sizes, strict=True))]]
    return json.dumps({"name": clip.name, "files": sizes, "settings": made_by}, sort_keys=True)


def part_path(out: Path, name: str) -> Path:
    return out / PARTS_FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"


def is_done(out: Path, clip: Clip, settings: Settings) -> bool:
    """Whether a clip's part is there, is whole, has its pictures, and was made with these settings."""
    try:
        header, _ = _read(part_path(out, clip.name))
        shard = header.shard
        in_place = shard is None or (out / shard.file).stat().st_size == shard.bytes
        return in_place and header.stamp == stamp_of(clip, settings)
    except _DAMAGE:
        return False


def save_part(path: Path, part: Part, stamp: str) -> None:
    """Write a part; it appears whole or not at all. Raises OSError where it cannot be written."""
    tensors: _Tensors = {
        "track": part.track,
        **vars(part.measured),
        "ends": np.cumsum([len(jpeg) for jpeg in part.jpegs], dtype=np.int64),
        "jpegs": np.frombuffer(b"".join(part.jpegs), dtype=np.uint8),
    }
    if part.openface is not None and part.presence is not None:
        tensors |= {"openface": part.openface, "presence": part.presence}
    _write(path, _Header(stamp=stamp, info=part.info), tensors)


def save_reason(path: Path, reason: str, stamp: str) -> None:
    """Keep why a clip is not used, so that it is not looked at again. Raises OSError as `save_part` does."""
    _write(path, _Header(stamp=stamp, info=PartInfo(reason=reason)), {})


def hand_over(path: Path, shard: Shard, batches: Sequence[int], *, clean: bool) -> None:
    """Let a part say where its pictures lie: in these batches of a shard, a track each.

    A part that has its pictures still keeps them, unless `clean`.

    Raises:
        OSError: it cannot be written; the part is then as it was.
    """
    if not clean and _read(path)[0].shard is None:
        return
    header, tensors = _read(path, lambda name: name not in _PICTURES)
    place = _Place(file=shard.file, bytes=shard.bytes, batches=tuple(batches))
    _write(path, msgspec.structs.replace(header, shard=place), tensors)


def shards_relied_on(out: Path) -> set[str]:
    """Shards that hold the pictures of parts, relative to the data set's folder."""
    files: set[str] = set()
    for path in (out / PARTS_FOLDER).glob("*.safetensors"):
        with contextlib.suppress(*_DAMAGE):
            if shard := _read(path)[0].shard:
                files.add(shard.file)
    return files


def load_info(path: Path) -> PartInfo:
    return _read(path)[0].info


def load_part(path: Path, *, pictures: bool) -> Part:
    """Read a part that `is_done`; raises ConfigError where its pictures lie in a shard that cannot be read any more."""
    header, tensors = _read(path, lambda name: pictures or name not in _PICTURES)
    jpegs: Sequence[bytes] = ()
    if pictures and header.shard:
        jpegs = _from_shard(path.parents[1] / header.shard.file, header.shard.batches)
    elif pictures:
        ends, content = tensors["ends"].tolist(), tensors["jpegs"].tobytes()
        jpegs = [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return Part(
        info=header.info,
        track=tensors["track"],
        measured=Measured(**{each.name: tensors[each.name] for each in fields(Measured)}),
        openface=tensors.get("openface"),
        presence=tensors.get("presence"),
        jpegs=tuple(jpegs),
    )


def _read(path: Path, wanted: Callable[[str], bool] = lambda name: False) -> tuple[_Header, _Tensors]:
    with safe_open(path, framework="numpy") as file:
        header = msgspec.json.decode((file.metadata() or {})[_HEADER], type=_Header)
        return header, {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118


def _write(path: Path, header: _Header, tensors: _Tensors) -> None:
    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    write_file(path, save(whole, {_HEADER: msgspec.json.encode(header).decode()}))


def _from_shard(path: Path, batches: Sequence[int]) -> list[bytes]:
    try:
        reader = open_shard(path)
        return [jpeg for number in batches for jpeg in reader.get_batch(number).column("jpeg").to_pylist()]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(
            f"pictures cannot be read back from {path}: {error}; run the same command again"
        ) from error
