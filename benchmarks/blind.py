"""Two versions side by side, left and right at random: which one do people choose, without knowing which is which?

    python -m benchmarks.blind make --sources PHOTOS --out blind                     geometry alone against the network
    python -m benchmarks.blind make --sources PHOTOS --a old.icface --b new.icface --out blind
    python -m benchmarks.blind count blind results.json

`make` writes blind/page.html. Open it in a browser: the keys 1, 2 and 0 choose left, right, or no difference; in the end
it saves results.json. Which side shows which version is in blind/key.json only. `count` puts the two together.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import INDEX, POSE_NAMES, FloatArray, neutral, pose_to_unit
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from icface.images import load_photo
from icface.reenactor import Reenactor

PAGE: Final = Path(__file__).parent / "blind_page.html"
PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
SIDE_PX: Final = 512
EXPRESSIONS: Final[dict[str, dict[str, float]]] = {
    "a neutral face": {},
    "a smile": {"AU12": 0.6, "AU06": 0.4},
    "a smile with teeth": {"AU12": 0.8, "AU06": 0.6, "AU25": 0.5},
    "a laugh": {"AU12": 0.9, "AU06": 0.8, "AU25": 0.9, "AU26": 0.5},
    "talking": {"AU25": 0.5, "AU26": 0.3},
    "a mouth wide open": {"AU25": 0.9, "AU26": 0.9},
    "half-closed eyes": {"AU45": 0.5},
    "closed eyes": {"AU45": 1.0},
    "raised brows": {"AU01": 0.9, "AU02": 0.9, "AU05": 0.4},
    "a frown": {"AU04": 0.9, "AU15": 0.6, "AU17": 0.5},
    "a wrinkled nose": {"AU09": 0.8, "AU10": 0.5},
    "pressed lips with a pout": {"AU17": 0.8, "AU15": 0.4, "AU23": 0.5},
}
"""What is asked of a face, by the words that the page shows."""
POSES_DEG: Final = ((0, 0, 0), (0, 15, 0), (0, -15, 0), (10, 0, 0), (-8, 8, 6))
"""Pitch, yaw, roll."""


@dataclass(frozen=True)
class Version:
    """One of the two that are compared."""

    bundle: Path
    corrected: bool

    @classmethod
    def parse(cls, text: str) -> Version:
        """From BUNDLE, fast, best, BUNDLE:fast or BUNDLE:best; the bundle that ships where none is named."""
        head, _, tail = text.rpartition(":")
        if text in ("fast", "best"):
            head, tail = "", text
        elif tail not in ("fast", "best"):
            head, tail = text, "best"
        return cls(Path(head) if head else DEFAULT_BUNDLE, tail == "best")


@dataclass(frozen=True)
class Trial:
    """One photo with what is asked of it."""

    photo: Path
    expression: str
    pose_deg: tuple[float, float, float]

    @property
    def asked(self) -> str:
        pitch, yaw, roll = self.pose_deg
        turned = ", the head turned" if pitch or yaw or roll else ""
        return self.expression + turned

    @property
    def attributes(self) -> FloatArray:
        """(SIZE,)."""
        values = neutral()
        values[[INDEX[name] for name in POSE_NAMES]] = pose_to_unit(np.radians(self.pose_deg))
        for name, value in EXPRESSIONS[self.expression].items():
            values[INDEX[name]] = value
        return values


def find_photos(given: Iterable[Path]) -> list[Path]:
    """The photos, and those in the folders; raises ConfigError where there are none."""
    photos: list[Path] = []
    for path in given:
        if path.is_dir():
            photos += sorted(each for each in path.iterdir() if each.suffix.lower() in PHOTO_SUFFIXES)
        elif path.is_file():
            photos.append(path)
        else:
            raise ConfigError(f"--sources {path}: there is no such photo or folder")
    if not photos:
        raise ConfigError(
            f"--sources: no photos ({', '.join(PHOTO_SUFFIXES)}) in {', '.join(map(str, given))}"
        )
    return photos


def draw_lots(photos: Sequence[Path], count: int, rng: np.random.Generator) -> list[Trial]:
    """Trials in which photos and expressions come equally often, poses at random."""
    names = list(EXPRESSIONS)
    order = [names[number % len(names)] for number in range(count)]
    rng.shuffle(order)
    shown = [photos[number % len(photos)] for number in range(count)]
    poses = rng.integers(len(POSES_DEG), size=count)
    return [
        Trial(photo, name, POSES_DEG[pose]) for photo, name, pose in zip(shown, order, poses, strict=True)
    ]


def frames_of(version: Version, trials: Sequence[Trial]) -> list[Frame | None]:
    """A frame (SIDE_PX, SIDE_PX, 3) RGB a trial; None where its photo cannot be used. Each photo is prepared once."""
    frames: list[Frame | None] = [None] * len(trials)
    reenactor = Reenactor(Bundle.load(version.bundle), size_px=SIDE_PX, corrected=version.corrected)
    try:
        for photo in dict.fromkeys(trial.photo for trial in trials):
            try:
                reenactor.set_source(reenactor.prepare_source(load_photo(photo)))
            except ICFaceError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            for number, trial in enumerate(trials):
                if trial.photo == photo:
                    frames[number] = reenactor.animate(trial.attributes).copy()
    finally:
        reenactor.close()
    return frames


def make(flags: argparse.Namespace) -> None:
    """Draw trials and write their page."""
    if not 1 <= flags.trials <= 2000:
        raise ConfigError(f"--trials {flags.trials}: a number from 1 to 2000 is needed")
    rng = np.random.default_rng(flags.seed)
    trials = draw_lots(find_photos(flags.sources), flags.trials, rng)
    both = [frames_of(Version.parse(text), trials) for text in (flags.a, flags.b)]
    rows = [
        (
            trial.asked,
            {"photo": trial.photo.name, "expression": trial.expression, "pose_deg": trial.pose_deg},
            a,
            b,
        )
        for trial, a, b in zip(trials, *both, strict=True)
        if a is not None and b is not None
    ]
    if not rows:
        raise ConfigError("none of the photos can be used by both versions")
    write_page(flags.out, (flags.a, flags.b), f"seed {flags.seed}", rows, rng)


def write_page(
    out: Path,
    versions: tuple[str, str],
    told: str,
    rows: Sequence[tuple[str, Mapping[str, Any], Frame, Frame]],
    rng: np.random.Generator,
) -> None:
    """Write the page, its pictures and the key.

    Args:
        out: folder.
        versions: what a and b are.
        told: in words, how the rows came about; with the versions it tells this page from others.
        rows: of each trial what the page says, what the key says with at least `expression`, and both pictures.
        rng: decides the sides.
    """
    shown: list[dict[str, str]] = []
    key: dict[str, dict[str, Any]] = {}
    pictures = out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for asked, known, a, b in rows:
        number = f"{len(shown) + 1:04d}"
        b_left = bool(rng.integers(2))
        for side, frame in (("left", b if b_left else a), ("right", a if b_left else b)):
            path = pictures / f"{number}-{side}.png"
            if not cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
                raise ConfigError(f"cannot write {path}")
        shown.append({"number": number, "asked": asked})
        key[number] = {"left": "b" if b_left else "a", **known}
    name = f"{versions[0]} and {versions[1]}, {told}"
    document = {"set": name, "a": versions[0], "b": versions[1], "trials": key}
    (out / "key.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    # The page is HTML: a "<" in a name must not end its script.
    inside = json.dumps({"set": name, "trials": shown}).replace("<", "\\u003c")
    page = PAGE.read_text(encoding="utf-8").replace("TRIALS", inside, 1)
    (out / "page.html").write_text(page, encoding="utf-8")
    print(f"{len(shown)} trials: open {out / 'page.html'} in a browser")


def sign_test(wins: int, losses: int) -> float:
    """The probability of a split at least as uneven, were both chosen equally often (two-sided)."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1))
    return min(1.0, float(2 * tail / 2**n))


