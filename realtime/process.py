"""What a command does with its process: where its lines go, and how signals end it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from icface.command import Printable


class _Line(Printable):
    """The text alone; warnings say that they are."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text


@contextlib.contextmanager
def logged(verbose: int) -> Iterator[None]:
    """Our lines go to stderr; with -vv everybody's. Afterwards logging is as it was."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(name)s: %(message)s" if verbose > 1 else "%(message)s"))
    root, *ours = loggers = [logging.getLogger(name) for name in (None, "icface", "realtime")]
    before = [logger.level for logger in loggers]
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose > 1 else logging.ERROR)
    for logger in ours:
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    yield  # what is run inside raises nothing
    root.removeHandler(handler)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@contextlib.contextmanager
def own_stderr(verbose: int) -> Iterator[None]:
    """Keep standard error for our lines. Native libraries write theirs to descriptor 2, past Python's logging.

    With -vv theirs are let through. Nothing is done where standard error is something else already, as in a test.
    """
    try:
        redirect = verbose < 2 and sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        redirect = False
    if not redirect:
        yield
        return
    sys.stderr.flush()
    ours = os.dup(2)
    with (
        open(os.devnull, "w") as nowhere,
        open(ours, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace") as stream,
        contextlib.redirect_stderr(stream),
    ):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(ours, 2)


def open_closed_streams() -> None:
    """Give 0, 1 and 2 a meaning where they were closed (`2>&-`). The next file would get their numbers, and what
    libraries print with them."""
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= 2:
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115 - for as long as the process lives


@contextlib.contextmanager
def signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a terminal that closes ask for the end, so that files are finished. A second Ctrl-C or SIGTERM
    ends at once."""
    ends = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)
    # `nohup` lets a run outlive its terminal.
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        ends.append(hang_up)

    def ask(*_: object) -> None:
        stop.set()
        for number in ends:
            if number is not hang_up:  # a terminal that closes sends it more than once
                signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asking() -> Callable[[str], bool] | None:
    """Asks a question on the terminal, and says whether the answer is yes; None without a terminal."""
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return None

    def ask(question: str) -> bool:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask
