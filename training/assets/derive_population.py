"""Derive the population's neutral face: medians and spread of features, medians of blendshapes, over neutral portraits.

    python training/assets/derive_population.py --images ../shared/data \
        --out icface/face/data/population.json

Reads `images.csv` beside the pictures; takes frontal faces whose blendshapes say neutral from SFHQ-T2I (MIT) and the
US Congress portraits (public domain).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from icface.command import Parser, run_command
from icface.face import features
from icface.face.action_units import BLENDSHAPE_NAMES
from icface.face.landmarks import open_detector
from icface.face.pose import head_pose
from icface.images import load_photo

FOLDERS = ("sfhq_t2i/", "us_congress_gpo/")
MOUTH_MOVED = ("mouthSmileLeft", "mouthSmileRight", "mouthUpperUpLeft", "mouthLowerDownLeft")


def is_neutral(row: dict[str, str]) -> bool:
    def blend(name: str) -> float:
        return float(row[f"bs{BLENDSHAPE_NAMES.index(name)}"])

    frontal = abs(float(row["yaw"])) < 10 and abs(float(row["roll"])) < 10 and abs(float(row["pitch"])) < 15
    closed = blend("jawOpen") < 0.03 and all(blend(name) < 0.10 for name in MOUTH_MOVED)
    calm = blend("browInnerUp") < 0.25 and blend("browDownLeft") < 0.25 and blend("eyeBlinkLeft") < 0.30
    return frontal and closed and calm and row["n_faces"] == "1"


def derive(args: argparse.Namespace) -> None:
    """Run the command."""
    with (args.images / "images.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(FOLDERS) and is_neutral(row)]
    detector = open_detector(video=False)
    values, blendshapes, pitches = [], [], []
    for row in rows:
        found = detector.detect(load_photo(args.images / row["file"]).frame)
        if found:
            values.append(features.measure_features(found[0]))
            pitches.append(head_pose(found[0]).pitch_rad)
            blendshapes.append(found[0].blendshapes)
    middle = np.median(values, axis=0)
    ears = [features.INDEX[name] for name in ("ear_right", "ear_left")]
    middle[ears] = np.percentile(
        np.array(values)[:, ears], 60, axis=0
    )  # open eyes, not the middle of a blink
    calm = np.median(np.array(blendshapes, dtype=np.float64), axis=0)
    result = {
        "made_by": "training/assets/derive_population.py",
        "sources": "SFHQ-T2I (MIT), US Congress portraits (public domain)",
        "unit": "features: distance of the outer eye corners; eye aspect ratios and blendshapes: 1",
        "faces": len(values),
        "features": dict(zip(features.NAMES, np.round(middle, 5).tolist(), strict=True)),
        "spread": dict(zip(features.NAMES, np.std(values, axis=0).round(4).tolist(), strict=True)),
        "blendshapes": dict(zip(BLENDSHAPE_NAMES, calm.round(5).tolist(), strict=True)),
        "pitch_rad": round(float(np.median(pitches)), 4),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{len(values)} neutral faces of {len(rows)} pictures -> {args.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    parser = Parser(description="Derive the population's neutral face.")
    for flag in ("--images", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    return run_command(parser, derive, argv)


if __name__ == "__main__":
    sys.exit(main())
