"""`icface-live`: a photo and a webcam become a virtual webcam.

Only the flags are handled here. Everything heavy is imported after they are known to be right, so that `--help` and a
mistake are answered at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from icface.command import Parser, print_error, printable, show_any_name
from icface.errors import BundleError, ConfigError, DeviceError, EngineError, ICFaceError
from realtime import version
from realtime.attributes_command import main as edit_attributes
from realtime.check_command import main as check_files
from realtime.config import (
    CALL_SIZES,
    DRIVER_SUFFIXES,
    FIRST_CAMERA,
    FRAMINGS,
    GAZES,
    QUALITIES,
    SIZES,
    LiveConfig,
)
from realtime.given import NONE
from realtime.hotkeys import HOTKEYS
from realtime.process import asking, logged, open_closed_streams, own_stderr, signals
from realtime.sign_command import main as sign

_PACKAGES: Final = "sudo apt install libgl1 libglib2.0-0"
"""Debian's and Ubuntu's packages that OpenCV needs on a machine without a desktop."""

_KEYS = "\n".join(f"  {key:<8}{meaning}" for key, meaning in HOTKEYS.items())

_EXAMPLES = f"""\
examples:
  icface-live --source me.jpg                      webcam 0 to a virtual camera
  icface-live --source me.jpg --window             webcam 0 to a window
  icface-live --source me.jpg --panel --virtual-camera
                                                   the same to a camera, with sliders in the browser
  icface-live --source me.jpg --driver talk.mp4 --output out.mp4
                                                   file to file, every frame, with its sound
  icface-live a.jpg b.jpg --window --framing photo
  icface-live me.jpg --output portrait.png         one picture
  icface-live me.jpg --views -30:30:7 --output views.png
  icface-live me.jpg --sweep AU12,yaw --output sheet.png
  icface-live --source me.jpg --framing call --background beach.jpg --follow
  icface-live --source me.jpg --driver drive.csv --output out.mp4
  icface-live --source me.jpg --driver talk.mp4 --only pose --output out.mp4
  icface-live --source me.jpg --driver a.mp4 --driver b.mp4 --mix mouth=1 --mix eyes=2 --output out.mp4

keys, in the window or the terminal:
{_KEYS}

exit codes: 0 done, 1 something failed, 2 a flag or setting that cannot be used
"""


_SYNONYMS: Final = {
    **dict.fromkeys(("--photo", "--image", "--face-image", "--input", "-i", "-s"), "--source"),
    **dict.fromkeys(("--video", "--webcam", "--driving-video", "-c"), "--camera"),
    **dict.fromkeys(("--out", "--save", "-o"), "--output"),
    **dict.fromkeys(("--csv", "--openface", "--replay"), "--attributes"),
    **dict.fromkeys(("--record", "--save-attributes"), "--record-attributes"),
    **dict.fromkeys(("--bg", "--replace-background"), "--background"),
    **dict.fromkeys(("--fps", "--rate"), "--camera-fps"),
    **dict.fromkeys(("--resolution", "-r"), "--camera-size"),
    **dict.fromkeys(("--preview", "--show", "--display"), "--window"),
    **dict.fromkeys(("--obs", "--v4l2", "--virtualcam"), "--virtual-camera"),
    **dict.fromkeys(("--no-mark", "--badge"), "--mark"),
    **dict.fromkeys(("--no-watermark", "--invisible-watermark"), "--watermark"),
    **dict.fromkeys(("--device", "--gpu", "--cpu", "--backend"), "--engine"),
}
"""What people try, and what it is called here."""


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 1280x720") from None


def _face(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class _Mirror(argparse.Action):
    """`--mirror`, `--no-mirror`, and either with a driver's number. Another word after it stands for itself."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        turned = "off" if option_string == "--no-mirror" else "on"
        if values is not None and not values.isdecimal():
            namespace.words = [*namespace.words, values]
            values = None
        said = turned if values is None else f"{values}={turned}"
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), said])


