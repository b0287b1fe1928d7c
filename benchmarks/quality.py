"""How good is what a model makes? Cases of a photo and a driver, measured, drawn and filmed.

    python benchmarks/quality.py --out report                                        # examples/, what ships
    python benchmarks/quality.py --cases cases.csv --model a.icface --model b.icface --out report

`cases.csv` has a line for each case: name, source, driver and, where wanted, frames. The source is a photo. In
self-reenactment it is `#12`, frame 12 of the driver; then the driver's frames are what should come out.

The folder gets report.html (open it in a browser), quality.json, and a sheet and a video of each case.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any

import cv2
import numpy as np

from benchmarks.clips import decode
from benchmarks.common import benchmark_parser, write_figures
from benchmarks.judging.cases import SIZE_PX, Case, drive, photo_of, read_cases
from benchmarks.judging.measures import CROP_PX, Judge
from benchmarks.judging.report import COLUMNS, Video, means, page, sheet, table
from benchmarks.judging.still import still_jitter
from icface.arrays import Frame
from icface.attributes import FloatArray, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.engines.samples import spread
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.landmarks import open_detector
from icface.face.viewer import Viewer
from icface.files import write_file
from icface.images import load_photo
from icface.reenactor import Reenactor
from training.evaluation.embedding import Taken, load_embedder


class Meter:
    """What measures all cases. Close it after use.

    Args:
        identity: a network that tells persons apart, as training/evaluate.py takes it; None leaves that out.

    Raises:
        ConfigError: the network cannot be read.
    """

    def __init__(self, identity: Path | None) -> None:
        self.viewer = Viewer()
        self.detector = open_detector(video=False, refined=True)
        self.embedder = None if identity is None else load_embedder(identity, Taken(), crop_px=CROP_PX)

    def close(self) -> None:
        self.viewer.close()
        self.detector.close()


def measure_case(case: Case, model: Path, meter: Meter, out: Path, stem: str) -> dict[str, Any]:
    """Play a case, measure every frame, and write `stem`.mp4 and `stem`.jpg into the folder `out`.

    Returns:
        The numbers of the report.

    Raises:
        ICFaceError: the photo, the driver or the model cannot be used.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        photo = load_photo(photo_of(case, folder))
        track = drive(case, photo.path, model, folder)
        reenactor = stack.enter_context(closing(Reenactor(Bundle.load(model), size_px=SIZE_PX)))
        reenactor.set_source(reenactor.prepare_source(photo))
        judge = Judge(meter.viewer, meter.detector, photo.frame, reenactor.animate(neutral()), meter.embedder)
        video = stack.enter_context(Video(out / f"{stem}.mp4"))
        first: Frame | None = None
        tiles: list[tuple[Frame, Frame]] = []
        drawn = set(rows_of_sheet(track.values))
        rows = zip(track.values, track.present, decode(case.driver), strict=False)
        for number, (asked, present, drove) in enumerate(rows):
            output = reenactor.animate(asked)
            video.write(output)
            if present:
                judge.add(asked, output, drove if case.is_self else None)
                first = drove if first is None else first
            if number in drawn:
                tiles.append((drove, output.copy()))
        if first is None:
            raise SourceError(f"no frame of {case.driver} shows a face")
        picture = sheet(photo.frame, *([pair[side] for pair in tiles] for side in (0, 1)))
        cv2.imwrite(str(out / f"{stem}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return judge.measured.numbers() | {"jitter_iod": still_jitter(reenactor, first, meter.viewer)}


def rows_of_sheet(values: FloatArray) -> list[int]:
    """Numbers of the rows that differ most."""
    return [int(np.flatnonzero((values == row).all(axis=1))[0]) for row in spread(values, COLUMNS)]


def film_driver(case: Case, path: Path) -> None:
    """Write the driver's frames that a case uses, for the page."""
    with Video(path) as video:
        for frame in islice(decode(case.driver), case.frames):
            video.write(frame)


def judge_all(cases: Sequence[Case], models: Mapping[str, Path], meter: Meter, out: Path) -> dict[str, Any]:
    """Measure every model on every case. A case that fails is said, and the others go on."""
    numbers: dict[str, dict[str, Any]] = {name: {} for name in models}
    listed = []
    for case in cases:
        stem = re.sub(r"[^\w.-]+", "_", case.name)
        film_driver(case, out / f"{stem}.driver.mp4")
        entry: dict[str, Any] = {
            "name": case.name,
            "videos": [f"{stem}.driver.mp4"],
            "sheets": [],
            "problems": [],
        }
        for name, model in models.items():
            own = f"{stem}.{name}"
            try:
                numbers[name][case.name] = measure_case(case, model, meter, out, own)
            except ICFaceError as error:
                entry["problems"].append(f"{name}: {error}")
                print(f"{case.name}, {name}: {error}", file=sys.stderr)
                continue
            entry["videos"].append(f"{own}.mp4")
            entry["sheets"].append(f"{own}.jpg")
        listed.append(entry)
    # Without a hard case in which it fails, a model would look better than those that managed it.
    shared = [case for case in cases if all(case.name in of_case for of_case in numbers.values())]
    kinds = {
        "cross": [c.name for c in shared if not c.is_self],
        "self": [c.name for c in shared if c.is_self],
    }
    found = {
        name: {"cases": of_case}
        | {kind: means([of_case[case] for case in named]) for kind, named in kinds.items()}
        for name, of_case in numbers.items()
    }
    every = "the model" if len(models) == 1 else "every model"
    about = (
        f"means over the {len(shared)} of {len(cases)} cases that {every} made, frames of {SIZE_PX} pixels"
    )
    return {"models": found, "cases": listed, "about": about}


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__)
    add = parser.add_argument
    add("--cases", type=Path, metavar="CSV", help="who drives whom (default: examples/)")
    add(
        "--model",
        type=Path,
        action="append",
        metavar="BUNDLE",
        help="several times to compare (default: what ships)",
    )
    add(
        "--identity",
        type=Path,
        metavar="FILE",
        help="a network that tells persons apart: LightCNN-29 v2, dlib's .dat, or .onnx",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="the report's folder")
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 where a case failed."""
    cases = read_cases(flags.cases)
    paths = flags.model or [DEFAULT_BUNDLE]
    models = {path.stem: path for path in paths}
    if len(models) < len(paths):
        raise ConfigError("two of the models have the same name; rename one")
    flags.out.mkdir(parents=True, exist_ok=True)
    with closing(Meter(flags.identity)) as meter:
        document = judge_all(cases, models, meter, flags.out)
    write_figures(flags.out / "quality.json", document)
    write_file(flags.out / "report.html", page(document))
    print(document["about"])
    for row in table(document):
        print("  ".join(cell.ljust(44) if i == 0 else cell.rjust(14) for i, cell in enumerate(row)))
    print(f"{flags.out / 'report.html'}")
    return 1 if any(case["problems"] for case in document["cases"]) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
