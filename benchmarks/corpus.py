"""Run the product on every case of a folder, and compare what came with a table of what is right.

A case is a video that drives, a table of attributes that drives, or a photo, by the ending of its name. The table is a
CSV with a line for each case; an empty cell is not checked:

    case             file in the folder
    exit             exit code
    frames           frames of the output
    length_s         how long its pictures last, within 10 ms
    sync_ms          how far its sound may be from where the driver has it
    error            largest mean difference between its attributes and those of `clean` at the same times
    clean            clip that shows the same, undamaged; beside the table, or in examples/
    flags            further flags of icface-live
    why              what the case is about; not checked

Every picture's time is compared with the driver's as well, to .05 ms. `--make FOLDER` writes small cases from
`examples/driver.mp4`, with their table.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import csv
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks import cases
from benchmarks.common import REPOSITORY, benchmark_parser
from icface.attributes import FloatArray
from icface.command import run_command
from icface.errors import ConfigError
from realtime.cameras import CameraConfig, open_camera
from realtime.drivers.table import load_table

TABLE: Final = "cases.csv"
_PHOTOS: Final = (".jpg", ".jpeg", ".png")
_RATE: Final = 48_000
_REACH_S: Final = 0.2
_LENGTH_S: Final = 0.01
_TIME_S: Final = 5e-5


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    path: Path
    wanted: dict[str, str]

    @property
    def flags(self) -> list[str]:
        """The flags of `icface-live` that choose photo and driver."""
        suffix, name = self.path.suffix.lower(), str(self.path)
        photo = name if suffix in _PHOTOS else str(REPOSITORY / "examples/rendered.jpg")
        driver = (
            ["--camera", str(REPOSITORY / "examples/driver.mp4")] if suffix in _PHOTOS else ["--camera", name]
        )
        return ["--source", photo, *(["--attributes", name] if suffix == ".csv" else driver)]

    @property
    def is_video(self) -> bool:
        """Whether the case is a video that drives."""
        return self.path.suffix.lower() not in (*_PHOTOS, ".csv")


@dataclass
class Result:
    """What came of a case."""

    found: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, name: str, found: float | None, wanted: str, within: float | None = None) -> None:
        """Compare a number with a cell: equal within `within`, or at most the cell where that is None."""
        self.found[name] = "none" if found is None else f"{found:.4g}"
        if wanted and (
            found is None
            or (found > float(wanted) if within is None else abs(found - float(wanted)) > within)
        ):
            self.wrong.append(f"{name} {self.found[name]} instead of {wanted}")


def read_table(path: Path, folder: Path) -> list[Case]:
    """The cases of a table; raises ConfigError where it cannot be read or a case is missing."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: (cell or "").strip() for key, cell in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise ConfigError(f"cannot read the table {path}: {error.strerror}") from error
    for row in rows:
        if not (folder / row["case"]).is_file():
            raise ConfigError(f"{path} names {row['case']}, but {folder} has no such file")
    return [Case(folder / row["case"], row) for row in rows]


def run_case(case: Case, folder: Path, work: Path) -> Result:
    """Run the product on a case and compare. `folder` is that of clean clips."""
    from realtime.cli import main

    output, recorded = work / "out.mp4", work / "out.csv"
    for path in (output, recorded):
        path.unlink(missing_ok=True)
    flags = [*case.flags, "--size", "256", "--quality", "fast", *case.wanted.get("flags", "").split()]
    with redirect_stdout(StringIO()):
        code = main([*flags, "--output", str(output), "--record-attributes", str(recorded)])
    wanted, result = case.wanted, Result()
    result.check("exit", code, wanted.get("exit") or "0", 0)
    times_s, end_s = _pictures(output) if output.exists() else ([], None)
    result.check("frames", len(times_s), wanted.get("frames", ""), 0)
    result.check("length_s", end_s, wanted.get("length_s", ""), _LENGTH_S)
    first_s = 0.0
    if case.is_video and times_s:
        with open_camera(CameraConfig(device=str(case.path))) as camera:
            driver_s = [captured.time_s for captured in camera.frames()]
        first_s = driver_s[0]
        count = min(len(driver_s), len(times_s))
        apart_s = np.subtract(times_s[:count], times_s[0]) - np.subtract(driver_s[:count], driver_s[0])
        result.check("time_ms", 1e3 * float(np.abs(apart_s).max()), f"{1e3 * _TIME_S}")
    if wanted.get("sync_ms"):
        result.check("sync_ms", _sync_ms(case.path, output), wanted["sync_ms"])
    if wanted.get("error") and recorded.exists():
        clean = next(
            place / wanted["clean"]
            for place in (folder, REPOSITORY / "examples")
            if (place / wanted["clean"]).is_file()
        )
        result.check("error", _difference(recorded, first_s, *_attributes(clean, work)), wanted["error"])
    return result


