"""Every setting of a run, with its default. The command line takes its defaults from here and explains each setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icface.errors import ConfigError
from realtime.address import Address
from realtime.backgrounds import Background, read_background
from realtime.given import BROWSER, NONE, Given, read_driver

if TYPE_CHECKING:
    from icface.control.state import ControlState

FIRST_CAMERA: Final = "0"

SIZES: Final = {"256": 256, "512": 512, "native": None}
VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm")
DRIVER_SUFFIXES: Final = (
    *VIDEO_SUFFIXES, ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".wmv",
    ".csv", ".tsv",
)  # fmt: skip
"""Of files that drive, and are no photos."""
PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
FRAMINGS: Final = ("crop", "photo", "call")
CALL_SIZES: Final = {"1280x720": (1280, 720), "1920x1080": (1920, 1080)}
QUALITIES: Final = ("best", "fast")
GAZES: Final = ("driver", "camera")
FACES: Final = ("largest", "left", "right")


def is_still(path: Path) -> bool:
    """Whether an output's name means one picture: `portrait.png`, not a folder or `out-%05d.png`."""
    return path.suffix.lower() in PICTURE_SUFFIXES and "%" not in path.name and not path.is_dir()


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """One run of `icface-live`; raises ConfigError where a setting cannot be used, or two not together."""

    sources: tuple[Path, ...] = ()
    """The first is shown first, the others wait for their hotkey."""
    face: int | None = None
    """Its number, counted from 1 on from left to right; None: the largest."""
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
    """Draw the badge that people see."""
    watermark: bool = True
    """Add the pattern that `icface-live check` sees."""

    drivers: tuple[str, ...] = ()
    """Each a camera's number or device, a video, a CSV, a photo, or `none` alone. Empty: the first camera, where the
    control flags take a driver at all."""
    camera_size_px: tuple[int, int] = (640, 480)
    """Width and height. Tracking gains nothing from more."""
    camera_fps: float = 30.0
    camera_retry_s: float = 10.0
    """How long a lost camera is tried again, once a second. Then the run ends."""
    driver_face: str | int = "largest"
    """Which face of the driver's picture drives: `largest`, `left`, `right`, or a number from the left, from 1 on."""
    mirror: tuple[str, ...] = ()
    """`on` or `off` for all drivers, or `2=on` for one. What is not said: a camera is mirrored and a file is not."""
    neutral_after_s: float | None = None
    """Counts from the first frame. None: only when the key is pressed."""
    pace: bool | None = None
    """True: a file at its own rate. False: every frame, as fast as it goes. None: at its own rate where somebody
    watches (virtual camera, window)."""
    loop: bool = False
    preset: str | None = None
    """Its name. The settings below are applied to it, in their order."""
    only: tuple[str, ...] = ()
    """What the drivers move; the rest is the photo's own."""
    mix: tuple[str, ...] = ()
    """`GROUP=SOURCE`: a driver's number, or another source."""
    values: tuple[str, ...] = ()
    """`NAME=VALUE`: fixed."""
    gains: tuple[str, ...] = ()
    """`NAME=GAIN`."""
    locks: tuple[str, ...] = ()
    """What stays as it is shown first: the photo's own."""
    gaze: str = "driver"
    """Where the eyes look: as the driver's, or into the camera."""
    idle: bool = False
    """Blink and breathe while a driver is not there."""

    virtual_camera: str | None = None
    """A device; empty: the first that works. None: no virtual camera, unless a camera drives and no other sink is
    given."""
    window: bool = False
    panel: bool = False
    """A page in the browser of this machine shows and controls the run."""
    panel_webrtc: str | None = None
    """The panel's page gives its camera and gets the output by WebRTC. `HOST:PORT` lets in browsers elsewhere, with
    TLS; empty is this machine alone. None: no WebRTC."""
    panel_cert: Path | None = None
    panel_key: Path | None = None
    outputs: tuple[Path, ...] = ()
    """Videos, or numbered pictures; or one picture (`still`) and nothing else."""
    sweep: str | None = None
    """Attributes to move, one a row, in one picture: `AU12,yaw=-20:20:5`."""
    views: str | None = None
    """Degrees of yaw to show in one picture: `-30:30:7`."""
    null: bool = False
    overwrite: bool = False
    """Write over files that are there already."""
    record_attributes: Path | None = None
    """The attributes that really drove, after calibration, smoothing, mirror and handling of losses."""
    stats: Path | None = None
    c2pa_certificate: Path | None = None
    """Signs the outputs, with `c2pa_key`."""
    c2pa_key: Path | None = None
    consent: str = "ask"
    """`yes`: the people in all photos agreed; `ask`: that is asked at a photo's first use."""
    duration_s: float | None = None
    """By the clock when live, in the file's own time otherwise."""
    frames: int | None = None

    model: Path | None = None
    """None: the bundle that comes along."""
    require_signature: str | None = None
    """The file of a public key that has to have signed `model`; empty: one of those that the user trusts."""
    require_consent: bool = False
    """Take `model` only if it says that the person whom it shows agreed."""
    quality: str = "best"
    """`best`: a network corrects what geometry made, where the bundle has one; `fast`: geometry alone."""
    engine: str = "auto"
    """`auto`: the fastest that is there."""
    build: bool = True

    def __post_init__(self) -> None:
        for problem in chain(
            self._setting_problems(), self._driver_problems(), self._file_problems(), self._still_problems()
        ):
            raise ConfigError(problem)
        _ = self.control
        if self.sheet:
            from realtime.stills import read_sweeps

            read_sweeps(self.sweep, self.views)

    def _setting_problems(self) -> Iterator[str]:
        if not self.sources:
            drives = f"{self.drivers[0]} drives: " if self.drivers else ""
            yield f"no photo: {drives}name one, such as icface-live me.jpg"
        for path in self.sources:
            if path.parts and path.parts[0] in ("http:", "https:"):
                yield f"--source {path}: network addresses are not read; save the photo and name the file"
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
            ("--driver-face", self.driver_face,
             self.driver_face in FACES or (isinstance(self.driver_face, int) and self.driver_face >= 1),
             f"choose {', '.join(FACES)} or a number from the left, from 1 on"),
            ("--face", self.face, self.face is None or self.face >= 1, "faces are counted from 1"),
            ("--duration", duration_s, duration_s is None or duration_s > 0, "must be more than 0 seconds"),
            ("--frames", self.frames, self.frames is None or self.frames >= 1, "must be 1 or more"),
            ("--neutral-after", after_s, after_s is None or after_s >= 0, "must be 0 seconds or more"),
        ):  # fmt: skip
            if not right:
                yield f"{flag} {value:g}: {rule}" if isinstance(value, float) else f"{flag} {value}: {rule}"
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            yield "--c2pa-certificate and --c2pa-key go together; give both"
        if self.framing != "call" and self.call_size_px != LiveConfig.call_size_px:
            yield "--call-size is for --framing call"
        if self.framing == "call" and self.size_px != LiveConfig.size_px:
            yield "--size is for the other framings; with --framing call the picture's size is --call-size"
        if self.panel_webrtc is None and (self.panel_cert is not None or self.panel_key is not None):
            yield "--panel-cert and --panel-key are for --panel-webrtc"
        if self.panel_webrtc is not None and find_spec("aiortc") is None:
            yield "--panel-webrtc needs aiortc; run: pip install 'icface-live[webrtc]'"
        try:
            _ = self.panel_address
        except ConfigError as error:
            yield str(error)
        try:
            read_background(self.background)
        except ConfigError as error:
            yield str(error)

    def _driver_problems(self) -> Iterator[str]:
        if not all(self.drivers):
            yield "a driver is empty; give a number, a device path, a video, a CSV or a photo"
        for name in self.drivers:
            if "://" in name:
                yield f"--driver {name}: network addresses are not read; give a device or a file"
            if self.virtual_camera in (name, f"/dev/video{name}"):
                yield f"{self.virtual_camera} cannot be both --driver and --virtual-camera"
        if BROWSER in self.drivers and self.panel_webrtc is None:
            yield f"--driver {BROWSER} is the camera of a browser at the panel; give --panel-webrtc as well"
        for name in {name for name in self.drivers if self.drivers.count(name) > 1}:
            yield f"--driver {name} is given twice; name it once, and use its number where it drives"
        if len(self.drivers) > 1 and NONE in self.drivers:
            yield f"--driver {NONE} is for a run without any driver; leave it or the others out"
        if not self.driven_by_file and self.pace is not None:
            yield "--pace and --no-pace are for drivers that are files; a camera has its own rate"
        if self.loop and not self.driven_by_file:
            yield "--loop is for drivers that are files; a camera does not end"
        if self.loop and not self.live:
            yield "--loop never ends when a file is written as fast as it goes; give --pace as well"
        for number in (text.partition("=")[0] for text in self.mirror if "=" in text):
            if not 1 <= int(number) <= len(self.given):
                there = "there is only one" if len(self.given) == 1 else f"there are {len(self.given)}"
                yield f"--mirror {number}: {there} driver{'s' * (len(self.given) > 1)}"
        if self.neutral_after_s is not None and not any(given.is_tracked for given in self.given):
            yield "--neutral-after is for a camera's or a video's driver; this one is used as it is"
        endless = all(given.kind in ("photo", "none") for given in self.given)
        if endless and not self.live and not self.still and self.frames is None and self.duration_s is None:
            yield "nothing that drives has an end; give --duration SECONDS or --frames N"

    def _file_problems(self) -> Iterator[str]:
        behind = self.shown_behind.path
        read = (
            *self.sources,
            *(given.path for given in self.given),
            self.model,
            behind,
            self.c2pa_certificate,
            self.c2pa_key,
        )
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

    def _still_problems(self) -> Iterator[str]:
        if self.sheet and not self.still:
            yield "--sweep and --views make one picture; say where: --output sheet.png"
        if not self.still:
            return
        path = next(path for path in self.outputs if is_still(path))
        if any(given.is_tracked or given.kind == "table" for given in self.given):
            yield f"{path} is one picture, and this driver makes many; give a name such as out-%05d.png"
        if len(self.outputs) > 1 or self.window or self.null or self.virtual_camera is not None or self.panel:
            yield f"{path} is one picture; it goes without other outputs"
        for flag, value in (("--record-attributes", self.record_attributes), ("--stats", self.stats)):
            if value is not None:
                yield f"{flag} is for a run; {path} is one picture"
        if len(self.sources) > 1 and not self.sheet:
            yield f"{path} is one picture, so give one --source; --sweep and --views take several"
        if self.shown_behind.kind == "transparent" and path.suffix.lower() in (".jpg", ".jpeg"):
            yield f"{path} cannot be transparent; give a name that ends in .png or .webp"

    @property
    def still(self) -> bool:
        """Whether one picture is made, and no run."""
        return any(is_still(path) for path in self.outputs)

    @property
    def sheet(self) -> bool:
        """Whether that picture shows many."""
        return self.sweep is not None or self.views is not None

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

    @cached_property
    def panel_address(self) -> Address:
        """Where the panel listens."""
        return Address.read(self.panel_webrtc or "", self.panel_cert, self.panel_key)

    @property
    def shown_behind(self) -> Background:
        """The background, understood."""
        return read_background(self.background)

    @cached_property
    def given(self) -> tuple[Given, ...]:
        """The drivers, understood; at least one."""
        if self.drivers:
            return tuple(read_driver(name) for name in self.drivers)
        first = FIRST_CAMERA if self.panel_webrtc is None else BROWSER
        return (read_driver(NONE if self.still or not self._state_of(1).takes_drivers else first),)

    @cached_property
    def control(self) -> ControlState:
        """What the control settings mean; raises ConfigError where they mean nothing."""
        drivers = 0 if self.given[0].kind == "none" else len(self.given)
        return replace(self._state_of(drivers), mirrored=self.mirrored)

    def _state_of(self, drivers: int) -> ControlState:
        from realtime.asked import state_of  # numpy comes with it, which `--help` does without

        return state_of(self, drivers)

    @property
    def keys(self) -> tuple[Path, ...] | None:
        """The public keys of which one has to have signed the model; None: it needs no signature."""
        if self.model is None:
            return None
        from icface.signing import required_keys

        return required_keys(self.require_signature)

    @property
    def driver_video(self) -> Path | None:
        """The video whose sound goes along: the first that drives."""
        return next((given.path for given in self.given if given.kind == "video"), None)

    @property
    def driven_by_file(self) -> bool:
        """Whether no camera drives: then it can go faster than it happened."""
        return all(given.kind != "camera" for given in self.given)

    @property
    def to_virtual_camera(self) -> bool:
        """Whether a virtual camera is asked for, or is meant because no other sink is given."""
        plays = self.driven_by_file and any(given.kind in ("video", "table") for given in self.given)
        other = self.outputs or self.window or self.panel or self.null or plays
        return self.virtual_camera is not None or not other

    @property
    def to_window(self) -> bool:
        """Whether a window is asked for, or is meant because a file drives and no other sink is given."""
        other = self.outputs or self.panel or self.null or self.to_virtual_camera
        return self.window or not other

    @property
    def live(self) -> bool:
        """True: in real time, newest frame only. False: every frame once and in order."""
        if self.still:
            return False
        if self.pace is not None:
            return self.pace
        return not self.driven_by_file or self.to_virtual_camera or self.to_window or self.panel

    @property
    def mirrored(self) -> frozenset[int]:
        """Numbers of the drivers that are shown as in a mirror."""
        said = dict(text.rpartition("=")[::2] for text in self.mirror)

        def is_mirrored(number: int, given: Given) -> bool:
            usual = "on" if given.kind == "camera" else "off"
            return said.get(f"{number}", said.get("", usual)) == "on"

        return frozenset(
            number for number, given in enumerate(self.given, start=1) if is_mirrored(number, given)
        )

    def is_over(self, frames: int, elapsed_s: float) -> bool:
        """Whether the run ends after so many output frames, or after so much time."""
        enough = self.frames is not None and frames >= self.frames
        return enough or (self.duration_s is not None and elapsed_s >= self.duration_s)
