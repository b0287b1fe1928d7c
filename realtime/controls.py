"""What the keys of `hotkeys.HOTKEYS` do, between two pictures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from realtime.hotkeys import key_name
from realtime.photos import Photos
from realtime.renderer import Scene
from realtime.step import Reenactment

logger = logging.getLogger(__name__)


class Controls:
    """Hears the keys and does what they mean. The thread that owns the reenactment calls it.

    Args:
        reenactment: what the keys change.
        photos: the scenes that the keys 1 to 9 choose from.
        stop: set when the user wants the end.
        keyboard: gives the next key of the terminal, or None.
        ask_neutral: takes the driver's face as neutral; None where no tracker runs.
    """

    def __init__(
        self,
        reenactment: Reenactment,
        photos: Photos[Scene],
        stop: threading.Event,
        keyboard: Callable[[], str | None] | None = None,
        ask_neutral: Callable[[], None] | None = None,
    ) -> None:
        self._reenactment = reenactment
        self._photos = photos
        self._stop = stop
        self._keyboard = keyboard
        self._ask_neutral = ask_neutral

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked for the end."""
        return self._stop.is_set()

    def poll(self) -> None:
        """Do what the next key means that waits in a window or in the terminal. Never waits."""
        key = self._reenactment.outputs.poll_key() or (self._keyboard() if self._keyboard else None)
        if key is not None:
            self.press(key_name(key))

    def press(self, key: str) -> None:
        """Do what the key means; unknown keys do nothing."""
        reenactment = self._reenactment
        if key in ("q", "escape"):
            self._stop.set()
        elif key == "space":
            reenactment.frozen = not reenactment.frozen
            logger.info("frozen" if reenactment.frozen else "going on")
        elif key == "m":
            reenactment.mirrored = not reenactment.mirrored
            logger.info("mirror %s", "on" if reenactment.mirrored else "off")
        elif key == "n" and self._ask_neutral is not None:
            self._ask_neutral()
            logger.info("the driver's face as it is now counts as neutral")
        elif len(key) == 1 and key in "123456789":
            scene = self._photos.get(int(key) - 1)
            if scene is not None:
                reenactment.renderer.show(scene)
                logger.info("source %s", key)
