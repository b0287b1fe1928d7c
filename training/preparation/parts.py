"""What is kept of one clip until all is packed: one file each, so that an interrupted run goes on where it was.

A part holds measurements, not attributes: a person's neutral is learned from all of their clips.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from icface.attributes import FloatArray
from icface.face.alignment import ALIGNMENT
from training.preparation.calibrate import Measured
from training.preparation.clips import Clip
from training.preparation.shards import write_whole

FORMAT: Final = 1
"""Raise it when a measurement's meaning changes: parts of another format are made again."""
PARTS_FOLDER: Final = "parts"
_HEADER: Final = "part"


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
    landmarker: Path | None = None
    """FaceLandmarker task file; None: the bundled FaceMesh."""
    csv_errors: str = "skip"
    """What becomes of a clip whose CSV cannot be used: `skip`, or `tracker`: measured here."""

    def stamp(self) -> dict[str, Any]:
        """As parts carry it: the landmark model by its content."""
        model = (
            "FaceMesh"
            if self.landmarker is None
            else hashlib.sha256(self.landmarker.read_bytes()).hexdigest()
        )
        return {"format": FORMAT, "alignment": ALIGNMENT, **asdict(self), "landmarker": model}


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


def stamp_of(clip: Clip, settings: dict[str, Any]) -> str:
    """Changes when the clip, its CSV or a setting does."""
    files = [clip.path, *([clip.csv] if clip.csv else [])]
    sizes = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return json.dumps({"name": clip.name, "files": sizes, "settings": settings}, sort_keys=True)


def part_path(out: Path, name: str) -> Path:
    return out / PARTS_FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"


def is_done(path: Path, stamp: str) -> bool:
    """Whether a part is there, whole, and of this clip with these settings."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})[_HEADER])["stamp"] == stamp
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
        "pose_rad": measured.pose_rad,
        "times_s": measured.times_s,
        "face_px": part.face_px,
        "ends": np.cumsum([len(jpeg) for jpeg in part.jpegs], dtype=np.int64),
        "jpegs": np.frombuffer(b"".join(part.jpegs), dtype=np.uint8),
    }
    if measured.blendshapes is not None:
        arrays["blendshapes"] = measured.blendshapes
    if part.openface is not None and part.presence is not None:
        arrays |= {"openface": part.openface, "presence": part.presence}
    header = {_HEADER: json.dumps({"stamp": stamp, "info": asdict(part.info)})}
    write_whole(path, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, header))


def load_info(path: Path) -> PartInfo:
    with safe_open(path, framework="numpy") as file:
        raw = json.loads(file.metadata()[_HEADER])["info"]
    return PartInfo(**{**raw, "notes": tuple(raw["notes"])})


def load_part(path: Path, *, pictures: bool) -> Part:
    """Read a part back.

    Args:
        path: checked with `is_done`.
        pictures: whether the crops are wanted too.
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
                blendshapes=optional("blendshapes"),
                pose_rad=file.get_tensor("pose_rad"),
                times_s=file.get_tensor("times_s"),
            ),
            face_px=file.get_tensor("face_px"),
            openface=optional("openface"),
            presence=optional("presence"),
        )
        if not pictures:
            return part
        ends = file.get_tensor("ends")
        content = file.get_tensor("jpegs").tobytes()
    starts = [0, *ends[:-1]]
    return replace(part, jpegs=tuple(content[a:b] for a, b in zip(starts, ends, strict=True)))


def empty_part(info: PartInfo) -> Part:
    """Of a clip that is not used; kept, so that it is not looked at again."""
    nothing = Measured(
        features=np.zeros((0, 22)), blendshapes=None, pose_rad=np.zeros((0, 3)), times_s=np.zeros(0)
    )
    return Part(
        info=info,
        track=np.zeros(0, dtype=np.int32),
        measured=nothing,
        face_px=np.zeros(0, dtype=np.float32),
    )
