"""The command `icface-build-engine`: builds the fastest engine that a machine can run.

The engine goes into the user's cache, where `icface-live` finds it. A lower precision than float32 is used only if the
frames of real photos, moved by a real track of attributes, stay close to those of float32. Otherwise it is refused, and
the figure is said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, print_error, run_command
from icface.engines import backends
from icface.engines.base import PRECISIONS
from icface.engines.building import LARGEST_PX, SMALLEST_PX, Built, Job, build, sampler, usual_backend
from icface.engines.cache import EngineCache
from icface.errors import ConfigError, ICFaceError, RefusedError
from icface.files import write_file

PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")

_EXAMPLES: Final = """\
examples:
  icface-build-engine my.icface                      the fastest that this machine has
  icface-build-engine my.icface --backend openvino --precision bf16,int8 --photo me.jpg
  icface-build-engine my.icface --backend tensorrt-rtx --sm 86,89,120
                                                     ahead of time, for RTX 30, 40 and 50; needs no GPU

exit codes: 0 all are there, 1 something failed or was refused, 2 a flag that cannot be used
"""


_SIZE_HELP: Final = "side of the frames that a model of any size is tuned for"
_PHOTO_HELP: Final = "a photo, or a folder of them, that lower precisions are calibrated and compared on"


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(
        prog="icface-build-engine",
        description="Build the fastest engine that a machine can run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [name.replace("_", "-") for name in backends.building()]
    add = p.add_argument
    add("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, help="a model (default: the one that ships)")
    add("--backend", choices=("auto", *names), default="auto", help="the library (default: the fastest here)")
    add(
        "--precision", metavar="P[,P]", default="", help=f"of {', '.join(PRECISIONS)} (default: what is safe)"
    )
    add("--size", type=int, default=Job.size_px, metavar="PX", help=f"{_SIZE_HELP} (default: %(default)s)")
    add("--sm", metavar="SM[,SM]", default="", help="for GPUs elsewhere, by compute capability, as 86,89,120")
    add("--photo", type=Path, action="append", default=[], help=f"{_PHOTO_HELP}; can be given several times")
    add(
        "--attributes",
        type=Path,
        metavar="CSV",
        help="what moves the photos (default: a track of the example)",
    )
    add("--timing-cache", type=Path, metavar="FILE", help="TensorRT's timings of this GPU's kernels")
    add("--again", action="store_true", help="build what is there, and try what was refused")
    add("--json", type=Path, metavar="FILE", help="write the table here as well")
    add("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")
    return p


def capabilities(text: str) -> tuple[str, ...]:
    """`86,89,120` as `8.6`, `8.9`, `12.0`.

    Raises:
        ConfigError: it is something else.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        digits = part.replace(".", "")
        if not digits.isdigit() or len(digits) not in (2, 3):
            raise ConfigError(
                f"--sm {text}: {part!r} is no compute capability; write 86 for 8.6, 120 for 12.0"
            )
        found.append(f"{digits[:-1]}.{digits[-1]}")
    return tuple(dict.fromkeys(found))


def jobs_from(flags: argparse.Namespace) -> list[Job]:
    """Read from the flags what to build, one job a precision.

    Raises:
        ConfigError: they cannot be used.
        BundleError: the bundle is missing, damaged, or none.
    """
    if not SMALLEST_PX <= flags.size <= LARGEST_PX:
        raise ConfigError(f"--size {flags.size}: must be {SMALLEST_PX} to {LARGEST_PX}")
    bundle = Bundle.load(flags.bundle)
    asked = capabilities(flags.sm)
    backend = flags.backend.replace("-", "_")
    if backend == "auto":
        backend = "tensorrt_rtx" if asked else usual_backend(bundle)
    precisions = [part.strip() for part in flags.precision.split(",") if part.strip()]
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ConfigError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}")
    return [
        Job(
            bundle=bundle,
            backend=backend,
            precision=precision,
            capabilities=asked,
            size_px=flags.size,
            timing_cache=flags.timing_cache,
            again=flags.again,
        )
        for precision in dict.fromkeys(precisions or [""])
    ]


def pictures(photos: Sequence[Path]) -> list[Path]:
    """Replace every folder by the photos in it.

    Raises:
        ConfigError: a folder has no photo.
    """
    found: list[Path] = []
    for path in photos:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        if not inside:
            raise ConfigError(f"no photo in {path} ({', '.join(PICTURES)})")
        found += inside
    return found


def build_all(
    jobs: Sequence[Job], photos: Sequence[Path], attributes: Path | None
) -> tuple[list[Built], list[str]]:
    """Build one engine after the other, with a progress bar. One that fails does not keep the others from being built.

    Returns:
        The engines that are in the cache now, and a line for each that is not.
    """
    samples = sampler(jobs[0].bundle, pictures(photos), attributes)
    built, failed = [], []
    for job in jobs:
        name = f"{job.backend}:{job.precision}".removesuffix(":")
        try:
            with _bar(name) as progress:
                built.append(build(job, samples, progress))
        except RefusedError as error:
            failed.append(f"{name} is refused: {error}")
        except ICFaceError as error:
            if len(jobs) == 1:
                raise
            failed.append(f"{name}: {error}")
    return built, failed


@contextmanager
def _bar(name: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on a terminal, and the function that moves it."""
    with tqdm(
        total=100, desc=name, bar_format="{desc}: {bar} {n:3.0f} % {postfix}", leave=False, disable=None
    ) as bar:

        def progress(done: float, what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(max(0.0, 100 * done - bar.n))

        yield progress


def comparison(parity: Mapping[str, Any]) -> str:
    """How the frames compare with those of float32, in one cell."""
    pixels = f"{parity['psnr_db']:.1f} dB"
    if not parity["faces_compared"]:
        return f"{pixels}, no face measured"
    return f"{pixels}, pose {parity['pose_error_deg']:.2f}°, {parity['worst_au']} {parity['au_error']:.3f}"


def table(built: Sequence[Built]) -> str:
    """The engines as a table for people."""
    rows = [("engine", "for", "size", "time", "parity with float32", "golden")]
    for each in built:
        parity = each.parity
        rows.append(
            (
                each.engine,
                each.target,
                f"{each.size_bytes / 1e6:.1f} MB",
                f"{each.seconds:.1f} s" if each.seconds else "there",
                "–" if parity is None else comparison(parity),
                ("" if each.ran else "not tried here, ")
                + ("–" if each.golden_psnr_db is None else f"{min(each.golden_psnr_db, 99.0):.0f} dB"),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _run(flags: argparse.Namespace) -> int:
    jobs = jobs_from(flags)
    built, failed = build_all(jobs, flags.photo, flags.attributes)
    if built:
        print(table(built))
        print(f"in {EngineCache().folder}")
    if flags.json is not None:
        document = {"built": [each.to_dict() for each in built], "failed": failed}
        try:
            write_file(flags.json, json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise ConfigError(f"cannot write {flags.json}: {error.strerror or error}") from error
    for line in failed:
        print_error(line)
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 or 2 as `--help` says, with one line where something failed."""
    return run_command(parser(), _run, argv, stopped="stopped; nothing unfinished was kept")


if __name__ == "__main__":
    sys.exit(main())
