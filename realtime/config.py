"""Every setting of a run, with its default, and what the settings mean together.

The command line takes its defaults from here and explains each setting. `problems` says what cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icface.errors import ConfigError
from realtime.address import Address
from realtime.backgrounds import Background, read_background
from realtime.choices import is_still
from realtime.given import BROWSER, NONE, Given, read_driver
from realtime.problems import problems

if TYPE_CHECKING:
    from icface.control.state import ControlState

FIRST_CAMERA: Final = "0"


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
    """`on` or `off` for all drivers, or `2=on` for one. What is not said is as in the
    preset; where that says nothing, a camera is mirrored and a file is not."""
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
        for problem in problems(self):
            raise ConfigError(problem)
        _ = self.control
        if self.sheet:
            from realtime.stills import read_sweeps

            read_sweeps(self.sweep, self.views)

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
        cameras = (number for number, given in enumerate(self.given, start=1) if given.kind == "camera")
        state = self._state_of(drivers, frozenset(cameras))
        return replace(state, mirrored=self._as_said(state.mirrored))

    def _state_of(self, drivers: int, mirrored: frozenset[int] = frozenset()) -> ControlState:
        from realtime.asked import state_of  # numpy comes with it, which `--help` does without

        return state_of(self, drivers, mirrored)

    def _as_said(self, usual: frozenset[int]) -> frozenset[int]:
        """Numbers of the drivers that are mirrored: as `mirror` says, and where it says nothing as usual."""
        said = dict(text.rpartition("=")[::2] for text in self.mirror)

        def is_mirrored(number: int) -> bool:
            return said.get(f"{number}", said.get("", "on" if number in usual else "off")) == "on"

        return frozenset(filter(is_mirrored, range(1, len(self.given) + 1)))

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
        return self.control.mirrored

    def is_over(self, frames: int, elapsed_s: float) -> bool:
        """Whether the run ends after so many output frames, or after so much time."""
        enough = self.frames is not None and frames >= self.frames
        return enough or (self.duration_s is not None and elapsed_s >= self.duration_s)
