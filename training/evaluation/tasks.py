"""Decides which frame is the source and which frames drive it, the same for every model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from icface.attributes import ACTION_UNITS, POSE, FloatArray
from icface.errors import ConfigError
from training.dataset.index import Track
from training.dataset.reading import FaceTracks


@dataclass(frozen=True, kw_only=True)
class Task:
    """One source, driven by frames of one clip."""

    number: int
    """Place among the tasks of its kind; part of file names."""
    name: str
    """Shown to people."""
    source: int
    """Row of the source frame."""
    driving: tuple[int, ...]
    """Rows of the driving frames, in the order of time."""


def tracks_of(tracks: FaceTracks, split: str, most: int | None, seed: int) -> list[Track]:
    """Clips of two frames or more: one of each identity, then a second of each, and so on, in an order drawn by the seed.

    Raises:
        ConfigError: there is no such clip.
    """
    rng = np.random.default_rng(seed)
    by_identity: dict[str, list[Track]] = {}
    for number in tracks.split(split):
        track = tracks.tracks[number]
        if track.frames > 1:
            by_identity.setdefault(track.identity, []).append(track)
    if not by_identity:
        raise ConfigError(
            f"{tracks.folder} has no clip of two frames or more in its split {split!r}; try --split train"
        )
    piles = [[pile[i] for i in rng.permutation(len(pile))] for pile in by_identity.values()]
    piles = [piles[i] for i in rng.permutation(len(piles))]
    rounds = [pile[i] for i in range(max(map(len, piles))) for pile in piles if i < len(pile)]
    return rounds[:most]


def self_tasks(
    tracks: FaceTracks, chosen: Sequence[Track], most_frames: int, source: str = "neutral", seed: int = 0
) -> list[Task]:
    """Each clip drives a frame of its own; see `source_row` for `source`."""
    tasks = []
    for number, track in enumerate(chosen):
        row = source_row(tracks, track, source, seed)
        rows = spread([r for r in track.rows if r != row], most_frames)
        tasks.append(Task(number=number, name=track.name, source=row, driving=rows))
    return tasks


def cross_tasks(
    tracks: FaceTracks, chosen: Sequence[Track], most_frames: int, source: str = "neutral", seed: int = 0
) -> list[Task]:
    """Each clip's source, driven by the next clip of another identity; none where there is but one identity."""
    tasks: list[Task] = []
    for i, track in enumerate(chosen):
        later = [*chosen[i + 1 :], *chosen[:i]]
        driver = next((other for other in later if other.identity != track.identity), None)
        if driver is not None:
            row, rows = source_row(tracks, track, source, seed), spread(driver.rows, most_frames)
            name = f"{track.name} by {driver.name}"
            tasks.append(Task(number=len(tasks), name=name, source=row, driving=rows))
    return tasks


SOURCES: Final = ("neutral", "strongest", "extreme-pose", "random", "first")
"""Which frame of a clip is its source."""


def source_row(tracks: FaceTracks, track: Track, choice: str, seed: int = 0) -> int:
    """A frame of a clip.

    Args:
        choice: `neutral`, nearest to a frontal face without expression; `strongest`, the most expression;
            `extreme-pose`, turned most; `random`, drawn by the seed and the clip's name alone; `first`.
    """
    if choice == "first":
        return track.first
    if choice == "random":
        rng = np.random.default_rng([seed, zlib.crc32(track.name.encode())])
        return track.first + int(rng.integers(track.frames))
    values = tracks.values(tracks.track_of(track.first)).attributes
    if choice == "neutral":
        return track.first + int(np.argmin(distance_from_neutral(values)))
    return track.first + int(np.argmax(expression(values) if choice == "strongest" else turn(values)))


def expression(attributes: FloatArray) -> FloatArray:
    """(n,) mean Action Unit of attributes (n, 20)."""
    return np.asarray(attributes[:, ACTION_UNITS].mean(axis=1), dtype=np.float32)


def turn(attributes: FloatArray) -> FloatArray:
    """(n,) mean turn of attributes (n, 20), over the three angles; .5 is the end of their range."""
    return np.asarray(np.abs(attributes[:, POSE] - 0.5).mean(axis=1), dtype=np.float32)


def distance_from_neutral(attributes: FloatArray) -> FloatArray:
    """(n,) of attributes (n, 20): mean Action Unit plus twice the mean turn."""
    return expression(attributes) + 2 * turn(attributes)


def spread(rows: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many of the rows, evenly over all."""
    if len(rows) <= most:
        return tuple(rows)
    return tuple(rows[round(i)] for i in np.linspace(0, len(rows) - 1, most))
