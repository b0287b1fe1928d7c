"""The pictures of a data set's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, NAMES, POSE, FloatArray, pose_from_unit
from icface.files import write_file
from training.dataset.index import SPLITS
from training.dataset.reading import FaceTracks

COLUMNS: Final = 8
SHEET_ROWS: Final = 6
CELL_PX: Final = 128
CAPTION_PX: Final = 32
STRONGEST: Final = 3
"""Action Units that a caption names."""
MANY: Final = 50_000
"""Points that a scatter plot shows."""


def save_pictures(
    folder: Path, tracks: FaceTracks, attributes: FloatArray, sides_px: Sequence[float]
) -> None:
    """All pictures of the report; raises OSError where they cannot be written.

    Args:
        folder: of the report.
        tracks: the data set.
        attributes: (N, 20) of all its frames.
        sides_px: how large the face is in each clip.
    """
    figure, axes = _figure(4, 5, (15, 10))
    for i, (name, place) in enumerate(zip(NAMES, axes, strict=True)):
        place.hist(attributes[:, i], bins=50, range=(0, 1), color="tab:blue")
        place.set_title(name)
        # Most frames show nothing of an Action Unit; on a linear scale the others would not be seen.
        place.set_yscale("log")
    figure.savefig(folder / "attributes.png", dpi=80)

    step = max(1, len(attributes) // MANY)
    pitch, yaw, roll = np.degrees(pose_from_unit(attributes[::step, POSE])).T
    figure, axes = _figure(1, 2, (11, 5))
    for place, other, name in ((axes[0], pitch, "pitch"), (axes[1], roll, "roll")):
        place.scatter(yaw, other, s=2, alpha=0.4)
        place.set(xlabel="yaw / °", ylabel=f"{name} / °", xlim=(-42, 42), ylim=(-42, 42))
    figure.savefig(folder / "pose.png", dpi=80)

    figure, (place,) = _figure(1, 1, (6, 4))
    place.hist(sides_px, bins=40, color="tab:green")
    place.set(xlabel="side of the face's box in the clip / pixels", ylabel="clips")
    figure.savefig(folder / "faces.png", dpi=80)

    _save_extremes(folder / "extremes.png", tracks, attributes)
    for split in SPLITS:
        _save_sheet(folder / f"crops_{split}.png", tracks, split)


def _save_sheet(path: Path, tracks: FaceTracks, split: str) -> None:
    """Random crops of a split with their attributes; an empty split gives no picture."""
    numbers = tracks.split(split)
    path.unlink(missing_ok=True)
    if not numbers:
        return
    rng = np.random.default_rng(0)
    cells = []
    for number in rng.choice(numbers, COLUMNS * SHEET_ROWS):
        row = int(rng.choice(tracks.tracks[number].rows))
        (values,) = tracks.values_of([row]).attributes
        pitch, yaw, roll = np.degrees(pose_from_unit(values[POSE]))
        units = sorted(zip(values[ACTION_UNITS], AU_NAMES, strict=True), reverse=True)[:STRONGEST]
        strongest = " ".join(f"{name[2:]}:{value:.2f}" for value, name in units if value >= 0.05)
        cells.append(_cell(tracks, row, f"p{pitch:+.0f} y{yaw:+.0f} r{roll:+.0f}", strongest))
    _save_cells(path, cells, COLUMNS)


def _save_extremes(path: Path, tracks: FaceTracks, attributes: FloatArray) -> None:
    """A row for each attribute (of (N, 20)): its largest values by different persons; for pose the smallest too."""
    cells: list[Frame] = []
    columns = min(COLUMNS, len(tracks.identities))
    blank = np.full((CELL_PX + CAPTION_PX, CELL_PX, 3), 255, dtype=np.uint8)
    for i, (name, values) in enumerate(zip(NAMES, attributes.T, strict=True)):
        for sign, tag in ((1, "+"), (-1, "-")) if i < 3 else ((1, ""),):
            rows = most(tracks, sign * values)
            for row in rows:
                degrees = np.degrees(pose_from_unit([values[row]] * 3)[0])
                shown = f"{values[row]:.2f}" if i >= 3 else f"{degrees:+.0f}"
                cells.append(_cell(tracks, row, f"{name}{tag} {shown}", ""))
            cells += [blank] * (columns - len(rows))
    # 23 rows in two columns; one place stays empty.
    cells += [blank] * (-len(cells) % (2 * columns))
    _save_cells(path, cells, 2 * columns)


def most(tracks: FaceTracks, values: FloatArray) -> list[int]:
    """Up to COLUMNS rows of the largest values (N,), one for each person."""
    best: dict[str, int] = {}
    for track in tracks.tracks:
        row = track.first + int(values[track.first : track.first + track.frames].argmax())
        if track.identity not in best or values[row] > values[best[track.identity]]:
            best[track.identity] = row
    return sorted(best.values(), key=lambda row: -values[row])[:COLUMNS]


def _cell(tracks: FaceTracks, row: int, first: str, second: str) -> Frame:
    """(CELL_PX + CAPTION_PX, CELL_PX, 3) RGB: a crop with two lines below it."""
    cell = np.full((CELL_PX + CAPTION_PX, CELL_PX, 3), 255, dtype=np.uint8)
    cell[:CELL_PX] = cv2.resize(tracks.frame(row), (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
    for text, y in ((first, 12), (second, 26)):
        cv2.putText(cell, text, (2, CELL_PX + y), cv2.FONT_HERSHEY_SIMPLEX, 0.37, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def _save_cells(path: Path, cells: Sequence[Frame], columns: int) -> None:
    """A PNG of cells in lines of `columns`; the last line has to be full."""
    lines = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    sheet = cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR)
    write_file(path, cv2.imencode(".png", sheet)[1].tobytes())


def _figure(rows: int, columns: int, size_inch: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Without pyplot, which would want a window system and keeps figures in globals."""
    figure = Figure(figsize=size_inch, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
