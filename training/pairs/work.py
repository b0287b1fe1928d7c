"""The work of one process: one job, whose records become a part on the disk."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from icface.arrays import Array
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.files import replacing_file
from training.pairs import calmed, kinds, moving
from training.pairs.pictures import Job, Picture, load_pictures
from training.pairs.records import CHANNELS, STORED_PX, Record
from training.pairs.settings import PairsConfig

logger = logging.getLogger(__name__)

_KINDS: Final = {
    "true": kinds.true_pairs,
    "made": kinds.made_pairs,
    "opened": kinds.opened_pairs,
    "self": kinds.self_pairs,
    "calmed": calmed.calmed_pairs,
}


class Part(NamedTuple):
    """What came of one job."""

    pixels: Array
    """(n, STORED_PX, STORED_PX, CHANNELS) uint8."""
    conditions: Array
    rows: list[dict[str, Any]]
    reasons: list[str]
    """Why something was left out."""


_opened: list[LandmarkDetector] = []
"""The detector of this process."""


def make_part(config: PairsConfig, job: Job, photos: Path, path: Path) -> str:
    """Make a part, if it is not there yet; says why where the disk cannot be written, else nothing."""
    cv2.setNumThreads(1)
    if path.exists():
        return ""
    if not _opened:
        _opened.append(open_detector(video=False, refined=True))
    records: list[Record] = []
    reasons: list[str] = []
    try:
        for one in _told(config, job, photos, _opened[0]):
            reasons.append(one) if isinstance(one, str) else records.append(one)
    except Exception as error:
        # One odd photo among thousands must not end the run. It is listed.
        logger.debug("%s", job.identity, exc_info=True)
        reasons.append(f"{job.files[0]}: unexpected {type(error).__name__}: {error}")
    try:
        save_part(path, records, reasons)
    except OSError as error:
        return f"cannot write to {path.parent}: {error.strerror or error}"
    return ""


def _told(config: PairsConfig, job: Job, photos: Path, detector: LandmarkDetector) -> kinds.Told:
    rng = np.random.default_rng(
        [config.seed, zlib.crc32(job.set.name.encode()), zlib.crc32(_name(job).encode())]
    )
    work = kinds.Work(config, job.set, job.identity, detector, rng)
    if job.set.kind == "talk":
        yield from moving.clip_pairs(work, job.files, photos)
        return
    if job.set.kind == "render":
        yield from moving.avatar_pairs(work, job.files, photos)
        return
    pictures: list[Picture] = []
    for one in load_pictures(job, photos, detector):
        if isinstance(one, str):
            yield one
        else:
            pictures.append(one)
    yield from _KINDS[job.set.kind](work, pictures)


def part_path(folder: Path, job: Job) -> Path:
    """Where a job's part lies."""
    return folder / f"{hashlib.sha256(_name(job).encode()).hexdigest()[:24]}.npz"


def _name(job: Job) -> str:
    """Tells a job from all others of its set, whatever these are."""
    return f"{job.identity}\n{job.files[0]}"


def save_part(path: Path, records: list[Record], reasons: list[str]) -> None:
    """Write a part; OSError."""
    told = json.dumps({"rows": [each.row for each in records], "reasons": reasons}).encode()
    pixels = [each.pixels for each in records] or np.empty((0, STORED_PX, STORED_PX, CHANNELS), np.uint8)
    with replacing_file(path) as unfinished, unfinished.open("wb") as file:
        np.savez(
            file,
            pixels=np.asarray(pixels),
            conditions=np.array([each.conditions for each in records], dtype=np.float32),
            told=np.frombuffer(told, dtype=np.uint8),
        )


def load_part(path: Path) -> Part:
    """Read a part."""
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(file["told"].tobytes())
        return Part(file["pixels"], file["conditions"], told["rows"], told["reasons"])
