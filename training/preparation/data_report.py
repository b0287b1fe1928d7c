"""What a data set holds, in words, numbers and pictures, so that mistakes are seen before days of training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, NAMES, POSE, FloatArray, pose_from_unit
from icface.files import write_file
from training.dataset.index import SPLITS
from training.dataset.reading import FaceTracks
from training.preparation.clips import Clip
from training.preparation.markdown import table
from training.preparation.parts import PartInfo

LISTED: Final = 200
"""Skipped clips and notes that report.md names; report.json and skipped.json name all."""

COLUMNS: Final = 8
SHEET_ROWS: Final = 6
CELL_PX: Final = 128
CAPTION_PX: Final = 32
STRONGEST: Final = 3
"""Action Units that a caption names."""
MANY: Final = 50_000
"""Points that a scatter plot shows."""


def write_report(folder: Path, clips: Sequence[Clip], infos: Mapping[str, PartInfo]) -> None:
    """Write `report/` of the data set in a folder, from all clips that were found and what is said of each by its name.

    Raises:
        OSError: it cannot be written.
    """
    tracks = FaceTracks(folder, stored=True)
    attributes = tracks.all_values().attributes
    numbers = _numbers(tracks, attributes, clips, infos)
    report = folder / "report"
    report.mkdir(exist_ok=True)
    write_file(report / "report.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    sides_px = [info.face_px for info in infos.values() if info.reason is None]
    save_pictures(report, tracks, attributes, sides_px)
    write_file(report / "report.md", _text(numbers))


def _numbers(
    tracks: FaceTracks, values: FloatArray, clips: Sequence[Clip], infos: Mapping[str, PartInfo]
) -> dict[str, Any]:
    index = tracks.index
    used = [info for info in infos.values() if info.reason is None]
    # Only of clips: the one frame of a portrait says nothing about hours.
    moving = [track for track in index.tracks if track.frames > 1]
    hours = sum(track.frames / track.fps for track in moving) / 3600
    share = sum(track.frames for track in moving) / index.rows
    size = sum(shard.bytes for shard in index.shards)
    own = Counter(track.identity for track in index.tracks)
    spread = {
        "mean": values.mean(axis=0, dtype=np.float64),
        "sd": values.std(axis=0, dtype=np.float64),
        **_quantiles(values),
        "max": values.max(axis=0),
    }
    return {
        "clips": len(clips),
        "skipped_clips": len(clips) - len(used),
        "tracks": len(index.tracks),
        "frames": index.rows,
        "hours": round(hours, 4),
        "persons": {split: len(index.people(split)) for split in SPLITS},
        "tracks_by_split": {split: len(tracks.split(split)) for split in SPLITS},
        "persons_with_one_track": sum(count == 1 for count in own.values()),
        "size_px": index.size_px,
        "attribute_source": index.attribute_source,
        "attribute_scale": index.attribute_scale,
        "face_px": {
            name: round(float(side), 1) for name, side in _quantiles([info.face_px for info in used]).items()
        },
        "bytes": size,
        "gigabytes_per_hour": round(size * share / hours / 1e9, 3) if hours else None,
        "attributes": {
            name: {kind: round(float(of_all[i]), 4) for kind, of_all in spread.items()}
            for i, name in enumerate(NAMES)
        },
        "skipped": {str(clip.path): reason for clip in clips if (reason := infos[clip.name].reason)},
        "notes": {str(clip.path): list(infos[clip.name].notes) for clip in clips if infos[clip.name].notes},
    }


def _quantiles(values: FloatArray | Sequence[float]) -> dict[str, Any]:
    shares = {"p5": 0.05, "p50": 0.5, "p95": 0.95}
    return dict(zip(shares, np.quantile(values, list(shares.values()), axis=0), strict=True))


def _text(numbers: Mapping[str, Any]) -> str:
    persons, faces, size_px = numbers["persons"], numbers["face_px"], numbers["size_px"]
    hourly = f", {numbers['gigabytes_per_hour']:g} GB an hour of video" if numbers["hours"] else ""
    spread = [
        [name, *(f"{value:.3f}" for value in values.values())]
        for name, values in numbers["attributes"].items()
    ]
    paragraphs = [
        "# What this data set holds",
        f"{numbers['frames']} frames in {numbers['tracks']} tracks of {sum(persons.values())} persons "
        f"({persons['train']} to train on, {persons['validation']} for validation, {persons['test']} to test on), "
        f"{numbers['hours']:.2f} hours of video; "
        f"{numbers['persons_with_one_track']} persons have one track only.",
        f"Crops of {size_px} pixels; attributes by: {numbers['attribute_source']}, on the scale "
        f"{numbers['attribute_scale']}. The face's box in the clips is "
        f"{faces['p50']:g} pixels wide (5 % below {faces['p5']:g}, 5 % above {faces['p95']:g}); a crop of {size_px} is "
        "cut from 1.6 times that.",
        f"{numbers['bytes'] / 1e6:.1f} MB{hourly}.",
        table(["attribute", "mean", "SD", "5 %", "median", "95 %", "largest"], spread),
        "![Attributes](attributes.png)\n![Head pose](pose.png)\n![Face sizes](faces.png)",
        "## The most of each attribute",
        "Each row is one attribute, its largest values by different persons: closed eyes for AU45, an open mouth for "
        "AU26, the nose to image-left for yaw +. If a row does not look so, the attributes are wrong.",
        "![Extremes](extremes.png)",
        *(f"## Crops for {split}\n\n![Crops](crops_{split}.png)" for split in SPLITS if persons[split]),
        f"## Skipped: {numbers['skipped_clips']} of {numbers['clips']} clips",
        listing({name: [reason] for name, reason in numbers["skipped"].items()}),
        f"## Notes on {len(numbers['notes'])} clips",
        listing(numbers["notes"]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def listing(entries: Mapping[str, Sequence[str]]) -> str:
    """A Markdown list of what is said of each name, at most LISTED of them."""
    lines = [f"- `{name}`: {'; '.join(texts)}" for name, texts in list(entries.items())[:LISTED]]
    if len(entries) > LISTED:
        lines.append(f"- and {len(entries) - LISTED} more, see report.json")
    return "\n".join(lines or ["none"])


def save_pictures(
    folder: Path, tracks: FaceTracks, attributes: FloatArray, sides_px: Sequence[float]
) -> None:
    """All pictures of the report, from attributes (N, 20) of all frames and the side of the face in each clip."""
    figure, axes = figure_of(4, 5, (15, 10))
    for i, (name, place) in enumerate(zip(NAMES, axes, strict=True)):
        place.hist(attributes[:, i], bins=50, range=(0, 1), color="tab:blue")
        place.set_title(name)
        # Most frames show nothing of an Action Unit; on a linear scale the others would not be seen.
        place.set_yscale("log")
    figure.savefig(folder / "attributes.png", dpi=80)

    step = max(1, len(attributes) // MANY)
    pitch, yaw, roll = np.degrees(pose_from_unit(attributes[::step, POSE])).T
    figure, axes = figure_of(1, 2, (11, 5))
    for place, other, name in ((axes[0], pitch, "pitch"), (axes[1], roll, "roll")):
        place.scatter(yaw, other, s=2, alpha=0.4)
        place.set(xlabel="yaw / °", ylabel=f"{name} / °", xlim=(-42, 42), ylim=(-42, 42))
    figure.savefig(folder / "pose.png", dpi=80)

    figure, (place,) = figure_of(1, 1, (6, 4))
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
    save_cells(path, cells, COLUMNS)


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
    save_cells(path, cells, 2 * columns)


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


def save_cells(path: Path, cells: Sequence[Frame], columns: int) -> None:
    """A PNG of cells in lines of `columns`; the last line has to be full."""
    lines = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    sheet = cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR)
    write_file(path, cv2.imencode(".png", sheet)[1].tobytes())


def figure_of(rows: int, columns: int, size_inch: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Without pyplot, which would want a window system and keeps figures in globals."""
    figure = Figure(figsize=size_inch, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