def parser() -> Parser:
    """All flags; defaults come from LiveConfig."""
    d = LiveConfig
    p = Parser(
        prog="icface-live",
        usage="icface-live PHOTO … [DRIVER …] [flags]\n       icface-live attributes COMMAND …\n"
        "       icface-live check FILE …\n       icface-live sign BUNDLE --key KEY.pem\n"
        "       icface-live personalise --video FILE --output BUNDLE\n       icface-live doctor",
        description="A photo and a webcam become a virtual webcam that shows the photo's face, in real time.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        synonyms=_SYNONYMS,
        rest="words",
    )
    p.set_defaults(words=[], agreed=False)
    # fmt: off
    p.add_argument("--version", action="version", version=f"icface-live {version()}")
    p.add_argument("-v", "--verbose", action="count", default=0,
        help="say more; -vv: tracebacks, libraries too")
    p.add_argument("--list-cameras", action="store_true", help="list the cameras and end")

    who = p.add_argument_group("who is shown")
    who.add_argument("--source", type=Path, action="append", default=[], metavar="PHOTO", dest="sources",
        help="photo of the face to show; up to 9, chosen by the keys 1-9 (needed, unless the --model has one of its "
        "person; the flag itself may be left out)")
    who.add_argument("--face", type=int, metavar="N",
        help="which face of a photo with several, counted from the left (default: the largest), "
        "or person of an OpenFace table")
    who.add_argument("--list-faces", type=Path, metavar="PNG",
        help="write a picture that numbers the faces of the photos, and end")
    who.add_argument("--size", choices=SIZES, default=str(d.size_px), dest="size_px",
        help="side of the animated crop in pixels; native: as the photo gives it (default: %(default)s)")
    who.add_argument("--framing", choices=FRAMINGS, default=d.framing,
        help="show the animated crop, the whole photo with the crop in it, or a wide picture as in a call "
        "(default: %(default)s)")
    who.add_argument("--call-size", choices=CALL_SIZES, default="{}x{}".format(*d.call_size_px),
        dest="call_size_px", help="of --framing call (default: %(default)s)")
    who.add_argument("--background", default=d.background, metavar="WHAT",
        help="behind the person: keep, blur, a colour (green, #rrggbb), a photo, or transparent: .mov, .webm and "
        "PNG outputs get alpha, windows and virtual cameras a green to key out (default: %(default)s)")
    who.add_argument("--follow", action="store_true",
        help="the person moves in the picture as you do before the camera: aside, up and down, nearer")
    who.add_argument("--mark", choices=("on", "off"), default="on" if d.mark else "off",
        help="the small mark that discloses a synthetic picture (default: %(default)s)")
    who.add_argument("--watermark", choices=("on", "off"), default="on" if d.watermark else "off",
        help="the invisible watermark that icface-live check finds (default: %(default)s)")

    who.add_argument("--consent", choices=("ask", "yes"), default=d.consent,
        help="yes: you are in the photos, their people agreed, or nobody looks like this; kept for these photos "
        "(default: ask once, on a terminal or in the panel)")

    driver = p.add_argument_group("who drives")
    driver.add_argument("--driver", "--camera", "--attributes", action="append", default=[], metavar="WHAT",
        dest="drivers",
        help="camera number, device path, video, CSV of attributes (made by --record-attributes, or OpenFace's), "
        f"photo, or {NONE}; several are numbered from 1 (default: {FIRST_CAMERA})")
    driver.add_argument("--camera-size", type=_size, default=d.camera_size_px, metavar="WxH",
        dest="camera_size_px", help="asked of a camera (default: {}x{})".format(*d.camera_size_px))
    driver.add_argument("--camera-fps", type=float, default=d.camera_fps, metavar="FPS",
        help="asked of a camera (default: %(default)g)")
    driver.add_argument("--camera-retry-s", type=float, default=d.camera_retry_s, metavar="SECONDS",
        help="how long a camera that was lost is tried again (default: %(default)g)")
    driver.add_argument("--driver-face", type=_face, default=d.driver_face, metavar="WHICH",
        help="which face of its picture drives: largest, left, right, or a number from the left (default: %(default)s)")
    driver.add_argument("--mirror", "--no-mirror", action=_Mirror, nargs="?", metavar="N", default=list(d.mirror),
        help="show the drivers, or driver N alone, as in a mirror, or not (default: cameras are, files are not)")
    driver.add_argument("--neutral-after", type=float, metavar="SECONDS", dest="neutral_after_s",
        help="take the drivers' faces as neutral then, as the key c does at any time")
    driver.add_argument("--pace", action=argparse.BooleanOptionalAction, default=d.pace,
        help="play a file at its own rate, or every frame as fast as it goes "
        "(default: at its rate with a virtual camera or a window)")
    driver.add_argument("--loop", action="store_true", help="start a file again at its end; live only")

    what = p.add_argument_group(
        "what moves (docs/control.md)",
        "NAME is an attribute, a group (pose, gaze, brows, eyes, nose, mouth, place, expression, all), or one side of "
        "these ('left brows'). What names less wins.")
    what.add_argument("--preset", metavar="NAME",
        help="begin with a preset: avatar-idle, calm, eye-contact, lively, mouth-only, still-head, or your own")
    what.add_argument("--only", type=_names, action="extend", default=[], metavar="NAME[,NAME]",
        help="the drivers move these; the rest is the photo's own")
    what.add_argument("--mix", action="append", default=[], metavar="NAME=N",
        help="these come from driver N, or from photo, neutral, idle, camera (gaze alone), 'track FILE'")
    what.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="values",
        help="a fixed value: AU12=0.8, yaw=-12deg")
    what.add_argument("--gain", action="append", default=[], metavar="NAME=GAIN", dest="gains",
        help="more (1.3) or less (0.6) of what drives")
    what.add_argument("--lock", type=_names, action="extend", default=[], metavar="NAME[,NAME]", dest="locks",
        help="these stay as in the photo, until they are unlocked in the panel")
    what.add_argument("--gaze", choices=GAZES, default=d.gaze,
        help="let the eyes look as the driver's do, or into the camera (default: %(default)s)")
    what.add_argument("--idle", action="store_true", help="blink and breathe while a driver is not there")

    where = p.add_argument_group("where it goes (several at once; if none is given, a virtual camera, "
        "or a window for a file that drives)")
    where.add_argument("--virtual-camera", nargs="?", const="", metavar="DEVICE",
        help="a virtual camera (default: the first)")
    where.add_argument("--window", action="store_true", help="a window; keys: see below")
    where.add_argument("--panel", action="store_true",
        help="a page in the browser of this machine, whose address is printed: sliders, photos, recordings")
    where.add_argument("--panel-webrtc", nargs="?", const="", metavar="HOST:PORT",
        help="the panel with the browser's own camera as a driver ('--driver browser') and the output as its video; "
        "with an address for a browser elsewhere, which needs:")
    where.add_argument("--panel-cert", type=Path, metavar="FILE", help="TLS certificate chain of that address, PEM")
    where.add_argument("--panel-key", type=Path, metavar="FILE", help="private key of that certificate, PEM")
    where.add_argument("--output", type=Path, action="append", default=[], metavar="FILE", dest="outputs",
        help="a video file (.mp4, .mov, .mkv, .webm), with the sound of a --driver video; or PNG files: a folder, "
        "or a name such as out-%%05d.png; or one picture of the photo: portrait.png, .jpg or .webp")
    where.add_argument("--sweep", metavar="NAME[=LOW:HIGH:N],…",
        help="make --output sheet.png a picture that moves these attributes, one a row")
    where.add_argument("--views", metavar="LOW:HIGH:N",
        help="make --output views.png a picture that shows the head turned by these degrees")
    where.add_argument("--c2pa-certificate", type=Path, metavar="PEM",
        help="sign .mp4, .mov, .png, .jpg and .webp outputs as Content Credentials with this certificate (and those that "
        "vouch for it) ...")
    where.add_argument("--c2pa-key", type=Path, metavar="PEM", help="... and this private key")
    where.add_argument("--null", action="store_true", help="nowhere: for measuring")
    where.add_argument("--overwrite", action="store_true",
        help="write over files that are there already; without it a terminal is asked, and otherwise they stay")
    where.add_argument("--record-attributes", type=Path, metavar="CSV",
        help="write what really drove, frame by frame")
    where.add_argument("--stats", type=Path, metavar="JSON", help="write what was measured, and print it")
    where.add_argument("--duration", type=float, metavar="SECONDS", dest="duration_s",
        help="end after this long")
    where.add_argument("--frames", type=int, metavar="N", help="end after this many output frames")

    how = p.add_argument_group("how it is made")
    how.add_argument("--model", type=Path, metavar="BUNDLE",
        help="a model (default: the one that comes along)")
    how.add_argument("--require-signature", nargs="?", const="", metavar="KEY.pem",
        help="take a --model only if this public key signed it (default: one of your trusted keys)")
    how.add_argument("--require-consent", action="store_true",
        help="take a --model only if it says that the person whom it shows agreed")
    how.add_argument("--quality", choices=QUALITIES, default=d.quality,
        help="best: a network corrects folds, teeth and lids, where the model has one; fast: geometry alone "
        "(default: %(default)s)")
    how.add_argument("--engine", default=d.engine, metavar="NAME", help="what runs it (default: %(default)s)")
    how.add_argument("--build", action=argparse.BooleanOptionalAction, default=d.build,
        help="build a faster engine in the background where this machine has one, and change over to it "
        "(default: on)")
    # fmt: on
    return p


