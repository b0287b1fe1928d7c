"""Which pictures there are, whom they show, and which of them can be used."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icface.errors import ConfigError, SourceError
from icface.face.action_units import BLENDSHAPE_NAMES
from icface.face.landmarks import LandmarkDetector
from icface.face.pose import head_pose
from icface.geometry.renewal import has_expression, smiles
from icface.images import load_photo
from training.pairs.seen import Seen, look
from training.pairs.settings import PairsConfig, SetConfig
from training.preparation.clips import VIDEOS
from training.preparation.frame_folders import IMAGES


class Picture(NamedTuple):
    """A face in a photo or a frame."""

    name: str
    """Path below the folder of photos; of a frame, with its number."""
    seen: Seen


class Job(NamedTuple):
    """What one process does at a time: the files of one person that are paired with each other, or one file."""

    set: SetConfig
    identity: str
    files: tuple[str, ...]


def is_listed(name: str, patterns: Iterable[str]) -> bool:
    """Whether a path is among patterns of paths."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def held_out(config: PairsConfig, name: str) -> bool:
    """Whether a file is for evaluation."""
    if is_listed(name, config.held_out):
        return True
    tenth = zlib.crc32(name.rpartition("/")[2].encode()) % 10 == 0
    return tenth and is_listed(name, config.held_out_tenth)


def jobs_of(config: PairsConfig, set_config: SetConfig, photos: Path, evaluation: bool) -> list[Job]:
    """The jobs of a set, in the order of its persons; none where the folder has none of its files.

    Raises:
        ConfigError: the expression that tells persons apart does not fit.
    """
    suffixes = {"talk": VIDEOS, "render": (".glb",)}.get(set_config.kind, IMAGES)
    names = sorted(
        {
            path.relative_to(photos).as_posix()
            for pattern in set_config.files
            for path in photos.glob(pattern)
            if path.suffix.lower() in suffixes and path.is_file()
        }
    )
    names = [
        name
        for name in names
        if held_out(config, name) == evaluation and not is_listed(name, set_config.leave_out)
    ]
    if set_config.most and len(names) > set_config.most:
        drawn = np.random.default_rng(config.seed).choice(len(names), set_config.most, replace=False)
        names = [names[i] for i in sorted(drawn.tolist())]
    persons: dict[str, list[str]] = {}
    for name in names:
        found = re.search(set_config.person, name)
        if not found or not found.groups():
            raise ConfigError(
                f"set {set_config.name}: person = {set_config.person!r} has to have a group that matches in {name}"
            )
        persons.setdefault(found.group(1), []).append(name)
    if set_config.kind == "true":
        return [Job(set_config, identity, tuple(files)) for identity, files in persons.items()]
    return [Job(set_config, identity, (name,)) for identity, files in persons.items() for name in files]


def load_pictures(job: Job, photos: Path, detector: LandmarkDetector) -> Iterator[Picture | str]:
    """The faces of a job's photos, and why where there is none."""
    for name in job.files:
        try:
            seen = look(load_photo(photos / name).frame, detector)
        except SourceError as error:
            yield f"{name}: {str(error).removeprefix(f'{photos / name} ')}"
            continue
        reason = unusable(job.set, seen)
        yield f"{name}: {reason}" if reason else Picture(name, seen)


def unusable(set_config: SetConfig, seen: Seen) -> str:
    """Why a face is not taken; empty if it is."""
    height, width = seen.picture.shape[:2]
    if min(height, width) < set_config.min_side_px:
        return f"smaller than {set_config.min_side_px} pixels"
    if float(seen.project.iod_px) < set_config.min_iod_px:
        return f"less than {set_config.min_iod_px:g} pixels from eye to eye"
    pose = head_pose(seen.landmarks)
    if np.degrees(max(abs(pose.yaw_rad), abs(pose.pitch_rad))) > set_config.max_turn_deg:
        return f"turned more than {set_config.max_turn_deg:g}°"
    if set_config.mouth == "open" and not _mouth_is_open(seen):
        return "its mouth is closed"
    if set_config.expressive and not (has_expression(seen.landmarks) or smiles(seen.landmarks)):
        return "its face has no expression"
    return ""


def _mouth_is_open(seen: Seen) -> bool:
    def score(*names: str) -> float:
        return float(np.mean([seen.landmarks.blendshapes[BLENDSHAPE_NAMES.index(name)] for name in names]))

    return (
        score("jawOpen") > 0.05
        or score("mouthSmileLeft", "mouthSmileRight") > 0.4
        or score("mouthUpperUpLeft", "mouthUpperUpRight") > 0.2
    )
