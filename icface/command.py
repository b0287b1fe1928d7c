"""What all commands of this project share: one line for each error, and the exit codes 0, 1 and 2."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from icface.errors import ICFaceError


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line. Flags cannot be abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def run_command(
    parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
    *,
    stopped: str = "stopped",
    level: int = logging.WARNING,
) -> int:
    """Parse the flags, run a command's body and give the exit code: that of the body, where None means 0.

    Our errors and those of the operating system end in one `error:` line on standard error, and Ctrl-C ends in the line
    `stopped`. `level` is the lowest level that is logged. A parser with the flag `verbose` logs one level more with
    `-v`, and prints tracebacks with `-vv`.
    """
    try:
        flags = parser.parse_args(argv)
    except SystemExit as end:  # --help, or a wrong flag
        return int(end.code or 0)
    verbose = getattr(flags, "verbose", 0)
    logging.basicConfig(level=level - 10 * min(verbose, 1), format="%(message)s", stream=sys.stderr)
    try:
        return body(flags) or 0
    except (ICFaceError, OSError) as error:
        if verbose > 1:
            traceback.print_exc()
        print_error(str(error))
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print_error(stopped)
        return 1


def print_error(message: str) -> None:
    """Print one `error:` line on standard error."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
