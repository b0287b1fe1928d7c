"""One run from its settings: open everything at once, connect it, run, and let go of it whatever happens."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import platformdirs

from icface.bundle import DEFAULT_BUNDLE
from icface.face.landmarks import open_detector
from icface.face.tracker import FaceTracker
from icface.images import load_photo
from realtime import version
from realtime.cameras import Camera, CameraConfig, open_camera
from realtime.config import LiveConfig
from realtime.controls import Controls
from realtime.drivers import Driver
from realtime.drivers.face import FaceDriver
from realtime.drivers.table import TableDriver, load_table
from realtime.engine import EngineChoice
from realtime.hotkeys import TerminalKeys
from realtime.loop import LiveLoop
from realtime.mixer import Mixer
from realtime.offline import run_offline
from realtime.outputs import Outputs
from realtime.photos import Photos
from realtime.provenance import Provenance
from realtime.recorder import Recorder
from realtime.renderer import Renderer, Scene, make_scene
from realtime.scheduler import DeadlineScheduler
from realtime.sinks import Sink, SinkSettings, create_sink
from realtime.step import Reenactment
from realtime.timing import Stats

logger = logging.getLogger(__name__)


def neutral_file() -> Path:
    """Where the user's neutral face is kept from one run to the next."""
    return platformdirs.user_data_path("icface-live", appauthor=False) / "neutral.json"


def run(
    config: LiveConfig,
    stats: Stats,
    stop: threading.Event,
    *,
    camera: Camera | None = None,
    sinks: Sequence[Sink] | None = None,
) -> None:
    """Do what the settings say until it ends or `stop` is set; `stats` fills meanwhile.

    Args:
        config: the settings.
        stats: of this run.
        stop: may be set by any thread.
        camera: open; used instead of the one in the settings, and closed in the end.
        sinks: not yet open; used instead of those in the settings.

    Raises:
        ICFaceError: something cannot be used, or was lost for good.
    """
    # Tracker and engine share the cores already. OpenCV's threads would only get in their way.
    cv2.setNumThreads(1)
    with ExitStack() as stack:
        _Session(config, stats, stop, stack).run(camera, sinks)


