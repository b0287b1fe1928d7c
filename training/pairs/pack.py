"""A set on the disk: three files that appear together, and their line in index.json."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from icface.errors import ConfigError
from icface.files import replacing_file, write_file
from icface.geometry.patch import CONDITIONS, PATCH_IOD, PATCH_PX
from icface.geometry.prepare import GEOMETRY_VERSION
from training.pairs.pictures import Job
from training.pairs.records import CHANNELS, COLUMNS, STORED_PX
from training.pairs.settings import PairsConfig
from training.pairs.work import load_part

FORMAT_VERSION: Final = 1
MAKER_VERSION: Final = 1
"""Raise it when the code makes other pairs than before."""
INDEX: Final = "index.json"


def stamp_of(config: PairsConfig, jobs: Sequence[Job], photos: Path) -> str:
    """What decides a set's bytes, as 16 hexadecimal digits: settings, code, names and sizes of files."""
    sizes = [(photos / name).stat().st_size for job in jobs for name in job.files]
    general = msgspec.structs.replace(config, sets=(), held_out=(), held_out_lists=(), held_out_tenth=())
    content = msgspec.json.encode(
        [MAKER_VERSION, GEOMETRY_VERSION, general, sizes, [job._asdict() for job in jobs]]
    )
    return hashlib.sha256(content).hexdigest()[:16]


def read_index(folder: Path) -> dict[str, Any]:
    """index.json of a folder, or that of one that has no sets yet.

    Raises:
        ConfigError: the folder has pairs of another format.
    """
    empty = {
        "format_version": FORMAT_VERSION,
        "patch_px": PATCH_PX,
        "stored_px": STORED_PX,
        "patch_iod": PATCH_IOD,
        "sets": {},
    }
    path = folder / INDEX
    if not path.exists():
        return empty
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        same = {key: index[key] for key in empty if key != "sets"} == {
            key: value for key, value in empty.items() if key != "sets"
        }
        if same and isinstance(index["sets"], dict):
            return dict(index)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); use a new folder for --out") from error
    raise ConfigError(f"{path} is of another format; use a new folder for --out")


def pack(
    folder: Path, name: str, kind: str, parts: Sequence[Path], drop_worst: float, stamp: str
) -> dict[str, Any]:
    """Write one set from its parts and add it to the index; OSError where it cannot be written.

    Returns what the report says of it: counts, and why pictures were left out.
    """
    errors: list[float] = []
    reasons: list[str] = []
    for path in parts:
        part = load_part(path)
        errors += [row["error"] for row in part.rows]
        reasons += part.reasons
    count = len(errors)
    keep = np.ones(count, dtype=bool)
    keep[np.argsort(errors, kind="stable")[count - round(drop_worst * count) :]] = False
    kept = int(keep.sum())
    paths = {what: folder / f"{name}.{what}" for what in ("pixels.npy", "conditions.npy", "csv")}
    done = seen = 0
    with (
        replacing_file(paths["pixels.npy"]) as pixels_path,
        replacing_file(paths["conditions.npy"]) as conditions_path,
        replacing_file(paths["csv"]) as csv_path,
    ):
        conditions = np.empty((kept, CONDITIONS), dtype=np.float32)
        with pixels_path.open("wb") as pixels, csv_path.open("w", newline="", encoding="utf-8") as table:
            shape = (kept, STORED_PX, STORED_PX, CHANNELS)
            np.lib.format.write_array_header_1_0(
                pixels, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            writer = csv.DictWriter(table, COLUMNS)
            writer.writeheader()
            for path in parts:
                part = load_part(path)
                for i, row in enumerate(part.rows):
                    if keep[seen]:
                        pixels.write(part.pixels[i].tobytes())
                        conditions[done] = part.conditions[i]
                        writer.writerow(row)
                        done += 1
                    seen += 1
        with conditions_path.open("wb") as file:
            np.save(file, conditions)
    index = read_index(folder)
    index["sets"][name] = {
        "count": kept,
        "kind": kind,
        "files": {path.name: _sha256(path) for path in paths.values()},
        "stamp": stamp,
        "dropped_worst": count - kept,
        "left_out": reasons,
    }
    write_index(folder, index)
    return dict(index["sets"][name])


def drop(folder: Path, name: str) -> bool:
    """Take a set out of the index, and delete its files; says whether there was one. OSError."""
    index = read_index(folder)
    about = index["sets"].pop(name, None)
    if about is None:
        return False
    write_index(folder, index)
    for file in about["files"]:
        (folder / file).unlink(missing_ok=True)
    return True


def write_index(folder: Path, index: dict[str, Any]) -> None:
    """Write index.json; OSError."""
    write_file(folder / INDEX, json.dumps(index, indent=1, ensure_ascii=False) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
