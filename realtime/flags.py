"""The flags of `icface-live`, and the settings that they mean."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from icface.command import Parser
from realtime import version
from realtime.choices import CALL_SIZES, DRIVER_SUFFIXES, FRAMINGS, GAZES, QUALITIES, SIZES
from realtime.config import FIRST_CAMERA, LiveConfig
from realtime.given import NONE
from realtime.hotkeys import HOTKEYS

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


def at_home(value: Any) -> Any:
    """A setting with `~` replaced in its paths. The shell leaves it after `=`, as in --output=~/out.mp4."""
    if isinstance(value, tuple):
        return tuple(map(at_home, value))
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        return type(value)(os.path.expanduser(value))
    return value


def words_of(flags: argparse.Namespace) -> tuple[tuple[Path, ...], list[str]]:
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
    photos, driving = words_of(flags)
    if not photos and flags.model is not None:
        photos, flags.agreed = _own_photo(at_home(flags.model), flags.require_signature)
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
    return LiveConfig(**{name: at_home(value) for name, value in settings.items()})
