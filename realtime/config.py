"""Every setting of a run, with its default; the command line reads its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icface.errors import ConfigError

SIZES: Final = {"256": 256, "512": 512, "native": None}
FRAMINGS: Final = ("crop", "photo")


@dataclass(frozen=True)
class Limits:
    """Where a run ends by itself; None: nowhere."""

    frames: int | None = None
    duration_s: float | None = None

    def reached(self, frames: int, elapsed_s: float) -> bool:
        """Whether so many output frames, or so much time, are enough."""
        return (self.frames is not None and frames >= self.frames) or (
            self.duration_s is not None and elapsed_s >= self.duration_s
        )


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """One run of `icface-live`."""

    sources: tuple[Path, ...] = ()
    """Photos; the first is shown first, the others wait for their hotkey."""
    face: int | None = None
    """Which face of a photo with several, counted as the message about them counts; None: the largest."""

    camera: str = "0"
    """A camera's number, a device's path or a video file."""
    camera_size_px: tuple[int, int] = (640, 480)
    """Width and height asked of a camera; the size it gives is reported. Tracking gains nothing from more. Files keep
    theirs."""
    camera_fps: float = 30.0
    """Rate asked of a camera."""
    camera_retry_s: float = 10.0
    """How long a camera that was lost is tried again, once a second, before the run ends."""
    loop: bool = False
    """Start a file (video or attributes) again at its end; live only."""
    pace: bool | None = None
    """True: a file at its own rate. False: every frame, as fast as it goes. None: at its own rate where somebody
    watches (virtual camera, window)."""
    attributes: Path | None = None
    """A CSV of attributes that drives instead of a camera."""
    mirror: bool | None = None
    """Show the driver as in a mirror. None: for cameras, not for files."""
    neutral_after_s: float | None = None
    """Take the driver's face as neutral this long after the first frame; None: only when the key is pressed."""

    outputs: tuple[Path, ...] = ()
    """Video files to write."""
    virtual_camera: bool = False
    """Write to a virtual camera. This is also done where no other sink is given."""
    virtual_camera_device: str | None = None
    """The virtual camera's device; None: the first that works."""
    window: bool = False
    """Show a window."""
    null: bool = False
    """Make every frame and throw it away, for measuring."""

    size_px: int | None = 512
    """Side of the animated crop; None: as the photo gives it."""
    framing: str = "crop"
    """`crop`: the animated crop; `photo`: put back into the whole photograph."""
    mark: bool = True
    """The small disclosure mark in the picture."""

    model: Path | None = None
    """A bundle; None: the one that comes along."""
    engine: str = "auto"
    """Name of the engine that runs the bundle; `auto`: the fastest that is there."""
    build: bool = True
    """Build a faster engine in the background where this machine has one that is not built yet."""

    record_attributes: Path | None = None
    """CSV to write: the attributes that really drove, after calibration, smoothing, mirror and handling of losses."""
    stats: Path | None = None
    """JSON to write: what was measured."""
    duration_s: float | None = None
    """End after this long: by the clock when live, in the file's own time otherwise."""
    frames: int | None = None
    """End after this many output frames."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("no photo: give one with --source PHOTO")
        if len(self.sources) > 9:
            raise ConfigError(
                f"{len(self.sources)} sources, but only the keys 1 to 9 to choose by; give 9 or fewer"
            )
        if self.framing not in FRAMINGS:
            raise ConfigError(f"--framing {self.framing}: choose {' or '.join(FRAMINGS)}")
        if self.size_px is not None and self.size_px not in SIZES.values():
            raise ConfigError(f"--size {self.size_px}: choose {', '.join(SIZES)}")
        self._check_ranges()
        self._check_driver()
        self._check_files()

    def _check_ranges(self) -> None:
        width_px, height_px = self.camera_size_px
        if not (16 <= width_px <= 8192 and 16 <= height_px <= 8192):
            raise ConfigError(f"--camera-size {width_px}x{height_px}: each side must be 16 to 8192")
        if not 1 <= self.camera_fps <= 240:
            raise ConfigError(f"--camera-fps {self.camera_fps:g}: must be 1 to 240")
        if not 0 <= self.camera_retry_s <= 3600:
            raise ConfigError(f"--camera-retry-s {self.camera_retry_s:g}: must be 0 to 3600")
        if self.face is not None and self.face < 1:
            raise ConfigError(f"--face {self.face}: faces are counted from 1")
        if self.duration_s is not None and not self.duration_s > 0:
            raise ConfigError(f"--duration {self.duration_s:g}: must be more than 0 seconds")
        if self.frames is not None and self.frames < 1:
            raise ConfigError(f"--frames {self.frames}: must be 1 or more")
        if self.neutral_after_s is not None and not self.neutral_after_s >= 0:
            raise ConfigError(f"--neutral-after {self.neutral_after_s:g}: must be 0 seconds or more")

    def _check_driver(self) -> None:
        if not self.camera:
            raise ConfigError("--camera is empty; give a number, a device path or a video file")
        if "://" in self.camera:
            raise ConfigError(
                f"--camera {self.camera}: network addresses are not read; give a device or a file"
            )
        if not self.driven_by_file and self.pace is not None:
            raise ConfigError(
                "--pace and --no-pace are for a video file or --attributes; a camera has its own rate"
            )
        if self.virtual_camera_device is not None and self.virtual_camera_device in (
            self.camera,
            f"/dev/video{self.camera}",
        ):
            raise ConfigError(f"{self.virtual_camera_device} cannot be both --camera and --virtual-camera")
        if self.loop and not self.driven_by_file:
            raise ConfigError("--loop is for a video file or --attributes; a camera does not end")
        if self.loop and not self.live:
            raise ConfigError(
                "--loop never ends when a file is written as fast as it goes; give --pace as well"
            )
        if self.attributes is not None and self.neutral_after_s is not None:
            raise ConfigError("--neutral-after is for a camera's driver; --attributes are used as they are")

    def _check_files(self) -> None:
        written = [*self.outputs, *filter(None, (self.record_attributes, self.stats))]
        read = [*self.sources, *filter(None, (self.attributes, self.model))]
        if self.driver_video is not None:
            read.append(self.driver_video)
        seen = {path.resolve() for path in read}
        for path in written:
            if path.resolve() in seen:
                raise ConfigError(f"{path} would be overwritten while it is in use; give another name")
            seen.add(path.resolve())
            if path.is_dir():
                raise ConfigError(f"{path} is a folder; give a file's name in it")
            if not path.absolute().parent.is_dir():
                raise ConfigError(
                    f"cannot write {path}: the folder {path.parent} does not exist; make it first"
                )

    @property
    def driver_video(self) -> Path | None:
        """The video file that drives, or None when a camera or a CSV does."""
        path = Path(self.camera)
        return path if self.attributes is None and path.is_file() else None

    @property
    def driven_by_file(self) -> bool:
        """Whether a file drives: it has an end and can be read faster than it happened."""
        return self.attributes is not None or self.driver_video is not None

    @property
    def to_virtual_camera(self) -> bool:
        """Whether a virtual camera is asked for, or is meant because no other sink is given."""
        return self.virtual_camera or not (self.outputs or self.window or self.null)

    @property
    def live(self) -> bool:
        """True: in real time, newest frame only. False: every frame once and in order."""
        if self.pace is not None:
            return self.pace
        return not self.driven_by_file or self.to_virtual_camera or self.window

    @property
    def mirrored(self) -> bool:
        """Whether the driver is shown as in a mirror, with `mirror` unset decided."""
        return self.mirror if self.mirror is not None else not self.driven_by_file

    @property
    def limits(self) -> Limits:
        """Where the run ends by itself."""
        return Limits(self.frames, self.duration_s)
