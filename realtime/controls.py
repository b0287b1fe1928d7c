"""What the keys of `hotkeys.HOTKEYS` do, between two frames."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from realtime.mixer import Mixer
from realtime.performer import Performer, Scene
from realtime.sources import SourceBank

logger = logging.getLogger(__name__)


class Ends(Protocol):
    """The part of `threading.Event` that is used."""

    def set(self) -> None: ...


class Controls:
    """Applies keys to the parts they change; called by the thread that owns the performer."""

    def __init__(
        self,
        performer: Performer,
        mixer: Mixer,
        scenes: SourceBank[Scene],
        stop: Ends,
        ask_neutral: Callable[[], None] | None = None,
    ) -> None:
        self._performer = performer
        self._mixer = mixer
        self._scenes = scenes
        self._stop = stop
        self._ask_neutral = ask_neutral
        self.frozen = False
        """Show the last picture on and on."""

    def press(self, key: str) -> None:
        """Do what the key means; unknown keys do nothing."""
        if key in ("q", "escape"):
            self._stop.set()
        elif key == "space":
            self.frozen = not self.frozen
            logger.info("frozen" if self.frozen else "going on")
        elif key == "m":
            self._mixer.mirrored = not self._mixer.mirrored
            logger.info("mirror %s", "on" if self._mixer.mirrored else "off")
        elif key == "n" and self._ask_neutral is not None:
            self._ask_neutral()
            logger.info("the driver's face as it is now counts as neutral")
        elif len(key) == 1 and key in "123456789":
            scene = self._scenes.get(int(key) - 1)
            if scene is not None:
                self._performer.show(scene)
                logger.info("source %s", key)
