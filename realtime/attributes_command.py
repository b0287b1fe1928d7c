"""`icface-live attributes`: recorded tables of attributes, edited and drawn. Files in, files out."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from realtime.choices import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from icface.attributes import AttributeTrack

_LARGEST_GAIN: Final = 1000.0
EDITING: Final = {
    "cut": ("keep a part in time", "icface-live attributes cut talk.csv --from 2 --to 7.5 --output part.csv"),
    "scale": (
        "make movements larger or smaller, or shift them",
        "icface-live attributes scale talk.csv --gain AU12=1.5 --gain pose=.6 --offset yaw=5deg --output more.csv",
    ),
    "smooth": (
        "take out what trembles, without delay",
        "icface-live attributes smooth talk.csv --seconds 0.2 --only pose,gaze --output calm.csv",
    ),
    "merge": (
        "some attributes from one table, the others from another",
        "icface-live attributes merge talk.csv --take mouth=song.csv --shift 0.4 --output both.csv",
    ),
    "resample": (
        "change the rows a second",
        "icface-live attributes resample talk.csv --fps 25 --output film.csv",
    ),
    "convert": (
        "read OpenFace's table and write ours, or the other way about",
        "icface-live attributes convert talk.csv --openface --output openface.csv",
    ),
    "plot": (
        "draw what moves over time as a PNG",
        "icface-live attributes plot talk.csv --output talk.png",
    ),
}
_ALSO: Final = {
    "cut": ["trim"],
    "scale": ["gain"],
    "smooth": ["filter"],
    "merge": ["combine"],
    "plot": ["draw"],
}


def parser() -> Parser:
    """All subcommands and their flags."""
    examples = "\n".join(f"  {example}" for _, example in EDITING.values())
    p = Parser(
        prog="icface-live attributes",
        description="Edit and draw tables of attributes: those of --record-attributes, or OpenFace's.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="what", metavar="COMMAND", required=True)
    for name, (purpose, example) in EDITING.items():
        one = commands.add_parser(
            name,
            aliases=_ALSO.get(name, []),
            help=purpose,
            description=f"Attributes: {purpose}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(what=name)
        one.add_argument("table", type=Path, metavar="CSV", help="made by --record-attributes, or OpenFace's")
        _add_flags(name, one)
    return p


def _add_flags(name: str, p: argparse.ArgumentParser) -> None:
    add: Any = p.add_argument
    what = "an attribute (AU12) or a group (mouth)"
    if name == "cut":
        add("--from", type=float, default=0.0, metavar="SECONDS", dest="start_s", help="default: 0")
        add("--to", type=float, metavar="SECONDS", dest="end_s", help="default: the end")
    elif name == "scale":
        add("--gain", action="append", default=[], metavar="NAME=FACTOR", help=f"of {what}; can be repeated")
        add("--offset", action="append", default=[], metavar="NAME=VALUE", help="added; 5deg for an angle")
    elif name == "smooth":
        add("--seconds", type=float, required=True, metavar="SECONDS", help="what is quicker than this goes")
    elif name == "merge":
        taken = "take an attribute or a group from that table; can be repeated"
        add("--take", action="append", default=[], metavar="NAME=CSV", required=True, help=taken)
        add("--shift", type=float, default=0.0, metavar="SECONDS", help="those tables begin so much later")
    elif name == "resample":
        add("--fps", type=float, required=True, metavar="FPS", help="rows a second")
    if name in ("smooth", "plot"):
        add("--only", metavar="NAME[,NAME]", help="these attributes and groups (default: all)")
    if name != "plot":
        add("--openface", action="store_true", help="write OpenFace's columns, of the paper's 20 alone")
        add("--in-place", action="store_true", help="write over the table that is read")
    add("--face", type=int, metavar="N", help="which person of an OpenFace table (default: the surest)")
    add("--output", "-o", type=Path, metavar="FILE", help="what is written")
    add("--overwrite", action="store_true", help="even if it is there")
    add("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")


def _pairs(flag: str, given: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(text, what follows the =, attributes) of each NAME=… of a flag."""
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise ConfigError(f"{flag} {text}: write it as NAME=…, such as {flag} mouth=…")
        yield text, value.strip(), _both_sides(name.strip())


def _only(names: str | None) -> tuple[str, ...]:
    from icface.attributes import ALL_NAMES

    if names is None:
        return ALL_NAMES
    return tuple(one for name in names.split(",") if name.strip() for one in _both_sides(name.strip()))


