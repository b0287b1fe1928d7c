"""Pairs of face patches of one person: her calm frames, moved to her other frames, and what those show.

Most pairs have the expression that the tracker read, as every frame of the product has: there geometry misses by a
little, and the network learns to live with it. The others have the shape that is seen, as in `training/pairs/`. The pose
is the seen one in both, so that nothing else misses. What misses broadly is laid right (`training.pairs.records.laid`):
of pairs that lie apart a network learns blur. Beside mouth and eyes, and of expressions and turns that the frames do not
show, the network keeps what it made before (`training/personal/kept.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch

from icface.arrays import Array, Tensors
from icface.attributes import AU_NAMES
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.geometry.person import read_person
from icface.geometry.prepare import GEOMETRY_VERSION
from icface.networks import PatchCorrector
from training.pairs.pack import MAKER_VERSION, pack
from training.pairs.processes import worker_pool
from training.pairs.records import Record, record
from training.pairs.seen import Seen, as_seen
from training.pairs.source import Shown, Source
from training.pairs.work import save_part
from training.personal.bar import Progress
from training.personal.calm import calm_frames
from training.personal.frames import ChosenFrame
from training.personal.kept import kept_outside, kept_pairs
from training.personal.lots import SEED, Lot, draw_lots
from training.personal.one_photo import photo_pairs
from training.personal.start import corrector_of

VERSION: Final = 5
"""Raise it when this code makes other pairs than before."""
LEARN, HELD = "learn", "held"
"""Folders of the pairs that are learnt from, and of those that judge."""
SOURCES: Final = 3
"""Calm frames that are moved. The first is the bundle's picture, and most pairs are of it."""
CHUNK: Final = 12
"""Pairs that a process makes at a time: so often is there progress, and so much is lost when it is stopped."""
IOD_PX: Final = 110.0
KEPT_VARIATIONS: Final = 5
"""How often the first source shows each expression of which the network keeps what it makes."""
KEPT_TURN_DEG: Final = 24.0
NOISE: Final = 0.05
DROP_WORST: Final = 0.02
STILL: Final = (33, 133, 362, 263, 6, 168, 197, 195, 4, 127, 356)
"""Vertices that no expression moves far: corners of the eyes, nose, temples."""


class _Chunk(NamedTuple):
    """What one process makes at a time."""

    lots: tuple[Lot, ...]
    targets: dict[int, ChosenFrame]
    path: Path


def make_pairs(frames: Sequence[ChosenFrame], person: Tensors | None, out: Path, progress: Progress) -> None:
    """Make the folders `learn` and `held` of pairs, in the format of training/pairs/pack.py.

    Two frames and more: the calm ones are moved to the others. One frame: pairs are made of it by geometry. What is
    done is not made again.

    Args:
        frames: of one person.
        person: what fit_person found of her; None moves her as the table of all people does.
        out: folder.
        progress: is told how far it is.

    Raises:
        ConfigError: no frame can be a source, or the folder cannot be written.
        ICFaceError: a process died.
    """
    stamp = _stamp(frames, person)
    if all(_is_done(out / part, stamp) for part in (LEARN, HELD)):
        return
    if len(frames) == 1:
        _of_one_photo(frames[0], out, stamp, progress)
        return
    sources = calm_frames(frames, SOURCES)
    work = [
        chunk
        for part in (LEARN, HELD)
        for chunk in _chunks(draw_lots(frames, sources, held=part == HELD), frames, out / part / stamp)
    ]
    todo = [chunk for chunk in work if not chunk.path.exists()]
    for part in (LEARN, HELD):
        _folder(out / part / stamp)
    chosen = [frames[number] for number in sources]
    done = len(work) - len(todo)
    for _ in _in_processes(todo, chosen, person):
        done += 1
        progress(done / (len(work) + 1))  # what is kept takes as long as a chunk
    for part in (LEARN, HELD):
        _collect(out, part, stamp, _kept(chosen[0], person) if part == LEARN else [])
    progress(1.0)


def _kept(frame: ChosenFrame, person: Tensors | None) -> list[Record]:
    network, _ = corrector_of()
    with closing(open_detector(video=False, refined=True)) as detector:
        source = source_of(frame, person, detector)
        return [
            each
            for variation in range(KEPT_VARIATIONS)
            for each in kept_pairs(network, source, np.random.default_rng([SEED, variation]), KEPT_TURN_DEG)
        ]


def _of_one_photo(frame: ChosenFrame, out: Path, stamp: str, progress: Progress) -> None:
    detector = open_detector(video=False, refined=True)
    source = source_of(frame, None, detector)
    for number, part in enumerate((LEARN, HELD)):
        _folder(out / part / stamp)
        told = list(photo_pairs(source.seen, source, detector, held=part == HELD))
        records = [each for each in told if not isinstance(each, str)]
        save_part(out / part / stamp / "0000.npz", records, [each for each in told if isinstance(each, str)])
        _collect(out, part, stamp, [])
        progress((number + 1) / 2)


