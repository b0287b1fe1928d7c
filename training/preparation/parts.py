"""What is kept of one clip until all is packed: one file each, so that an interrupted run goes on where it was.

A part holds measurements, not attributes: a person's neutral is learned from all of their clips. Its pictures are in it
too, until they are handed over to a shard.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
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
PARTS_FOLDER: Final = "parts"
_HEADER: Final = "part"
_PICTURES: Final = frozenset(("ends", "jpegs"))
_DAMAGE: Final = (OSError, SafetensorError, ValueError, KeyError, TypeError)


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
    csv_errors: str = "skip"
    """What becomes of a clip whose CSV cannot be used: `skip`, or `tracker`: measured here."""

    def stamp(self) -> dict[str, Any]:
        """What parts carry of them, and of the landmark model."""
        return {"format": FORMAT, "alignment": ALIGNMENT, **asdict(self), "landmarker": MODEL_SHA256}


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """What is said of a clip without reading its pictures."""

    name: str
    fps: float = 0.0
    """Mean rate of the frames that were kept."""
    seconds: float = 0.0
    """Length of the clip, as far as it was looked at."""
    frames_seen: int = 0
    tracks: int = 0
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
    face_px: NDArray[np.float32]
    """(n,) side of the face's box in the clip."""
    openface: FloatArray | None = None
    """(n, 20) full-shape attributes from a CSV."""
    presence: NDArray[np.int8] | None = None
    """(n, 17) from the same."""
    jpegs: tuple[bytes, ...] = field(default=(), repr=False)
    """(n) crops; empty where they were not asked for."""
    is_handed_over: bool = False
    """Whether the crops lie in a shard alone."""


def stamp_of(clip: Clip, settings: dict[str, Any]) -> str:
    """Changes when the clip, its CSV or a setting does."""
    files = [clip.path, *([clip.csv] if clip.csv else [])]
    sizes = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return json.dumps({"name": clip.name, "files": sizes, "settings": settings}, sort_keys=True)


def part_path(out: Path, name: str) -> Path:
    return out / PARTS_FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"


def is_done(path: Path, stamp: str) -> bool:
    """Whether a part is there, whole, with its pictures, and of this clip with these settings."""
    try:
        header = _header(path)
        shard = header.get("shard")
        return bool(header["stamp"] == stamp) and (
            shard is None or (_out_of(path) / shard["file"]).stat().st_size == shard["bytes"]
        )
    except _DAMAGE:
        return False


def save_part(path: Path, part: Part, stamp: str) -> None:
    """Write a part; it appears whole or not at all.

    Raises:
        OSError: it cannot be written, or the disk is full.
    """
    measured = part.measured
    arrays: dict[str, NDArray[Any]] = {
        "track": part.track,
        "features": measured.features,
        "blendshapes": measured.blendshapes,
        "pose_rad": measured.pose_rad,
        "times_s": measured.times_s,
        "face_px": part.face_px,
        "ends": np.cumsum([len(jpeg) for jpeg in part.jpegs], dtype=np.int64),
        "jpegs": np.frombuffer(b"".join(part.jpegs), dtype=np.uint8),
    }
    if part.openface is not None and part.presence is not None:
        arrays |= {"openface": part.openface, "presence": part.presence}
    _write(path, arrays, {"stamp": stamp, "info": asdict(part.info)})


def hand_over(path: Path, shard: Shard, batches: Sequence[int]) -> None:
    """Take the pictures out of a part, which from then on says where they lie.

    Args:
        path: of the part.
        shard: of the same data set's folder; it holds all pictures of the part.
        batches: number in the shard of each track in turn.

    Raises:
        OSError: it cannot be written; the part is then as it was.
    """
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in set(file.keys()) - _PICTURES}
    place = {"file": shard.file, "bytes": shard.bytes, "batches": list(batches)}
    _write(path, arrays, _header(path) | {"shard": place})


def shards_relied_on(out: Path) -> set[str]:
    """Shards that hold the pictures of parts, relative to the data set's folder."""
    files: set[str] = set()
    for path in (out / PARTS_FOLDER).glob("*.safetensors"):
        with contextlib.suppress(*_DAMAGE):
            files.add(_header(path)["shard"]["file"])
    return files


def load_info(path: Path) -> PartInfo:
    raw = _header(path)["info"]
    return PartInfo(**{**raw, "notes": tuple(raw["notes"])})


def load_part(path: Path, *, pictures: bool) -> Part:
    """Read a part back.

    Args:
        path: checked with `is_done`.
        pictures: whether the crops are wanted too.

    Raises:
        ConfigError: the pictures lie in a shard that cannot be read any more.
    """
    shard = _header(path).get("shard")
    with safe_open(path, framework="numpy") as file:
        skipped = frozenset() if pictures else _PICTURES
        arrays = {name: file.get_tensor(name) for name in set(file.keys()) - skipped}
    part = Part(
        info=load_info(path),
        track=arrays["track"],
        measured=Measured(
            features=arrays["features"],
            blendshapes=arrays["blendshapes"],
            pose_rad=arrays["pose_rad"],
            times_s=arrays["times_s"],
        ),
        face_px=arrays["face_px"],
        openface=arrays.get("openface"),
        presence=arrays.get("presence"),
        is_handed_over=shard is not None,
    )
    if not pictures:
        return part
    if shard is not None:
        return replace(part, jpegs=_from_shard(_out_of(path) / shard["file"], shard["batches"]))
    ends, content = arrays["ends"].tolist(), arrays["jpegs"].tobytes()
    return replace(part, jpegs=tuple(content[a:b] for a, b in zip([0, *ends], ends, strict=False)))


def empty_part(info: PartInfo) -> Part:
    """The part of a clip that is not used. It is kept so that the clip is not looked at again."""
    nothing = Measured(
        features=np.zeros((0, 22)),
        blendshapes=np.zeros((0, 52), dtype=np.float32),
        pose_rad=np.zeros((0, 3)),
        times_s=np.zeros(0),
    )
    return Part(
        info=info, track=np.zeros(0, dtype=np.int32), measured=nothing, face_px=np.zeros(0, dtype=np.float32)
    )


def _header(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        header: dict[str, Any] = json.loads((file.metadata() or {})[_HEADER])
    return header


def _write(path: Path, arrays: dict[str, NDArray[Any]], header: dict[str, Any]) -> None:
    whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    write_file(path, save(whole, {_HEADER: json.dumps(header)}))


def _out_of(path: Path) -> Path:
    """The data set's folder, from the path of a part."""
    return path.parent.parent


def _from_shard(path: Path, batches: Sequence[int]) -> tuple[bytes, ...]:
    try:
        reader = open_shard(path)
        columns = [reader.get_batch(number).column("jpeg") for number in batches]
        return tuple(jpeg for column in columns for jpeg in column.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(
            f"pictures cannot be read back from {path}: {error}; run the same command again"
        ) from error
