"""Attributes from a CSV instead of a driver's face, and into one.

What `Recorder` writes are the values that reached the generator; `load_drive` gives the same bits back, so a
replay makes the same frames.
"""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from icface import attributes
from icface.attributes import AttributeTrack, FloatArray
from icface.errors import ConfigError, ICFaceError
from icface.face.continuity import Continuity

_HEADER: Final = ("frame", "timestamp", "success", *attributes.NAMES)


def load_drive(path: Path) -> AttributeTrack:
    """Read a CSV and fill the rows where its maker saw no face: hold, ease, return, as with a camera.

    Only OpenFace's files need that: ours already hold what was shown.

    Raises:
        ConfigError: as `icface.attributes.read_csv`.
    """
    track = attributes.read_csv(path)
    if track.present.all() or _is_ours(path):
        return track
    continuity = Continuity()
    filled = [
        continuity.update(values if present else None, float(time_s)).copy()
        for time_s, values, present in zip(track.times_s, track.values, track.present, strict=True)
    ]
    return AttributeTrack(times_s=track.times_s, values=np.stack(filled), present=track.present)


def _is_ours(path: Path) -> bool:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return set(attributes.NAMES) <= {name.strip() for name in next(csv.reader(file))}


def frame_rate(track: AttributeTrack) -> Fraction:
    """The constant rate that fits the track's timestamps: the usual ones exactly, else to 1/1000 FPS.

    A single row, or rows that all bear the same time, get 25.

    Raises:
        ConfigError: the rows follow each other faster than 240 or slower than once a second.
    """
    gaps_s = np.diff(track.times_s)
    gaps_s = gaps_s[gaps_s > 0]
    if gaps_s.size == 0:
        return Fraction(25)
    fps = 1.0 / float(np.median(gaps_s))
    if not 1 <= fps <= 240:
        raise ConfigError(
            f"the attributes have {fps:.3g} rows a second by their timestamps; expected 1 to 240"
        )
    # Timestamps are often rounded (33 ms for 30 FPS), so the whole track decides, not one gap.
    span_s = float(track.times_s[-1] - track.times_s[0])
    mean_fps = (len(track) - 1) / span_s
    if abs(mean_fps / fps - 1) < 0.05:
        fps = mean_fps
    usual = (Fraction(whole) for whole in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120))
    ntsc = (Fraction(whole * 1000, 1001) for whole in (24, 30, 60, 120))
    # Exact first: 30 and 29.97 are .1 % apart, so only what is within .02 % is taken for the same.
    for rate in (*usual, *ntsc):
        if abs(fps / float(rate) - 1) < 2e-4:
            return rate
    return Fraction(round(fps * 1000), 1000)


class Recorder:
    """Writes what drove, row by row: a run of any length needs no memory, and a crash loses little."""

    def __init__(self, path: Path) -> None:
        """Start the file.

        Raises:
            ConfigError: it cannot be written.
        """
        self._path = path
        self._first_s: float | None = None
        self._rows = 0
        try:
            self._file = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write attributes to {path}: {error}") from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(_HEADER)

    def add(self, values: FloatArray, time_s: float, *, present: bool) -> None:
        """Append (20,) `values` shown at `time_s`; `present`: whether the driver's face was seen then.

        Raises:
            ICFaceError: the disk is full or gone.
        """
        if self._first_s is None:
            self._first_s = time_s
        self._rows += 1
        # repr of the float32 as a float64 is exact, so a replay gives the same bits.
        cells = [repr(float(value)) for value in values]
        try:
            self._writer.writerow([self._rows, f"{time_s - self._first_s:.6f}", int(present), *cells])
        except OSError as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Finish the file.

        Raises:
            ICFaceError: the disk is full or gone.
        """
        try:
            self._file.close()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> ICFaceError:
        return ICFaceError(f"attributes can no longer be written to {self._path}: {error.strerror or error}")
