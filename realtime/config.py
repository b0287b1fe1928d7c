"""Every setting of a run, with its default. The command line takes its defaults from here and explains each setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from icface.errors import ConfigError
from realtime.backgrounds import Background, read_background

SIZES: Final = {"256": 256, "512": 512, "native": None}
VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm")
FRAMINGS: Final = ("crop", "photo", "call")
CALL_SIZES: Final = {"1280x720": (1280, 720), "1920x1080": (1920, 1080)}
QUALITIES: Final = ("best", "fast")
GAZES: Final = ("driver", "camera")


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """One run of `icface-live`; raises ConfigError where a setting cannot be used, or two not together."""

    sources: tuple[Path, ...] = ()
    """The first is shown first, the others wait for their hotkey."""
    face: int | None = None
    """Its number, as the message about several faces counts them; None: the largest."""
    size_px: int | None = 512
    """None: as the photo gives it."""
    framing: str = "crop"
    call_size_px: tuple[int, int] = (1280, 720)
    """Width and height with the framing `call`."""
    background: str = "keep"
    """`keep`, `blur`, `transparent`, a colour's name or #rrggbb, or a photo."""
    follow: bool = False
    """The person moves in the picture as the driver does."""
    mark: bool = True

    camera: str = "0"
    camera_size_px: tuple[int, int] = (640, 480)
    """Width and height. Tracking gains nothing from more."""
    camera_fps: float = 30.0
    camera_retry_s: float = 10.0
    """How long a lost camera is tried again, once a second. Then the run ends."""
    attributes: Path | None = None
    mirror: bool | None = None
    """None: for cameras, not for files."""
    neutral_after_s: float | None = None
    """Counts from the first frame. None: only when the key is pressed."""
    pace: bool | None = None
    """True: a file at its own rate. False: every frame, as fast as it goes. None: at its own rate where somebody
    watches (virtual camera, window)."""
    loop: bool = False
    gaze: str = "driver"
    """Where the eyes look: as the driver's, or into the camera."""
    idle: bool = False
    """Blink and breathe while no driver is there."""

    virtual_camera: str | None = None
    """A device; empty: the first that works. None: no virtual camera, unless a camera drives and no other sink is
    given."""
    window: bool = False
    outputs: tuple[Path, ...] = ()
    null: bool = False
    overwrite: bool = False
    """Write over files that are there already."""
    record_attributes: Path | None = None
    """The attributes that really drove, after calibration, smoothing, mirror and handling of losses."""
    stats: Path | None = None
    duration_s: float | None = None
    """By the clock when live, in the file's own time otherwise."""
    frames: int | None = None

    model: Path | None = None
    """None: the bundle that comes along."""
    quality: str = "best"
    """`best`: a network corrects what geometry made, where the bundle has one; `fast`: geometry alone."""
    engine: str = "auto"
    """`auto`: the fastest that is there."""
    build: bool = True

    def __post_init__(self) -> None:
        for problem in chain(self._setting_problems(), self._driver_problems(), self._file_problems()):
            raise ConfigError(problem)

    def _setting_problems(self) -> Iterator[str]:
        if not self.sources:
            yield "no photo: give one with --source PHOTO"
        if len(self.sources) > 9:
            yield f"{len(self.sources)} sources, but only the keys 1 to 9 to choose by; give 9 or fewer"
        size, fps, retry_s = self.camera_size_px, self.camera_fps, self.camera_retry_s
        duration_s, after_s = self.duration_s, self.neutral_after_s
        # No comparison with NaN is true, so each asks for what is right.
        for flag, value, right, rule in (
            ("--framing", self.framing, self.framing in FRAMINGS, f"choose {', '.join(FRAMINGS)}"),
            ("--quality", self.quality, self.quality in QUALITIES, f"choose {' or '.join(QUALITIES)}"),
            ("--gaze", self.gaze, self.gaze in GAZES, f"choose {' or '.join(GAZES)}"),
            ("--size", self.size_px, self.size_px in SIZES.values(), f"choose {', '.join(SIZES)}"),
            ("--call-size", "{}x{}".format(*self.call_size_px), self.call_size_px in CALL_SIZES.values(),
             f"choose {' or '.join(CALL_SIZES)}"),
            ("--camera-size", "{}x{}".format(*size), all(16 <= side <= 8192 for side in size),
             "each side must be 16 to 8192"),
            ("--camera-fps", fps, 1 <= fps <= 240, "must be 1 to 240"),
            ("--camera-retry-s", retry_s, 0 <= retry_s <= 3600, "must be 0 to 3600"),
            ("--face", self.face, self.face is None or self.face >= 1, "faces are counted from 1"),
            ("--duration", duration_s, duration_s is None or duration_s > 0, "must be more than 0 seconds"),
            ("--frames", self.frames, self.frames is None or self.frames >= 1, "must be 1 or more"),
            ("--neutral-after", after_s, after_s is None or after_s >= 0, "must be 0 seconds or more"),
        ):  # fmt: skip
            if not right:
                yield f"{flag} {value:g}: {rule}" if isinstance(value, float) else f"{flag} {value}: {rule}"
        if self.framing != "call" and self.call_size_px != LiveConfig.call_size_px:
            yield "--call-size is for --framing call"
        if self.framing == "call" and self.size_px != LiveConfig.size_px:
            yield "--size is for the other framings; with --framing call the picture's size is --call-size"
        try:
            read_background(self.background)
        except ConfigError as error:
            yield str(error)

    def _driver_problems(self) -> Iterator[str]:
        if not self.camera:
            yield "--camera is empty; give a number, a device path or a video file"
        if "://" in self.camera:
            yield f"--camera {self.camera}: network addresses are not read; give a device or a file"
        if not self.driven_by_file and self.pace is not None:
            yield "--pace and --no-pace are for a video file or --attributes; a camera has its own rate"
        if self.virtual_camera in (self.camera, f"/dev/video{self.camera}"):
            yield f"{self.virtual_camera} cannot be both --camera and --virtual-camera"
        if self.loop and not self.driven_by_file:
            yield "--loop is for a video file or --attributes; a camera does not end"
        if self.loop and not self.live:
            yield "--loop never ends when a file is written as fast as it goes; give --pace as well"
        if self.attributes is not None and self.neutral_after_s is not None:
            yield "--neutral-after is for a camera's driver; --attributes are used as they are"

    def _file_problems(self) -> Iterator[str]:
        behind = self.shown_behind.path
        read = (*self.sources, self.attributes, self.model, self.driver_video, behind)
        seen = {path.resolve() for path in read if path is not None}
        for path in self.written:
            if path.resolve() in seen:
                yield f"{path} would be overwritten while it is in use; give another name"
            # A folder takes numbered pictures, unless it looks like a mistake.
            if path.is_dir() and (path not in self.outputs or path.suffix.lower() in VIDEO_SUFFIXES):
                yield f"{path} is a folder; give a file's name in it"
            if not path.absolute().parent.is_dir():
                yield f"cannot write {path}: the folder {path.parent} does not exist; make it first"
            if path.is_file() and not self.overwrite:
                yield f"{path} is there already; give --overwrite, or another name"
            seen.add(path.resolve())

    @property
    def written(self) -> tuple[Path, ...]:
        """All files and series of files that the run writes."""
        return tuple(path for path in (*self.outputs, self.record_attributes, self.stats) if path is not None)

    @property
    def crop_px(self) -> int | None:
        """Side of the animated crop; None: as its picture needs it."""
        return None if self.framing == "call" else self.size_px

    @property
    def picture_px(self) -> tuple[int, int] | None:
        """(width, height) of the pictures, where the settings say it; None: the first photo does."""
        if self.framing == "call":
            return self.call_size_px
        return None if self.framing == "photo" or self.size_px is None else (self.size_px, self.size_px)

    @property
    def shown_behind(self) -> Background:
        """The background, understood."""
        return read_background(self.background)

    @property
    def driver_video(self) -> Path | None:
        """The video file that drives, or None when a camera or a CSV does."""
        path = Path(self.camera).expanduser()
        return path if self.attributes is None and path.is_file() else None

    @property
    def driven_by_file(self) -> bool:
        """Whether a file drives: it has an end and can be read faster than it happened."""
        return self.attributes is not None or self.driver_video is not None

    @property
    def to_virtual_camera(self) -> bool:
        """Whether a virtual camera is asked for, or is meant because no other sink is given."""
        other = self.outputs or self.window or self.null or self.driven_by_file
        return self.virtual_camera is not None or not other

    @property
    def to_window(self) -> bool:
        """Whether a window is asked for, or is meant because a file drives and no other sink is given."""
        return self.window or not (
            self.virtual_camera is not None or self.outputs or self.null or self.to_virtual_camera
        )

    @property
    def live(self) -> bool:
        """True: in real time, newest frame only. False: every frame once and in order."""
        if self.pace is not None:
            return self.pace
        return not self.driven_by_file or self.to_virtual_camera or self.to_window

    @property
    def mirrored(self) -> bool:
        """Whether the driver is shown as in a mirror, with `mirror` unset decided."""
        return self.mirror if self.mirror is not None else not self.driven_by_file

    def is_over(self, frames: int, elapsed_s: float) -> bool:
        """Whether the run ends after so many output frames, or after so much time."""
        enough = self.frames is not None and frames >= self.frames
        return enough or (self.duration_s is not None and elapsed_s >= self.duration_s)
