"""Pairs of patches small enough for a test: made-up faces whose mouth geometry leaves grey."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from icface.geometry.patch import CONDITIONS
from training.learning.patch.pairs import CHANNELS, INDEX_FILE, STORED_PX

COLUMNS = ("target", "source", "identity", "kind", "error", "iod_px", "own_teeth")


def make_tiny_pairs(folder: Path, sets: dict[str, str], count: int = 3) -> Path:
    """Write sets, each of one kind. The target's mouth is white, the warped frame's is grey."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    for name, kind in sets.items():
        pixels = np.empty((count, STORED_PX, STORED_PX, CHANNELS), dtype=np.uint8)
        pixels[..., :6] = rng.integers(90, 160, (count, STORED_PX, 1, 1))
        pixels[..., 6] = 0
        pixels[:, 150:162, 85:131, :3] = 230
        pixels[:, 150:162, 85:131, 3:6] = 120
        pixels[:, 150:162, 85:131, 6] = 255
        pixels[:, 70:80, 50:80, 6] = 255
        np.save(folder / f"{name}.pixels.npy", pixels)
        np.save(
            folder / f"{name}.conditions.npy",
            rng.uniform(0, 0.2, (count, CONDITIONS)).astype(np.float32),
        )
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for row in range(count):
                writer.writerow(dict(zip(COLUMNS, (row, row, row, kind, row, 100, 0), strict=True)))
    index = {
        "format_version": 1, "patch_px": 192, "stored_px": STORED_PX, "patch_iod": 1.9,
        "sets": {name: {"count": count, "kind": kind, "files": {}} for name, kind in sets.items()},
    }  # fmt: skip
    (folder / INDEX_FILE).write_text(json.dumps(index))
    return folder