def _at_home(value: Any) -> Any:
    """A setting with `~` replaced in its paths. The shell leaves it after `=`, as in --output=~/out.mp4."""
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        return type(value)(os.path.expanduser(value))
    return value


def _ask_to_overwrite(flags: argparse.Namespace) -> None:
    """On a terminal, ask whether files that are there may be written over; `flags.overwrite` gets the answer."""
    written = (*flags.outputs, flags.record_attributes, flags.stats, flags.list_faces)
    there = [str(path) for path in map(_at_home, written) if path is not None and path.is_file()]
    ask = asking()
    if there and not flags.overwrite and ask is not None:
        verb = "are" if len(there) > 1 else "is"
        flags.overwrite = ask(f"{', '.join(there)} {verb} there already; write over?")


def _of_words(flags: argparse.Namespace) -> tuple[tuple[Path, ...], list[str]]:
    """The photos, and what drives of the words that belong to no flag."""
    driving = [word for word in flags.words if Path(word).suffix.lower() in DRIVER_SUFFIXES]
    return (*flags.sources, *(Path(word) for word in flags.words if word not in driving)), driving


def _own_photo(model: Path, signature: str | None) -> tuple[tuple[Path, ...], bool]:
    """The photo in a model of one person, if it has one, and whether the model says that this person agreed."""
    from icface.bundle import Bundle
    from icface.signing import required_keys

    bundle = Bundle.load(model, required_keys(signature))
    photo = bundle.source_photo
    return (() if photo is None else (photo,)), bundle.consent is not None


