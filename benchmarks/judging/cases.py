"""Who drives whom: a list of cases, and what the product makes of each."""

from __future__ import annotations

import csv
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from benchmarks.clips import decode
from benchmarks.common import REPOSITORY
from icface.attributes import AttributeTrack
from icface.errors import ConfigError
from icface.tables import read_csv
from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.session import run

SIZE_PX: Final = 512


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source and a driver."""

    name: str
    source: Path | int
    """A photo; or the number of the driver's frame that is the photo, in self-reenactment."""
    driver: Path
    frames: int | None = None
    """How many of the driver's frames are used, from the first on; None takes all."""

    @property
    def is_self(self) -> bool:
        """Whether the driver's frames are what should come out."""
        return isinstance(self.source, int)


EXAMPLES: Final = (
    Case(
        name="portrait by driver",
        source=REPOSITORY / "examples/source.jpg",
        driver=REPOSITORY / "examples/driver.mp4",
    ),
    Case(name="driver by itself", source=0, driver=REPOSITORY / "examples/driver.mp4"),
)


def read_cases(path: Path | None) -> tuple[Case, ...]:
    """Read a CSV with the columns name, source, driver and, where wanted, frames; None gives the examples.

    `source` is a photo, or `#12` for frame 12 of the driver. Paths are relative to the CSV's folder.

    Raises:
        ConfigError: it cannot be read, or a row has not what is needed.
    """
    if path is None:
        return EXAMPLES
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the cases in {path}: {error}") from error
    cases = tuple(_case(path, number, row) for number, row in enumerate(rows, 2))
    if not cases:
        raise ConfigError(f"{path} has no case; give a line `name,source,driver` and a line for each case")
    if len({case.name for case in cases}) < len(cases):
        raise ConfigError(f"two cases in {path} have the same name; each needs its own")
    return cases


def _case(path: Path, line: int, row: dict[str, str]) -> Case:
    where = f"{path}, line {line}"
    name, source, driver = (str(row.get(column) or "").strip() for column in ("name", "source", "driver"))
    if not (name and source and driver):
        raise ConfigError(f"{where}: name, source and driver are needed")
    frames = (row.get("frames") or "").strip()
    number = source.removeprefix("#")
    if not (frames or "1").isdecimal() or (source != number and not number.isdecimal()):
        raise ConfigError(f"{where}: `frames`, and a source as #12, are whole numbers")
    case = Case(
        name=name,
        source=path.parent / source if source == number else int(number),
        driver=path.parent / driver,
        frames=int(frames) if frames else None,
    )
    for file in (case.driver, case.source):
        if isinstance(file, Path) and not file.is_file():
            raise ConfigError(f"{where}: there is no file {file}")
    return case


def drive(case: Case, photo: Path, model: Path, folder: Path) -> AttributeTrack:
    """The attributes that drive a case, row by row, as the product reads them from the driver.

    Args:
        case: who drives whom.
        photo: the source.
        model: a bundle.
        folder: where the product may write.

    Raises:
        ICFaceError: the photo, the driver or the model cannot be used.
    """
    table = folder / "attributes.csv"
    config = LiveConfig(
        sources=(photo,),
        drivers=(str(case.driver),),
        size_px=SIZE_PX,
        model=model,
        null=True,
        build=False,
        frames=case.frames,
        record_attributes=table,
        overwrite=True,
    )
    run(config, Metrics(), threading.Event())
    return read_csv(table)


def photo_of(case: Case, folder: Path) -> Path:
    """The source as a photo; in self-reenactment the driver's frame, written into a folder.

    Raises:
        ConfigError: the driver has no such frame.
    """
    if isinstance(case.source, Path):
        return case.source
    path = folder / "source.png"
    for number, frame in enumerate(decode(case.driver)):
        if number == case.source:
            cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            return path
    raise ConfigError(f"{case.driver} has no frame {case.source}; choose another source for {case.name!r}")