def read_json(path: Path) -> Any:
    """A JSON file; raises ConfigError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def count(flags: argparse.Namespace) -> None:
    """Print how often each version was chosen, in all and by what was asked."""
    key, results = read_json(flags.made / "key.json"), read_json(flags.results)
    if not isinstance(results, dict) or results.get("set") != key["set"]:
        raise ConfigError(
            f"{flags.results} belongs to other pictures than {flags.made}; save it from its page"
        )
    chosen: dict[str, Counter[str]] = {}
    for number, answer in results["answers"].items():
        trial = key["trials"].get(number)
        if trial is None or answer not in ("left", "right", "same"):
            raise ConfigError(f"{flags.results}: trial {number} with the answer {answer!r} is not known")
        left_is_b = trial["left"] == "b"
        what = "same" if answer == "same" else "b" if (answer == "left") == left_is_b else "a"
        for row in ("all", trial["expression"]):
            chosen.setdefault(row, Counter())[what] += 1
    if not chosen:
        raise ConfigError(f"{flags.results} has no answers")
    print(f"a: {key['a']}\nb: {key['b']}\n")
    print(f"{'':28}{'a':>5}{'b':>5}{'same':>6}")
    for row, counts in sorted(chosen.items(), key=lambda each: (each[0] != "all", each[0])):
        print(f"{row:28}{counts['a']:5}{counts['b']:5}{counts['same']:6}")
    total = chosen["all"]
    print(f"\nsign test, two-sided: p = {sign_test(total['b'], total['a']):.2g}")


def arguments() -> Parser:
    """All flags."""
    parser = Parser(
        prog="python -m benchmarks.blind",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="write a page of trials")
    version = (
        "BUNDLE, BUNDLE:fast (geometry alone) or BUNDLE:best; fast and best alone mean the bundle that ships"
    )
    maker.add_argument(
        "--sources", type=Path, nargs="+", required=True, metavar="PHOTO", help="photos or folders"
    )
    maker.add_argument("--a", default="fast", metavar="VERSION", help=f"{version} (default: %(default)s)")
    maker.add_argument("--b", default="best", metavar="VERSION", help="the other one (default: %(default)s)")
    maker.add_argument("--trials", type=int, default=120, metavar="N", help="(default: %(default)s)")
    maker.add_argument(
        "--seed", type=int, default=20, help="of sides, expressions and poses (default: %(default)s)"
    )
    maker.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the page goes")
    maker.set_defaults(body=make)
    counter = commands.add_parser("count", help="count a page's results")
    counter.add_argument("made", type=Path, metavar="FOLDER", help="what make wrote")
    counter.add_argument("results", type=Path, metavar="RESULTS.json", help="what the page saved")
    counter.set_defaults(body=count)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), lambda flags: flags.body(flags), argv)


if __name__ == "__main__":
    sys.exit(main())