def config_from(flags: argparse.Namespace) -> LiveConfig:
    """The settings that the flags mean; raises ConfigError where they cannot be used, or not together."""
    settings = {field.name: getattr(flags, field.name) for field in fields(LiveConfig)}
    # `icface-live me.jpg talk.mp4`: what is no photo drives.
    photos, driving = _of_words(flags)
    if not photos and flags.model is not None:
        photos, flags.agreed = _own_photo(_at_home(flags.model), flags.require_signature)
    flags.drivers = [*flags.drivers, *driving]
    settings.update(
        sources=photos,
        outputs=tuple(flags.outputs),
        **{
            name: tuple(getattr(flags, name))
            for name in ("drivers", "mirror", "only", "mix", "values", "gains", "locks")
        },
        size_px=SIZES[flags.size_px],
        call_size_px=CALL_SIZES[flags.call_size_px],
        mark=flags.mark == "on",
        watermark=flags.watermark == "on",
        panel=flags.panel or flags.panel_webrtc is not None,
    )
    return LiveConfig(**{name: _at_home(value) for name, value in settings.items()})


def _list_cameras() -> None:
    from realtime.cameras import list_cameras

    listings = list_cameras()
    for listing in listings:
        path = f" ({listing.path})" if listing.path else ""
        note = f"; {listing.note}" if listing.note else ""
        _tell(f"{listing.number}: {listing.name}{path}{note}")
    if not listings:
        _tell("no camera found; a video file works as one: --driver FILE")


