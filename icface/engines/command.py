"""The command `icface-build-engine`: builds the fastest engine that a machine can run.

The engine goes into the user's cache, where `icface-live` finds it. A lower precision than float32 is used only if the
frames of real photos, moved by a real track of attributes, stay close to those of float32. Otherwise it is refused, and
the figure is said.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from tqdm import tqdm

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, print_error, run_command
from icface.engines import backends
from icface.engines.backends import tensorrt_rtx
from icface.engines.base import LARGEST_PX, PRECISIONS, SMALLEST_PX, Job, Progress
from icface.engines.building import Built, build, usual_backend
from icface.engines.cache import EngineCache
from icface.engines.opening import worth_building
from icface.engines.samples import collect
from icface.errors import ConfigError, EngineError, ICFaceError, RefusedError
from icface.files import write_file
from icface.signing import required_keys

PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")

_AHEAD: Final = 'For GPUs of other machines run pip install "icface-live[tensorrt]" and this command again'

_EXAMPLES: Final = """\
examples:
  icface-build-engine                                the model that ships: for this machine's GPU, or for GPUs elsewhere
  icface-build-engine my.icface                      the fastest that this machine has
  icface-build-engine my.icface --backend openvino --precision bf16,int8 --photo me.jpg
  icface-build-engine my.icface --backend tensorrt-rtx --sm 86,89,120
                                                     ahead of time, for RTX 30, 40 and 50; needs no GPU

exit codes: 0 all are there, 1 something failed or was refused, 2 a flag that cannot be used
"""


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = Parser(
        prog="icface-build-engine",
        description="Build the fastest engine that a machine can run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [name.replace("_", "-") for name in backends.building()]
    photo = "a photo, or a folder of them, to calibrate and compare lower precisions on; can be repeated"
    size = "side of the frames that a model of any size is tuned for (default: %(default)s)"
    precision = f"of {', '.join(PRECISIONS)} (default: what is safe)"
    track = "what moves the photos (default: a track of the example)"
    signed = "build a model only if this public key signed it (default: one of your trusted keys)"
    add = p.add_argument
    add("bundle", type=Path, nargs="?", default=DEFAULT_BUNDLE, help="a model (default: the one that ships)")
    add("--require-signature", nargs="?", const="", metavar="KEY.pem", help=signed)
    add("--backend", choices=("auto", *names), default="auto", help="the library (default: the fastest here)")
    add("--precision", metavar="P[,P]", default="", help=precision)
    add("--size", type=int, default=Job.size_px, metavar="PX", help=size)
    add("--sm", metavar="SM[,SM]", default="", help="for GPUs elsewhere, by compute capability, as 86,89,120")
    add("--photo", type=Path, action="append", default=[], help=photo)
    add("--attributes", type=Path, metavar="CSV", help=track)
    add("--timing-cache", type=Path, metavar="FILE", help="TensorRT's timings of this GPU's kernels")
    add("--again", action="store_true", help="build what is there, and try what was refused")
    add("--json", type=Path, metavar="FILE", help="write the table here as well")
    add("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")
    return p


def capabilities(text: str) -> tuple[str, ...]:
    """`86,89,120` as `8.6`, `8.9`, `12.0`; ConfigError for something else."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        digits = part.replace(".", "")
        if not digits.isdigit() or len(digits) not in (2, 3):
            advice = "write 86 for 8.6, 120 for 12.0"
            raise ConfigError(f"--sm {text}: {part!r} is no compute capability; {advice}")
        found.append(f"{digits[:-1]}.{digits[-1]}")
    return tuple(dict.fromkeys(found))


def pictures(photos: Sequence[Path]) -> list[Path]:
    """Replace every folder by the photos in it; ConfigError where a folder has none."""
    found: list[Path] = []
    for path in photos:
        files = path.iterdir() if path.is_dir() else ()
        inside = sorted(file for file in files if file.suffix.lower() in PICTURES)
        if path.is_dir() and not inside:
            raise ConfigError(f"no photo in {path} ({', '.join(PICTURES)})")
        found += inside or [path]
    return found


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """A progress bar on a terminal, and the function that moves it."""
    look = "{desc}: {bar} {n:3.0f} % {postfix}"
    with tqdm(total=100, desc=name, bar_format=look, leave=False, disable=None) as bar:

        def progress(done: float, what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(max(0.0, 100 * done - bar.n))

        yield progress


def table(built: Sequence[Built]) -> str:
    """The engines as a table for people."""
    rows = [("engine", "for", "size", "time", "parity with float32", "golden")]
    for each in built:
        frames = "–"
        if each.parity is not None:
            measured = ", pose {pose_error_deg:.2f}°, {worst_au} {au_error:.3f}".format_map(each.parity)
            frames = f"{each.parity['psnr_db']:.1f} dB"
            frames += measured if each.parity["faces_compared"] else ", no face measured"
        golden = "–" if each.golden_psnr_db is None else f"{min(each.golden_psnr_db, 99.0):.0f} dB"
        size = f"{each.size_bytes / 1e6:.1f} MB"
        time = f"{each.seconds:.1f} s" if each.seconds else "there"
        golden = golden if each.ran else f"not tried here, {golden}"
        rows.append((each.engine, each.target, size, time, frames, golden))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _gpus_elsewhere() -> tuple[str, ...]:
    """The compute capabilities that can be built for without such a GPU; none where the library is missing."""
    try:
        return tensorrt_rtx.LIBRARY.elsewhere()
    except EngineError:
        return ()


def _run(flags: argparse.Namespace) -> int:
    if not SMALLEST_PX <= flags.size <= LARGEST_PX:
        raise ConfigError(f"--size {flags.size}: must be {SMALLEST_PX} to {LARGEST_PX}")
    # The model that ships is part of the program.
    ships = flags.bundle == DEFAULT_BUNDLE
    bundle = Bundle.load(flags.bundle, None if ships else required_keys(flags.require_signature))
    asked = capabilities(flags.sm)
    backend = flags.backend.replace("-", "_")
    if backend == "auto" and not asked and bundle.host is not None and not worth_building(bundle):
        # This machine's processor makes the frames without an engine.
        asked = _gpus_elsewhere()
        if not asked:
            print(f"{bundle.name} needs no engine on this processor. {_AHEAD}")
            return 0
        print(
            f"{bundle.name} needs no engine on this processor: built for GPUs elsewhere, SM {', '.join(asked)}"
        )
    if backend == "auto":
        backend = "tensorrt_rtx" if asked else usual_backend(bundle)
    precisions = dict.fromkeys(part.strip() for part in flags.precision.split(",") if part.strip())
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ConfigError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}")
    photos = pictures(flags.photo)
    samples = functools.cache(lambda: collect(bundle, photos, flags.attributes))
    built: list[Built] = []
    failed: list[str] = []
    for precision in precisions or [""]:
        job = Job(
            bundle=bundle,
            backend=backend,
            precision=precision,
            capabilities=asked,
            size_px=flags.size,
            timing_cache=flags.timing_cache,
            again=flags.again,
        )
        try:
            with _bar(job.engine) as progress:
                built.append(build(job, samples, progress))
        except RefusedError as error:
            failed.append(f"{job.engine} is refused: {error}")
        except ICFaceError as error:
            if len(precisions) < 2:
                raise
            failed.append(f"{job.engine}: {error}")
    if built:
        print(table(built))
        print(f"in {EngineCache().folder}")
        if (flags.photo or flags.attributes) and any(each.parity and not each.seconds for each in built):
            print("what was there was compared on other photos or another track; --again builds it on these")
    if flags.json is not None:
        document = msgspec.json.encode({"built": built, "failed": failed})
        try:
            write_file(flags.json, msgspec.json.format(document) + b"\n")
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