def _pictures(path: Path) -> tuple[list[float], float | None]:
    """The times of all pictures in seconds, and how long they last."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times_s = [float(picture.time or 0) for picture in container.decode(stream)]
        if stream.duration is None or stream.time_base is None:
            return times_s, None
        return times_s, float(stream.duration * stream.time_base)


def _sound(path: Path) -> tuple[NDArray[np.float32], float]:
    """The sound (n,) at _RATE, and its start after the first picture in seconds."""
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        first_s = float((video.start_time or 0) * (video.time_base or 1))
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE)
        start_s, pieces = None, []
        for frame in container.decode(audio):
            start_s = float(frame.time or 0) - first_s if start_s is None else start_s
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces), start_s or 0.0


def _sync_ms(driver: Path, output: Path) -> float | None:
    """The largest distance between the sound of two files, in ms, at ten places; None where there is none."""
    try:
        (before, before_s), (after, after_s) = _sound(driver), _sound(output)
    except (IndexError, ValueError, OSError):
        return None
    size, reach = _RATE // 2, round(_REACH_S * _RATE)
    worst = None
    for start in np.linspace(0, max(0, len(before) - size), 10).astype(int):
        wanted = before[start : start + size]
        at = start + round((before_s - after_s) * _RATE) - reach
        heard = np.pad(after, (max(0, -at), size + 2 * reach))[max(0, at) :][: len(wanted) + 2 * reach]
        if np.abs(wanted).max() < 0.01:
            continue  # silence is like silence
        length = len(heard) + len(wanted)
        likeness = np.fft.irfft(np.fft.rfft(heard, length) * np.conj(np.fft.rfft(wanted, length)), length)
        power = np.cumsum(np.concatenate([[0.0], heard.astype(np.float64) ** 2]))
        energy = power[len(wanted) : len(wanted) + 2 * reach] - power[: 2 * reach]
        likeness = likeness[: 2 * reach] / np.sqrt(energy + 1e-6)
        late_ms = (int(np.argmax(likeness)) - reach) / _RATE * 1e3
        worst = max(worst or 0.0, abs(late_ms))
    return worst


def _attributes(clip: Path, work: Path) -> tuple[NDArray[np.float64], FloatArray]:
    """Times and attributes of a clean clip, measured once."""
    from realtime.cli import main

    path = work / f"clean-{clip.name}.csv"
    if not path.exists():
        flags = [
            "--source",
            str(REPOSITORY / "examples/rendered.jpg"),
            "--camera",
            str(clip),
            "--size",
            "256",
        ]
        with redirect_stdout(StringIO()):
            main([*flags, "--quality", "fast", "--null", "--record-attributes", str(path)])
    table = load_table(path)
    return table.times_s, table.values


def _difference(recorded: Path, first_s: float, times_s: NDArray[np.float64], values: FloatArray) -> float:
    """The largest mean difference of an attribute from those of the clean clip at the same times.

    `first_s`: the time of the first row, which a recording counts from.
    """
    table = load_table(recorded)
    clean = np.stack([np.interp(table.times_s + first_s, times_s, column) for column in values.T], axis=1)
    return float(np.abs(table.values - clean).mean(axis=0).max())


def lines(results: list[tuple[Case, Result]]) -> Iterator[str]:
    """The results for people: a line for each case, then how many are right."""
    for case, result in results:
        found = ", ".join(f"{name} {value}" for name, value in result.found.items())
        yield f"{'ok   ' if not result.wrong else 'WRONG'} {case.path.name}: {'; '.join(result.wrong) or found}"
    yield f"{sum(not result.wrong for _, result in results)} of {len(results)} cases are right"


def main(argv: list[str] | None = None) -> int:
    """The command; exit code 1 where a case is wrong."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of the cases")
    parser.add_argument("--table", type=Path, help=f"what is right (default: {TABLE} in the folder)")
    parser.add_argument(
        "--make", action="store_true", help="write the cases that come from examples/ there first"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="only cases with this in their names")
    return run_command(parser, _run, argv)


def _run(flags: Namespace) -> int:
    if flags.make:
        cases.make(flags.folder, TABLE)
    wanted = read_table(flags.table or flags.folder / TABLE, flags.folder)
    results = []
    with tempfile.TemporaryDirectory() as work:
        for case in wanted:
            if flags.only in case.path.name:
                results.append((case, run_case(case, flags.folder, Path(work))))
                print(next(lines(results[-1:])), flush=True)
    print(list(lines(results))[-1])
    return int(any(result.wrong for _, result in results))


if __name__ == "__main__":
    sys.exit(main())
