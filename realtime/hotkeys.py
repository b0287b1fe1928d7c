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
    "c": "take the drivers' faces as they are now as neutral",
    "d": "let the next face in the driver's picture drive",
    "m": "mirror on / off",
    "g": "gaze into the camera / as the driver's",
    "p": "next preset",
    "r": "record what drives / stop",
    "space": "freeze the picture / go on",
    "h": "these keys over the window's picture / away",
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
        try:
            pressed = os.read(sys.stdin.fileno(), 16).decode("ascii", "ignore")
        except OSError:  # the terminal was closed
            return None
        # Arrow and function keys come as several characters that begin with Esc. They are no Esc.
        return key_name(pressed) if len(pressed) == 1 else None

    def __exit__(self, *error: object) -> None:
        if self._settings is not None and sys.platform != "win32":
            import termios

            # A terminal that was closed has no settings.
            with contextlib.suppress(OSError, termios.error):
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
    """Takes the drivers' faces as neutral; None where no tracker runs."""
    record: Callable[[], None] | None = None
    """Starts a recording or stops it; None where that cannot be."""
    ask_next: Callable[[], None] | None = None
    """Lets another face in the drivers' pictures drive; None where no tracker runs."""
    only_the_end: bool = False
    """From file to file a key ends the run. No other may change what is made."""

    def poll(self) -> None:
        """Do what other threads asked for and what the next key means, in a window or the terminal. Never waits."""
        with self.reenactment.metrics.within("controls"):
            self.reenactment.control.do_asked(self.reenactment)
            key = self.reenactment.outputs.poll_key() or (self.keyboard() if self.keyboard else None)
            if key is not None:
                self.press(key_name(key))

    def press(self, key: str) -> None:
        """Do what the key means; unknown keys do nothing."""
        reenactment, control = self.reenactment, self.reenactment.control
        if key in ENDING_KEYS:
            self.stop.set()
        elif self.only_the_end:
            return
        elif key == "space":
            reenactment.frozen = not reenactment.frozen
            logger.info("frozen" if reenactment.frozen else "going on")
        elif key == "m":
            control.mirror(not control.state.mirrored)
            logger.info("mirror %s", "on" if control.state.mirrored else "off")
        elif key in ("c", "n") and self.ask_neutral is not None:
            self.ask_neutral()
            logger.info("the drivers' faces as they are now count as neutral")
        elif key == "d" and self.ask_next is not None:
            self.ask_next()
        elif key == "g":
            logger.info("gaze %s", control.toggle_gaze())
        elif key == "p":
            logger.info("preset: %s", control.next_preset())
        elif key == "r" and self.record is not None:
            self.record()
        elif key == "h":
            shown = reenactment.outputs.show_help(self._lines())
            if not shown:
                logger.info("%s", "\n".join(self._lines()))
        elif len(key) == 1 and key in "123456789":
            scene = self.photos.get(int(key) - 1)
            if scene is not None:
                reenactment.renderer.show(scene)
                logger.info("source %s", key)

    def _lines(self) -> list[str]:
        return [f"{key}: {meaning}" for key, meaning in HOTKEYS.items()]
