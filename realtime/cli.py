"""`icface-live`: a photo and a webcam become a virtual webcam.

Everything heavy is imported after the flags are known to be right, so that `--help` and a mistake are answered at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Final

from icface.command import print_error, printable, show_any_name
from icface.errors import BundleError, ConfigError, DeviceError, EngineError, ICFaceError
from realtime.attributes_command import main as edit_attributes
from realtime.check_command import main as check_files
from realtime.config import LiveConfig
from realtime.flags import at_home, config_from, parser, words_of
from realtime.process import asking, logged, open_closed_streams, own_stderr, signals
from realtime.sign_command import main as sign

_PACKAGES: Final = "sudo apt install libgl1 libglib2.0-0"
"""Debian's and Ubuntu's packages that OpenCV needs on a machine without a desktop."""


def _ask_to_overwrite(flags: argparse.Namespace) -> None:
    """On a terminal, ask whether files that are there may be written over; `flags.overwrite` gets the answer."""
    written = (*flags.outputs, flags.record_attributes, flags.stats, flags.list_faces)
    there = [str(path) for path in map(at_home, written) if path is not None and path.is_file()]
    ask = asking()
    if there and not flags.overwrite and ask is not None:
        verb = "are" if len(there) > 1 else "is"
        flags.overwrite = ask(f"{', '.join(there)} {verb} there already; write over?")


def _list_cameras() -> None:
    from realtime.cameras import list_cameras

    listings = list_cameras()
    for listing in listings:
        path = f" ({listing.path})" if listing.path else ""
        note = f"; {listing.note}" if listing.note else ""
        _tell(f"{listing.number}: {listing.name}{path}{note}")
    if not listings:
        _tell("no camera found; a video file works as one: --driver FILE")


def _run(config: LiveConfig) -> None:
    from realtime.metrics import Metrics

    metrics = Metrics()
    stop = threading.Event()

    def report() -> None:
        if not metrics.counters["sent"]:
            return
        made = (path for path in (*config.outputs, config.record_attributes) if path is not None)
        _tell(metrics.summary([path for path in made if path.exists() or "%" in path.name]))
        if config.stats is not None or logging.getLogger("realtime").isEnabledFor(logging.DEBUG):
            _tell(metrics.table())
        if config.stats is not None:
            metrics.save(config.stats)

    def abandon(error: ICFaceError) -> None:
        with contextlib.suppress(ICFaceError, OSError):
            report()
        _fail(str(error), 1, 0)
        os._exit(1)  # the main thread is stuck for good

    with signals(stop):
        if any(given.is_tracked for given in config.given):
            from icface.face.landmarker import load_ahead

            load_ahead()  # its networks are compiled while Python loads the rest
        from realtime.session import run

        try:
            run(config, metrics, stop, abandon=abandon)
        except BaseException:
            # The first error is the one to tell.
            with contextlib.suppress(ICFaceError, OSError):
                report()
            raise
        report()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2 as `--help` says. Never raises or exits."""
    open_closed_streams()
    show_any_name()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["check"]:
        return check_files(argv[1:])
    if argv[:1] == ["attributes"]:
        return edit_attributes(argv[1:])
    if argv[:1] == ["sign"]:
        return sign(argv[1:])
    if argv[:1] == ["personalise"]:
        from training.personalise import main as personalise

        return personalise(argv[1:], "icface-live personalise")
    if argv[:1] == ["doctor"]:
        from realtime.doctor.command import main as examine

        return examine(argv[1:])
    try:
        flags = parser().parse_args(argv)
    except SystemExit as end:  # argparse: --help, --version, a wrong flag
        return int(end.code or 0)
    # OpenBLAS reads this when numpy is loaded. Its second thread waits for work by spinning. For the small products of
    # one frame it gains nothing and costs 10 ms of CPU a frame, more than everything else together.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    config = None
    with own_stderr(flags.verbose), logged(flags.verbose):
        try:
            if not flags.list_cameras:
                _ask_to_overwrite(flags)
            if flags.list_faces is not None:
                from realtime.listing import list_faces

                sheet = at_home(flags.list_faces)
                if sheet.is_file() and not flags.overwrite:
                    raise ConfigError(f"{sheet} is there already; give --overwrite, or another name")
                _tell("\n".join(list_faces(at_home(words_of(flags)[0]), sheet)))
                return 0
            config = None if flags.list_cameras else config_from(flags)
            # First of all, so that a system library that it lacks is named. It also has to come before PyAV: with
            # PyAV's libxcb loaded first, OpenCV's windows hang when they open.
            import cv2  # noqa: F401

            if config is None:
                _list_cameras()
            else:
                from realtime.consent import check_consent

                check_consent(() if flags.agreed else config.sources, config.consent, asking())
                _run(config)
            return 0
        except ICFaceError as error:
            return _fail(str(error), error.exit_code, flags.verbose, ask_doctor=_doctor_helps(error, config))
        except KeyboardInterrupt:
            return _fail("stopped at once, as asked twice; files may be cut short", 1, flags.verbose)
        except MemoryError:
            advice = "close other programs, or take a smaller --size or photo"
            return _fail(f"the memory of this machine is used up; {advice}", 1, flags.verbose)
        except Exception as error:  # the main thread's top: a defect is one line, too
            if "cannot open shared object file" in str(error):  # the words of Linux's loader
                return _fail(f"a system library is missing ({error}); run: {_PACKAGES}", 1, flags.verbose)
            what = f"{type(error).__name__}: {error}"
            return _fail(f"unexpected {what}; run again with -vv and report what it shows", 1, flags.verbose)


def _tell(text: str) -> None:
    """Print on standard output. Nobody may be listening there: a closed pipe is no failure of the run."""
    try:
        print(printable(text), flush=True)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # Python flushes it again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _doctor_helps(error: ICFaceError, config: LiveConfig | None) -> bool:
    """Whether an error is of what the doctor looks at: a model, an engine or a device, and no file."""
    if isinstance(error, EngineError | BundleError):
        return True
    if config is None or not isinstance(error, DeviceError):
        return False
    return config.to_virtual_camera or config.to_window or not config.driven_by_file


def _fail(message: str, code: int, verbose: int, *, ask_doctor: bool = False) -> int:
    if verbose > 1:
        traceback.print_exc()
    print_error(message)
    if ask_doctor:
        print("icface-live doctor says more", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
