"""A faster engine, built and opened beside the one that runs.

The build is another process of low priority: what it takes, and whether it survives, is no matter of the live loop's.
Only opening the finished engine happens here, on a thread of its own; the loop takes it over between two frames.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icface.errors import EngineError, ICFaceError

if TYPE_CHECKING:
    from icface.engines import Engine

logger = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""How long the thread waits before it looks whether it was asked to stop."""
TERM_S: Final = 3.0
"""A builder that was asked to stop is killed after this long."""
TIMEOUT_S: Final = 3600.0
"""No build takes longer; TensorRT's longest are some minutes."""


class Upgrade:
    """One engine on its way. `start`, `take` and `close` are called from one thread.

    Args:
        name: of the engine, for the user.
        command: builds it; its last line on standard error says what went wrong.
        open_built: opens what was built, verified and owned by no thread.
    """

    def __init__(self, name: str, command: Sequence[str], open_built: Callable[[], Engine]) -> None:
        self._name = name
        self._command = list(command)
        self._open_built = open_built
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="building an engine", daemon=True)
        self._ready: Engine | None = None

    def start(self) -> None:
        """Build in the background."""
        logger.info(
            "the engine %s is being built in the background; another one runs until it is ready", self._name
        )
        self._thread.start()

    def take(self) -> Engine | None:
        """The engine, once, when it is ready; the caller's from then on. Never waits."""
        if self._ready is None:
            return None
        engine, self._ready = self._ready, None
        return engine

    def close(self) -> None:
        """End a build that still runs, and let go of an engine that nobody took."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * TERM_S)
        if (engine := self.take()) is not None:
            engine.close()

    def _run(self) -> None:
        try:
            failed = run_builder(self._command, self._stop)
            if self._stop.is_set():
                return
            if failed:
                raise EngineError(failed)
            self._ready = self._open_built()
        except ICFaceError as error:
            logger.warning("the engine %s is not used: %s", self._name, error)


def run_builder(command: Sequence[str], stop: threading.Event, timeout_s: float = TIMEOUT_S) -> str:
    """Run a builder to its end, at low priority; when `stop` is set it is ended.

    Returns:
        What went wrong, in one line; empty for nothing.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # Apart from the terminal's Ctrl-C: whoever started it ends it.
                process_group=0 if os.name == "posix" else None,
                creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
            )
        except OSError as error:
            return f"the builder cannot be started ({error.strerror or error})"
        waited_s = 0.0
        while process.poll() is None and waited_s < timeout_s and not stop.wait(POLL_S):
            waited_s += POLL_S
        if process.poll() is None:
            _end(process)
            return "" if stop.is_set() else f"the builder did not end within {timeout_s:.0f} s"
        if process.returncode == 0:
            return ""
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"the builder died (code {process.returncode})"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(TERM_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(TERM_S)


def build_command(
    bundle: Path, engine: str, photos: Sequence[Path], size_px: int | None, *, beside: bool
) -> list[str]:
    """The command line that builds an engine for a bundle, gated on these photos; slowly, `beside` a live loop."""
    backend, _, precision = engine.partition(":")
    command = [
        sys.executable,
        "-m",
        "export.build_engine",
        str(bundle),
        "--backend",
        backend.replace("_", "-"),
    ]
    command += ["--precision", precision] if precision else []
    command += ["--size", str(size_px)] if size_px else []
    command += [part for photo in photos for part in ("--photo", str(photo))]
    return [*command, "--low-priority"] if beside else command
