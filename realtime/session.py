"""One run from its settings: open everything at once, connect it, run, and let go of it whatever happens."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import platformdirs

from icface.attributes import PLACE
from icface.bundle import DEFAULT_BUNDLE
from icface.errors import ICFaceError, SourceError
from icface.face.landmarks import open_detector
from icface.face.tracker import FaceTracker
from icface.images import load_photo
from icface.source_cache import SourceCache
from realtime import version
from realtime.backdrop import Backdrop
from realtime.cameras import Camera, CameraConfig, open_camera
from realtime.claims import claimed
from realtime.config import LiveConfig
from realtime.disclosure import Provenance
from realtime.drivers import Driver
from realtime.drivers.face import FaceDriver
from realtime.drivers.table import TableDriver, load_table
from realtime.engine import open_reenactor
from realtime.gaze import CameraGaze
from realtime.hotkeys import ENDING_KEYS, Controls, TerminalKeys
from realtime.idle import Idle
from realtime.loop import run_live, run_offline, stopped_after
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.photos import Photos
from realtime.recorder import Recorder
from realtime.renderer import Renderer, Scene, make_scene
from realtime.scheduler import DeadlineScheduler
from realtime.sinks import Sink, SinkSettings, create_sink, is_picture_series
from realtime.step import Habit, Reenactment

logger = logging.getLogger(__name__)


def neutral_file() -> Path:
    """Where the user's neutral face is kept from one run to the next."""
    return platformdirs.user_data_path("icface-live", appauthor=False) / "neutral.json"


def run(
    config: LiveConfig,
    metrics: Metrics,
    stop: threading.Event,
    *,
    camera: Camera | None = None,
    sinks: Sequence[Sink] | None = None,
) -> None:
    """Do what the settings say until it ends, or until any thread sets `stop`; `metrics` fills meanwhile.

    Args:
        camera: open; used instead of the one in the settings, and closed in the end.
        sinks: not yet open; used instead of those in the settings.

    Raises:
        ICFaceError: something cannot be used, or was lost for good.
    """
    # Tracker and engine share the cores already. OpenCV's threads would only get in their way.
    cv2.setNumThreads(1)
    with ExitStack() as stack:
        _Session(config, metrics, stop, stack).run(camera, sinks)


