"""What cannot be used among the settings of a run: each problem is one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING

from icface.errors import ConfigError
from realtime.backgrounds import read_background
from realtime.choices import CALL_SIZES, FACES, FRAMINGS, GAZES, QUALITIES, SIZES, VIDEO_SUFFIXES, is_still
from realtime.given import BROWSER, NONE

if TYPE_CHECKING:
    from realtime.config import LiveConfig


def problems(config: LiveConfig) -> Iterator[str]:
    """What cannot be used, or not together; the first is the one to tell."""
    return chain(_of_settings(config), _of_drivers(config), _of_files(config), _of_stills(config))


def _of_settings(config: LiveConfig) -> Iterator[str]:
    if not config.sources:
        drives = f"{config.drivers[0]} drives: " if config.drivers else ""
        yield f"no photo: {drives}name one, such as icface-live me.jpg"
    for path in config.sources:
        if path.parts and path.parts[0] in ("http:", "https:"):
            yield f"--source {path}: network addresses are not read; save the photo and name the file"
    if len(config.sources) > 9:
        yield f"{len(config.sources)} sources, but only the keys 1 to 9 to choose by; give 9 or fewer"
    size, fps, retry_s = config.camera_size_px, config.camera_fps, config.camera_retry_s
    duration_s, after_s = config.duration_s, config.neutral_after_s
    # No comparison with NaN is true, so each asks for what is right.
    for flag, value, right, rule in (
        ("--framing", config.framing, config.framing in FRAMINGS, f"choose {', '.join(FRAMINGS)}"),
        ("--quality", config.quality, config.quality in QUALITIES, f"choose {' or '.join(QUALITIES)}"),
        ("--gaze", config.gaze, config.gaze in GAZES, f"choose {' or '.join(GAZES)}"),
        ("--size", config.size_px, config.size_px in SIZES.values(), f"choose {', '.join(SIZES)}"),
        ("--call-size", "{}x{}".format(*config.call_size_px), config.call_size_px in CALL_SIZES.values(),
         f"choose {' or '.join(CALL_SIZES)}"),
        ("--camera-size", "{}x{}".format(*size), all(16 <= side <= 8192 for side in size),
         "each side must be 16 to 8192"),
        ("--camera-fps", fps, 1 <= fps <= 240, "must be 1 to 240"),
        ("--camera-retry-s", retry_s, 0 <= retry_s <= 3600, "must be 0 to 3600"),
        ("--driver-face", config.driver_face,
         config.driver_face in FACES or (isinstance(config.driver_face, int) and config.driver_face >= 1),
         f"choose {', '.join(FACES)} or a number from the left, from 1 on"),
        ("--face", config.face, config.face is None or config.face >= 1, "faces are counted from 1"),
        ("--duration", duration_s, duration_s is None or duration_s > 0, "must be more than 0 seconds"),
        ("--frames", config.frames, config.frames is None or config.frames >= 1, "must be 1 or more"),
        ("--neutral-after", after_s, after_s is None or after_s >= 0, "must be 0 seconds or more"),
    ):  # fmt: skip
        if not right:
            yield f"{flag} {value:g}: {rule}" if isinstance(value, float) else f"{flag} {value}: {rule}"
    if (config.c2pa_certificate is None) != (config.c2pa_key is None):
        yield "--c2pa-certificate and --c2pa-key go together; give both"
    if config.framing != "call" and config.call_size_px != type(config).call_size_px:
        yield "--call-size is for --framing call"
    if config.framing == "call" and config.size_px != type(config).size_px:
        yield "--size is for the other framings; with --framing call the picture's size is --call-size"
    if config.panel_webrtc is None and (config.panel_cert is not None or config.panel_key is not None):
        yield "--panel-cert and --panel-key are for --panel-webrtc"
    if config.panel_webrtc is not None and find_spec("aiortc") is None:
        yield "--panel-webrtc needs aiortc; run: pip install 'icface-live[webrtc]'"
    try:
        _ = config.panel_address
    except ConfigError as error:
        yield str(error)
    try:
        read_background(config.background)
    except ConfigError as error:
        yield str(error)


def _of_drivers(config: LiveConfig) -> Iterator[str]:
    if not all(config.drivers):
        yield "a driver is empty; give a number, a device path, a video, a CSV or a photo"
    for name in config.drivers:
        if "://" in name:
            yield f"--driver {name}: network addresses are not read; give a device or a file"
        if config.virtual_camera in (name, f"/dev/video{name}"):
            yield f"{config.virtual_camera} cannot be both --driver and --virtual-camera"
    if BROWSER in config.drivers and config.panel_webrtc is None:
        yield f"--driver {BROWSER} is the camera of a browser at the panel; give --panel-webrtc as well"
    for name in {name for name in config.drivers if config.drivers.count(name) > 1}:
        yield f"--driver {name} is given twice; name it once, and use its number where it drives"
    if len(config.drivers) > 1 and NONE in config.drivers:
        yield f"--driver {NONE} is for a run without any driver; leave it or the others out"
    if not config.driven_by_file and config.pace is not None:
        yield "--pace and --no-pace are for drivers that are files; a camera has its own rate"
    if config.panel and config.pace is False:
        yield "--panel is for a run that somebody watches, at its own rate; leave out --no-pace or --panel"
    if config.loop and not config.driven_by_file:
        yield "--loop is for drivers that are files; a camera does not end"
    if config.loop and not config.live:
        yield "--loop never ends when a file is written as fast as it goes; give --pace as well"
    for number in (text.partition("=")[0] for text in config.mirror if "=" in text):
        if not 1 <= int(number) <= len(config.given):
            there = "there is only one" if len(config.given) == 1 else f"there are {len(config.given)}"
            yield f"--mirror {number}: {there} driver{'s' * (len(config.given) > 1)}"
    if config.neutral_after_s is not None and not any(given.is_tracked for given in config.given):
        yield "--neutral-after is for a camera's or a video's driver; this one is used as it is"
    endless = all(given.kind in ("photo", "none") for given in config.given)
    if (
        endless
        and not config.live
        and not config.still
        and config.frames is None
        and config.duration_s is None
    ):
        yield "nothing that drives has an end; give --duration SECONDS or --frames N"


def _of_files(config: LiveConfig) -> Iterator[str]:
    behind = config.shown_behind.path
    read = (
        *config.sources,
        *(given.path for given in config.given),
        config.model,
        behind,
        config.c2pa_certificate,
        config.c2pa_key,
    )
    seen = {path.resolve() for path in read if path is not None}
    for path in config.written:
        if path.resolve() in seen:
            yield f"{path} would be overwritten while it is in use; give another name"
        # A folder takes numbered pictures, unless it looks like a mistake.
        if path.is_dir() and (path not in config.outputs or path.suffix.lower() in VIDEO_SUFFIXES):
            yield f"{path} is a folder; give a file's name in it"
        if not path.absolute().parent.is_dir():
            yield f"cannot write {path}: the folder {path.parent} does not exist; make it first"
        if path.is_file() and not config.overwrite:
            yield f"{path} is there already; give --overwrite, or another name"
        seen.add(path.resolve())


def _of_stills(config: LiveConfig) -> Iterator[str]:
    if config.sheet and not config.still:
        yield "--sweep and --views make one picture; say where: --output sheet.png"
    if not config.still:
        return
    path = next(path for path in config.outputs if is_still(path))
    if any(given.is_tracked or given.kind == "table" for given in config.given):
        yield f"{path} is one picture, and this driver makes many; give a name such as out-%05d.png"
    if (
        len(config.outputs) > 1
        or config.window
        or config.null
        or config.virtual_camera is not None
        or config.panel
    ):
        yield f"{path} is one picture; it goes without other outputs"
    for flag, value in (("--record-attributes", config.record_attributes), ("--stats", config.stats)):
        if value is not None:
            yield f"{flag} is for a run; {path} is one picture"
    if len(config.sources) > 1 and not config.sheet:
        yield f"{path} is one picture, so give one --source; --sweep and --views take several"
    if config.shown_behind.kind == "transparent" and path.suffix.lower() in (".jpg", ".jpeg"):
        yield f"{path} cannot be transparent; give a name that ends in .png or .webp"
