"""One run from its settings: open everything at once, connect it, run, and let go of it whatever happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import cv2

from icface.attributes import PLACE
from icface.control.mixing import Mixer
from icface.errors import ICFaceError, SourceError
from icface.images import load_photo
from icface.source_cache import SourceCache
from realtime import version
from realtime.backdrop import Backdrop
from realtime.cameras import Camera
from realtime.claims import claimed
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.disclosure import Provenance, provenance_of
from realtime.drivers.crew import Crew, Member
from realtime.drivers.opening import load_tables, open_driver
from realtime.drivers.several import FileDrivers, LiveDrivers
from realtime.engine import open_reenactor
from realtime.hotkeys import Controls, TerminalKeys
from realtime.loop import run_live, run_offline, stopped_after
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.photos import Photos
from realtime.recorder import Recorder
from realtime.recording import Recordings, recordings_folder
from realtime.renderer import Renderer, Scene, make_scene
from realtime.scheduler import DeadlineScheduler
from realtime.sinks import Sink, SinkSettings, create_sink, is_picture_series
from realtime.step import Reenactment
from realtime.watchdog import StoppedError, Watchdog

if TYPE_CHECKING:
    from realtime.panel import Panel

logger = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 10.0
"""Files are finished within this where a stage has stopped."""


def run(
    config: LiveConfig,
    metrics: Metrics,
    stop: threading.Event,
    *,
    control: Control | None = None,
    camera: Camera | None = None,
    sinks: Sequence[Sink] | None = None,
    abandon: Callable[[StoppedError], None] | None = None,
) -> None:
    """Do what the settings say until it ends, or until any thread sets `stop`; `metrics` fills meanwhile.

    Args:
        control: of other threads; its state is that of the settings, or another.
        camera: open; used instead of the first in the settings, and closed in the end.
        sinks: not yet open; used instead of those in the settings.
        abandon: ends the process. It is called from another thread, where the calling one is stuck for good in an engine
            or an output; the files are finished then. None: the run stays there until the stage comes back.

    Raises:
        StoppedError: a stage stopped.
        ICFaceError: something cannot be used, or was lost for good.
    """
    # Tracker and engine share the cores already. OpenCV's threads would only get in their way.
    cv2.setNumThreads(1)
    with ExitStack() as stack:
        session = _Session(config, metrics, stop, stack, control or Control(config.control), abandon)
        session.run(camera, sinks)


@dataclass
class _Session:
    """What is opened goes on `stack`, which lets go of it in reverse order."""

    config: LiveConfig
    metrics: Metrics
    stop: threading.Event
    stack: ExitStack
    control: Control
    abandon: Callable[[StoppedError], None] | None = None
    size_px: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.face = self.config.face

    def run(self, camera: Camera | None, sinks: Sequence[Sink] | None) -> None:
        config, metrics, stop, stack = self.config, self.metrics, self.stop, self.stack
        for path in config.written:
            stack.enter_context(claimed(path))
        provenance = provenance_of(config)
        self.backdrop = Backdrop(config.shown_behind, SourceCache())
        if config.still:
            self._make_still(provenance)
            return
        control = self.control
        tables = load_tables(config)
        if any(table.people > 1 for table in tables.values()):
            self.face = None  # it says who drives, not who is shown
        sinks = _create_sinks(config, provenance) if sinks is None else sinks
        panel: Panel | None = None
        if config.panel:
            from realtime.panel import Panel  # a web server comes with it

            panel = Panel(control)
            sinks = [*sinks, panel.sink]
        if self.backdrop.transparent and not all(sink.takes_alpha for sink in sinks):
            logger.info(
                "green (#00ff00) is shown where windows and cameras have no transparency; key it out there"
            )
        photos = self.photos = Photos(config.sources, self._prepare)
        if not config.follow and any(table.values[:, PLACE].any() for table in tables.values()):
            logger.info(
                "the attributes move the head in the picture (place_x, place_y, place_scale); --follow shows it"
            )
        metrics.drivers = [
            (given.label, metrics if number == 0 else Metrics()) for number, given in enumerate(config.given)
        ]
        with ThreadPoolExecutor(4, thread_name_prefix="opening") as pool:
            # Loading a face tracker and starting a camera take up to a second each.
            each_closing = [stack.enter_context(ExitStack()) for _ in config.given]
            opening = [
                pool.submit(open_driver, config, number, tables, measured, each_closing[number], camera)
                for number, (_, measured) in enumerate(metrics.drivers)
            ]
            first = self._open_engine(photos)
            drivers = [each.result() for each in opening]
        members = map(Member, config.given, drivers, (each for _, each in metrics.drivers), each_closing)
        crew = Crew(config, control, metrics, stop, tuple(members))
        beat = next((each for each in drivers if not each.is_still), drivers[0])
        logger.info("%s", self.reenactor.describe())
        self._describe(first, beat.fps)
        if stop.is_set():
            self._expect_a_frame()
            return

        take_engine = None
        if self.upgrade is not None:
            self.upgrade.start()
            stack.callback(self.upgrade.close)
            take_engine = self.upgrade.take
        renderer = Renderer(
            self.reenactor,
            first,
            metrics,
            mark=config.mark,
            watermark=config.watermark,
            take_engine=take_engine,
        )
        outputs = Outputs(sinks, metrics)
        outputs.open(*renderer.size_px, beat.fps, beat.time_base)
        stack.callback(outputs.close)
        csv = config.record_attributes
        recorder = stack.enter_context(closing(Recorder(csv))) if csv is not None else None
        photos.start_others()
        stack.callback(photos.close)
        reenactment = Reenactment(renderer, outputs, metrics, control, Mixer(control.tracks), recorder)
        for driver, closing_it in zip(drivers, each_closing, strict=True):
            closing_it.callback(driver.close)
        stack.callback(crew.close)
        keys = stack.enter_context(TerminalKeys())
        tracks = crew.is_tracked or panel is not None
        recordings = Recordings(control, renderer, beat.fps, recordings_folder(), provenance)
        controls = Controls(
            reenactment,
            photos,
            stop,
            keys.poll_key,
            crew.ask_neutral if tracks else None,
            recordings.toggle,
            crew.ask_next if tracks else None,
            only_the_end=not config.live,
        )
        if panel is not None:
            stack.callback(panel.close)
            url = panel.serve(config, reenactment, photos, recordings, crew, beat.fps, self.face)
            logger.info("panel: %s", url)
        end = partial(self._end_from_outside, outputs, recorder, keys) if self.abandon is not None else None
        stack.enter_context(Watchdog(metrics, stop, end))
        still, labels = [each.is_still for each in drivers], [each.label for each in config.given]
        if config.live:
            stack.callback(stop.set)
            period_s = 1 / float(beat.fps)
            scheduler = DeadlineScheduler(
                period_s, crew.halve_tracking if tracks else None, renderer.drop_network
            )
            playing = crew.playing = LiveDrivers(
                [each.play(stop) for each in drivers], period_s, metrics, still, labels
            )
            run_live(reenactment, playing, controls, scheduler, config)
        else:
            reading = FileDrivers([each.read_in_order() for each in drivers], metrics, still, labels)
            if run_offline(reenactment, reading, controls, config, beat.frame_count):
                outputs.finish(beat.end_s)
            self._check_seen()
        self._expect_a_frame()
        for driver in drivers:
            if driver.missing:
                raise ICFaceError(f"{driver.missing}; the output has the rest")

    def _end_from_outside(
        self, outputs: Outputs, recorder: Recorder | None, keys: TerminalKeys, error: StoppedError
    ) -> None:
        """Finish what can be finished while the main thread is stuck, and end the process."""
        outputs.finish_files(FINISH_TIMEOUT_S)
        if recorder is not None and error.stage != "record":
            with suppress(ICFaceError):
                recorder.close()
        keys.__exit__()
        assert self.abandon is not None
        self.abandon(error)

    def _expect_a_frame(self) -> None:
        """Raise where the user stopped a run that should have written something, before it could."""
        if self.config.written and self.stop.is_set() and self.metrics.counters["sent"] == 0:
            raise ICFaceError(stopped_after(0))

    def _check_seen(self) -> None:
        """Raise where a video drove and no face was seen in it."""
        for given, (_, metrics) in zip(self.config.given, self.metrics.drivers, strict=False):
            tracked = metrics.counters["tracked"]
            if given.is_tracked and tracked and not metrics.counters["faces"]:
                raise ICFaceError(
                    f"no face was seen in the {tracked} frames of {given.name}; what was written shows the photo at "
                    "rest; use a video in which a face of at least 48 pixels looks at the camera"
                )

    def _make_still(self, provenance: Provenance) -> None:
        """Make one picture of the photos, and no run."""
        from realtime.stills import make_still

        photos = self.photos = Photos(self.config.sources, self._prepare)
        scenes = [self._open_engine(photos), *map(self._prepare, range(1, len(self.config.sources)))]
        renderer = Renderer(self.reenactor, scenes[0], self.metrics, mark=False)
        make_still(self.config, self.control.state, renderer, scenes, provenance)

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
        photo = load_photo(self.photos.paths[number])
        source = self.reenactor.prepare_source(photo, face=self.face)
        for note in source.notes:
            logger.info("%s", note)
        try:
            size_px = self.size_px or config.picture_px
            return make_scene(number, source, config.framing, size_px, self.backdrop, config.follow)
        except SourceError as error:
            raise SourceError(f"{photo.path}: {error}") from error

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
            "mirror": sorted(config.mirrored),
            "preset": config.preset,
            "mark": config.mark,
            "watermark": config.watermark,
            "sources": [path.name for path in config.sources],
            "driver": config.given[0].label,
        }


def _create_sinks(config: LiveConfig, provenance: Provenance) -> list[Sink]:
    """Make all sinks that are wanted, not yet open; first those that somebody watches."""
    common = SinkSettings(
        overwrite=config.overwrite,
        device=config.virtual_camera or None,
        audio_from=None if config.loop else config.driver_video,
        live=config.live,
        transparent=config.shown_behind.kind == "transparent",
        provenance=provenance,
    )
    wanted = {"virtual_camera": config.to_virtual_camera, "window": config.to_window, "null": config.null}
    sinks = [create_sink(name, common) for name, is_wanted in wanted.items() if is_wanted]
    for path in config.outputs:
        name = "picture_files" if is_picture_series(path) else "video_file"
        sinks.append(create_sink(name, replace(common, path=path)))
    return sinks
