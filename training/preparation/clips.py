"""Finds the clips and portraits to prepare, and reads their frames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import av
import numpy as np

from icface.arrays import Frame
from icface.errors import ConfigError, SourceError
from icface.images import load_photo
from training.preparation.frame_folders import IMAGES, pictures_in, read_frames, video_of

VIDEOS: Final = (
    ".mp4",
    ".m4v",
    ".mkv",
    ".mov",
    ".avi",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".ts",
    ".gif",
)
FRAME_RATE: Final = 25.0
"""That of VoxCeleb, by which names of pictures count."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video, a portrait or a folder of numbered pictures, and who is in it."""

    name: str
    """`identity/video/clip`; unique."""
    identity: str
    video: str
    """Clips of one video show a person in the same light, with the same camera."""
    path: Path
    csv: Path | None = None
    """OpenFace's table of the same stem, where there is one."""
    is_portrait: bool = False
    frame_rate: float | None = None
    """Frames a second that the names of a folder's pictures count; None: it is no folder of pictures."""

    @property
    def files(self) -> list[Path]:
        """What it is read from."""
        return [self.path] if self.frame_rate is None else pictures_in(self.path)


def find_clips(
    folders: Sequence[Path],
    images: Sequence[Path] = (),
    identity_from: str = "folder",
    frames: Sequence[Path] = (),
    frame_rate: float = FRAME_RATE,
) -> list[Clip]:
    """All clips below `folders` and `frames` and all portraits below `images`, in the order of their names.

    Args:
        folders: laid out as VoxCeleb, `identity/video/clip.mp4`, or in any other way; a file counts too.
        images: each picture below is a person of its own.
        identity_from: `folder`: the first folder is the person, for files without one their stem; `file`: each file
            is a person; `one`: all below a given folder is one person.
        frames: folders below which each folder that holds pictures is a clip, laid out as VoxCeleb's face crops,
            `identity/1.6/video/0000025.jpg`, or in any other way.
        frame_rate: frames a second that the names of those pictures count.

    Raises:
        ConfigError: a folder is missing, nothing was found, or two clips have the same name.
    """
    clips = [_clip(folder, path, identity_from) for folder in folders for path in _files(folder, VIDEOS)]
    clips += [_portrait(folder, path) for folder in images for path in _files(folder, IMAGES)]
    clips += [_folder(root, path, identity_from, frame_rate) for root in frames for path in _holders(root)]
    if not clips:
        places = ", ".join(str(folder) for folder in (*folders, *images, *frames))
        what = "pictures" if frames and not folders else "videos"
        raise ConfigError(
            f"found no {what} in {places}; expected files as identity/video/clip.mp4, or with --frames folders as "
            "identity/video/0000025.jpg"
        )
    named: dict[str, Clip] = {}
    for clip in clips:
        other = named.setdefault(clip.name, clip)
        if other is not clip:
            raise ConfigError(f"{other.path} and {clip.path} are both called {clip.name}; rename one of them")
    return sorted(clips, key=lambda clip: clip.name)


def _files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is neither a folder nor a file; check the path")
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        for path in (Path(place, name) for name in files):
            # Those with `.part` in their name are still being written.
            if path.suffix.lower() in suffixes and path.name[0] != "." and ".part" not in path.suffixes:
                yield path


def _clip(folder: Path, path: Path, identity_from: str) -> Clip:
    parts = path.relative_to(folder).parts if path != folder else (path.name,)
    match identity_from:
        case "one":
            identity, between = (folder if path != folder else folder.parent).resolve().name, parts[:-1]
        case "file":
            identity, between = path.stem, ()
        case _:
            identity, between = (parts[0], parts[1:-1]) if len(parts) > 1 else (path.stem, ())
    video = "/".join(between) or path.stem
    csv = path.with_suffix(".csv")
    return Clip(
        name="/".join(dict.fromkeys((identity, *between, path.stem))),
        identity=identity,
        video=video,
        path=path,
        csv=csv if csv.is_file() else None,
    )