class _Session:
    """What is opened goes on `stack`, which lets go of it in reverse order."""

    def __init__(self, config: LiveConfig, stats: Stats, stop: threading.Event, stack: ExitStack) -> None:
        self._config = config
        self._stats = stats
        self._stop = stop
        self._stack = stack
        self._size_px: tuple[int, int] | None = None
        self._camera_config = CameraConfig(
            device=config.camera, size_px=config.camera_size_px, fps=config.camera_fps
        )

    def run(self, camera: Camera | None, given_sinks: Sequence[Sink] | None) -> None:
        config, stats, stack = self._config, self._stats, self._stack
        table = load_table(config.attributes) if config.attributes is not None else None
        sinks = list(given_sinks) if given_sinks is not None else self._create_sinks()
        photos = Photos(config.sources, self._prepare)
        engines = EngineChoice(config, self._stop)
        driver: Driver
        if table is not None:
            driver = TableDriver(table, stats, loop=config.loop)
            first = self._open_engine(engines, photos)
        else:
            with ThreadPoolExecutor(2, thread_name_prefix="opening") as pool:
                # Loading the face tracker and starting a camera take up to a second each.
                opening_camera = pool.submit(self._open_camera, camera)
                opening_tracker = pool.submit(self._open_tracker)
                first = self._open_engine(engines, photos)
                camera, tracker = opening_camera.result(), opening_tracker.result()
            logger.info("camera: %s", camera.info.describe())
            driver = FaceDriver(camera, self._reopen_camera, tracker, config, stats)
        logger.info("%s", self._reenactor.describe())
        self._describe(first, driver.fps)
        if self._stop.is_set():
            return

        upgrade = engines.start_upgrade()
        if upgrade is not None:
            stack.callback(upgrade.close)
        renderer = Renderer(
            self._reenactor, first, stats, mark=config.mark, take_engine=upgrade.take if upgrade else None
        )
        outputs = Outputs(sinks, stats)
        outputs.open(*renderer.size_px, driver.fps)
        stack.callback(outputs.close)
        recorder = None
        if config.record_attributes is not None:
            recorder = Recorder(config.record_attributes)
            stack.callback(recorder.close)
        photos.start_others()
        stack.callback(photos.close)
        reenactment = Reenactment(
            conditioner=driver.conditioner,
            mixer=Mixer(mirrored=config.mirrored),
            renderer=renderer,
            outputs=outputs,
            stats=stats,
            recorder=recorder,
        )
        stack.callback(driver.close)
        if config.live:
            self._run_live(reenactment, driver, photos)
        else:
            controls = Controls(reenactment, photos, self._stop, ask_neutral=driver.ask_neutral)
            run_offline(reenactment, driver.read_in_order(), controls, config.limits, driver.frame_count)

    def _run_live(self, reenactment: Reenactment, driver: Driver, photos: Photos[Scene]) -> None:
        keys = self._stack.enter_context(TerminalKeys())
        controls = Controls(reenactment, photos, self._stop, keys.poll_key, driver.ask_neutral)
        scheduler = DeadlineScheduler(1 / float(driver.fps), driver.halve_tracking)
        samples = driver.play(self._stop)
        try:
            LiveLoop(reenactment, samples, controls, scheduler, self._config.limits).run()
        finally:
            self._stop.set()

    # Opening

    def _open_engine(self, engines: EngineChoice, photos: Photos[Scene]) -> Scene:
        """Open the engine, and with it the first photo, which decides the size of all pictures."""
        self._reenactor = engines.open()
        self._stack.callback(self._reenactor.close)
        first = photos.first()
        self._size_px = first.framing.size_px
        return first

    def _open_camera(self, given: Camera | None) -> Camera:
        camera = given or open_camera(self._camera_config)
        self._stack.callback(camera.close)
        return camera

    def _reopen_camera(self, timeout_s: float) -> Camera:
        within_s = min(timeout_s, self._camera_config.open_timeout_s)
        return open_camera(replace(self._camera_config, open_timeout_s=within_s))

    def _open_tracker(self) -> FaceTracker:
        # A neutral face that was set belongs to whoever sits at this computer, not to the person in a file.
        neutral_path = None if self._config.driven_by_file else neutral_file()
        tracker = FaceTracker(neutral_path, open_detector(video=True))
        self._stack.callback(tracker.close)
        return tracker

    def _create_sinks(self) -> list[Sink]:
        """Make all sinks that are wanted, not yet open; first those that somebody watches."""
        config = self._config
        common = SinkSettings(
            device=config.virtual_camera_device,
            audio_from=None if config.loop else config.driver_video,
            timing="timestamps" if config.live else "constant",
            provenance=Provenance(
                source_sha256=tuple(_sha256(path) for path in config.sources),
                version=version(),
                model=(config.model or DEFAULT_BUNDLE).name,
            ),
        )
        wanted = {"virtual_camera": config.to_virtual_camera, "window": config.window}
        sinks = [create_sink(name, common) for name in wanted if wanted[name]]
        sinks += [create_sink("video_file", replace(common, path=path)) for path in config.outputs]
        if config.null:
            sinks.append(create_sink("null", common))
        return sinks

    def _prepare(self, number: int) -> Scene:
        """Load, neutralise and frame a photo."""
        photo = load_photo(self._config.sources[number])
        source = self._reenactor.prepare_source(photo, face=self._config.face)
        for note in source.notes:
            logger.info("%s", note)
        return make_scene(number, source, self._config.framing, self._size_px)

    def _describe(self, first: Scene, fps: Fraction) -> None:
        config = self._config
        self._stats.about = {
            "version": version(),
            "engine": self._reenactor.describe(),
            "mode": "live" if config.live else "file to file",
            "fps": float(fps),
            "size_px": list(first.framing.size_px),
            "crop_px": first.source.neutral.shape[0],
            "framing": config.framing,
            "mirror": config.mirrored,
            "mark": config.mark,
            "sources": [path.name for path in config.sources],
            "driver": config.attributes.name if config.attributes is not None else config.camera,
        }


def _sha256(path: Path) -> str:
    """Of a file's bytes; empty where there is no file. That is told when the photo is loaded."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