def _run(config: LiveConfig) -> None:
    from realtime.metrics import Metrics

    metrics = Metrics()
    stop = threading.Event()

    def report() -> None:
        if not metrics.counters["sent"]:
            return
        made = (path for path in (*config.outputs, config.record_attributes) if path is not None)
        _tell(metrics.summary([path for path in made if path.exists() or "%" in path.name]))
        if config.stats is not None or logging.getLogger("realtime").isEnabledFor(logging.DEBUG):
            _tell(metrics.table())
        if config.stats is not None:
            metrics.save(config.stats)

    def abandon(error: ICFaceError) -> None:
        with contextlib.suppress(ICFaceError, OSError):
            report()
        _fail(str(error), 1, 0)
        os._exit(1)  # the main thread is stuck for good

    with signals(stop):
        from realtime.session import run

        try:
            run(config, metrics, stop, abandon=abandon)
        except BaseException:
            # The first error is the one to tell.
            with contextlib.suppress(ICFaceError, OSError):
                report()
            raise
        report()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2 as `--help` says. Never raises or exits."""
    open_closed_streams()
    show_any_name()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["check"]:
        return check_files(argv[1:])
    if argv[:1] == ["attributes"]:
        return edit_attributes(argv[1:])
    if argv[:1] == ["sign"]:
        return sign(argv[1:])
    if argv[:1] == ["personalise"]:
        from training.personalise import main as personalise

        return personalise(argv[1:], "icface-live personalise")
    if argv[:1] == ["doctor"]:
        from realtime.doctor.command import main as examine

        return examine(argv[1:])
    try:
        flags = parser().parse_args(argv)
    except SystemExit as end:  # argparse: --help, --version, a wrong flag
        return int(end.code or 0)
    # OpenBLAS reads this when numpy is loaded. Its second thread waits for work by spinning. For the small products of
    # one frame it gains nothing and costs 10 ms of CPU a frame, more than everything else together.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    config = None
    with own_stderr(flags.verbose), logged(flags.verbose):
        try:
            if not flags.list_cameras:
                _ask_to_overwrite(flags)
            if flags.list_faces is not None:
                from realtime.listing import list_faces

                if flags.list_faces.is_file() and not flags.overwrite:
                    raise ConfigError(
                        f"{flags.list_faces} is there already; give --overwrite, or another name"
                    )
                _tell("\n".join(list_faces(_at_home(_of_words(flags)[0]), flags.list_faces)))
                return 0
            config = None if flags.list_cameras else config_from(flags)
            # First of all, so that a system library that it lacks is named. It also has to come before PyAV: with
            # PyAV's libxcb loaded first, OpenCV's windows hang when they open.
            import cv2  # noqa: F401

            if config is None:
                _list_cameras()
            else:
                from realtime.consent import check_consent

                check_consent(() if flags.agreed else config.sources, config.consent, asking())
                _run(config)
            return 0
        except ICFaceError as error:
            return _fail(str(error), error.exit_code, flags.verbose, ask_doctor=_doctor_helps(error, config))
        except KeyboardInterrupt:
            return _fail("stopped at once, as asked twice; files may be cut short", 1, flags.verbose)
        except MemoryError:
            advice = "close other programs, or take a smaller --size or photo"
            return _fail(f"the memory of this machine is used up; {advice}", 1, flags.verbose)
        except Exception as error:  # the main thread's top: a defect is one line, too
            if "cannot open shared object file" in str(error):  # the words of Linux's loader
                return _fail(f"a system library is missing ({error}); run: {_PACKAGES}", 1, flags.verbose)
            what = f"{type(error).__name__}: {error}"
            return _fail(f"unexpected {what}; run again with -vv and report what it shows", 1, flags.verbose)


def _tell(text: str) -> None:
    """Print on standard output. Nobody may be listening there: a closed pipe is no failure of the run."""
    try:
        print(printable(text), flush=True)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # Python flushes it again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _doctor_helps(error: ICFaceError, config: LiveConfig | None) -> bool:
    """Whether an error is of what the doctor looks at: a model, an engine or a device, and no file."""
    if isinstance(error, EngineError | BundleError):
        return True
    if config is None or not isinstance(error, DeviceError):
        return False
    return config.to_virtual_camera or config.to_window or not config.driven_by_file


def _fail(message: str, code: int, verbose: int, *, ask_doctor: bool = False) -> int:
    if verbose > 1:
        traceback.print_exc()
    print_error(message)
    if ask_doctor:
        print("icface-live doctor says more", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
