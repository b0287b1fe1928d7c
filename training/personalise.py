"""Make a generator of one's own: `icface-live personalise --video me.mp4 --output me.icface`.

From a checkout also `python training/personalise.py`. docs/personalise.md says what is filmed, learned and kept.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from realtime.given import PHOTOS

logger = logging.getLogger("training.personalise")

LEAST_S, MOST_S = 20.0, 600.0
"""So long can be filmed."""
_PACKAGES: Final = ("torch", "lightning_fabric", "onnxscript", "scipy")
_EXAMPLES: Final = """\
examples:
  icface-live personalise --record 60 --output me.icface     film yourself now: prompts say what to do
  icface-live personalise --video me.mp4 --output me.icface
  icface-live personalise --source me.jpg --output me.icface
  icface-live --model me.icface

exit codes: 0 done, 1 something failed or was stopped, 2 a flag or a video that cannot be used
"""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command's flags."""
    p = Parser(
        prog=prog,
        description="Make a generator of one person from a minute of video. Nothing leaves the machine. The same command "
        "goes on where it was interrupted.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        synonyms={"--out": "--output", "-o": "--output", "--photo": "--source", "--name": "--person"},
        rest="videos",
    )
    add = p.add_argument
    add(
        "--video",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        dest="videos",
        help="a video of the person; several may be given (the flag itself may be left out)",
    )
    add(
        "--source",
        type=Path,
        metavar="PHOTO",
        help="a photo of the person: it is what the generator shows; alone, it is all that is learned from",
    )
    add("--record", type=float, metavar="SECONDS", help="film with the webcam now; prompts say what to do")
    add("--camera", default="0", metavar="DEVICE", help="of --record (default: %(default)s)")
    add("--output", type=Path, required=True, metavar="BUNDLE", help="the generator, a folder: me.icface")
    add("--overwrite", action="store_true", help="write over a generator that is there already")
    add(
        "--minutes",
        type=float,
        help="how long the network is tuned at most (default: 12, so twenty minutes in all on two cores; 1.5 on a GPU)",
    )
    add("--keep", action="store_true", help="keep the chosen frames and what was filmed")
    add("--person", metavar="NAME", help="whose face it is; it is written into the generator")
    add(
        "--consent",
        choices=("ask", "yes"),
        default="ask",
        help="yes: the person agreed that this generator is made (default: ask on the terminal)",
    )
    add("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")
    return p


def _check_flags(flags: argparse.Namespace) -> None:
    flags.videos = [Path(video).expanduser() for video in flags.videos]
    photos = [video for video in flags.videos if video.suffix.lower() in PHOTOS]
    photos += [flags.source.expanduser()] if flags.source else []
    if len(photos) > 1:
        raise ConfigError(f"{len(photos)} photos are given; one becomes the source, so give the best")
    flags.source = photos[0] if photos else None
    flags.videos = [video for video in flags.videos if video not in photos]
    flags.output = flags.output.expanduser()
    if not (flags.videos or flags.source or flags.record is not None):
        raise ConfigError(
            "nothing to learn from: give --video me.mp4, --source me.jpg, or film now: --record 60"
        )
    if flags.record is not None and flags.videos:
        raise ConfigError("--record films, and --video names what was filmed; give one of them")
    if flags.record is not None and not LEAST_S <= flags.record <= MOST_S:
        raise ConfigError(
            f"--record {flags.record:g}: {LEAST_S:g} to {MOST_S:g} seconds are filmed; 60 are good"
        )
    if flags.minutes is not None and not 0 < flags.minutes <= 600:
        raise ConfigError(f"--minutes {flags.minutes:g}: must be more than 0 and at most 600")
    out = flags.output
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file()):
        raise ConfigError(f"{out} is there and is no generator; give another --output")
    if out.exists() and not flags.overwrite:
        raise ConfigError(f"{out} is there already; give --overwrite, or another name")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"cannot write {out}: the folder {out.parent} does not exist; make it first")
    for name in _PACKAGES:
        if find_spec(name) is None:
            raise ConfigError(f'this needs {name}; run: pip install "icface-live[train]"')


def personalise(flags: argparse.Namespace) -> None:
    """Run the command. An ICFaceError says in one line what failed and what to do."""
    _check_flags(flags)
    from realtime.claims import claimed
    from realtime.process import signals
    from training.personal.stages import Personalisation

    stop = threading.Event()
    with claimed(flags.output), signals(stop):
        try:
            Personalisation(flags, stop).run()
        except (ICFaceError, OSError):
            raise
        except MemoryError as error:
            raise ICFaceError("the memory of this machine is used up; close other programs") from error
        except Exception as error:  # a defect is one line, too
            what = f"{type(error).__name__}: {error}"
            raise ICFaceError(f"unexpected {what}; run again with -vv and report what it shows") from error


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    from realtime.process import own_stderr

    given = sys.argv[1:] if argv is None else list(argv)
    for name in (logger.name, "training.personal"):
        logging.getLogger(name).setLevel(logging.INFO)
    # Native libraries are let through with -vv, as in a run.
    with own_stderr(2 if "-vv" in given else 0):
        return run_command(parser(prog), personalise, given, stopped="stopped; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
