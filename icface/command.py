"""What all commands of this project share: one line for each error, and the exit codes 0, 1 and 2."""

from __future__ import annotations

import argparse
import contextlib
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
        files: list[str] = []
        if self._rest is not None and "--" in given:  # behind it nothing is a flag
            files = given[given.index("--") + 1 :]
            given = given[: given.index("--")]
        for i in range(len(given) - 1, 0, -1):
            if _NUMBER.match(given[i]) and given[i - 1].startswith("--") and "=" not in given[i - 1]:
                given[i - 1 : i + 1] = [f"{given[i - 1]}={given[i]}"]
        flags, rest = super().parse_known_args(given, namespace)
        for word in rest:
            if word.startswith("-"):
                is_file = self._rest is not None and os.path.exists(word)
                hint = f", but a file; write ./{word}" if is_file else self._hint(word)
                self.error(f"there is no flag {word}{hint}")
        if self._rest is not None:
            setattr(flags, self._rest, [*getattr(flags, self._rest), *rest, *files])
            rest = []
        return flags, rest

    def _hint(self, word: str) -> str:
        flag = word.partition("=")[0]
        if flag in self._synonyms:
            return f" (did you mean {self._synonyms[flag]}?)"
        return nearest(flag, self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message)}; see {self.prog} --help\n")


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
    show_any_name()
    try:
        flags = parser.parse_args(argv)
    except SystemExit as end:  # --help, or a wrong flag
        return int(end.code or 0)
    verbose = getattr(flags, "verbose", 0)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Printable("%(message)s"))
    logging.basicConfig(level=level - 10 * min(verbose, 1), handlers=[handler])
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


def print_error(message: str) -> None:
    """Print one `error:` line on standard error."""
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)


def show_any_name() -> None:
    """Let standard output show what its encoding lacks as `\\udcff`. Names of files may be bytes that are no text."""
    # It may be closed, or something else in its place.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def printable(text: str) -> str:
    """Text for a terminal, in one or more lines. Names of files and models come from others: they may hold bytes that are
    no text, or steer the terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\ufffd" for character in text
    )


class Printable(logging.Formatter):
    """Log lines as `printable` text."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
