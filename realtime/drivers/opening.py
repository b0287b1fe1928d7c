"""Opens what drives: a camera or a video with its tracker, a table, a photo, or nobody."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import platformdirs

from icface.attributes import AttributeTrack
from icface.face.landmarks import open_detector
from icface.face.tracker import FaceTracker
from realtime.cameras import Camera, CameraConfig, open_camera
from realtime.config import LiveConfig
from realtime.drivers import Driver
from realtime.drivers.browser import BrowserDriver
from realtime.drivers.face import FaceDriver
from realtime.drivers.still import StillDriver, read_still
from realtime.drivers.table import TableDriver, load_table
from realtime.given import BROWSER
from realtime.metrics import Metrics

logger = logging.getLogger(__name__)


def neutral_file() -> Path:
    """Where the user's neutral face is kept from one run to the next."""
    return platformdirs.user_data_path("icface-live", appauthor=False) / "neutral.json"


def load_tables(config: LiveConfig) -> dict[str, AttributeTrack]:
    """The tables among the drivers, by name; raises ConfigError as `load_table`."""
    return {
        each.name: load_table(Path(each.name), face=config.face)
        for each in config.given
        if each.kind == "table"
    }


def open_driver(
    config: LiveConfig,
    number: int,
    tables: Mapping[str, AttributeTrack],
    metrics: Metrics,
    stack: ExitStack,
    camera: Camera | None = None,
) -> Driver:
    """Open the driver of that number, counted from 0.

    Args:
        config: of the run.
        number: of the driver.
        tables: from `load_tables`.
        metrics: of this driver.
        stack: closes what is opened here.
        camera: open; used instead of the first in the settings.

    Raises:
        ICFaceError: it cannot be used.
    """
    given = config.given[number]
    if given.name in tables:
        return TableDriver(tables[given.name], metrics, loop=config.loop)
    if given.kind == "none":
        return StillDriver(None)
    if given.kind == "photo":
        return StillDriver(read_still(Path(given.name)))
    if given.name == BROWSER:
        return BrowserDriver(_tracker(config, stack, mine=True), config, metrics)
    reopen = partial(_open_camera, config, given.name)
    opened = camera if camera is not None and number == 0 else reopen(CameraConfig.open_timeout_s)
    stack.callback(opened.close)
    logger.info("%s: %s", "camera" if number == 0 else f"driver {number + 1}", opened.info.describe())
    # A neutral face that was set belongs to whoever sits at this computer, not to the person in a file.
    mine = given.kind == "camera" and given is next(each for each in config.given if each.kind == "camera")
    return FaceDriver(opened, reopen, _tracker(config, stack, mine=mine), config, metrics)


def _tracker(config: LiveConfig, stack: ExitStack, *, mine: bool) -> FaceTracker:
    """Open a tracker; `mine`: it keeps the user's neutral face."""
    detector = open_detector(video=True, prefer=config.driver_face)
    tracker = FaceTracker(neutral_file() if mine else None, detector, follow=config.follow)
    stack.callback(tracker.close)
    return tracker


def _open_camera(config: LiveConfig, name: str, timeout_s: float) -> Camera:
    camera_config = CameraConfig(
        device=name,
        size_px=config.camera_size_px,
        fps=config.camera_fps,
        open_timeout_s=min(timeout_s, CameraConfig.open_timeout_s),
    )
    return open_camera(camera_config)
