"""The keys of the window and of the terminal, and what they do. README and `--help` have the same table."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # the command line imports this module, and must answer at once
    from realtime.photos import Photos
    from realtime.renderer import Scene
    from realtime.step import Reenactment

logger = logging.getLogger(__name__)

HOTKEYS: Final[dict[str, str]] = {
    "1-9": "show that --source",
    "n": "take the driver's face as it is now as neutral",
    "m": "mirror on / off",
    "space": "freeze the picture / go on",
    "q, Esc": "end",
}

ENDING_KEYS: Final = ("q", "escape")


def key_name(character: str) -> str:
    """One name for each key: `space`, `escape`, or the character, letters small."""
    return {" ": "space", "\x1b": "escape"}.get(character, character.lower())


class TerminalKeys:
    """Single key presses from a terminal, without Enter; a context manager that restores the terminal's settings.

    There are no keys where standard input is no terminal, and none on Windows. Ctrl-C stays Ctrl-C.
    """

    _settings: list[Any] | None = None

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


@dataclass
class Controls:
    """Hears the keys and does what they mean, between two pictures. One thread owns it and the reenactment."""

    reenactment: Reenactment
    photos: Photos[Scene]
    """What the keys 1 to 9 choose from."""
    stop: threading.Event
    """Set when the user wants the end."""
    keyboard: Callable[[], str | None] | None = None
    """Gives the next key of the terminal, or None."""
    ask_neutral: Callable[[], None] | None = None
    """Takes the driver's face as neutral; None where no tracker runs."""

    def poll(self) -> None:
        """Do what the next key means that waits in a window or in the terminal. Never waits."""
        key = self.reenactment.outputs.poll_key() or (self.keyboard() if self.keyboard else None)
        if key is not None:
            self.press(key_name(key))

    def press(self, key: str) -> None:
        """Do what the key means; unknown keys do nothing."""
        reenactment = self.reenactment
        if key in ENDING_KEYS:
            self.stop.set()
        elif key == "space":
            reenactment.frozen = not reenactment.frozen
            logger.info("frozen" if reenactment.frozen else "going on")
        elif key == "m":
            reenactment.mirrored = not reenactment.mirrored
            logger.info("mirror %s", "on" if reenactment.mirrored else "off")
        elif key == "n" and self.ask_neutral is not None:
            self.ask_neutral()
            logger.info("the driver's face as it is now counts as neutral")
        elif len(key) == 1 and key in "123456789":
            scene = self.photos.get(int(key) - 1)
            if scene is not None:
                reenactment.renderer.show(scene)
                logger.info("source %s", key)
