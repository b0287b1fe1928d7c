"""What a data set holds, in words, numbers and pictures, so that mistakes are seen before days of training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from icface.attributes import NAMES, FloatArray
from icface.files import write_file
from training.dataset.index import SPLITS
from training.dataset.reading import FaceTracks
from training.preparation.clips import Clip
from training.preparation.data_pictures import (
    save_extremes,
    save_histograms,
    save_pose,
    save_sheet,
    save_sizes,
)
from training.preparation.parts import PartInfo

REPORT_FOLDER: Final = "report"
LISTED: Final = 200
"""Skipped clips and notes that report.md names; report.json and skipped.json name all."""


def write_report(folder: Path, clips: Sequence[Clip], infos: Mapping[str, PartInfo]) -> dict[str, Any]:
    """Write `report/` of a data set that has just been packed; gives what is in report.json.

    Args:
        folder: the data set.
        clips: all that were found.
        infos: of each, by its name.

    Raises:
        OSError: it cannot be written.
    """
    tracks = FaceTracks(folder)
    attributes = tracks.all_values().attributes
    numbers = _numbers(tracks, attributes, clips, infos)
    report = folder / REPORT_FOLDER
    report.mkdir(exist_ok=True)
    write_file(report / "report.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    save_histograms(report / "attributes.png", attributes)
    save_pose(report / "pose.png", attributes)
    save_sizes(report / "faces.png", [info.face_px for info in infos.values() if info.reason is None])
    save_extremes(report / "extremes.png", tracks, attributes)
    for split in SPLITS:
        save_sheet(report / f"crops_{split}.png", tracks, split)
    write_file(report / "report.md", _text(numbers))
    tracks.close()
    return numbers


def _numbers(
    tracks: FaceTracks, values: FloatArray, clips: Sequence[Clip], infos: Mapping[str, PartInfo]
) -> dict[str, Any]:
    used = [info for info in infos.values() if info.reason is None]
    hours = sum(track.frames / track.fps for track in tracks.tracks if track.frames > 1) / 3600
    size = sum(shard.bytes for shard in tracks.index.shards)
    own = Counter(track.identity for track in tracks.tracks)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
    mean, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    # Of clips alone: a portrait's one frame says nothing about hours.
    moving = sum(track.frames for track in tracks.tracks if track.frames > 1)
    return {
        "clips": len(clips),
        "skipped_clips": len(clips) - len(used),
        "tracks": len(tracks.tracks),
        "frames": tracks.index.rows,
        "hours": round(hours, 4),
        "persons": {split: len(tracks.index.splits[split]) for split in SPLITS},
        "tracks_by_split": {split: len(tracks.split(split)) for split in SPLITS},
        "persons_with_one_track": sum(count == 1 for count in own.values()),
        "size_px": tracks.size_px,
        "attribute_source": tracks.index.attribute_source,
        "face_px": dict(
            zip(
                ("p5", "p50", "p95"),
                (round(float(v), 1) for v in np.quantile([i.face_px for i in used], (0.05, 0.5, 0.95))),
                strict=True,
            )
        ),
        "bytes": size,
        "gigabytes_per_hour": round(size / max(1, tracks.index.rows) * moving / hours / 1e9, 3)
        if hours
        else None,
        "attributes": {
            name: {
                "mean": round(float(mean[i]), 4),
                "sd": round(float(spread[i]), 4),
                "p5": round(float(low[i]), 4),
                "p50": round(float(middle[i]), 4),
                "p95": round(float(high[i]), 4),
                "max": round(float(values[:, i].max()), 4),
            }
            for i, name in enumerate(NAMES)
        },
        "skipped": {str(clip.path): reason for clip in clips if (reason := infos[clip.name].reason)},
        "notes": {str(clip.path): list(infos[clip.name].notes) for clip in clips if infos[clip.name].notes},
    }


def _text(numbers: Mapping[str, Any]) -> str:
    persons, faces = numbers["persons"], numbers["face_px"]
    lines = [
        "# What this data set holds",
        "",
        f"{numbers['frames']} frames in {numbers['tracks']} tracks of {sum(persons.values())} persons "
        f"({persons['train']} to train on, {persons['test']} to test on), {numbers['hours']:.2f} hours of video; "
        f"{numbers['persons_with_one_track']} persons have one track only.",
        "",
        f"Crops of {numbers['size_px']} pixels; attributes by: {numbers['attribute_source']}. The face's box in the "
        f"clips is {faces['p50']:g} pixels wide (5 % below {faces['p5']:g}, 5 % above {faces['p95']:g}); a crop of "
        f"{numbers['size_px']} is cut from 1.6 times that.",
        "",
        f"{numbers['bytes'] / 1e6:.1f} MB"
        + (f", {numbers['gigabytes_per_hour']:g} GB an hour of video." if numbers["hours"] else "."),
        "",
        "| attribute | mean | SD | 5 % | median | 95 % | largest |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {' | '.join(f'{value:.3f}' for value in spread.values())} |"
            for name, spread in numbers["attributes"].items()
        ),
        "",
        "![Attributes](attributes.png)",
        "![Head pose](pose.png)",
        "![Face sizes](faces.png)",
        "",
        "## The most of each attribute",
        "",
        "Each row is one attribute, its largest values by different persons: closed eyes for AU45, an open mouth for "
        "AU26, the nose to image-left for yaw +. If a row does not look so, the attributes are wrong.",
        "",
        "![Extremes](extremes.png)",
        "",
        *(
            line
            for split in SPLITS
            for line in (f"## Crops to {split} on", "", f"![Crops](crops_{split}.png)", "")
        ),
        f"## Skipped: {numbers['skipped_clips']} of {numbers['clips']} clips",
        "",
        *_list({name: [reason] for name, reason in numbers["skipped"].items()}),
        "",
        f"## Notes on {len(numbers['notes'])} clips",
        "",
        *_list(numbers["notes"]),
    ]
    return "\n".join(lines) + "\n"


def _list(entries: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [f"- `{name}`: {'; '.join(texts)}" for name, texts in list(entries.items())[:LISTED]]
    if len(entries) > LISTED:
        lines.append(f"- and {len(entries) - LISTED} more, see report.json")
    return lines or ["none"]
