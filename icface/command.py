"""What all commands of this project share: one line for each error, and the exit codes 0, 1 and 2."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from icface.errors import ICFaceError, nearest

_NUMBER: Final = re.compile(r"-[.\d]")


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line, with the flag that was probably meant. Flags cannot be abbreviated.

    Args:
        synonyms: our flag for others that people try, as `{"--webcam": "--camera"}`.
        rest: words that belong to no flag are added to the list of this name; None: they are an error.
        settings: of argparse.
    """

    def __init__(
        self, *, synonyms: Mapping[str, str] | None = None, rest: str | None = None, **settings: Any
    ) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self._synonyms = synonyms or {}
        self._rest = rest

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, but a value may begin with a minus and a digit: `--views -30:30:7`."""
        given = sys.argv[1:] if args is None else list(args)
        for i in range(len(given) - 1, 0, -1):
            if _NUMBER.match(given[i]) and given[i - 1].startswith("--") and "=" not in given[i - 1]:
                given[i - 1 : i + 1] = [f"{given[i - 1]}={given[i]}"]
        flags, rest = super().parse_known_args(given, namespace)
        for word in rest:
            if word.startswith("-"):
                self.error(f"there is no flag {word}{self._hint(word)}")
        if self._rest is not None:
            setattr(flags, self._rest, [*getattr(flags, self._rest), *rest])
            rest = []
        return flags, rest

    def _hint(self, word: str) -> str:
        flag = word.partition("=")[0]
        if flag in self._synonyms:
            return f" (did you mean {self._synonyms[flag]}?)"
        return nearest(flag, self._option_string_actions)

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
    escape_what_cannot_be_printed()
    try:
        flags = parser.parse_args(argv)
    except SystemExit as end:  # --help, or a wrong flag
        return int(end.code or 0)
    verbose = getattr(flags, "verbose", 0)
    logging.basicConfig(level=level - 10 * min(verbose, 1), format="%(message)s", stream=sys.stderr)
    try:
        return body(flags) or 0
    except BrokenPipeError:  # nobody reads what is printed any more, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it at the end
        return 1
    except (ICFaceError, OSError) as error:
        if verbose > 1:
            traceback.print_exc()
        print_error(str(error))
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print_error(stopped)
        return 1


def escape_what_cannot_be_printed() -> None:
    """Let standard output show characters that its encoding lacks as escapes, as standard error does.

    A pipe has few characters on Windows, and in the locale C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_error(message: str) -> None:
    """Print one `error:` line on standard error."""
    print(f"error: {printable(message)}", file=sys.stderr)


def printable(text: str) -> str:
    """A text in one line, of which nothing steers a terminal. Names and what files say come from others."""
    text = " ".join(text.split())
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
