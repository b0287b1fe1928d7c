"""What a data set holds, in words, numbers and pictures, so that mistakes are seen before days of training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from icface.attributes import NAMES, FloatArray
from icface.files import write_file
from training.dataset.index import SPLITS
from training.dataset.reading import FaceTracks
from training.preparation.clips import Clip
from training.preparation.data_pictures import save_pictures
from training.preparation.markdown import table
from training.preparation.parts import PartInfo

LISTED: Final = 200
"""Skipped clips and notes that report.md names; report.json and skipped.json name all."""


def write_report(folder: Path, clips: Sequence[Clip], infos: Mapping[str, PartInfo]) -> None:
    """Write `report/` of a data set that has just been packed; raises OSError where it cannot be written.

    Args:
        folder: the data set.
        clips: all that were found.
        infos: of each, by its name.
    """
    tracks = FaceTracks(folder)
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
        "persons": {split: len(index.splits[split]) for split in SPLITS},
        "tracks_by_split": {split: len(tracks.split(split)) for split in SPLITS},
        "persons_with_one_track": sum(count == 1 for count in own.values()),
        "size_px": index.size_px,
        "attribute_source": index.attribute_source,
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


def _quantiles(values: ArrayLike) -> dict[str, Any]:
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
        f"({persons['train']} to train on, {persons['test']} to test on), {numbers['hours']:.2f} hours of video; "
        f"{numbers['persons_with_one_track']} persons have one track only.",
        f"Crops of {size_px} pixels; attributes by: {numbers['attribute_source']}. The face's box in the clips is "
        f"{faces['p50']:g} pixels wide (5 % below {faces['p5']:g}, 5 % above {faces['p95']:g}); a crop of {size_px} is "
        "cut from 1.6 times that.",
        f"{numbers['bytes'] / 1e6:.1f} MB{hourly}.",
        table(["attribute", "mean", "SD", "5 %", "median", "95 %", "largest"], spread),
        "![Attributes](attributes.png)\n![Head pose](pose.png)\n![Face sizes](faces.png)",
        "## The most of each attribute",
        "Each row is one attribute, its largest values by different persons: closed eyes for AU45, an open mouth for "
        "AU26, the nose to image-left for yaw +. If a row does not look so, the attributes are wrong.",
        "![Extremes](extremes.png)",
        *(f"## Crops to {split} on\n\n![Crops](crops_{split}.png)" for split in SPLITS),
        f"## Skipped: {numbers['skipped_clips']} of {numbers['clips']} clips",
        _list({name: [reason] for name, reason in numbers["skipped"].items()}),
        f"## Notes on {len(numbers['notes'])} clips",
        _list(numbers["notes"]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _list(entries: Mapping[str, Sequence[str]]) -> str:
    lines = [f"- `{name}`: {'; '.join(texts)}" for name, texts in list(entries.items())[:LISTED]]
    if len(entries) > LISTED:
        lines.append(f"- and {len(entries) - LISTED} more, see report.json")
    return "\n".join(lines or ["none"])
