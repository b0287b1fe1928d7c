"""Pairs of face patches of one person: her calm frames, moved to her other frames, and what those show.

Most pairs have the expression that the tracker read, as every frame of the product has: there geometry misses by a
little, and the network learns to live with it. The others have the shape that is seen, as in `training/pairs/`. The pose
is the seen one in both, so that nothing else misses.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np

from icface.arrays import Array, Tensors
from icface.attributes import AU_NAMES, INDEX
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.geometry.person import read_person
from icface.geometry.prepare import GEOMETRY_VERSION
from training.pairs.pack import MAKER_VERSION, pack
from training.pairs.records import Record, record
from training.pairs.seen import Seen, as_seen
from training.pairs.source import Shown, Source
from training.pairs.work import save_part
from training.personal.bar import Progress
from training.personal.calm import COVERED, calm_frames, oddness
from training.personal.frames import ChosenFrame

VERSION: Final = 4
"""Raise it when this code makes other pairs than before."""
LEARN, HELD = "learn", "held"
"""Folders of the pairs that are learnt from, and of those that judge."""
SOURCES: Final = 3
"""Calm frames that are moved. The first is the bundle's picture, and most pairs are of it."""
PAIRS: Final = 480
HELD_PAIRS: Final = 72
"""At most so many pairs that judge."""
OF_FIRST: Final = 0.6
"""Share of the pairs that are made of the first source."""
BY_ATTRIBUTES: Final = 0.8
"""Share of the pairs that are moved by attributes. Pairs by shapes alone leave half of what is to be won."""
CHUNK: Final = 12
"""Pairs that a process makes at a time: so often is there progress, and so much is lost when it is stopped."""
SEED: Final = 20
IOD_PX: Final = 110.0
NOISE: Final = 0.05
DROP_WORST: Final = 0.02
STILL: Final = (33, 133, 362, 263, 6, 168, 197, 195, 4, 127, 356)
"""Vertices that no expression moves far: corners of the eyes, nose, temples."""

Way = Literal["shape", "attributes"]


class Lot(NamedTuple):
    """One pair that is to be made."""

    source: int
    """Which of the sources."""
    target: int
    """Which of the frames."""
    way: Way
    noise: bool


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
        progress(done / len(work))
    for part in (LEARN, HELD):
        _collect(out, part, stamp)


def _of_one_photo(frame: ChosenFrame, out: Path, stamp: str, progress: Progress) -> None:
    from training.personal.one_photo import photo_pairs  # needs torch, which frames do not

    detector = open_detector(video=False)
    source = source_of(frame, None, detector)
    for number, part in enumerate((LEARN, HELD)):
        _folder(out / part / stamp)
        told = list(photo_pairs(source.seen, source, detector, held=part == HELD))
        records = [each for each in told if not isinstance(each, str)]
        save_part(out / part / stamp / "0000.npz", records, [each for each in told if isinstance(each, str)])
        _collect(out, part, stamp)
        progress((number + 1) / 2)


def draw_lots(frames: Sequence[ChosenFrame], sources: Sequence[int], *, held: bool) -> list[Lot]:
    """Which pairs are made. Rare expressions come first, so that they are in however few pairs there are.

    Held pairs are of the first source alone, by attributes: it is what the bundle shows.
    """
    rng = np.random.default_rng([SEED, int(held)])
    seen = oddness(frames) <= COVERED
    targets = [n for n, each in enumerate(frames) if each.held == held and n not in sources and seen[n]]
    if not targets:
        raise ConfigError(f"no frame is left to {'judge by' if held else 'learn from'}; film more")
    rare = [rarity(frames[n]) for n in targets]
    order = [targets[i] for i in np.argsort(-np.array(rare), kind="stable")]
    if held:
        chosen = [order[i] for i in np.linspace(0, len(order) - 1, min(len(order), HELD_PAIRS)).astype(int)]
        return [Lot(0, target, "attributes", False) for target in chosen]
    lots = []
    for count in range(min(PAIRS, 3 * len(order))):
        again, place = divmod(count, len(order))
        first = again == 0 if len(sources) == 1 else rng.random() < OF_FIRST
        source = 0 if first or len(sources) == 1 else int(rng.integers(1, len(sources)))
        way: Way = "attributes" if rng.random() < BY_ATTRIBUTES else "shape"
        lots.append(Lot(source, order[place], way, way == "shape" and bool(rng.integers(2))))
    return list(dict.fromkeys(lots))


def rarity(frame: ChosenFrame) -> float:
    """How much a frame shows of what talk rarely does: closing lids, teeth, an open mouth, raised or knit brows."""
    of = {name: float(frame.attributes[INDEX[name]]) for name in AU_NAMES}
    lids = of["AU45"] if of["AU45"] < 0.9 else 0.8
    return lids + of["AU12"] * (0.5 + of["AU25"]) + of["AU26"] + 0.5 * (of["AU04"] + of["AU01"])


def _stamp(frames: Sequence[ChosenFrame], person: Tensors | None) -> str:
    """What decides the pairs, as 16 hexadecimal digits."""
    told: list[Any] = [VERSION, MAKER_VERSION, GEOMETRY_VERSION, len(frames)]
    told += [[f.video, f.time_s, f.held, zlib.crc32(f.picture.tobytes())] for f in frames]
    told += [[name, zlib.crc32(value.tobytes())] for name, value in sorted((person or {}).items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _is_done(folder: Path, stamp: str) -> bool:
    try:
        sets = json.loads((folder / "index.json").read_text(encoding="utf-8"))["sets"]
        return all(entry["stamp"] == stamp for entry in sets.values()) and bool(sets)
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


def _collect(out: Path, part: str, stamp: str) -> None:
    """One set of all parts, which then go."""
    parts = sorted((out / part / stamp).glob("*.npz"))
    (out / part / "index.json").unlink(missing_ok=True)
    made = pack(out / part, "person", "talk", parts, DROP_WORST if part == LEARN else 0.0, stamp)
    if not made["count"]:
        why = f" ({made['left_out'][0]})" if made["left_out"] else ""
        raise ConfigError(f"no pair could be made of the {part} frames{why}; choose other frames")
    for path in parts:
        path.unlink()
    (out / part / stamp).rmdir()


# The sources of one process: read once, used by every chunk.
_sources: list[Source] = []


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
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (sources, person))
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
    _open(frames, person)


def _open(frames: Sequence[ChosenFrame], person: Tensors | None) -> None:
    cv2.setNumThreads(1)
    detector = open_detector(video=False)
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
        reasons.append(f"{lot.target}: {made}") if isinstance(made, str) else records.append(made)
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
    return record(source, shown, target, onto, words, match_colour=True)


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
