"""Build the fastest engine that a machine can run: `python export/build_engine.py [BUNDLE]`.

Without a bundle, the model that ships. The engine goes into the user's cache, from where `icface-live` takes it. A lower
precision than float32 is in the graph itself, and is used only if the frames of real photos, moved by a real track of
attributes, stay close to those of float32 (`icface/engines/parity.py`); else it is refused, with the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from export.engine_job import Built, Job, backends, build, usual_backend, usual_precision
from icface.building import LARGEST_PX, PRECISIONS, SMALLEST_PX
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engine_cache import EngineCache
from icface.engines.samples import collect
from icface.errors import ConfigError, ICFaceError, RefusedError

PICTURES = (".jpg", ".jpeg", ".png", ".webp")

_EXAMPLES = """\
examples:
  python export/build_engine.py runs/mine/model.icface          the fastest that this machine has
  python export/build_engine.py MODEL --backend openvino --precision bf16,int8 --photo me.jpg
  python export/build_engine.py MODEL --backend tensorrt-rtx --sm 86,89,120
                                                                 ahead of time, for RTX 30, 40 and 50; needs no GPU

exit codes: 0 all are there, 1 something failed or was refused, 2 a flag that cannot be used
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def parser() -> argparse.ArgumentParser:
    """All flags."""
    p = _Parser(
        description="Build the fastest engine that a machine can run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        default=DEFAULT_BUNDLE,
        metavar="BUNDLE",
        help="a model (default: what ships)",
    )
    p.add_argument(
        "--backend",
        choices=("auto", *(name.replace("_", "-") for name in backends())),
        default="auto",
        help="the library that runs it (default: the fastest that this machine has)",
    )
    p.add_argument(
        "--precision",
        metavar="P[,P]",
        help=f"{', '.join(PRECISIONS)}; several with commas (default: the fastest that is safe here)",
    )
    p.add_argument(
        "--size",
        type=int,
        default=512,
        metavar="PX",
        help="side of the frames that a model of any size is tuned for (default: %(default)s)",
    )
    p.add_argument(
        "--sm",
        metavar="SM[,SM]",
        default="",
        help="compute capabilities of GPUs elsewhere, as 86,89,120: TensorRT-RTX builds for them without one",
    )
    p.add_argument(
        "--photo",
        type=Path,
        action="append",
        default=[],
        metavar="PHOTO",
        help="a photo, or a folder of photos, that lower precisions are calibrated and compared on; several times",
    )
    p.add_argument(
        "--attributes",
        type=Path,
        metavar="CSV",
        help="the track that moves them (default: one that comes along)",
    )
    p.add_argument(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="what TensorRT found out about this GPU's kernels (default: kept beside the engines)",
    )
    p.add_argument("--again", action="store_true", help="build what is there, and try what was refused")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the table here as well")
    p.add_argument("--low-priority", action="store_true", help="let everything else on this machine go first")
    p.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")
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
    """What the flags ask for, one a precision.

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
    precisions = [part.strip() for part in (flags.precision or "").split(",") if part.strip()]
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
            timing_cache=flags.timing_cache or EngineCache().folder / f"{backend}.timing",
            again=flags.again,
        )
        for precision in dict.fromkeys(precisions or [usual_precision(bundle, backend, asked)])
    ]


def pictures(photos: Sequence[Path]) -> list[Path]:
    """The files that are meant: those in a folder for the folder.

    Raises:
        ConfigError: a folder has none.
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
    """Build one after the other, with a progress bar. What failed is told, and the others are built.

    Returns:
        What lies in the cache now, and a line for each that does not.
    """
    # Prepared once, and only when a precision needs them.
    samples = functools.cache(lambda: collect(jobs[0].bundle, pictures(photos), attributes))
    built, failed = [], []
    for job in jobs:
        name = f"{job.backend}:{job.precision}"
        with tqdm(
            total=100,
            desc=name,
            unit="%",
            bar_format="{desc}: {bar} {n:3.0f} % {postfix}",
            leave=False,
            disable=None,
        ) as bar:

            def progress(done: float, what: str, bar: tqdm[NoReturn] = bar) -> None:
                bar.set_postfix_str(what, refresh=False)
                bar.update(max(0.0, 100 * done - bar.n))

            try:
                built.append(build(job, samples, progress))
            except RefusedError as error:
                failed.append(f"{name} is refused: {error}")
            except ICFaceError as error:
                if len(jobs) == 1:
                    raise
                failed.append(f"{name}: {error}")
    return built, failed


def comparison(parity: Mapping[str, Any]) -> str:
    """What `icface/engines/parity.py` found, in one cell."""
    pixels = f"{parity['psnr_db']:.1f} dB"
    if not parity["faces_compared"]:
        return f"{pixels}, no face measured"
    return f"{pixels}, pose {parity['pose_error_deg']:.2f}°, {parity['worst_au']} {parity['au_error']:.3f}"


def table(built: Sequence[Built]) -> str:
    """What was built, for people."""
    rows = [("engine", "for", "size", "time", "parity with float32", "golden")]
    for each in built:
        parity = each.parity
        rows.append(
            (
                f"{each.job.backend}:{each.job.precision}",
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


def step_back() -> None:
    """Let everything else on this machine go first: for a build beside a live loop.

    The lowest nice value is not enough. Beside a generator on two cores it still doubled the loop's p99 latency: a core
    that is busy is taken away late. Linux' idle policy gives it back at once, and one core is all that is used.
    """
    if hasattr(os, "nice"):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # forbidden in some containers
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _run(flags: argparse.Namespace) -> int:
    jobs = jobs_from(flags)
    if flags.low_priority:
        step_back()
    built, failed = build_all(jobs, flags.photo, flags.attributes)
    if built:
        print(table(built))
        print(f"in {EngineCache().folder}")
    if flags.json is not None:
        document = {"built": [each.to_dict() for each in built], "failed": failed}
        try:
            flags.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {flags.json}: {error.strerror or error}") from error
    for line in failed:
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 or 2 as `--help` says, with one line where something failed."""
    try:
        flags = parser().parse_args(argv)
    except SystemExit as end:  # --help, a wrong flag
        return int(end.code or 0)
    logging.basicConfig(level=logging.INFO if flags.verbose else logging.WARNING, format="%(message)s")
    try:
        return _run(flags)
    except ICFaceError as error:
        if flags.verbose > 1:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: stopped; nothing unfinished was kept", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
