"""The keys of the window and of the terminal. README and `--help` have the same table."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Final

HOTKEYS: Final[dict[str, str]] = {
    "1-9": "show that --source",
    "n": "take the driver's face as it is now as neutral",
    "m": "mirror on / off",
    "space": "freeze the picture / go on",
    "q, Esc": "end",
}


def key_name(character: str) -> str:
    """One name for each key: `space`, `escape`, or the character, letters small."""
    return {" ": "space", "\x1b": "escape"}.get(character, character.lower())


class TerminalKeys:
    """Single key presses from a terminal, without Enter; a context manager that restores the terminal's settings.

    There are no keys where standard input is no terminal, and none on Windows. Ctrl-C stays Ctrl-C.
    """

    def __init__(self) -> None:
        self._settings: list[Any] | None = None

    def __enter__(self) -> TerminalKeys:
        if sys.platform != "win32" and sys.stdin is not None and sys.stdin.isatty():
            import termios
            import tty

            # The system stops a process in the background that changes its terminal.
            with contextlib.suppress(OSError, termios.error):
                if os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
                    self._settings = termios.tcgetattr(sys.stdin)
                    tty.setcbreak(sys.stdin)
        return self

    def poll_key(self) -> str | None:
        """The next key that waits, or None. Never blocks."""
        if self._settings is None:
            return None
        import select

        if not select.select([sys.stdin], [], [], 0)[0]:
            return None
        pressed = os.read(sys.stdin.fileno(), 16).decode("ascii", "ignore")
        # Arrow and function keys come as several characters that begin with Esc. They are no Esc.
        return key_name(pressed) if len(pressed) == 1 else None

    def __exit__(self, *error: object) -> None:
        if self._settings is not None and sys.platform != "win32":
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)
            self._settings = None
