"""One run from its settings: open everything at once, connect it, run, and let go of it whatever happens."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import platformdirs

from icface.attributes import AttributeTrack, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines import open_engine
from icface.errors import EngineError, NotBuiltError
from icface.face.continuity import Continuity
from icface.face.landmarks import open_detector
from icface.face.tracker import FaceTracker, TrackerConfig
from icface.frame_cache import FrameCache
from icface.images import load_photo
from realtime.attribute_source import Recorder, frame_rate, load_drive
from realtime.camera import Camera, CameraConfig, CapturedFrame, open_camera
from realtime.capture import CameraFeed
from realtime.config import LiveConfig
from realtime.controls import Controls
from realtime.driver import CsvFeed, Sample, TrackerFeed
from realtime.hotkeys import TerminalKeys
from realtime.loop import Conditioner, LiveLoop, Pace, Unchanged
from realtime.mixer import Mixer
from realtime.offline import QUEUE_FRAMES, FileFeed, OfflineRun, lane_samples, track_samples
from realtime.outputs import Outputs
from realtime.performer import HalfSize, Performer, Scene, make_scene
from realtime.provenance import Provenance
from realtime.scheduler import HALF_SIZE, HALF_TRACKING, LEVELS, DeadlineScheduler
from realtime.sinks import Sink, SinkSettings, create_sink
from realtime.slot import Lane, Slot
from realtime.sources import SourceBank
from realtime.timing import Stats, usable_cores
from realtime.upgrade import Upgrade, build_command, run_builder

if TYPE_CHECKING:
    from icface.reenactor import PreparedSource, Reenactor

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 5.0
HALF_SIZE_PX = 256
GATE_PHOTOS = 3
"""So many of the photos are what a lower precision is tried on; more take longer and tell little more."""
MAX_THREADS = 8
"""More make a frame of a small network no faster."""


def version() -> str:
    """Of the installed package; `unknown` in a bare checkout."""
    try:
        return importlib.metadata.version("icface-live")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def neutral_file() -> Path:
    """Where the user's neutral face is kept from one run to the next."""
    return platformdirs.user_data_path("icface-live", appauthor=False) / "neutral.json"


