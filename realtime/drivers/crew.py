"""The drivers of a run by their numbers. Live, some join and some leave; the others keep their numbers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from icface.control import source
from icface.errors import ConfigError, ICFaceError
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.drivers import JOIN_TIMEOUT_S, Driver
from realtime.drivers.browser import BrowserDriver
from realtime.drivers.opening import load_tables, open_driver
from realtime.drivers.several import LiveDrivers
from realtime.given import Given
from realtime.metrics import Metrics

logger = logging.getLogger(__name__)

MOST: Final = 8
"""Drivers at a time. Each tracked face costs a good part of a core."""


@dataclass(frozen=True)
class Member:
    """A driver and what belongs to it."""

    given: Given
    driver: Driver
    metrics: Metrics
    closing: ExitStack
    """Ends the driver and lets go of its device or file."""


class Crew:
    """All drivers of a run. One thread at a time lets drivers join and leave; any thread reads.

    Args:
        config: of the run.
        control: of the run.
        metrics: of the run.
        stop: ends the run.
        members: that there are from the start.
    """

    def __init__(
        self,
        config: LiveConfig,
        control: Control,
        metrics: Metrics,
        stop: threading.Event,
        members: tuple[Member, ...] = (),
    ) -> None:
        self._config = config
        self._control = control
        self._metrics = metrics
        self._stop = stop
        self.members = dict(enumerate(members, start=1))
        """Those that are there, by their numbers, counted from 1. It is replaced, never changed."""
        self.playing: LiveDrivers | None = None
        """What the loop listens to; None: nobody can join yet."""

    def named(self) -> dict[int, Member]:
        """Those that are there, but nobody, in the order of their numbers."""
        return {number: each for number, each in sorted(self.members.items()) if each.given.kind != "none"}

    def browser(self) -> BrowserDriver | None:
        """The driver that takes a browser's camera; None: there is none."""
        drivers = (member.driver for member in self.named().values())
        return next((driver for driver in drivers if isinstance(driver, BrowserDriver)), None)

    def has_ended(self, number: int) -> bool:
        """Whether a driver, counted from 1, came to its end or was lost."""
        return self.playing is not None and self.playing.has_ended(number - 1)

    @property
    def is_tracked(self) -> bool:
        """Whether a face is looked for in the frames of any."""
        return any(member.driver.ask_neutral is not None for member in self.members.values())

    def ask_neutral(self) -> None:
        """Take the drivers' faces as they are now as neutral."""
        self._all(lambda driver: driver.ask_neutral)

    def ask_next(self) -> None:
        """Let the next face in the drivers' pictures drive."""
        self._all(lambda driver: driver.ask_next)

    def halve_tracking(self, half: bool) -> None:
        """Track every second frame only, or all."""
        self._all(lambda driver: driver.halve_tracking, half)

    def _all(self, which: Callable[[Driver], Callable[..., None] | None], *arguments: Any) -> None:
        for member in self.members.values():
            function = which(member.driver)
            if function is not None:
                function(*arguments)

    def join(self, name: str) -> int:
        """Open what `--driver` would name, and let it drive what is asked of it; gives its number, counted from 1.

        A file starts again at its end. A number that is free is taken first.

        Raises:
            ICFaceError: it cannot be opened, it is there already, or there are MOST.
        """
        playing, named = self.playing, self.named()
        if playing is None:
            raise ICFaceError("the run has not begun yet")
        if name in (member.given.name for member in named.values()):
            raise ConfigError(f"{name} drives already")
        number = next(number for number in range(1, len(named) + 2) if number not in named)
        if number > MOST:
            raise ICFaceError(f"there are {MOST} drivers already; remove one first")
        config = self._config_of(name)
        metrics = Metrics()
        with ExitStack() as opened:
            driver = open_driver(config, 0, load_tables(config), metrics, opened)
            opened.callback(driver.close)
            slot = driver.play(self._stop)
            member = Member(config.given[0], driver, metrics, opened.pop_all())
        nobody = self.members.get(number)
        self.members = self.members | {number: member}
        self._metrics.drivers.append((member.given.label, metrics))
        self._control.set_drivers(max(number, self._control.state.drivers))
        self._control.mirror(bool(config.mirrored), number)
        self._in_loop(lambda: playing.join(number - 1, slot, member.given.label))
        if nobody is not None:
            nobody.closing.close()
        logger.info("driver %d: %s", number, member.given.label)
        return number

    def leave(self, number: int) -> None:
        """Let a driver go, counted from 1. What it moved eases to the photo's own; the others keep their numbers.

        Raises:
            ConfigError: there is no such driver.
        """
        member = self.named().get(number)
        playing = self.playing
        if member is None or playing is None:
            raise ConfigError(f"there is no driver {number}")
        self._control.change(lambda state: state.with_source_replaced(source.driver(number), source.photo))
        self._in_loop(lambda: playing.leave(number - 1))
        self.members = {other: each for other, each in self.members.items() if other != number}
        member.closing.close()
        logger.info("driver %d (%s) has left", number, member.given.label)

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Let the loop do this, and wait for it: the end of a driver that it still hears might end the run."""
        done = threading.Event()

        def do(_: object) -> None:
            change()
            done.set()

        self._control.ask(do)
        done.wait(JOIN_TIMEOUT_S)

    def close(self) -> None:
        """End all drivers."""
        for member in self.members.values():
            member.closing.close()

    def _config_of(self, name: str) -> LiveConfig:
        """Settings of a run that this driver alone would drive, for as long as it is wanted."""
        config = self._config
        given = LiveConfig(
            sources=config.sources[:1],
            drivers=(name,),
            panel=True,
            panel_webrtc=config.panel_webrtc,
            panel_cert=config.panel_cert,
            panel_key=config.panel_key,
            camera_size_px=config.camera_size_px,
            camera_fps=config.camera_fps,
            camera_retry_s=config.camera_retry_s,
            mirror=tuple(said for said in config.mirror if "=" not in said),
            driver_face=config.driver_face,
            follow=config.follow,
        )
        return replace(given, loop=given.driven_by_file and Path(name).is_file())