@dataclass
class _Session:
    """What is opened goes on `stack`, which lets go of it in reverse order."""

    config: LiveConfig
    metrics: Metrics
    stop: threading.Event
    stack: ExitStack
    size_px: tuple[int, int] | None = None

    def run(self, camera: Camera | None, sinks: Sequence[Sink] | None) -> None:
        config, metrics, stop, stack = self.config, self.metrics, self.stop, self.stack
        for path in config.written:
            stack.enter_context(claimed(path))
        table = load_table(config.attributes) if config.attributes is not None else None
        sinks = _create_sinks(config) if sinks is None else sinks
        self.backdrop = Backdrop(config.shown_behind, SourceCache())
        if self.backdrop.transparent and not all(sink.takes_alpha for sink in sinks):
            logger.info(
                "green (#00ff00) is shown where windows and cameras have no transparency; key it out there"
            )
        photos = Photos(config.sources, self._prepare)
        driver: Driver
        if table is not None:
            if not config.follow and table.values[:, PLACE].any():
                logger.info(
                    "the attributes move the head in the picture (place_x, place_y, place_scale); --follow shows it"
                )
            driver = TableDriver(table, metrics, loop=config.loop)
            first = self._open_engine(photos)
        else:
            with ThreadPoolExecutor(2, thread_name_prefix="opening") as pool:
                # Loading the face tracker and starting a camera take up to a second each.
                opening_camera = pool.submit(self._open_camera, camera)
                opening_tracker = pool.submit(self._open_tracker)
                first = self._open_engine(photos)
                camera, tracker = opening_camera.result(), opening_tracker.result()
            logger.info("camera: %s", camera.info.describe())
            driver = FaceDriver(camera, self._reopen_camera, tracker, config, metrics)
        logger.info("%s", self.reenactor.describe())
        self._describe(first, driver.fps)
        if stop.is_set():
            self._expect_a_frame()
            return

        take_engine = None
        if self.upgrade is not None:
            self.upgrade.start()
            stack.callback(self.upgrade.close)
            take_engine = self.upgrade.take
        renderer = Renderer(self.reenactor, first, metrics, mark=config.mark, take_engine=take_engine)
        outputs = Outputs(sinks, metrics)
        outputs.open(*renderer.size_px, driver.fps, driver.time_base)
        stack.callback(outputs.close)
        csv = config.record_attributes
        recorder = stack.enter_context(closing(Recorder(csv))) if csv is not None else None
        photos.start_others()
        stack.callback(photos.close)
        reenactment = Reenactment(
            driver.condition, config.mirrored, renderer, outputs, metrics, recorder, _habits(config)
        )
        stack.callback(driver.close)
        keyboard = stack.enter_context(TerminalKeys()).poll_key
        controls = Controls(
            reenactment,
            photos,
            stop,
            keyboard if config.live else _only_the_end(keyboard),
            driver.ask_neutral,
        )
        if config.live:
            stack.callback(stop.set)
            scheduler = DeadlineScheduler(1 / float(driver.fps), driver.halve_tracking, renderer.drop_network)
            run_live(reenactment, driver.play(stop), controls, scheduler, config)
        elif run_offline(reenactment, driver.read_in_order(), controls, config, driver.frame_count):
            outputs.finish(driver.end_s)
        self._expect_a_frame()
        if driver.missing:
            raise ICFaceError(f"{driver.missing}; the output has the rest")

    def _expect_a_frame(self) -> None:
        """Raise where the user stopped a run that should have written something, before it could."""
        if self.config.written and self.stop.is_set() and self.metrics.counters["sent"] == 0:
            raise ICFaceError(stopped_after(0))

    def _open_engine(self, photos: Photos[Scene]) -> Scene:
        """Open the engine, and with it the first photo, which decides the size of all pictures."""
        self.reenactor, self.upgrade = open_reenactor(self.config, self.stop)
        self.stack.callback(self.reenactor.close)
        first = photos.first()
        self.size_px = first.size_px
        return first

    def _prepare(self, number: int) -> Scene:
        """Load, neutralise and frame a photo."""
        config = self.config
        photo = load_photo(config.sources[number])
        source = self.reenactor.prepare_source(photo, face=config.face)
        for note in source.notes:
            logger.info("%s", note)
        try:
            size_px = self.size_px or config.picture_px
            return make_scene(number, source, config.framing, size_px, self.backdrop, config.follow)
        except SourceError as error:
            raise SourceError(f"{photo.path}: {error}") from error

    def _open_camera(self, given: Camera | None) -> Camera:
        camera = given or self._reopen_camera(CameraConfig.open_timeout_s)
        self.stack.callback(camera.close)
        return camera

    def _reopen_camera(self, timeout_s: float) -> Camera:
        config = self.config
        camera_config = CameraConfig(
            device=config.camera,
            size_px=config.camera_size_px,
            fps=config.camera_fps,
            open_timeout_s=min(timeout_s, CameraConfig.open_timeout_s),
        )
        return open_camera(camera_config)

    def _open_tracker(self) -> FaceTracker:
        # A neutral face that was set belongs to whoever sits at this computer, not to the person in a file.
        neutral_path = None if self.config.driven_by_file else neutral_file()
        tracker = FaceTracker(neutral_path, open_detector(video=True), follow=self.config.follow)
        self.stack.callback(tracker.close)
        return tracker

    def _describe(self, first: Scene, fps: Fraction) -> None:
        config = self.config
        self.metrics.about = {
            "version": version(),
            "engine": self.reenactor.describe(),
            "quality": "best" if self.reenactor.has_network and self.reenactor.corrected else "fast",
            "mode": "live" if config.live else "file to file",
            "fps": float(fps),
            "size_px": list(first.size_px),
            "crop_px": first.source.size_px[0],
            "framing": config.framing,
            "background": config.background,
            "follow": config.follow,
            "mirror": config.mirrored,
            "mark": config.mark,
            "sources": [path.name for path in config.sources],
            "driver": config.attributes.name if config.attributes is not None else config.camera,
        }


def _only_the_end(poll_key: Callable[[], str | None]) -> Callable[[], str | None]:
    """From file to file a key ends the run. No other may change what is made."""

    def poll() -> str | None:
        key = poll_key()
        return key if key in ENDING_KEYS else None

    return poll


def _habits(config: LiveConfig) -> list[Habit]:
    """What the settings want the face to do by itself."""
    habits: list[Habit] = []
    if config.idle:
        habits.append(Idle())
    if config.gaze == "camera":  # after the head has its place
        habits.append(CameraGaze())
    return habits


def _create_sinks(config: LiveConfig) -> list[Sink]:
    """Make all sinks that are wanted, not yet open; first those that somebody watches."""
    # `Photos` tells of those that are missing.
    photos = [path for path in config.sources if path.is_file()]
    common = SinkSettings(
        overwrite=config.overwrite,
        device=config.virtual_camera or None,
        audio_from=None if config.loop else config.driver_video,
        live=config.live,
        transparent=config.shown_behind.kind == "transparent",
        provenance=Provenance(
            source_sha256=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in photos),
            version=version(),
            model=(config.model or DEFAULT_BUNDLE).name,
        ),
    )
    wanted = {"virtual_camera": config.to_virtual_camera, "window": config.to_window, "null": config.null}
    sinks = [create_sink(name, common) for name, is_wanted in wanted.items() if is_wanted]
    for path in config.outputs:
        name = "picture_files" if is_picture_series(path) else "video_file"
        sinks.append(create_sink(name, replace(common, path=path)))
    return sinks