def _both_sides(name: str) -> tuple[str, ...]:
    """The attributes that a name stands for; ConfigError where it is none, or of one side: a table has no such column."""
    from icface.attributes import INDEX
    from icface.control.groups import resolve

    names = resolve(name)
    if names[0] not in INDEX:
        whole = name.partition(" ")[2]
        raise ConfigError(f"{name!r} is one side; a table is edited on both sides, so write {whole}")
    return names


def _gain(text: str, value: str) -> float:
    """The number in a `--gain`."""
    try:
        gain = float(value)
    except ValueError:
        gain = math.nan
    if not abs(gain) <= _LARGEST_GAIN:
        raise ConfigError(
            f"--gain {text}: {value!r} is no number up to {_LARGEST_GAIN:g}; write 1.3, for instance"
        )
    return gain


def _target(flags: argparse.Namespace) -> Path:
    """Where the result goes; ConfigError where that cannot be, or would write over something unasked."""
    if getattr(flags, "in_place", False):
        if flags.output is not None:
            raise ConfigError("--in-place and --output both say where it goes; give one of them")
        return Path(flags.table)
    path: Path | None = flags.output
    if path is None:
        kind = "a picture: --output tracks.png" if flags.what == "plot" else "a file: --output edited.csv"
        raise ConfigError(f"the result needs {kind}{'' if flags.what == 'plot' else ', or --in-place'}")
    suffixes = PICTURE_SUFFIXES if flags.what == "plot" else (".csv",)
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"--output {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"--output {path}: it is a folder, or lies in one that does not exist")
    read = [Path(flags.table), *(Path(text.partition("=")[2]) for text in getattr(flags, "take", ()))]
    if path.resolve() in {table.resolve() for table in read}:
        raise ConfigError(f"--output {path} is what is read; give another name, or --in-place")
    if path.exists() and not flags.overwrite:
        raise ConfigError(f"{path} is there already; give another name, or --overwrite")
    return path


def _edited(track: AttributeTrack, flags: argparse.Namespace) -> AttributeTrack:
    """The track as the subcommand makes it."""
    from icface import editing
    from icface.control.units import read_value
    from realtime.drivers.table import load_table

    match flags.what:
        case "cut":
            return editing.cut(track, flags.start_s, flags.end_s)
        case "scale":
            if not flags.gain and not flags.offset:
                raise ConfigError("nothing to do; give --gain NAME=FACTOR or --offset NAME=VALUE")
            for text, value, names in _pairs("--gain", flags.gain):
                track = editing.scaled(track, names, gain=_gain(text, value))
            for _, value, names in _pairs("--offset", flags.offset):
                for name in names:
                    track = editing.scaled(track, [name], offset=read_value(name, value, relative=True))
        case "smooth":
            if not 0 < flags.seconds <= 60:
                raise ConfigError(f"--seconds {flags.seconds:g}: must be more than 0, and at most 60")
            return editing.smoothed(track, _only(flags.only), flags.seconds)
        case "merge":
            # All at once, so that a second --take counts its time from the same beginning.
            taken = [
                (names, load_table(Path(path), face=flags.face))
                for _, path, names in _pairs("--take", flags.take)
            ]
            return editing.merged(track, taken, flags.shift)
        case "resample":
            if not 1 <= flags.fps <= 240:
                raise ConfigError(f"--fps {flags.fps:g}: must be 1 to 240")
            return editing.resampled(track, flags.fps)
    return track


def _run(flags: argparse.Namespace) -> None:
    from icface.files import replacing_file
    from icface.tables import write_csv
    from realtime.drivers.table import load_table

    target = _target(flags)
    track = load_table(Path(flags.table), face=flags.face)
    seen = f"face seen in {100 * track.present.mean():.0f} %"
    if flags.what == "plot":
        from realtime.drawing import save_picture
        from realtime.track_plot import plot

        save_picture(plot(track, _only(flags.only), Path(flags.table).name), target)
        print(f"{target}: {len(track)} rows, {track.times_s[-1]:.1f} s, {seen}")
        return
    edited = _edited(track, flags)
    try:
        with replacing_file(target) as unfinished:
            write_csv(unfinished, edited, openface=flags.openface)
    except (ConfigError, OSError) as error:
        why = error if isinstance(error, OSError) else error.__cause__
        raise ICFaceError(f"cannot write {target}: {getattr(why, 'strerror', None) or why}") from error
    print(f"{target}: {len(edited)} rows, {edited.times_s[-1]:.1f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 or 2, with one line where something failed."""
    return run_command(parser(), _run, argv, level=logging.INFO)
