"""Attributes of a clip from the CSV that OpenFace wrote of it, matched to frames by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import AU_NAMES, COUNT, FloatArray
from icface.cells import Cells, read_cells
from icface.errors import ConfigError
from icface.tables import read_csv

MIN_CONFIDENCE: Final = 0.7
"""OpenFace's own landmark confidence; below it intensities jump."""
_PRESENCE: Final = [f"{name}_c" for name in AU_NAMES]


@dataclass(frozen=True, kw_only=True)
class OpenFaceTable:
    """n rows of a CSV."""

    times_s: NDArray[np.float64]
    """(n,) from the first row."""
    values: FloatArray
    """(n, 20) full-shape; an Action Unit that OpenFace reads above the whole movement is above 1."""
    presence: NDArray[np.int8]
    """(n, 17) AUxx_c; −1 where the file has no such column, or no face."""
    usable: NDArray[np.bool_]
    """(n,) a face was found, and with confidence."""
    frames: NDArray[np.float64] | None
    """(n,) number of the frame in its video, from 1; None without such a column."""
    path: Path

    def row_at(self, time_s: float) -> int | None:
        """The usable row of a moment; None where there is none within half a frame."""
        row = int(np.abs(self.times_s - time_s).argmin())
        step_s = float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else np.inf
        near = abs(float(self.times_s[row]) - time_s) <= 0.5 * step_s + 1e-3
        return row if near and self.usable[row] else None

    def of_pictures(self, pictures: Sequence[tuple[float, Path]], frame_rate: float) -> OpenFaceTable:
        """The same table for m pictures of one folder, by their times in their video: times since the first picture.

        As many rows as pictures are theirs. OpenFace reads a folder by its names as text, so frame10 before frame2;
        the rows are brought into the order of time. Else the rows are of the whole video.

        Raises:
            ConfigError: the rows are others, and do not say of which frame.
        """
        first_s = pictures[0][0]
        if len(pictures) == len(self.times_s):
            as_text = sorted(range(len(pictures)), key=lambda number: pictures[number][1].name)
            rows = np.argsort(as_text)
            return replace(
                self,
                times_s=np.array([time_s for time_s, _ in pictures]) - first_s,
                values=self.values[rows],
                presence=self.presence[rows],
                usable=self.usable[rows],
                frames=None if self.frames is None else self.frames[rows],
            )
        if self.frames is None:
            raise ConfigError(
                f"{self.path} has {len(self.times_s)} rows for {len(pictures)} pictures and no column `frame`; "
                "let OpenFace read these pictures, or their whole video"
            )
        return replace(self, times_s=self.frames / frame_rate - first_s)


def read_openface(path: Path, fps: float) -> OpenFaceTable:
    """Read a table; `fps` is that of the clip, for tables without a `timestamp`.

    Raises:
        ConfigError: it cannot be read, lacks columns, has values that are no numbers or a presence that is not
            0 or 1, or rows of several faces.
    """
    track = read_csv(path, fps=fps, clamp=False)
    cells = read_cells(path)
    if track.people > 1:
        raise ConfigError(
            f"{path} has rows of several faces (face_id); expected OpenFace's table of one face"
        )
    return OpenFaceTable(
        times_s=track.times_s,
        values=track.values[:, :COUNT],
        presence=_presence(cells, track.present),
        frames=_numbers(cells, "frame", 0.0) if "frame" in cells.columns else None,
        path=path,
        usable=track.present & (_numbers(cells, "confidence", 1.0) >= MIN_CONFIDENCE),
    )


def read_presence(path: Path) -> NDArray[np.int8]:
    """(n, 17) AUxx_c of a table that has all of them; −1 in rows without a face.

    Raises:
        ConfigError: it cannot be read, lacks columns, or has a presence that is not 0 or 1.
    """
    cells = read_cells(path)
    missing = [name for name in _PRESENCE if name not in cells.columns]
    if missing:
        raise ConfigError(f"{path} lacks the columns {', '.join(missing[:5])} of an OpenFace CSV")
    return _presence(cells, _numbers(cells, "success", 1.0) >= 0.5)


def _numbers(cells: Cells, name: str, default: float) -> NDArray[np.float64]:
    """(n,) of a column; the default where there is no such column."""
    if name not in cells.columns:
        return np.full(len(cells.rows), default)
    values = cells.numbers(name)
    bad = np.flatnonzero(np.isnan(values))
    if bad.size:
        raise cells.error(int(bad[0]), name, "mend or remove that line")
    return values


def _presence(cells: Cells, present: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(n, 17) AUxx_c; −1 in rows without a face (n,), and where there is no such column."""
    result = np.full((len(cells.rows), len(AU_NAMES)), -1, dtype=np.int8)
    for au, name in enumerate(_PRESENCE):
        if name not in cells.columns:
            continue
        values = cells.numbers(name)
        for row in np.flatnonzero(present).tolist():
            if values[row] not in (0.0, 1.0):
                raise ConfigError(
                    f"{cells.path} line {cells.lines[row]}: column {name} is {cells.text(row, name)!r}, not 0 or 1; "
                    "mend or remove that line"
                )
            result[row, au] = int(values[row])
    return result
