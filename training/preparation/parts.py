"""What is kept of one clip until all is packed: one file each, so that an interrupted run goes on where it was.

A part holds measurements, not attributes: a person's neutral is learned from all of their clips. Its pictures are in it
too, until they are handed over to the shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from icface.attributes import FloatArray
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT
from icface.face.landmarks import MODEL_SHA256
from training.preparation.calibrate import Measured
from training.preparation.clips import Clip
from training.preparation.index import Shard
from training.preparation.shards import write_whole

FORMAT: Final = 1
"""Raise it when a measurement's meaning changes: parts of another format are made again."""
PARTS_FOLDER: Final = "parts"
_HEADER: Final = "part"
_PICTURES: Final = ("ends", "jpegs", "places")
_PLACES: Final = "places"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a part depends on besides its clip."""

    size_px: int = 128
    """Side of the crops."""
    fps: float = 25.0
    """Frames beyond this rate are left out."""
    max_frames: int | None = None
    """Of a clip."""
    min_face_px: float = 48.0
    """Tracks whose face's box is smaller (median of its side) are left out."""
    csv_errors: str = "skip"
    """What becomes of a clip whose CSV cannot be used: `skip`, or `tracker`: measured here."""

    def stamp(self) -> dict[str, Any]:
        """As parts carry it: the landmark model by its content."""
        return {"format": FORMAT, "alignment": ALIGNMENT, **asdict(self), "landmarker": MODEL_SHA256}


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """What is said of a clip without reading its pictures."""

    name: str
    fps: float = 0.0
    """Of the frames that were kept, on average."""
    seconds: float = 0.0
    """Of the clip, as far as it was looked at."""
    frames_seen: int = 0
    tracks: int = 0
    face_px: float = 0.0
    """Median side of the face's box in the clip."""
    reason: str | None = None
    """Why nothing of it is used."""
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
    handed_over: bool = False
    """The crops lie in shards alone."""


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
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        shards = header.get("shards", [])
        return header["stamp"] == stamp and all(
            (_out_of(path) / shard["file"]).stat().st_size == shard["bytes"] for shard in shards
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
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
    header = {_HEADER: json.dumps({"stamp": stamp, "info": asdict(part.info)})}
    write_whole(path, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, header))


def hand_over(path: Path, stored: Sequence[tuple[Shard, NDArray[np.int64]]]) -> None:
    """Let a part go of its pictures, which lie in shards of the same data set's folder: it then says where.

    Args:
        path: of the part.
        stored: for each track in turn, its shard and (n, 2) offset and length in it.

    Raises:
        OSError: it cannot be written; it is then as it was.
    """
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()[_HEADER])
        arrays = {name: file.get_tensor(name) for name in set(file.keys()) - set(_PICTURES)}
    shards = list(dict.fromkeys(shard for shard, _ in stored))
    header["shards"] = [{"file": shard.file, "bytes": shard.bytes} for shard in shards]
    arrays[_PLACES] = np.concatenate(
        [np.insert(places, 0, shards.index(shard), axis=1) for shard, places in stored]
    )
    write_whole(path, save(arrays, {_HEADER: json.dumps(header)}))


def shards_relied_on(out: Path) -> set[str]:
    """Files that hold the pictures of parts, relative to the data set's folder."""
    files: set[str] = set()
    for path in (out / PARTS_FOLDER).glob("*.safetensors"):
        with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
            files.update(shard["file"] for shard in header.get("shards", []))
    return files


def load_info(path: Path) -> PartInfo:
    with safe_open(path, framework="numpy") as file:
        raw = json.loads(file.metadata()[_HEADER])["info"]
    return PartInfo(**{**raw, "notes": tuple(raw["notes"])})


def load_part(path: Path, *, pictures: bool) -> Part:
    """Read a part back.

    Args:
        path: checked with `is_done`.
        pictures: whether the crops are wanted too.

    Raises:
        ConfigError: the pictures lie in a shard that cannot be read any more.
    """
    info = load_info(path)
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())

        def optional(name: str) -> Any:
            return file.get_tensor(name) if name in names else None

        part = Part(
            info=info,
            track=file.get_tensor("track"),
            measured=Measured(
                features=file.get_tensor("features"),
                blendshapes=file.get_tensor("blendshapes"),
                pose_rad=file.get_tensor("pose_rad"),
                times_s=file.get_tensor("times_s"),
            ),
            face_px=file.get_tensor("face_px"),
            openface=optional("openface"),
            presence=optional("presence"),
            handed_over=_PLACES in names,
        )
        if not pictures:
            return part
        if part.handed_over:
            files = [_out_of(path) / s["file"] for s in json.loads(file.metadata()[_HEADER])["shards"]]
            return replace(part, jpegs=tuple(_from_shards(files, file.get_tensor(_PLACES))))
        ends = file.get_tensor("ends")
        content = file.get_tensor("jpegs").tobytes()
    starts = [0, *ends[:-1]]
    return replace(part, jpegs=tuple(content[a:b] for a, b in zip(starts, ends, strict=True)))


def _out_of(path: Path) -> Path:
    """The data set's folder, of a part's path."""
    return path.parent.parent


def _from_shards(shards: Sequence[Path], places: NDArray[np.int64]) -> Iterator[bytes]:
    """Pictures at (n, 3) number of the shard, offset and length."""
    with contextlib.ExitStack() as stack:
        try:
            files = [stack.enter_context(shard.open("rb")) for shard in shards]
            for number, offset, length in places.tolist():
                files[number].seek(offset)
                content = files[number].read(length)
                if len(content) != length:
                    raise OSError(f"it ends before byte {offset + length}")
                yield content
        except OSError as error:
            names = ", ".join(map(str, shards))
            raise ConfigError(
                f"pictures cannot be read back from {names}: {error.strerror or error}; run the same command again"
            ) from error


def empty_part(info: PartInfo) -> Part:
    """Of a clip that is not used; kept, so that it is not looked at again."""
    nothing = Measured(
        features=np.zeros((0, 22)),
        blendshapes=np.zeros((0, 52), dtype=np.float32),
        pose_rad=np.zeros((0, 3)),
        times_s=np.zeros(0),
    )
    return Part(
        info=info,
        track=np.zeros(0, dtype=np.int32),
        measured=nothing,
        face_px=np.zeros(0, dtype=np.float32),
    )
