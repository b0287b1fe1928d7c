"""The Reenactor of a run, and the better engine that is built while it runs."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines.background import BackgroundBuild, Order, run_builder
from icface.errors import ConfigError, NotBuiltError
from realtime.config import LiveConfig
from realtime.metrics import usable_cores

if TYPE_CHECKING:
    from icface.reenactor import Reenactor

logger = logging.getLogger(__name__)

GATE_PHOTOS = 3
"""A lower precision is tried on this many of the photos. More take longer and tell little more."""
THREADS = min(usable_cores(), 8)
"""All cores: a frame is first tracked and then animated. More than 8 make a frame of a small network no faster."""


def open_reenactor(config: LiveConfig, stop: threading.Event) -> tuple[Reenactor, BackgroundBuild | None]:
    """Open the engine that was asked for. Live, another one runs while it is built; file to file, it is built first.

    Returns:
        The Reenactor, and the build of a better engine where there is one, not yet started.

    Raises:
        ICFaceError: no engine works, or the one asked for does not.
    """
    try:
        reenactor = _open(config, config.engine)
        better = next(iter(reenactor.unbuilt_engines), None)
    except NotBuiltError:
        if not config.build:
            raise
        better = config.engine
        if not config.live:
            logger.info("the engine %s is being built first", config.engine)
            run_builder(_order(config, config.engine), stop)
        reenactor = _open(config, "auto" if config.live else config.engine)
    # A run from file to file is over before a better engine pays.
    if better is None or not (config.build and config.live):
        return reenactor, None
    return reenactor, BackgroundBuild(_order(config, better), THREADS)


def _order(config: LiveConfig, engine: str) -> Order:
    return Order(
        bundle=config.model or DEFAULT_BUNDLE,
        engine=engine,
        photos=config.sources[:GATE_PHOTOS],
        keys=config.keys,
        size_px=config.crop_px,
        beside=config.live,
    )


def _open(config: LiveConfig, engine: str) -> Reenactor:
    # Imported here, so that the rasteriser's machine code is loaded (or compiled, the first time) while the
    # face tracker starts on another thread: .6 s of the time to the first frame, and 1.5 s once.
    from icface.reenactor import Reenactor

    bundle = Bundle.load(config.model or DEFAULT_BUNDLE, config.keys)
    ships = bundle.path.resolve() == DEFAULT_BUNDLE.resolve()
    if config.require_consent and not ships and bundle.consent is None:
        raise ConfigError(
            f"{config.model} does not say that the person whom it shows agreed (--require-consent); take one made by "
            "icface-live personalise"
        )
    return Reenactor(
        bundle,
        engine=engine,
        size_px=config.crop_px,
        threads=THREADS,
        still_border=config.framing != "crop" or config.follow,
        view_px=config.call_size_px if config.framing == "call" else None,
        corrected=config.quality == "best",
        free_layer=config.background not in ("keep", "blur") or config.follow,
    )