def _holders(root: Path) -> list[Path]:
    """Folders that hold pictures."""
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder; --frames takes folders of pictures")
    return sorted({path.parent for path in _files(root, IMAGES)})


def _folder(root: Path, path: Path, identity_from: str, frame_rate: float) -> Clip:
    parts = path.relative_to(root).parts
    own = (path if parts else path.resolve()).name
    match identity_from:
        case "one":
            identity, between = root.resolve().name, parts[:-1]
        case "file":
            identity, between = "-".join(parts) or own, ()
        case _:
            identity, between = parts[0] if parts else own, parts[1:-1]
    csv = path.with_name(f"{path.name}.csv")
    return Clip(
        name="/".join(dict.fromkeys((identity, *between, own))),
        identity=identity,
        video=video_of(between, own),
        path=path,
        csv=csv if csv.is_file() else None,
        frame_rate=frame_rate,
    )


def _portrait(folder: Path, path: Path) -> Clip:
    within = path.relative_to(folder).with_suffix("") if path != folder else Path(path.stem)
    identity = "-".join((folder.name, *within.parts))
    return Clip(name=f"{identity}/portrait", identity=identity, video="portrait", path=path, is_portrait=True)


def frames_of(clip: Clip, fps: float, max_frames: int | None = None) -> Iterator[tuple[Frame, float]]:
    """Frames (H, W, 3) RGB, upright, and their times in seconds since the first; a portrait is a clip of one frame.

    Frames beyond `fps` are left out; a slower clip keeps its own rate.

    Raises:
        SourceError: it is not a video or a picture, damaged, or without a frame. Frames before the damage have been
            given by then. In a folder only the pictures that cannot be read are left out.
    """
    if clip.is_portrait:
        return iter([(load_photo(clip.path).frame, 0.0)])
    if clip.frame_rate is not None:
        due = _Due(fps, clip.frame_rate)
        wanted = (each for each in read_frames(clip.path, clip.frame_rate) if due.is_now(each[1]))
        return islice(wanted, max_frames)
    return _read(clip.path, fps, max_frames)


class _Due:
    """Tells which frames to keep, at rising times, so that no more than `fps` a second are left of `rate`."""

    def __init__(self, fps: float, rate: float) -> None:
        self._step_s, self._slack_s = 1 / fps, 0.5 / max(rate, fps)
        self._last_s, self._due_s = -1.0, 0.0

    def is_now(self, time_s: float) -> bool:
        # Half a frame of slack, so that 25 of 25.01 FPS are all kept.
        if time_s <= self._last_s or time_s < self._due_s - self._slack_s:
            return False
        self._due_s = max(self._due_s + self._step_s, time_s)
        self._last_s = time_s
        return True


def _read(path: Path, fps: float, max_frames: int | None) -> Iterator[tuple[Frame, float]]:
    done = 0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise SourceError("it has no video in it")
            stream = container.streams.video[0]
            # One clip is one worker's work; more threads would fight with the other workers'.
            stream.codec_context.thread_count = 1
            rate = float(stream.average_rate or fps)
            first_s: float | None = None
            due = _Due(fps, rate)
            for index, decoded in enumerate(container.decode(stream)):
                seen_s = index / rate if decoded.time is None else decoded.time
                first_s = seen_s if first_s is None else first_s
                time_s = seen_s - first_s
                if not due.is_now(time_s):
                    continue
                frame = decoded.to_ndarray(format="rgb24")
                # `rotation` is counter-clockwise, as np.rot90 turns.
                if decoded.rotation % 90 == 0:
                    frame = np.rot90(frame, decoded.rotation // 90)
                yield np.ascontiguousarray(frame), time_s
                done += 1
                if done == max_frames:
                    return
    except av.error.EOFError:
        pass
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"damaged after frame {done}" if done else "not a video that can be read"
        raise SourceError(f"{where} ({reason})") from error
    if not done:
        raise SourceError("it has no frame that can be decoded")
