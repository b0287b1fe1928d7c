"""Work beside the live loop, each by an `icface-live` at a low priority: videos of tracks, and tracks of videos."""

from __future__ import annotations

import glob
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import platformdirs

from icface.errors import ICFaceError
from realtime.choices import SIZES
from realtime.config import LiveConfig
from realtime.confinement import confine

logger = logging.getLogger(__name__)

_END_TIMEOUT_S: Final = 3.0
"""A job that is asked to end may take so long to remove what it has begun."""
_COMMAND: Final = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from realtime.panel.jobs import work
sys.exit(work(sys.argv[2], sys.argv[3:]))
"""


@dataclass
class Job:
    """One piece of work. It writes to `unfinished`, which becomes `path` when it is done."""

    path: Path
    unfinished: Path
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    scratch: tempfile.TemporaryDirectory[str]
    """For its temporary files."""
    finish: Callable[[Path], None] | None = None
    """Completes the file that the process made; may raise ICFaceError or OSError."""
    state: str = "running"
    """`running`, `done` or `failed`."""
    error: str = ""

    def look(self) -> None:
        """Bring `state` up to date. Never waits."""
        if self.state != "running" or self.process.poll() is None:
            return
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").splitlines()
        self._let_go()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        code = self.process.returncode
        try:
            if code != 0 or not self.unfinished.is_file():
                said = errors[-1] if errors else f"icface-live ended with code {code} and made no file"
                raise ICFaceError(said)
            if self.finish is not None:
                self.finish(self.unfinished)
            self.unfinished.replace(self.path)
            self.state = "done"
        except (ICFaceError, OSError) as error:
            self.state, self.error = "failed", str(error)
        self._clear()

    def close(self) -> None:
        """Wait a little for a process that was asked to end, then end it; remove what it has begun."""
        try:
            self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._let_go()
        self._clear()

    def _let_go(self) -> None:
        self.said.close()
        self.scratch.cleanup()

    def _clear(self) -> None:
        """Remove what the process leaves beside its file: the states, and what `replacing_file` has begun."""
        begun = self.unfinished.parent.glob(f".{glob.escape(self.unfinished.name)}.*.part")
        for path in (self.unfinished, self.unfinished.with_suffix(".control.jsonl"), *begun):
            path.unlink(missing_ok=True)


class Jobs:
    """All of a run, by the name of what they make. One thread calls everything."""

    def __init__(self) -> None:
        self.all: dict[str, Job] = {}

    def start(
        self,
        path: Path,
        output_flag: str,
        flags: Sequence[str | Path],
        finish: Callable[[Path], None] | None = None,
    ) -> Job:
        """Begin to make a file with `icface-live`; raises ICFaceError where that cannot begin.

        Args:
            path: of the file.
            output_flag: that names it.
            flags: all others.
            finish: completes the file, in this process.
        """
        before = self.all.get(path.name)
        if before is not None and before.state == "running":
            raise ICFaceError(f"{path.name} is being made already")
        unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
        root = str(Path(__file__).resolve().parents[2])
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Job
        scratch = tempfile.TemporaryDirectory(prefix="icface-job-", ignore_cleanup_errors=True)
        arguments = [output_flag, str(unfinished), *map(str, flags)]
        # OpenBLAS starts its threads when it is loaded, before the process is confined.
        environment = {**os.environ, "TMPDIR": scratch.name, "OPENBLAS_NUM_THREADS": "1"}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND, root, scratch.name, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # The terminal's Ctrl-C does not reach it. The panel ends it.
                process_group=0 if os.name == "posix" else None,
                creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
            )
        except OSError as error:
            said.close()
            scratch.cleanup()
            raise ICFaceError(f"{path.name} cannot be made: {error.strerror or error}") from error
        self.all[path.name] = Job(path, unfinished, process, said, scratch, finish)
        return self.all[path.name]

    def running(self) -> dict[str, Job]:
        """Those whose file is not there yet."""
        return {name: job for name, job in self.all.items() if job.state == "running"}

    def listed(self) -> list[dict[str, Any]]:
        """For the page."""
        for job in self.all.values():
            job.look()
        return [
            {
                "name": name,
                "state": job.state,
                "error": job.error,
                "folder": str(job.path.parent),
                "is_video": job.path.suffix != ".csv",
            }
            for name, job in self.all.items()
        ]

    def close(self) -> None:
        """End those that still run."""
        running = self.running().values()
        for job in running:
            job.process.terminate()
        for job in running:
            job.close()


# In the process of a job


def work(scratch: str, argv: list[str]) -> int:
    """Run `icface-live` at a low priority, confined: what it reads may have been made by somebody else.

    The program is loaded before, so that numba finds its compiled code, which the confined process may not write.
    """
    if hasattr(os, "nice"):
        os.nice(15)
    from icface import reenactor  # noqa: F401
    from icface.source_cache import cache_folder
    from realtime import session, watermark_loop  # noqa: F401
    from realtime.cli import main

    given = [Path(word).absolute() for word in argv if not word.startswith("--")]
    output, inputs = given[0], [path for path in given[1:] if path.exists()]
    settings = platformdirs.user_config_path("icface-live", appauthor=False)
    if not confine(read=[cache_folder(), settings, *inputs], write=[output.parent, Path(scratch)]):
        logger.debug("this system does not confine processes")
    return main(argv)


def same_picture(config: LiveConfig, face: int | None) -> Sequence[str | Path]:
    """The flags that make the same kind of picture as this run, of that face of the photo (None: the largest)."""
    flags: list[str | Path] = ["--framing", config.framing, "--quality", config.quality, "--no-build"]
    if config.framing == "call":
        flags += ["--call-size", "{}x{}".format(*config.call_size_px)]
    else:
        flags += ["--size", next(text for text, side in SIZES.items() if side == config.size_px)]
    background = config.background if config.background != "transparent" else "green"
    flags += ["--background", background, "--mark", "on" if config.mark else "off"]
    flags += ["--watermark", "on" if config.watermark else "off"]
    if face is not None:
        flags += ["--face", str(face)]
    if config.follow:
        flags.append("--follow")
    if config.model is not None:
        flags += ["--model", config.model]
    if config.require_signature is not None:
        flags.append("--require-signature")
        flags += [config.require_signature] if config.require_signature else []
    return flags
