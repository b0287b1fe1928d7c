"""The Reenactor of a run, and the better engine that is built while it runs."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines.background import BackgroundBuild, Order, run_builder
from icface.errors import NotBuiltError
from realtime.config import LiveConfig
from realtime.metrics import usable_cores

if TYPE_CHECKING:
    from icface.reenactor import Reenactor

logger = logging.getLogger(__name__)

GATE_PHOTOS = 3
"""A lower precision is tried on this many of the photos. More take longer and tell little more."""
MAX_THREADS = 8
"""More make a frame of a small network no faster."""


class EngineChoice:
    """Opens what the settings ask for. Where that is not built yet, another engine runs meanwhile."""

    def __init__(self, config: LiveConfig, stop: threading.Event) -> None:
        self._config = config
        self._stop = stop
        self._path = config.model or DEFAULT_BUNDLE
        self._to_build = ""
        # All cores, though the tracker needs one as well: a frame is first tracked and then animated.
        self._threads = min(usable_cores(), MAX_THREADS)

    def open(self) -> Reenactor:
        """Open the engine that was asked for; raises ICFaceError where it does not work, or none does.

        From file to file it is built first where that is needed.
        """
        config = self._config
        try:
            reenactor = self._open(config.engine)
        except NotBuiltError:
            if not config.build:
                raise
            self._to_build = config.engine
            if config.live:
                return self._open("auto")
            logger.info("the engine %s is being built first", config.engine)
            run_builder(self._order(), self._stop)
            return self._open(config.engine)
        self._to_build = next(iter(reenactor.unbuilt_engines), "")
        return reenactor

    def start_upgrade(self) -> BackgroundBuild | None:
        """Start to build the better engine, if there is one. A run from file to file is over before that pays."""
        if not (self._to_build and self._config.build and self._config.live):
            return None
        upgrade = BackgroundBuild(self._order(), self._threads)
        upgrade.start()
        return upgrade

    def _order(self) -> Order:
        return Order(
            bundle=self._path,
            engine=self._to_build,
            photos=self._config.sources[:GATE_PHOTOS],
            size_px=self._config.size_px,
            beside=self._config.live,
        )

    def _open(self, engine: str) -> Reenactor:
        # Imported here, so that the rasteriser's machine code is loaded (or compiled, the first time) while the
        # face tracker starts on another thread: .6 s of the time to the first frame, and 1.5 s once.
        from icface.reenactor import Reenactor

        return Reenactor(
            Bundle.load(self._path), engine=engine, size_px=self._config.size_px, threads=self._threads
        )