def _stamp(frames: Sequence[ChosenFrame], person: Tensors | None) -> str:
    """What decides the pairs, as 16 hexadecimal digits."""
    told: list[Any] = [VERSION, MAKER_VERSION, GEOMETRY_VERSION, len(frames)]
    told += [[f.video, f.time_s, f.held, zlib.crc32(f.picture.tobytes())] for f in frames]
    told += [[name, zlib.crc32(value.tobytes())] for name, value in sorted((person or {}).items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _is_done(folder: Path, stamp: str) -> bool:
    try:
        sets = json.loads((folder / "index.json").read_text(encoding="utf-8"))["sets"]
        return all(entry["stamp"] == stamp for entry in sets.values()) and "person" in sets
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _chunks(lots: Sequence[Lot], frames: Sequence[ChosenFrame], folder: Path) -> list[_Chunk]:
    parts = [tuple(lots[start : start + CHUNK]) for start in range(0, len(lots), CHUNK)]
    return [
        _Chunk(part, {lot.target: frames[lot.target] for lot in part}, folder / f"{number:04}.npz")
        for number, part in enumerate(parts)
    ]


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {path}: {error.strerror or error}") from error


def _collect(out: Path, part: str, stamp: str, kept: list[Record]) -> None:
    """Pack what is kept as one set and all parts as another, and delete the parts."""
    parts = sorted((out / part / stamp).glob("*.npz"))
    (out / part / "index.json").unlink(missing_ok=True)
    if kept:
        path = out / part / stamp / "kept"
        save_part(path, kept, [])
        pack(out / part, "kept", "render", [path], 0.0, stamp)
        path.unlink()
    made = pack(out / part, "person", "talk", parts, DROP_WORST if part == LEARN else 0.0, stamp)
    if not made["count"]:
        why = f" ({made['left_out'][0]})" if made["left_out"] else ""
        raise ConfigError(f"no pair could be made of the {part} frames{why}; choose other frames")
    for path in parts:
        path.unlink()
    (out / part / stamp).rmdir()


# The sources of one process: read once, used by every chunk.
_sources: list[Source] = []
_network: list[PatchCorrector] = []


def _in_processes(
    todo: Sequence[_Chunk], sources: Sequence[ChosenFrame], person: Tensors | None
) -> Iterator[None]:
    """Make chunks, on all cores; gives once for each that is done."""
    workers = min(len(todo), os.cpu_count() or 1)
    if workers <= 1:
        _open(sources, person)
        for chunk in todo:
            _make(chunk)
            yield
        return
    pool = worker_pool(workers, _begin, sources, person)
    try:
        with _without_interrupts():
            futures = [pool.submit(_make, chunk) for chunk in todo]
        for future in as_completed(futures):
            future.result()
            yield
    except BrokenProcessPool as error:
        raise ICFaceError("a process died, perhaps for want of memory; the same command goes on") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started in the block never see Ctrl-C, which a terminal sends to all.

    One that dies of it while it starts would be waited for without end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(frames: Sequence[ChosenFrame], person: Tensors | None) -> None:
    # A terminal sends Ctrl-C to all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _open(frames, person)


def _open(frames: Sequence[ChosenFrame], person: Tensors | None) -> None:
    cv2.setNumThreads(1)
    _network[:] = [corrector_of()[0]]
    detector = open_detector(video=False, refined=True)
    _sources[:] = [source_of(frame, person, detector) for frame in frames]


def source_of(frame: ChosenFrame, person: Tensors | None, detector: LandmarkDetector) -> Source:
    """A frame prepared as the product prepares a photo."""
    seen = as_seen(frame.picture, frame.landmarks)
    whose = None if person is None else read_person(person)
    return Source(seen, detector, IOD_PX, by_attributes=True, person=whose)


def _make(chunk: _Chunk) -> None:
    records: list[Record] = []
    reasons: list[str] = []
    for lot in chunk.lots:
        try:
            made = pair(_sources[lot.source], chunk.targets[lot.target], lot)
        except SourceError as error:
            made = str(error)
        if isinstance(made, str):
            reasons.append(f"{lot.target}: {made}")
        else:
            records.append(kept_outside(_network[0], made))
    save_part(chunk.path, records, reasons)


def pair(source: Source, frame: ChosenFrame, lot: Lot) -> Record | str:
    """One pair, or why there is none."""
    target = as_seen(frame.picture, frame.landmarks)
    noise = None
    if lot.way == "shape":
        onto = source.onto(target)
        if lot.noise:
            noise = np.random.default_rng([SEED, *lot[:2]]).normal(0, NOISE, len(AU_NAMES)).astype(np.float32)
        shown = source.driven_to(target, onto, noise)
    else:
        shown = source.expressed(frame.attributes, target)
        onto = laid_on(source, shown, target)
    words = {
        "target": f"{lot.target}",
        "source": f"{lot.source} by {lot.way}",
        "identity": "the person",
        "kind": "talk",
        "noise": 0.0 if noise is None else NOISE,
    }
    return record(source, shown, target, onto, words, match_colour=True, lay=True)


def laid_on(source: Source, shown: Shown, target: Seen) -> Array:
    """(2, 3) from pixels of a frame to those of another picture of the person: nose and eyes as near as they come.

    A shift, a turn and a scale, by least squares: no expression and no error of the pose counts.
    """
    here = source.project(shown.shape[list(STILL)], shown.rotation)[:, :2].astype(np.float64)
    there = target.landmarks.points_px[list(STILL), :2].astype(np.float64)
    a, b = (points[:, 0] + 1j * points[:, 1] for points in (here, there))
    times = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    offset = b.mean() - times * a.mean()
    return np.array([[times.real, -times.imag, offset.real], [times.imag, times.real, offset.imag]])