def _engine_threads() -> int:
    # All of them, though the tracker needs one as well: a frame is tracked first, and animated then.
    return min(usable_cores(), MAX_THREADS)


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
        stop: from any thread.
        camera: open, in the place of the one in the settings; it is closed in the end.
        sinks: not yet open, in the place of those in the settings.

    Raises:
        ICFaceError: in one line, what failed and what to do.
    """
    # Three threads of our own share the cores already; OpenCV's would only get in their way.
    cv2.setNumThreads(1)
    with ExitStack() as stack:
        _Session(config, stats, stop, stack, camera, sinks).run()


class _Session:
    """The parts of one run. Whatever is opened goes on `stack`, which lets go of it in reverse order."""

    def __init__(
        self,
        config: LiveConfig,
        stats: Stats,
        stop: threading.Event,
        stack: ExitStack,
        camera: Camera | None,
        sinks: Sequence[Sink] | None,
    ) -> None:
        self._config = config
        self._stats = stats
        self._stop = stop
        self._stack = stack
        self._given_camera = camera
        self._given_sinks = sinks
        self._size_px: tuple[int, int] | None = None
        self._to_build = ""
        self._camera_config = CameraConfig(
            device=config.camera,
            width_px=config.camera_size_px[0],
            height_px=config.camera_size_px[1],
            fps=config.camera_fps,
        )

    def run(self) -> None:
        config, stats = self._config, self._stats
        track = load_drive(config.attributes) if config.attributes is not None else None
        sinks = self._create_sinks()
        scenes = SourceBank(config.sources, self._prepare)
        camera, tracker = self._open(scenes, driven=track is None)
        fps = frame_rate(track) if track is not None else self._camera_rate(camera)
        logger.info("%s", self._reenactor.describe())
        self._describe(fps)
        if self._stop.is_set():
            return

        performer = Performer(
            self._reenactor,
            self._first,
            stats,
            mark=config.mark,
            half_size=self._half_size(),
            cache=FrameCache(round(config.cache_mb * 1e6)) if config.cache_mb > 0 else None,
            upgrade=self._start_upgrade(),
        )
        outputs = Outputs(sinks, stats)
        outputs.open(*performer.size_px, fps)
        self._stack.callback(outputs.close)
        recorder = None
        if config.record_attributes is not None:
            recorder = Recorder(config.record_attributes)
            self._stack.callback(recorder.close)
        scenes.start_others()
        self._stack.callback(scenes.close)
        mixer = Mixer(mirrored=config.mirrored)
        conditioner: Conditioner = Continuity() if track is None else Unchanged(neutral())
        parts = _Parts(fps, camera, tracker, track, performer, outputs, scenes, mixer, conditioner, recorder)
        if config.live:
            self._run_live(parts)
        else:
            self._run_offline(parts)

    # Opening

    def _open(self, scenes: SourceBank[Scene], *, driven: bool) -> tuple[Camera | None, FaceTracker | None]:
        """Open engine, first source, camera and tracker; the slow ones side by side."""
        with ThreadPoolExecutor(2, thread_name_prefix="opening") as pool:
            # Loading the face tracker and starting a camera take a second or so each.
            opening_camera = pool.submit(self._open_camera) if driven else None
            opening_tracker = pool.submit(self._open_tracker) if driven else None
            self._reenactor = self._open_first_reenactor()
            self._stack.callback(self._reenactor.close)
            self._first = scenes.first()
            self._size_px = self._first.framing.size_px
            camera = opening_camera.result() if opening_camera is not None else None
            tracker = opening_tracker.result() if opening_tracker is not None else None
        return camera, tracker

    def _open_first_reenactor(self) -> Reenactor:
        """With the engine that was asked for; where that is not built yet, live, with another for the time being."""
        config = self._config
        try:
            return self._open_reenactor(config.size_px, config.engine)
        except NotBuiltError:
            if not config.build:
                raise
        self._to_build = config.engine
        if not config.live:
            logger.info("the engine %s is being built first", config.engine)
            failed = run_builder(self._build_command(), self._stop)
            if failed or self._stop.is_set():
                raise EngineError(failed or "stopped while the engine was being built")
            self._to_build = ""
            return self._open_reenactor(config.size_px, config.engine)
        return self._open_reenactor(config.size_px, "auto")

    def _start_upgrade(self) -> Upgrade | None:
        """Have the better engine built, if there is one; a run from file to file is over before that pays."""
        config = self._config
        if not (config.build and config.live):
            return None
        if not self._to_build and self._reenactor.unbuilt_engines:
            self._to_build = self._reenactor.unbuilt_engines[0]
        if not self._to_build:
            return None
        name, bundle, threads = self._to_build, self._bundle(), _engine_threads()
        upgrade = Upgrade(name, self._build_command(), lambda: open_engine(name, bundle, threads=threads))
        upgrade.start()
        self._stack.callback(upgrade.close)
        return upgrade

    def _build_command(self) -> list[str]:
        config = self._config
        return build_command(
            config.model or DEFAULT_BUNDLE,
            self._to_build,
            config.sources[:GATE_PHOTOS],
            config.size_px,
            beside=config.live,
        )

    def _bundle(self) -> Bundle:
        return Bundle.load(self._config.model or DEFAULT_BUNDLE)

    def _open_reenactor(self, size_px: int | None, engine: str) -> Reenactor:
        # Imported here, so that the rasteriser's machine code is loaded (or compiled, the first time) while
        # the face tracker starts on another thread: .6 s of the time to the first frame, and 1.5 s once.
        from icface.reenactor import Reenactor

        return Reenactor(
            self._bundle(),
            engine=engine,
            size_px=size_px,
            threads=_engine_threads(),
        )

    def _open_camera(self) -> Camera:
        camera = self._given_camera or open_camera(self._camera_config)
        self._stack.callback(camera.close)
        return camera

    def _reopen_camera(self, timeout_s: float) -> Camera:
        within_s = min(timeout_s, self._camera_config.open_timeout_s)
        return open_camera(replace(self._camera_config, open_timeout_s=within_s))

    def _open_tracker(self) -> FaceTracker:
        # A neutral that was set belongs to whoever sits at this computer, not to the person in a file.
        neutral_path = None if self._config.driven_by_file else neutral_file()
        detector = open_detector(video=True)
        tracker = FaceTracker(TrackerConfig(neutral_path=neutral_path), detector)
        self._stack.callback(tracker.close)
        return tracker

    def _camera_rate(self, camera: Camera | None) -> Fraction:
        assert camera is not None
        logger.info("camera: %s", camera.info.describe())
        # Some drivers state no rate; then what was asked for is the best guess.
        return camera.info.fps if camera.info.fps > 0 else Fraction(self._config.camera_fps)

    def _create_sinks(self) -> list[Sink]:
        """All that are wanted, not yet open; those that somebody watches first."""
        if self._given_sinks is not None:
            return list(self._given_sinks)
        config = self._config
        common = SinkSettings(
            device=config.virtual_camera_device,
            audio_from=None if config.loop else config.driver_video,
            keep_away_from=(*config.sources, *filter(None, (config.driver_video, config.attributes))),
            timing="timestamps" if config.live else "constant",
            provenance=Provenance(
                source_sha256=tuple(_sha256(path) for path in config.sources),
                version=version(),
                model=(config.model or DEFAULT_BUNDLE).name,
            ),
        )
        sinks = []
        if config.to_virtual_camera:
            sinks.append(create_sink("virtual_camera", common))
        if config.window:
            sinks.append(create_sink("window", common))
        sinks += [create_sink("video_file", replace(common, path=path)) for path in config.outputs]
        if config.null:
            sinks.append(create_sink("null", common))
        return sinks

    def _prepare(self, number: int) -> Scene:
        """Load, neutralise and frame a photo."""
        source = self._prepare_for(self._reenactor, number)
        for note in source.notes:
            logger.info("%s", note)
        return make_scene(number, source, self._config.framing, self._size_px)

    def _prepare_for(self, reenactor: Reenactor, number: int) -> PreparedSource:
        return reenactor.prepare_source(load_photo(self._config.sources[number]), face=self._config.face)

    def _half_size(self) -> HalfSize | None:
        too_small = self._first.source.neutral.shape[0] <= HALF_SIZE_PX
        # A model of one size is not made faster by scaling its frames less.
        if not self._config.live or too_small or not self._reenactor.makes_any_size:
            return None

        def make(number: int) -> Reenactor:
            # `auto` takes what is built; what was asked for may not be yet.
            reenactor = self._open_reenactor(HALF_SIZE_PX, "auto" if self._to_build else self._config.engine)
            reenactor.set_source(self._prepare_for(reenactor, number))
            return reenactor

        half_size = HalfSize(make)
        self._stack.callback(half_size.close)
        return half_size

    def _describe(self, fps: Fraction) -> None:
        config = self._config
        self._stats.about = {
            "version": version(),
            "engine": self._reenactor.describe(),
            "mode": "live" if config.live else "file to file",
            "fps": float(fps),
            "size_px": list(self._size_px or ()),
            "crop_px": self._first.source.neutral.shape[0],
            "framing": config.framing,
            "mirror": config.mirrored,
            "mark": config.mark,
            "sources": [path.name for path in config.sources],
            "driver": config.attributes.name if config.attributes is not None else config.camera,
        }

    # Running

    def _start(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        self._stack.callback(thread.join, JOIN_TIMEOUT_S)

    def _run_live(self, parts: _Parts) -> None:
        config, stats, stop = self._config, self._stats, self._stop
        period_s = 1 / float(parts.fps)
        samples: Slot[Sample] = Slot()
        tracking: TrackerFeed | None = None
        if parts.track is not None:
            csv_feed = CsvFeed(parts.track, samples, stats, stop, period_s=period_s, loop=config.loop)
            self._start("attributes", csv_feed.run)
        else:
            assert parts.camera is not None and parts.tracker is not None
            frames: Slot[CapturedFrame] = Slot()
            camera_feed = CameraFeed(
                parts.camera,
                self._reopen_camera,
                frames,
                stats,
                stop,
                retry_s=config.camera_retry_s,
                loop=config.loop,
            )
            tracking = TrackerFeed(
                frames, samples, parts.tracker, stats, stop, neutral_after_s=config.neutral_after_s
            )
            self._start("capture", camera_feed.run)
            self._start("track", tracking.run)
        unavailable = {HALF_TRACKING} if tracking is None else set()
        if parts.performer.half_size is None:
            unavailable.add(HALF_SIZE)
        keys = self._stack.enter_context(TerminalKeys())
        loop = LiveLoop(
            samples=samples,
            conditioner=parts.conditioner,
            mixer=parts.mixer,
            performer=parts.performer,
            outputs=parts.outputs,
            controls=self._controls(parts, tracking),
            scheduler=DeadlineScheduler(period_s, [level for level in LEVELS if level not in unavailable]),
            stats=stats,
            stop=stop,
            pace=Pace(period_s=period_s),
            recorder=parts.recorder,
            poll_key=keys.poll_key,
            set_tracker_rate=tracking.set_half_rate if tracking is not None else None,
            duration_s=config.duration_s,
            frames=config.frames,
        )
        try:
            loop.run()
        finally:
            stop.set()

    def _run_offline(self, parts: _Parts) -> None:
        config, stats, stop = self._config, self._stats, self._stop
        # Apart from `stop`, which means that somebody cut the run short.
        ended = threading.Event()
        tracking: TrackerFeed | None = None
        total: int | None
        if parts.track is not None:
            samples = track_samples(parts.track, float(parts.fps))
            total = len(parts.track)
        else:
            assert parts.camera is not None and parts.tracker is not None
            frames: Lane[CapturedFrame] = Lane(QUEUE_FRAMES)
            tracked: Lane[Sample] = Lane(QUEUE_FRAMES)
            tracking = TrackerFeed(
                frames, tracked, parts.tracker, stats, ended, neutral_after_s=config.neutral_after_s
            )
            self._start("decode", FileFeed(parts.camera, frames, stats, ended).run)
            self._start("track", tracking.run)
            samples = lane_samples(tracked)
            total = parts.camera.info.frame_count
        work = OfflineRun(
            samples=samples,
            conditioner=parts.conditioner,
            mixer=parts.mixer,
            performer=parts.performer,
            outputs=parts.outputs,
            controls=self._controls(parts, tracking),
            stats=stats,
            stop=stop,
            recorder=parts.recorder,
            total=total,
            duration_s=config.duration_s,
            frames=config.frames,
        )
        try:
            work.run()
        finally:
            ended.set()

    def _controls(self, parts: _Parts, tracking: TrackerFeed | None) -> Controls:
        ask_neutral = tracking.ask_neutral if tracking is not None else None
        return Controls(parts.performer, parts.mixer, parts.scenes, self._stop, ask_neutral)


@dataclass(frozen=True)
class _Parts:
    """What live and file-to-file runs have in common, open."""

    fps: Fraction
    camera: Camera | None
    tracker: FaceTracker | None
    track: AttributeTrack | None
    performer: Performer
    outputs: Outputs
    scenes: SourceBank[Scene]
    mixer: Mixer
    conditioner: Conditioner
    recorder: Recorder | None


def _sha256(path: Path) -> str:
    """Of a file's bytes; empty where there is no file, which is told when the photo is loaded."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
